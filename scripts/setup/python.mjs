// A Python of the clone's own, in .tools/python, with what tests/e2e/localstripe/*.txt name. Only an end-to-end test needs it, so a
// machine without Python does without that test.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { errorsOnly, outputOf, root, run, step } from "../run.mjs";
import { aptInstall, canUseApt } from "./apt.mjs";

const folder = path.join(root, ".tools", "python");
const requirements = ["build-requirements.txt", "requirements.txt"].map((file) => path.join(root, "tests", "e2e", "localstripe", file));
/** Holds the hash of the requirements that were installed. */
const stamp = path.join(folder, "plangate-stamp");

/** The oldest that localstripe runs on. */
const IS_CURRENT = "import sys; sys.exit(sys.version_info < (3, 9))";
/** Debian packages the two apart from Python itself. */
const CAN_MAKE_ENVIRONMENTS = "import venv, ensurepip";

/** The Python with the packages. */
export const python = path.join(folder, "bin", "python");

/** Why this machine cannot have one, or `null`. */
export function whyNoPython() {
  if (outputOf("python3", ["--version"]) === null) return "no python3";
  if (outputOf("python3", ["-c", IS_CURRENT]) === null) return "python3 is older than 3.9";
  if (outputOf("python3", ["-c", CAN_MAKE_ENVIRONMENTS]) === null) return "python3 comes without venv; install python3-venv";
  return null;
}

/** Whether what is installed is what the requirements name. */
export function hasPythonPackages() {
  return existsSync(stamp) && readFileSync(stamp, "utf8") === wanted() && outputOf(python, ["--version"]) !== null;
}

/** Makes it, where there is a Python to make it of. A Python whose packages cannot be installed is a failure. */
export async function installPythonPackages() {
  if (hasPythonPackages()) return;
  if (outputOf("python3", ["-c", IS_CURRENT]) !== null && whyNoPython() !== null && canUseApt()) {
    await aptInstall(["python3-venv"], "python3 comes without venv; install python3-venv and run this again.");
  }
  if (whyNoPython() !== null) return;
  await step("Installing localstripe and what it needs, for the end-to-end tests", async () => {
    rmSync(folder, { recursive: true, force: true });
    await run("python3", ["-m", "venv", folder], { stdio: errorsOnly });
    const [build, rest] = requirements;
    await install(build, "--only-binary=:all:");
    // In the environment itself: one of its own would be filled with whatever is newest.
    await install(rest, "--no-build-isolation");
  });
  writeFileSync(stamp, wanted());
}

function install(file, ...options) {
  const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", ...options, "--requirement", file];
  return run(python, args, {
    stdio: errorsOnly,
    otherwise: `pip could not install ${path.relative(root, file)}; check that the Python registry can be reached, then run this again.`,
  });
}

function wanted() {
  const hash = createHash("sha256");
  for (const file of requirements) hash.update(readFileSync(file));
  // An environment belongs to the Python that made it.
  return hash.update(outputOf("python3", ["-c", "import sys; print(sys.version, sys.executable)"]) ?? "").digest("hex");
}
