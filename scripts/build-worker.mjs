// Turning the crate into a worker: cargo, wasm-bindgen, esbuild and binaryen, one after another.
//
// worker-build does much the same. It wraps every request in proxies of its own, exports classes that nobody uses, and is one
// more tool to compile on every machine.

import { createHash } from "node:crypto";
import { closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { withLock } from "./lock.mjs";
import { Failure, root, run, say } from "./run.mjs";
import { wasmBindgen } from "./setup/build-tools.mjs";
import { TARGET } from "./setup/wasm-library.mjs";

/**
 * Our own limit, in bytes of all files gzipped. Cloudflare's begins at 3 MB; size decides how fast a cold isolate starts. It is asked
 * for where the project is tested: another version of the compiler may miss it by a little, and no user should be stopped by that.
 */
const MAX_GZIPPED = 300_000;

/** What is built. */
const FILES = ["index.js", "index_bg.wasm"];

/** What the runtime loads. */
const ENTRY = "src/edge/entry.js";

/** What decides about the output besides the sources. */
const SETTINGS = [".cargo/config.toml", "Cargo.toml", "build.rs", "openapi.json", "Cargo.lock", "package-lock.json", "scripts/build-worker.mjs", ENTRY, "src/edge/content.js"];

/** What the module may use: what rustc and wasm-bindgen do, and no more, as workerd has to understand it. */
export const FEATURES = [
  "mutable-globals",
  "sign-ext",
  "nontrapping-float-to-int",
  "bulk-memory",
  "multivalue",
  "reference-types",
  "exception-handling",
  "simd",
].map((feature) => `--enable-${feature}`);

/**
 * How wasm-opt makes it small, once it is compressed: twice, as the first time leaves some for a second, and between them what is
 * always the same is looked for through the whole. Nothing lies in the first KiB, the far end of the stack, so an address there is
 * never meant. A larger function of one caller is less as it is than within that caller, and functions of like names, which are
 * alike, are less beside one another: 7 % of the whole, together.
 */
export const SMALL = [
  ...["-Oz", "--gufa", "-Oz", "--skip-pass=local-cse", "--low-memory-unused", "--one-caller-inline-max-function-size", "20"],
  ...["--reorder-functions-by-name", "--strip-debug", "--strip-producers", "--strip-target-features"],
];

export const binaryen = (tool) => path.join(root, "node_modules", ".bin", tool);

/** A package, so not there before the clone is set up: whoever is to set it up loads this file first. */
export const esbuildPackage = () => import("esbuild");

export const targetDir = (rust) => path.resolve(root, rust.env.CARGO_TARGET_DIR ?? process.env.CARGO_TARGET_DIR ?? "target");

/** Builds the worker into the folder `out`, unless what is there was built from the same inputs. */
export async function buildWorker(rust, { features = "", out = "build", "within-limit": isLimited = false } = {}) {
  // Builds with other features share cargo's output file: one at a time, or one gets the other's code.
  const gzipped = await withLock("build", () => build(rust, features, out));
  if (isLimited && gzipped > MAX_GZIPPED) {
    throw new Failure(`the worker is over its limit of ${thousands(MAX_GZIPPED)} bytes gzipped; make it smaller.`);
  }
}

/** Answers the size, gzipped. */
async function build(rust, features, out) {
  const folder = path.join(root, out);
  const stamp = path.join(folder, ".inputs.json");
  if (isCurrent(stamp, rust, features)) {
    return reportSize(folder, `${out}/ is up to date`);
  }

  rmSync(stamp, { force: true });
  const started = Date.now();
  const options = features ? ["--features", features] : [];
  await run("cargo", ["build", "--release", "--lib", "--target", TARGET, ...options], {
    env: rust.env,
    otherwise: "the worker could not be built; the compiler's messages are above.",
  });
  const parts = mkdtempSync(path.join(tmpdir(), "plangate-build-"));
  try {
    await bind(path.join(targetDir(rust), TARGET, "release", "plangate.wasm"), parts);
    const script = await bundle(parts);
    await removeUnused(parts, script);
    await minify(parts, script, await optimize(parts));
    mkdirSync(folder, { recursive: true });
    for (const file of FILES) copyFileSync(path.join(parts, file), path.join(folder, file));
  } finally {
    rmSync(parts, { recursive: true });
  }
  const gzipped = reportSize(folder, `${out}/ is built`);
  const sources = sourcesOf(rust);
  // A file saved while the compiler ran may or may not be in the output: the next build has to look again.
  if (sources.every((file) => statSync(path.resolve(root, file)).mtimeMs < started)) {
    writeFileSync(stamp, JSON.stringify({ sources, digest: digest(sources, rust, features) }));
  }
  return gzipped;
}

/** Writes core.js and core_bg.wasm: the compiled crate and what joins it to JavaScript. */
async function bind(wasm, parts) {
  const options = [
    ...["--target", "module", "--no-typescript", "--no-demangle", "--out-dir", parts, "--out-name", "core"],
    // After a panic the core's memory is thrown away, and until then nobody may call into it.
    ...["--experimental-reset-state-function", "--force-enable-abort-handler"],
  ];
  await run(wasmBindgen, [wasm, ...options], { otherwise: "wasm-bindgen could not bind the worker; its output is above." });
}

/** The entry with all that it uses, as one script. */
async function bundle(parts) {
  copyFileSync(path.join(root, ENTRY), path.join(parts, "entry.js"));
  const core = path.join(parts, "core.js");
  const imported = "import source wasmModule from";
  const text = readFileSync(core, "utf8");
  if (!text.includes(imported)) throw new Failure(`wasm-bindgen no longer writes \`${imported}\`; scripts/build-worker.mjs has to follow.`);
  // wrangler gives every imported .wasm file as a module, which is what `import source` will mean. A class of which nothing is
  // used but the way to free it (the `worker` crate exports several) would stay for that alone.
  const kept = text
    .replace(imported, "import wasmModule from")
    .replace(/^if \(Symbol\.dispose\) \w+\.prototype.*$/gm, "")
    .replace(/: new FinalizationRegistry\(/g, ": /* @__PURE__ */ new FinalizationRegistry(");
  writeFileSync(core, kept);
  const { build: esbuild } = await esbuildPackage();
  const options = { entryPoints: [path.join(parts, "entry.js")], bundle: true, format: "esm", external: ["*.wasm"], logLevel: "error" };
  const { outputFiles: [script] } = await esbuild({ ...options, write: false });
  return script.text;
}

/** The `worker` crate exports classes that nobody asks for. What JavaScript does not use of the core is taken out of it. */
async function removeUnused(parts, script) {
  const wasm = path.join(parts, "core_bg.wasm");
  const exported = WebAssembly.Module.exports(new WebAssembly.Module(readFileSync(wasm))).map(({ name }) => name);
  const isUsed = (name) => new RegExp(`\\bwasm\\.${name}\\b`).test(script);
  const used = exported.filter(isUsed);
  const graph = [
    { name: "script", root: true, reaches: used.map((name) => `of ${name}`) },
    ...used.map((name) => ({ name: `of ${name}`, export: name })),
  ];
  const file = path.join(parts, "used.json");
  writeFileSync(file, JSON.stringify(graph));
  await run(binaryen("wasm-metadce"), [wasm, "-g", "-o", wasm, `--graph-file=${file}`, ...FEATURES], {
    stdio: ["ignore", "ignore", "inherit"],
    otherwise: "wasm-metadce could not shrink the worker; its output is above.",
  });
}

/**
 * Writes index_bg.wasm; answers the short names that its imports and exports got. The names of functions are left out: they are a
 * tenth of what is sent, and a panic tells its file and line without them.
 */
async function optimize(parts) {
  const [from, to, names] = ["core_bg.wasm", "index_bg.wasm", "names.json"].map((file) => path.join(parts, file));
  const printed = openSync(names, "w");
  await run(binaryen("wasm-opt"), [from, "-o", to, ...SMALL, "--minify-imports-and-exports-and-modules", ...FEATURES], {
    stdio: ["ignore", printed, "inherit"],
    otherwise: "wasm-opt could not optimize the worker; its output is above.",
  });
  closeSync(printed);
  return JSON.parse(readFileSync(names, "utf8"));
}

/** What wasm-opt calls the one module that everything is imported from. */
const MINIFIED_MODULE = "a";

/** Writes index.js: the script, with the short names. */
async function minify(parts, script, { imports, exports }) {
  const imported = new Map(imports.map(([, name, short]) => [name, short]));
  const exported = new Map(exports);
  const [module, ...others] = new Set(imports.map(([module]) => module));
  // wasm-opt gives all of them one name.
  if (others.length > 0) throw new Failure(`the core imports from ${others.join(", ")} too; scripts/build-worker.mjs has to follow.`);
  const short = script
    .replaceAll(JSON.stringify(module), JSON.stringify(MINIFIED_MODULE))
    .replace(/^( +)(\w+)(?=: )/gm, (line, indent, name) => (imported.has(name) ? indent + imported.get(name) : line))
    .replace(/\bwasm\.(\w+)/g, (reference, name) => (exported.has(name) ? `wasm.${exported.get(name)}` : reference));
  const { transform } = await esbuildPackage();
  const { code } = await transform(short, { minify: true, format: "esm" });
  writeFileSync(path.join(parts, "index.js"), code.replace("./core_bg.wasm", "./index_bg.wasm"));
}

/** Whether the last build saw the very inputs that are here now. Packaging anew takes seconds, this milliseconds. */
function isCurrent(stamp, rust, features) {
  if (!existsSync(stamp)) return false;
  const { sources, digest: built } = JSON.parse(readFileSync(stamp, "utf8"));
  return digest(sources, rust, features) === built;
}

/**
 * The files that went into the build, as cargo wrote them down: modules and whatever they include. Those of this clone by their path
 * within it: a copy of the clone, with its build, has to look at its own.
 */
function sourcesOf(rust) {
  const [, files] = readFileSync(path.join(targetDir(rust), TARGET, "release", "plangate.d"), "utf8").split(".wasm: ");
  // One line, make's syntax: a space within a name has a backslash before it.
  return files.match(/(?:\\ |\S)+/g).map((file) => path.relative(root, path.resolve(root, file.replaceAll("\\ ", " "))));
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
  const files = FILES.map((file) => readFileSync(path.join(folder, file)));
  const total = (lengths) => lengths.reduce((sum, length) => sum + length, 0);
  const gzipped = total(files.map((bytes) => gzipSync(bytes, { level: 9 }).length));
  say(`${state}: ${thousands(total(files.map(({ length }) => length)))} bytes, ${thousands(gzipped)} gzipped`);
  return gzipped;
}

export function thousands(number) {
  return number.toLocaleString("en-US");
}
