// npm test [-- --only name,name]: every check, in order, up to the first that fails.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { checkExamples, testClient } from "./client.mjs";
import { withLock } from "./lock.mjs";
import { errorsOnly, exitCodeOf, Failure, main, outputOf, root, run, say } from "./run.mjs";
import { installBrowser } from "./setup/browser.mjs";
import { unpackProxies } from "./setup/proxies.mjs";
import { installPythonPackages } from "./setup/python.mjs";
import { setUp } from "./setup/set-up.mjs";
import { TARGET } from "./setup/wasm-library.mjs";

const NO_WARNINGS = ["--", "-D", "warnings"];

const CHECKS = [
  { name: "format", run: () => exitCodeOf("cargo", ["fmt", "--all", "--check"]) },
  { name: "clippy", run: () => exitCodeOf("cargo", ["clippy", "--workspace", "--all-targets", "--features", "cli", ...NO_WARNINGS]) },
  {
    name: "clippy-wasm",
    run: (rust) => exitCodeOf("cargo", ["clippy", "--lib", "--target", TARGET, ...NO_WARNINGS], { env: rust.env }),
  },
  {
    name: "clippy-bench",
    run: () =>
      exitCodeOf("cargo", ["clippy", "--manifest-path", "bench/core/Cargo.toml", "--target-dir", "target/bench-core", "--all-targets", ...NO_WARNINGS]),
  },
  { name: "unit", run: () => exitCodeOf("cargo", ["test", "--features", "cli"]) },
  // The npm package: its types, its tests, its size.
  { name: "client", run: testClient },
  { name: "examples", needs: ["client"], run: checkExamples },
  { name: "build", run: () => exitCodeOf("node", ["scripts/build.mjs", "--within-limit"]) },
  {
    // The worker with a route that panics, for the test that a panic does not poison an isolate.
    name: "build-probe",
    run: () => exitCodeOf("node", ["scripts/build.mjs", "--features", "panic-probe", "--out", "build-probe"]),
  },
  { name: "deploy-check", run: () => exitCodeOf("node", ["scripts/deploy.mjs", "--dry-run"]) },
  { name: "build-lib", run: () => exitCodeOf("node", ["scripts/build-lib.mjs", "--within-limit"]) },
  { name: "lib", needs: ["build", "build-lib"], run: library },
  { name: "e2e", needs: ["client", "build", "build-probe"], run: endToEnd },
];

await main(async () => {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  const chosen = choose(values.only);
  // A terminal may show colors; a log should not have them.
  if (process.env.CI) process.env.CARGO_TERM_COLOR = "never";
  // What a next build could take from this one is a third of the room it needs, and a clean checkout has no next build.
  if (process.env.CI) process.env.CARGO_INCREMENTAL ??= "0";

  const started = Date.now();
  heading("set-up");
  const rust = await setUp();
  await addLinters();

  for (const check of chosen) {
    heading(check.name);
    const checkStarted = Date.now();
    const code = await check.run(rust);
    const took = since(checkStarted);
    if (code !== 0) {
      throw new Failure(`${check.name} failed after ${took}; repeat just this with \`npm test -- --only ${check.name}\`.`);
    }
    say(`  ${check.name} passed in ${took}`);
  }
  say(`\nAll ${chosen.length} checks passed in ${since(started)}: ${chosen.map((check) => check.name).join(", ")}.`);
});

function choose(only) {
  if (only === undefined) return CHECKS;
  const names = only.split(",");
  const unknown = names.find((name) => !CHECKS.some((check) => check.name === name));
  if (unknown !== undefined) {
    throw new Failure(`there is no check \`${unknown}\`; choose from ${CHECKS.map((check) => check.name).join(", ")}.`);
  }
  const needed = CHECKS.filter((check) => names.includes(check.name)).flatMap((check) => [check.name, ...(check.needs ?? [])]);
  return CHECKS.filter((check) => needed.includes(check.name));
}

/** rustup's minimal profile comes without the two. */
async function addLinters() {
  if (outputOf("cargo", ["fmt", "--version"]) && outputOf("cargo", ["clippy", "--version"])) return;
  if ((await exitCodeOf("rustup", ["component", "add", "rustfmt", "clippy"])) !== 0) {
    throw new Failure("rustfmt or clippy is missing; run `rustup component add rustfmt clippy` and run this again.");
  }
}

/** The library, its types, and the examples that stand on it, each with packages of its own. */
async function library() {
  await withLock("examples", async () => {
    for (const example of ["convex", "node"]) {
      await run("npm", ["ci", "--ignore-scripts", "--loglevel=error"], { cwd: path.join(root, "examples", example), stdio: errorsOnly });
    }
  });
  const tests = ["tests/lib", "examples/node"].flatMap(testsIn);
  const inExample = (program, ...args) => ["node", [path.join("node_modules", program), ...args], { cwd: path.join(root, "examples", "convex") }];
  const checks = [
    ["node", ["--experimental-vm-modules", "--disable-warning=ExperimentalWarning", "--test", ...tests]],
    inExample("typescript/bin/tsc", "-p", "../../tests/lib"),
    inExample("typescript/bin/tsc", "--noEmit"),
    inExample("vitest/vitest.mjs", "run"),
  ];
  for (const [program, args, options] of checks) {
    const code = await exitCodeOf(program, args, options);
    if (code !== 0) return code;
  }
  return 0;
}

function testsIn(folder) {
  const files = readdirSync(path.join(root, folder)).filter((file) => file.endsWith(".test.mjs"));
  return files.map((file) => path.join(folder, file));
}

async function endToEnd() {
  await withLock("set-up", installPythonPackages);
  await withLock("set-up", unpackProxies);
  await withLock("set-up", installBrowser);
  const files = testsIn(path.join("tests", "e2e"));
  const state = mkdtempSync(path.join(tmpdir(), "plangate-migrated-"));
  try {
    // The migrations take wrangler seconds; without this each file would apply them anew.
    await run("wrangler", ["d1", "migrations", "apply", "DB", "--local", "--persist-to", state], {
      env: { CI: "true", WRANGLER_SEND_METRICS: "false" },
      stdio: errorsOnly,
    });
    return await exitCodeOf("node", ["--test", `--test-concurrency=${availableParallelism()}`, ...files], {
      env: { PLANGATE_MIGRATED_STATE: state },
    });
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
}

function heading(name) {
  say(`\n── ${name} ${"─".repeat(70 - name.length)}`);
}

function since(start) {
  const seconds = Math.round((Date.now() - start) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
