// What a fresh clone needs, in order. Each part looks first and does nothing when it is already there.

import { withLock } from "../lock.mjs";
import { installBuildTools } from "./build-tools.mjs";
import { writeDevVars } from "./dev-vars.mjs";
import { installPackages, useCurrentNode } from "./packages.mjs";
import { findRust } from "./rust.mjs";

/** Sets up the clone and gives the Rust compiler to build the worker with (see rust.mjs). */
export async function setUp() {
  await withLock("set-up", installPackages);
  await useCurrentNode();
  return withLock("set-up", async () => {
    const rust = await findRust();
    await installBuildTools();
    writeDevVars();
    return rust;
  });
}
