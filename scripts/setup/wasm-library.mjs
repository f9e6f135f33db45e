// Rust's standard library for the target the worker is built for: where a compiler keeps it, and whether it is there.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

export const TARGET = "wasm32-unknown-unknown";

/** A file beside a library that debian.mjs built: the version of the compiler that built it. */
export const STAMP = "plangate-built-by";

/** Where a compiler looks for the library. */
export function wasmLibrary({ sysroot }) {
  return path.join(sysroot, "lib", "rustlib", TARGET, "lib");
}

/** A compiler reads only what the very same version wrote, so one built here is stale after an upgrade. */
export function hasWasmLibrary(rust) {
  const library = wasmLibrary(rust);
  const stamp = path.join(library, STAMP);
  return existsSync(library) && (!existsSync(stamp) || readFileSync(stamp, "utf8") === rust.version);
}
