// Pythons of the clone's own, each in a folder of .tools with what one test needs. Only end-to-end tests need them, so a machine
// without Python does without those.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { errorsOnly, outputOf, root, run, step } from "../run.mjs";
import { aptInstall, canUseApt } from "./apt.mjs";

/** Debian packages the two apart from Python itself. */
const CAN_MAKE_ENVIRONMENTS = "import venv, ensurepip";

/** An environment, by the name of the tool it is for: the requirements are in tests/e2e/<name>. */
class Environment {
  constructor(name, folder, oldest, files) {
    this.name = name;
    this.folder = path.join(root, ".tools", folder);
    /** The oldest Python that it runs on: 3.<oldest>. */
    this.oldest = oldest;
    this.requirements = files.map((file) => path.join(root, "tests", "e2e", name, file));
    /** Holds the hash of the requirements that were installed. */
    this.stamp = path.join(this.folder, "plangate-stamp");
    /** The Python with the packages. */
    this.python = path.join(this.folder, "bin", "python");
  }

  get isPythonCurrent() {
    return outputOf("python3", ["-c", `import sys; sys.exit(sys.version_info < (3, ${this.oldest}))`]) !== null;
  }

  /** Why this machine cannot have one, or `null`. */
  whyNot() {
    if (outputOf("python3", ["--version"]) === null) return "no python3";
    if (!this.isPythonCurrent) return `python3 is older than 3.${this.oldest}`;
    if (outputOf("python3", ["-c", CAN_MAKE_ENVIRONMENTS]) === null) return "python3 comes without venv; install python3-venv";
    return null;
  }

  /** Whether what is installed is what the requirements name. */
  hasPackages() {
    return existsSync(this.stamp) && readFileSync(this.stamp, "utf8") === this.wanted() && outputOf(this.python, ["--version"]) !== null;
  }

  /** Makes it, where there is a Python to make it of. A Python whose packages cannot be installed is a failure. */
  async install() {
    if (this.hasPackages()) return;
    if (this.isPythonCurrent && this.whyNot() !== null && canUseApt()) {
      await aptInstall(["python3-venv"], "python3 comes without venv; install python3-venv and run this again.");
    }
    if (this.whyNot() !== null) return;
    await step(`Installing ${this.name} and what it needs, for the end-to-end tests`, async () => {
      rmSync(this.folder, { recursive: true, force: true });
      await run("python3", ["-m", "venv", this.folder], { stdio: errorsOnly });
      const rest = this.requirements.at(-1);
      for (const file of this.requirements) {
        // In the environment itself: one of its own would be filled with whatever is newest.
        await this.#pip(file, ...(file === rest && this.requirements.length > 1 ? ["--no-build-isolation"] : ["--only-binary=:all:"]));
      }
    });
    writeFileSync(this.stamp, this.wanted());
  }

  #pip(file, ...options) {
    const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", ...options, "--requirement", file];
    return run(this.python, args, {
      stdio: errorsOnly,
      otherwise: `pip could not install ${path.relative(root, file)}; check that the Python registry can be reached, then run this again.`,
    });
  }

  wanted() {
    const hash = createHash("sha256");
    for (const file of this.requirements) hash.update(readFileSync(file));
    // An environment belongs to the Python that made it.
    return hash.update(outputOf("python3", ["-c", "import sys; print(sys.version, sys.executable)"]) ?? "").digest("hex");
  }
}

export const localstripe = new Environment("localstripe", "python", 9, ["build-requirements.txt", "requirements.txt"]);
export const schemathesis = new Environment("schemathesis", "python-schemathesis", 11, ["requirements.txt"]);

export async function installPythonPackages() {
  for (const environment of [localstripe, schemathesis]) await environment.install();
}
