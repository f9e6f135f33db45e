// Debian's Rust compiler, for machines on which rustup cannot download anything.
//
// Debian's security suite keeps a current compiler for building browsers (rustc-web and its companions). It comes with
// the source of the standard library but without a build of it for WebAssembly, so that is built here, once, and
// installed where the compiler looks for it. From then on cargo builds the worker without any unstable flag.

import { copyFileSync, existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Failure, outputOf, root, run, step } from "../run.mjs";
import { aptInstall, asRoot, canUseApt, isInstalled } from "./apt.mjs";
import { STAMP, TARGET, wasmLibrary } from "./wasm-library.mjs";

const PACKAGES = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy"];

/** A link to the linker of the LLVM that the compiler was built with, `lld-22` say. That is also its package's name. */
const LINKER = "/usr/bin/rust-lld";

const NO_TARGET =
  `Rust's ${TARGET} target could not be installed; run \`rustup target add ${TARGET}\` where rustup can reach its server ` +
  "(or, on Debian, run this as root), and run this again.";

/** Debian's compiler as it is installed, or `null` if it is not. */
export function debianRust() {
  if (!isInstalled(PACKAGES)) return null;
  const targetDir = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");
  return {
    version: outputOf("/usr/bin/rustc", ["-vV"]),
    sysroot: outputOf("/usr/bin/rustc", ["--print", "sysroot"]),
    env: {
      // cargo and rustc are called by name. Node, which /usr/bin may have too, stays the one from the packages.
      PATH: [path.join(root, "node_modules", ".bin"), "/usr/bin", process.env.PATH].join(path.delimiter),
      // Neither compiler can use what the other built; apart, they do not throw it away either.
      CARGO_TARGET_DIR: path.join(targetDir, "debian"),
    },
  };
}

/** Installs Debian's compiler and gives it the library for WebAssembly. */
export async function installDebianRust() {
  if (!canUseApt()) throw new Failure(NO_TARGET);
  if (!debianRust()) await aptInstall(PACKAGES, NO_TARGET);
  if (!existsSync(LINKER)) await aptInstall([readlinkSync(LINKER)], NO_TARGET);
  const rust = debianRust();
  await step(`Building Rust's standard library for ${TARGET} (about a minute, once)`, () => buildWasmLibrary(rust));
  return rust;
}

async function buildWasmLibrary(rust) {
  const work = path.join(root, ".tools", "wasm-library");
  const built = path.join(work, "lib");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(path.join(work, "src"), { recursive: true });
  mkdirSync(built);

  writeFileSync(path.join(work, "Cargo.toml"), '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n');
  writeFileSync(path.join(work, "src", "lib.rs"), "");
  const build = ["build", "--quiet", "--release", "--target", TARGET, "-Z", "build-std=std,panic_abort"];
  await run("/usr/bin/cargo", [...build, "--manifest-path", path.join(work, "Cargo.toml")], {
    env: {
      ...rust.env,
      CARGO_TARGET_DIR: path.join(work, "target"),
      // Lets a stable compiler use -Z build-std.
      RUSTC_BOOTSTRAP: "1",
      // Without it `lto = true` in the release profile finds nothing in the library to work on, and fails.
      RUSTFLAGS: "-Cembed-bitcode=yes",
    },
    otherwise: `Debian's compiler could not build the library; its output is above. ${NO_TARGET}`,
  });

  const output = path.join(work, "target", TARGET, "release", "deps");
  for (const file of readdirSync(output)) {
    if (file.endsWith(".rlib") && !file.startsWith("libempty-")) copyFileSync(path.join(output, file), path.join(built, file));
  }
  writeFileSync(path.join(built, STAMP), rust.version);

  // Copied beside its place first, so that an interrupted set-up leaves no half of a library behind.
  const place = wasmLibrary(rust);
  await run(...asRoot("mkdir", "-p", path.dirname(place)));
  await run(...asRoot("rm", "-rf", place, `${place}.new`));
  await run(...asRoot("cp", "-R", built, `${place}.new`));
  await run(...asRoot("mv", `${place}.new`, place));
  rmSync(work, { recursive: true });
}
