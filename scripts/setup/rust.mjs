// The Rust compiler, with its standard library for WebAssembly.
//
// A toolchain of rustup's gets the library with `rustup target add`. Where rustup cannot reach its server, or is not
// there, Debian's compiler does it (debian.mjs). What was found once is found again without asking any server.
//
// PLANGATE_RUST=rustup   never turn to Debian's compiler
// PLANGATE_RUST=debian   build the worker with Debian's compiler even where the default one could

import { readFileSync } from "node:fs";
import path from "node:path";
import { exitCodeOf, Failure, outputOf, root, say } from "../run.mjs";
import { debianRust, installDebianRust } from "./debian.mjs";
import { hasWasmLibrary, TARGET } from "./wasm-library.mjs";

/** A network that drops packets instead of refusing them would keep rustup waiting much longer. */
const RUSTUP_TIMEOUT_MS = 3 * 60 * 1000;

/**
 * The compiler for the worker: its `version` as it describes itself, and the `env` to run cargo with.
 *
 * It is for the worker alone. What runs on this machine (tests, the command line tool) is left to the default compiler.
 */
export async function findRust() {
  const choice = process.env.PLANGATE_RUST || "any";
  if (!["any", "rustup", "debian"].includes(choice)) {
    throw new Failure("PLANGATE_RUST is neither `rustup` nor `debian`; set it to one of them or unset it.");
  }

  const rust = defaultRust();
  if (choice !== "debian" && hasWasmLibrary(rust)) return rust;
  if (choice !== "rustup") {
    const debian = debianRust();
    if (debian && hasWasmLibrary(debian)) return debian;
  }
  // rustup may be there and yet not be where `rustc` on PATH comes from: look again after it says it is done.
  if (choice !== "debian" && (await addTargetWithRustup()) && hasWasmLibrary(rust)) return rust;
  if (choice !== "rustup") return installDebianRust();
  throw new Failure(`rustup could not add the target; run \`rustup target add ${TARGET}\` where it can reach its server.`);
}

/** The compiler that `cargo` on PATH runs. */
export function defaultRust() {
  const version = outputOf("rustc", ["-vV"]);
  if (!version || !outputOf("cargo", ["--version"])) {
    throw new Failure("`cargo` and `rustc` do not run; install Rust from https://rustup.rs and run this again.");
  }
  const [, oldest] = readFileSync(path.join(root, "Cargo.toml"), "utf8").match(/^rust-version = "1\.(\d+)/m);
  const [, running] = version.match(/^release: 1\.(\d+)/m);
  if (Number(running) < Number(oldest)) {
    throw new Failure(`Rust 1.${oldest} or newer is needed and this is 1.${running}; run \`rustup update stable\` and run this again.`);
  }
  return { version, sysroot: outputOf("rustc", ["--print", "sysroot"]), env: {} };
}

async function addTargetWithRustup() {
  if (!outputOf("rustup", ["--version"])) return false;
  say(`▸ Adding Rust's ${TARGET} target with rustup`);
  const code = await exitCodeOf("rustup", ["target", "add", TARGET], {
    timeout: RUSTUP_TIMEOUT_MS,
    env: { RUST_BACKTRACE: "0" },
  });
  if (code !== 0) say("  rustup could not add it");
  return code === 0;
}
