// npm run build:lib [-- --within-limit]: the pure core as the npm package plangate-core, in lib/dist. The option fails where it is
// larger than we want it.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { FEATURES, SMALL, binaryen, esbuildPackage, targetDir, thousands } from "./build-worker.mjs";
import { withLock } from "./lock.mjs";
import { Failure, main, root, run, say } from "./run.mjs";
import { wasmBindgen } from "./setup/build-tools.mjs";
import { setUp } from "./setup/set-up.mjs";
import { TARGET } from "./setup/wasm-library.mjs";

/** Our own limit, in bytes of gzipped wasm. */
const MAX_GZIPPED = 170_000;

const lib = path.join(root, "lib");
const dist = path.join(lib, "dist");

await main(async () => {
  const { values } = parseArgs({ options: { "within-limit": { type: "boolean" } } });
  const rust = await setUp();
  const gzipped = await withLock("build-lib", () => build(rust));
  if (values["within-limit"] && gzipped > MAX_GZIPPED) {
    throw new Failure(`the library is over its limit of ${thousands(MAX_GZIPPED)} bytes gzipped; make it smaller.`);
  }
});

async function build(rust) {
  // In a folder of its own: the root crate is compiled with other features here, into files of the same names.
  const target = path.join(targetDir(rust), "lib");
  await run("cargo", ["build", "--release", "--package", "plangate-core", "--target", TARGET, "--target-dir", target], {
    // The parts of other packages that are in it, unlike those in the worker, are smaller when they are compiled to be.
    env: { ...rust.env, CARGO_PROFILE_RELEASE_OPT_LEVEL: "z" },
    otherwise: "the library could not be built; the compiler's messages are above.",
  });
  const parts = mkdtempSync(path.join(tmpdir(), "plangate-lib-"));
  try {
    const compiled = path.join(target, TARGET, "release", "plangate_core.wasm");
    const options = ["--target", "web", "--no-typescript", "--no-demangle", "--out-dir", parts, "--out-name", "core"];
    await run(wasmBindgen, [compiled, ...options, "--experimental-reset-state-function"], {
      otherwise: "wasm-bindgen could not bind the library; its output is above.",
    });
    await run(
      binaryen("wasm-opt"),
      [path.join(parts, "core_bg.wasm"), "-o", path.join(parts, "core.wasm"), ...SMALL, ...FEATURES],
      { otherwise: "wasm-opt could not optimize the library; its output is above." },
    );
    mkdirSync(dist, { recursive: true });
    copyFileSync(path.join(parts, "core.wasm"), path.join(dist, "core.wasm"));
    for (const entry of ["inline", "imported", "edge-light"]) await bundle(parts, entry);
  } finally {
    rmSync(parts, { recursive: true });
  }
  return reportSize();
}

async function bundle(parts, entry) {
  const glue = path.join(parts, "core.js");
  // Of the ways to start it, the one that fetches is never used, and bundlers would look for the file that it names.
  const text = readFileSync(glue, "utf8");
  const named = "new URL('core_bg.wasm', import.meta.url)";
  if (entry === "inline" && !text.includes(named)) {
    throw new Failure(`wasm-bindgen no longer writes \`${named}\`; scripts/build-lib.mjs has to follow.`);
  }
  writeFileSync(glue, text.replace(named, "undefined"));
  const places = {
    "plangate:wasm": path.join(lib, "js", `${entry}.js`),
    "plangate:glue": glue,
    "plangate:base64": path.join(dist, "core.wasm"),
  };
  const plugin = {
    name: "plangate",
    setup: (build) => build.onResolve({ filter: /^plangate:/ }, (asked) => ({ path: places[asked.path] })),
  };
  const { build: esbuild } = await esbuildPackage();
  await esbuild({
    entryPoints: [path.join(lib, "js", "core.js")],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    loader: { ".wasm": "base64" },
    external: ["./core.wasm", "./core.wasm?module"],
    plugins: [plugin],
    outfile: path.join(dist, `${entry}.js`),
    logLevel: "error",
  });
}

function reportSize() {
  const size = (file) => {
    const bytes = readFileSync(path.join(dist, file));
    const gzipped = gzipSync(bytes, { level: 9 }).length;
    say(`lib/dist/${file}: ${thousands(bytes.length)} bytes, ${thousands(gzipped)} gzipped`);
    return gzipped;
  };
  const gzipped = size("core.wasm");
  for (const file of ["imported.js", "edge-light.js", "inline.js"]) size(file);
  return gzipped;
}
