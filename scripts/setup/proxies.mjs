// The proxies that the end-to-end tests put the gate behind: the machine's own, or Debian's, unpacked into .tools/proxies. They are
// not installed: that would start them, for everybody on this machine.

import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { exitCodeOf, outputOf, root, say, step } from "../run.mjs";

const folder = path.join(root, ".tools", "proxies");
/** Where Debian puts each, and how to ask it whether it runs at all. */
const PROXIES = { nginx: ["usr/sbin/nginx", "-v"], caddy: ["usr/bin/caddy", "version"] };

const unpacked = (name) => path.join(folder, PROXIES[name][0]);

/** The program to run. */
export function program(name) {
  const own = outputOf("sh", ["-c", `PATH="$PATH:/usr/sbin" command -v ${name}`]);
  return own ?? unpacked(name);
}

/** Why this machine cannot have it, or `null`. */
export function whyNoProgram(name) {
  if (outputOf(program(name), [PROXIES[name][1]]) !== null) return null;
  if (existsSync(program(name))) return `${name} does not run here`;
  if (outputOf("apt-get", ["--version"]) === null) return `no ${name}, and no apt-get to have it from`;
  return `no ${name}, and \`apt-get download ${name}\` does not give it`;
}

/** Unpacks what is missing, where there is apt-get. A machine that cannot have one does without its tests. */
export async function unpackProxies() {
  const missing = Object.keys(PROXIES).filter((name) => whyNoProgram(name) !== null);
  if (missing.length === 0 || outputOf("dpkg-deb", ["--version"]) === null || outputOf("apt-get", ["--version"]) === null) return;
  await step(`Unpacking Debian's ${missing.join(" and ")}, for the end-to-end tests`, async () => {
    for (const name of missing) {
      const place = path.join(folder, "debs", name);
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place, { recursive: true });
      // It has no option for where to put the file.
      const quiet = { stdio: ["ignore", "ignore", "ignore"] };
      await exitCodeOf("sh", ["-c", 'cd "$1" && apt-get -qq download "$2"', "sh", place, name], quiet);
      for (const file of readdirSync(place)) await exitCodeOf("dpkg-deb", ["--extract", path.join(place, file), folder], quiet);
      if (whyNoProgram(name) !== null) say(`  ${whyNoProgram(name)}: its tests will not run`);
    }
  });
}
