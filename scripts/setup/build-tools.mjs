// worker-build and wasm-bindgen, which turn the crate into a worker. They are compiled here, once, into .tools/bin.

import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { Failure, outputOf, root, run, step } from "../run.mjs";
import { aptInstall, canUseApt } from "./apt.mjs";

const tools = path.join(root, ".tools");

export const workerBuild = path.join(tools, "bin", "worker-build");
export const wasmBindgen = path.join(tools, "bin", "wasm-bindgen");

/** The two have dependencies in common. It is removed after both are installed. */
const targetDir = path.join(tools, "target");

/** Installs both, each in the version of the library it goes with: they refuse or break with any other. */
export async function installBuildTools() {
  if (versionOf(workerBuild) === null) await installOpenSsl();
  await install("worker-build", workerBuild, lockedVersion("worker"), ["--locked"]);
  // Without --locked: the lock file it was published with asks for a release of webpki-roots that the registry does not serve.
  await install("wasm-bindgen-cli", wasmBindgen, lockedVersion("wasm-bindgen"), []);
  rmSync(targetDir, { recursive: true, force: true });
}

/** worker-build is linked to OpenSSL; on Linux that takes its headers. */
async function installOpenSsl() {
  if (process.platform !== "linux" || outputOf("pkg-config", ["--exists", "openssl"]) !== null) return;
  const missing = "OpenSSL's headers are missing; install pkg-config and libssl-dev (on Fedora openssl-devel) and run this again.";
  if (!canUseApt()) throw new Failure(missing);
  await aptInstall(["pkg-config", "libssl-dev"], missing);
}

async function install(crate, binary, version, options) {
  if (versionOf(binary) === version) return;
  await step(`Compiling ${crate} ${version} (one to three minutes, once)`, () =>
    run("cargo", ["install", `${crate}@${version}`, ...options, "--quiet", "--debug", "--root", tools], {
      env: {
        CARGO_TARGET_DIR: targetDir,
        // They only arrange the work of others: the time an optimized build takes would never be earned back.
        CARGO_PROFILE_DEV_OPT_LEVEL: "0",
        CARGO_PROFILE_DEV_DEBUG: "0",
      },
      otherwise: `cargo could not install ${crate} ${version}; check that crates.io can be reached, then run this again.`,
    }),
  );
  const installed = versionOf(binary);
  if (installed !== version) {
    throw new Failure(`Cargo.lock asks for ${crate} ${version} and cargo installed ${installed}; delete .tools and run this again.`);
  }
}

/** `worker-build` prints `0.8.7`, `wasm-bindgen` prints `wasm-bindgen 0.2.130`. */
function versionOf(binary) {
  return outputOf(binary, ["--version"])?.split(" ").at(-1) ?? null;
}

function lockedVersion(library) {
  const lock = readFileSync(path.join(root, "Cargo.lock"), "utf8");
  const entry = lock.match(new RegExp(`^name = "${library}"\\nversion = "(.+)"`, "m"));
  if (!entry) throw new Failure(`Cargo.lock does not name ${library}; restore the file from git.`);
  return entry[1];
}
