// One process at a time: `npm start` and `npm test` may set up or build in the same clone at the same moment.

import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { root, say } from "./run.mjs";

/** Does `work` while no other process in this clone does work under the same name. */
export async function withLock(name, work) {
  const lock = path.join(root, ".tools", `${name}.lock`);
  await acquire(lock, name);
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

async function acquire(lock, name) {
  // Linking makes the lock appear with its owner's process id already in it, or not at all.
  const mine = `${lock}.${process.pid}`;
  mkdirSync(path.dirname(lock), { recursive: true });
  writeFileSync(mine, String(process.pid));
  try {
    let waiting = false;
    while (!link(mine, lock)) {
      const owner = ownerOf(lock);
      if (owner && !isRunning(owner)) {
        rmSync(lock, { force: true });
        continue;
      }
      if (!waiting) say(`▸ Waiting for another ${name} in this folder (process ${owner}) to finish`);
      waiting = true;
      await sleep(500);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function link(from, to) {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

/** The process id in the lock, or `null` if the lock was released meanwhile. */
function ownerOf(lock) {
  try {
    return Number(readFileSync(lock, "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, as another user.
    return error.code === "EPERM";
  }
}
