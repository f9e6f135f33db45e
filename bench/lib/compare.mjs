// Phase by phase, the worker beside the yardstick: CPU of the worker process and of the store process, and operations.
import { readFileSync } from "node:fs";
import path from "node:path";
import { BINDINGS } from "../../tests/e2e/harness.mjs";
import { say } from "../../scripts/run.mjs";
import { PHASES, sendAll } from "./load.mjs";
import { Store, cpuOf, plangate, yardstick } from "./processes.mjs";

const here = path.dirname(new URL(import.meta.url).pathname);

/** A store with the tables of both. */
export async function storeForBoth() {
  const store = await Store.start();
  const tables = readFileSync(path.join(here, "../yardstick/schema.sql"), "utf8").split(";").map((sql) => sql.trim()).filter(Boolean);
  for (const sql of tables) await store.d1.prepare(sql).run();
  return store;
}

/** One phase once: `count` requests, with what each cost on average. */
export async function measure(store, start, phase, count, worker) {
  const { before, between, requests, expect, cold } = phase.make(count);
  await sendAll(worker.url, before, (answer) => {
    if (answer.status !== 200) throw new Error(`${worker.name}: ${answer.status} ${answer.text}`);
  });
  await between?.(store.kv);
  let running = worker;
  if (cold) {
    // Nothing remembered: another process, brought to speed by requests that know nobody.
    running = await start(store, BINDINGS);
    await warmUp(running);
  }
  await store.counts();
  const [workerBefore, storeBefore, begun] = [running.cpu(), cpuOf(store.pid), performance.now()];
  const took = await sendAll(running.url, requests, expect);
  const seconds = (performance.now() - begun) / 1000;
  const [workerAfter, storeAfter] = [running.cpu(), cpuOf(store.pid)];
  const counts = await store.counts();
  if (running !== worker) await running.stop();
  const micros = (from, to) => (from === null || to === null ? null : (to - from) / 1000 / requests.length);
  return {
    cpu_us: micros(workerBefore, workerAfter),
    store_cpu_us: micros(storeBefore, storeAfter),
    per_second: requests.length / seconds,
    p99_ms: took[Math.floor((took.length - 1) * 0.99)],
    operations: Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, value / requests.length])),
  };
}

async function warmUp(worker) {
  for (const name of ["check-unknown", "hook-new", "check-warm"]) {
    const { before, requests, expect } = PHASES.find((phase) => phase.name === name).make(200);
    await sendAll(worker.url, [...before, ...requests], (answer, request) => request === before[0] || expect(answer));
  }
}

/** Every phase, `rounds` times in turns, so that a noisy neighbor meets both workers alike. */
export async function compare({ rounds, count }) {
  const store = await storeForBoth();
  const starts = { plangate, yardstick };
  const workers = {};
  const results = {};
  try {
    for (const [name, start] of Object.entries(starts)) {
      workers[name] = await start(store, BINDINGS);
      await warmUp(workers[name]);
    }
    for (let round = 1; round <= rounds; round++) {
      say(`  round ${round} of ${rounds}`);
      for (const phase of PHASES) {
        for (const [name, start] of Object.entries(starts)) {
          if (phase.only !== undefined && phase.only !== name) continue;
          ((results[phase.name] ??= {})[name] ??= []).push(await measure(store, start, phase, count, workers[name]));
        }
      }
    }
    return results;
  } finally {
    for (const worker of Object.values(workers)) await worker.stop();
    await store.stop();
  }
}

const sorted = (values) => values.filter((value) => value !== null).sort((a, b) => a - b);
/** Neighbors only ever add CPU, so the lower quartile tells more than the median. */
export const quartile = (values) => sorted(values)[Math.floor((sorted(values).length - 1) / 4)] ?? null;
const median = (values) => sorted(values)[Math.floor(sorted(values).length / 2)];

/** The rounds of a phase as one line of figures. */
export function summary(rounds) {
  const of = (name) => quartile(rounds.map((round) => round[name]));
  const operations = {};
  for (const name of Object.keys(rounds[0].operations)) {
    if (name !== "d1_ms") operations[name] = Math.round(median(rounds.map((round) => round.operations[name])) * 100) / 100;
  }
  return { cpu_us: of("cpu_us"), store_cpu_us: of("store_cpu_us"), per_second: median(rounds.map((round) => round.per_second)), p99_ms: median(rounds.map((round) => round.p99_ms)), operations };
}

const cell = (value, digits = 0) => (value === null || value === undefined ? "–" : value.toFixed(digits));

/** The table that is printed. */
export function table(results) {
  const lines = [
    "| phase | worker | CPU, µs | × yardstick | store's CPU, µs | D1 calls | statements | rows read | rows written | KV gets | KV puts | requests/s | p99, ms |",
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
  ];
  for (const [phase, workers] of Object.entries(results)) {
    const yardstick = workers.yardstick && summary(workers.yardstick);
    for (const [name, rounds] of Object.entries(workers)) {
      const { cpu_us, store_cpu_us, per_second, p99_ms, operations: o } = summary(rounds);
      const ratio = name === "yardstick" || !yardstick || cpu_us === null ? null : cpu_us / yardstick.cpu_us;
      const counts = [o.d1_call, o.d1_statement, o.rows_read, o.rows_written, o.kv_get, o.kv_put].map((value) => String(value));
      lines.push(`| ${[phase, name, cell(cpu_us), cell(ratio, 2), cell(store_cpu_us), ...counts, cell(per_second), cell(p99_ms, 1)].join(" | ")} |`);
    }
  }
  return lines.join("\n");
}
