// wasm-bindgen, which joins the compiled crate to JavaScript. It is compiled here, once, into .tools/bin.

import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { Failure, outputOf, root, run, step } from "../run.mjs";

const tools = path.join(root, ".tools");

export const wasmBindgen = path.join(tools, "bin", "wasm-bindgen");

/** Removed after the installation. */
const targetDir = path.join(tools, "target");

/** Installs wasm-bindgen in the version of the library it goes with: it refuses any other. */
export async function installBuildTools() {
  const version = lockedVersion("wasm-bindgen");
  if (installedVersion() === version) return;
  await step(`Compiling wasm-bindgen-cli ${version} (one to three minutes, once)`, () =>
    // Without --locked: the lock file it was published with asks for a release of webpki-roots that the registry does not serve.
    run("cargo", ["install", `wasm-bindgen-cli@${version}`, "--quiet", "--debug", "--root", tools], {
      env: {
        CARGO_TARGET_DIR: targetDir,
        // It works for a second or two: the time an optimized build takes would never be earned back.
        CARGO_PROFILE_DEV_OPT_LEVEL: "0",
        CARGO_PROFILE_DEV_DEBUG: "0",
      },
      otherwise: `cargo could not install wasm-bindgen-cli ${version}; check that crates.io can be reached, then run this again.`,
    }),
  );
  rmSync(targetDir, { recursive: true, force: true });
  const installed = installedVersion();
  if (installed !== version) {
    throw new Failure(`Cargo.lock asks for wasm-bindgen ${version} and cargo installed ${installed}; delete .tools and run this again.`);
  }
}

/** It prints `wasm-bindgen 0.2.130`. */
function installedVersion() {
  return outputOf(wasmBindgen, ["--version"])?.split(" ").at(-1) ?? null;
}

function lockedVersion(library) {
  const lock = readFileSync(path.join(root, "Cargo.lock"), "utf8");
  const entry = lock.match(new RegExp(`^name = "${library}"\\nversion = "(.+)"`, "m"));
  if (!entry) throw new Failure(`Cargo.lock does not name ${library}; restore the file from git.`);
  return entry[1];
}
