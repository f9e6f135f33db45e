// npm run bench [-- --quick | --growth | --soak SECONDS | --store] [--rounds N] [--count N] [--json FILE] [--record]
//
//   (nothing)   the core under criterion, then every phase of the worker in workerd, beside the yardstick
//   --quick     the same, much shorter: does it all still run
//   --growth    CPU of a check and of a webhook, of worker and store, from 1,000 to 100,000 payers
//   --soak N    N seconds at saturation: memory, lost webhooks, wrong answers
//   --store     the statements alone, in SQLite, from 1,000 to 1,000,000 payers
//
// --json keeps every round. --record puts what was found into bench/measured.json, from which bench/cost.mjs and
// bench/simulate-scale.mjs work; it goes with --store or with no other option.
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Failure, exitCodeOf, main, root, run, say } from "../scripts/run.mjs";

const CORE = ["--manifest-path", "bench/core/Cargo.toml"];
// Beside the crate's own, so that neither build makes the other stale.
const env = { CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? "target/bench-core" };

const MEASURED = path.join(root, "bench/measured.json");

/** Keeps what was found beside what was found before. */
function record(found) {
  const before = JSON.parse(readFileSync(MEASURED, "utf8"));
  writeFileSync(MEASURED, `${JSON.stringify({ ...before, ...found }, null, 1)}\n`);
}

/** A summary without the digits that mean nothing. */
function rounded({ cpu_us, store_cpu_us, operations }) {
  const whole = (value) => (value === null ? null : Math.round(value));
  return { cpu_us: whole(cpu_us), store_cpu_us: whole(store_cpu_us), operations };
}

await main(async () => {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean" },
      growth: { type: "boolean" },
      store: { type: "boolean" },
      soak: { type: "string" },
      rounds: { type: "string" },
      count: { type: "string" },
      sizes: { type: "string" },
      "skip-core": { type: "boolean" },
      json: { type: "string" },
      record: { type: "boolean" },
    },
  });
  const number = (name, otherwise) => {
    const value = Number(values[name] ?? otherwise);
    if (!(value >= 1)) throw new Failure(`--${name} is a number, 1 or more.`, 2);
    return Math.floor(value);
  };
  if (process.platform !== "linux") say("CPU and memory of a process are read from /proc, which only Linux has: they are not measured here.");
  if (values.store) {
    const sizes = values.sizes?.split(",") ?? (values.quick ? ["1000"] : ["1000", "10000", "100000", "1000000"]);
    await run("cargo", ["build", "--release", "--quiet", ...CORE, "--bins"], { env });
    const lines = [];
    const child = spawn("cargo", ["run", "--release", "--quiet", ...CORE, "--", ...sizes], { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: child.stdout })) {
      process.stdout.write(`${line}\n`);
      lines.push(JSON.parse(line));
    }
    if (lines.length !== sizes.length) throw new Failure("the measurement of the store ended early; its output is above.");
    if (values.record) record({ store: lines });
    return;
  }
  await run("node", ["scripts/build.mjs"]);

  let result;
  if (values.soak !== undefined) {
    const { soak } = await import("./lib/soak.mjs");
    result = await soak({ seconds: number("soak") });
  } else if (values.growth) {
    const { growth } = await import("./lib/growth.mjs");
    const sizes = (values.sizes ?? (values.quick ? "100,1000" : "1000,10000,100000")).split(",").map(Number);
    result = await growth({ sizes, rounds: number("rounds", values.quick ? 1 : 9), count: number("count", values.quick ? 100 : 500) });
  } else {
    if (!values["skip-core"]) {
      const short = values.quick ? ["--quick"] : ["--warm-up-time", "1", "--measurement-time", "2"];
      const code = await exitCodeOf("cargo", ["bench", ...CORE, "--bench", "core", "--", ...short], { env });
      if (code !== 0) throw new Failure("the measurements of the core failed; their output is above.", code);
    }
    const { compare, summary, table } = await import("./lib/compare.mjs");
    result = await compare({ rounds: number("rounds", values.quick ? 1 : 7), count: number("count", values.quick ? 100 : 1_000) });
    process.stdout.write(`${table(result)}\n`);
    if (values.record) {
      const summaries = (workers) => Object.fromEntries(Object.entries(workers).map(([name, rounds]) => [name, rounded(summary(rounds))]));
      record({ phases: Object.fromEntries(Object.entries(result).map(([phase, workers]) => [phase, summaries(workers)])) });
    }
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`);
});
