// Turning the crate into a worker with worker-build.
//
// Nothing is downloaded: every tool that worker-build would fetch is named to it, or run here in its stead.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { withLock } from "./lock.mjs";
import { Failure, root, run, say } from "./run.mjs";
import { wasmBindgen, workerBuild } from "./setup/build-tools.mjs";
import { TARGET } from "./setup/wasm-library.mjs";

/** Our own limit, in bytes of gzipped wasm. Cloudflare's begins at 3 MB; size decides how fast a cold isolate starts. */
const MAX_GZIPPED = 400_000;

/** What decides about the output besides the sources. */
const SETTINGS = ["Cargo.toml", "Cargo.lock", "package-lock.json", "scripts/build-worker.mjs"];

const wasmOpt = path.join(root, "node_modules", ".bin", "wasm-opt");

/** What the module may use: what worker-build names to wasm-opt, and no more, as workerd has to understand it. */
const WASM_FEATURES = [
  "mutable-globals",
  "sign-ext",
  "nontrapping-float-to-int",
  "bulk-memory",
  "multivalue",
  "reference-types",
  "exception-handling",
];

/** Builds the worker into the folder `out`, unless what is there was built from the same inputs. */
export async function buildWorker(rust, { features = "", out = "build" } = {}) {
  // Builds with other features share cargo's output file: one at a time, or one gets the other's code.
  await withLock("build", () => build(rust, features, out));
}

async function build(rust, features, out) {
  const folder = path.join(root, out);
  const stamp = path.join(folder, ".inputs.json");
  if (isCurrent(stamp, rust, features)) {
    reportSize(folder, `${out}/ is up to date`);
    return;
  }

  rmSync(stamp, { force: true });
  const started = Date.now();
  const cargoOptions = features ? ["--", "--features", features] : [];
  await run(workerBuild, ["--release", "--out-dir", out, ...cargoOptions], {
    env: {
      ...rust.env,
      // When the compiler refuses the crate, where in worker-build that surfaced is of no interest.
      RUST_BACKTRACE: "0",
      WASM_BINDGEN_BIN: wasmBindgen,
      ESBUILD_BIN: path.join(root, "node_modules", ".bin", "esbuild"),
    },
    otherwise: "the worker could not be built; the compiler's messages are above.",
  });
  await optimize(path.join(folder, "index_bg.wasm"));
  reportSize(folder, `${out}/ is built`);
  const sources = sourcesOf(rust);
  // A file saved while the compiler ran may or may not be in the output: the next build has to look again.
  if (sources.every((file) => statSync(path.resolve(root, file)).mtimeMs < started)) {
    writeFileSync(stamp, JSON.stringify({ sources, digest: digest(sources, rust, features) }));
  }
}

/**
 * worker-build would keep the names of all functions: a tenth of what is sent, and wasm-opt does less where it keeps them.
 * A panic tells its file and line without them.
 */
async function optimize(wasm) {
  // Nothing lies in the first KiB, the far end of the stack, so an address there is never meant.
  const options = ["-Os", "--low-memory-unused", ...WASM_FEATURES.map((feature) => `--enable-${feature}`)];
  await run(wasmOpt, [wasm, "-o", wasm, ...options], {
    otherwise: "wasm-opt could not optimize the worker; its output is above.",
  });
}

/** Whether the last build saw the very inputs that are here now. Packaging anew takes seconds, this milliseconds. */
function isCurrent(stamp, rust, features) {
  if (!existsSync(stamp)) return false;
  const { sources, digest: built } = JSON.parse(readFileSync(stamp, "utf8"));
  return digest(sources, rust, features) === built;
}

/** The files that went into the build, as cargo wrote them down: modules and whatever they include. */
function sourcesOf(rust) {
  const targetDir = path.resolve(root, rust.env.CARGO_TARGET_DIR ?? process.env.CARGO_TARGET_DIR ?? "target");
  const [, files] = readFileSync(path.join(targetDir, TARGET, "release", "plangate.d"), "utf8").split(".wasm: ");
  // One line, make's syntax: a space within a name has a backslash before it.
  return files.match(/(?:\\ |\S)+/g).map((file) => file.replaceAll("\\ ", " "));
}

function digest(sources, rust, features) {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([rust.version, features]));
  for (const file of [...SETTINGS, ...sources]) {
    const absolute = path.resolve(root, file);
    hash.update(JSON.stringify([file, existsSync(absolute) ? readFileSync(absolute, "base64") : null]));
  }
  return hash.digest("hex");
}

function reportSize(folder, state) {
  const wasm = readFileSync(path.join(folder, "index_bg.wasm"));
  const gzipped = gzipSync(wasm, { level: 9 }).length;
  say(`${state}: ${thousands(wasm.length)} bytes of wasm, ${thousands(gzipped)} gzipped`);
  if (gzipped > MAX_GZIPPED) {
    throw new Failure(`the worker is over its limit of ${thousands(MAX_GZIPPED)} bytes gzipped; make it smaller.`);
  }
}

function thousands(number) {
  return number.toLocaleString("en-US");
}
