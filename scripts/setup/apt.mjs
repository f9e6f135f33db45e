// Installing Debian packages, where there is apt-get and we may use it without asking anybody for a password.

import { errorsOnly, exitCodeOf, outputOf, run, step } from "../run.mjs";

const OPTIONS = [
  "-qq",
  "--yes",
  "--no-install-recommends",
  // A package that is in the way of ours is not for us to take away.
  "--no-remove",
  // The machine's own upgrades may be under way.
  "-o",
  "DPkg::Lock::Timeout=120",
];

export function canUseApt() {
  return outputOf("apt-get", ["--version"]) !== null && (isRoot() || outputOf("sudo", ["-n", "true"]) !== null);
}

export function isInstalled(packages) {
  const statuses = outputOf("dpkg-query", ["--show", "--showformat=${db:Status-Status}\n", ...packages]);
  return statuses !== null && statuses.split("\n").every((status) => status === "installed");
}

/** Installs packages. `otherwise` is the sentence for when that fails. */
export async function aptInstall(packages, otherwise) {
  await step(`Installing ${packages.join(", ")} with apt-get`, async () => {
    // Some package lists may be out of reach without harm: what counts is whether the packages are found.
    await exitCodeOf(...asRoot("apt-get", "-qq", "update"), { stdio: errorsOnly });
    const install = asRoot("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", ...OPTIONS, ...packages);
    await run(...install, { stdio: errorsOnly, otherwise });
  });
}

/** A program and its arguments, as `run` takes them, to be run as root. */
export function asRoot(command, ...args) {
  return isRoot() ? [command, args] : ["sudo", ["-n", command, ...args]];
}

function isRoot() {
  return process.getuid() === 0;
}
