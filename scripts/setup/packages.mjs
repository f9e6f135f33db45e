// The npm packages: wrangler with workerd, a current Node, esbuild and wasm-opt.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { errorsOnly, exitCodeOf, Failure, root, run, step } from "../run.mjs";

/** The oldest Node that the pinned wrangler runs on. */
const OLDEST_NODE = 22;

const folder = path.join(root, "node_modules");
const bin = path.join(folder, ".bin");
/** Holds the hash of the lock file that node_modules was installed from. */
const stamp = path.join(folder, ".plangate-stamp");

/** Installs what package-lock.json names, if that is not what is there, and puts it first on PATH. */
export async function installPackages() {
  const wanted = createHash("sha256").update(readFileSync(path.join(root, "package-lock.json"))).digest("hex");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    await step("Installing the npm packages (about half a minute)", () =>
      // Below "error" npm only reports that the running Node is old, which the packages themselves put right.
      run("npm", ["ci", "--loglevel=error"], {
        stdio: errorsOnly,
        otherwise: "`npm ci` failed; check that the npm registry can be reached, then run this again.",
      }),
    );
    writeFileSync(stamp, wanted);
  }
  // npm does this for its scripts; `node scripts/….mjs` by hand needs it too.
  if (!process.env.PATH.split(path.delimiter).includes(bin)) {
    process.env.PATH = bin + path.delimiter + process.env.PATH;
  }
}

/** Starts this script again under the Node that came with the packages, if the running one is too old. */
export async function useCurrentNode() {
  if (Number(process.versions.node.split(".")[0]) >= OLDEST_NODE) return;
  const node = path.join(bin, "node");
  if (!existsSync(node)) {
    throw new Failure(
      `Node ${OLDEST_NODE} or newer is needed and this is ${process.versions.node}; ` +
        "install a newer Node, or let npm run install scripts (`npm config delete ignore-scripts`) and run this again.",
    );
  }
  process.exit(await exitCodeOf(node, process.argv.slice(1)));
}
