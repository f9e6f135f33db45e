// npm run mutants [-- <options of cargo-mutants>]: changes the core a little, again and again, and says which changes no
// test notices. It takes hours, so it is no part of `npm test`.

import path from "node:path";
import { exitCodeOf, Failure, main, outputOf, root, run, step } from "./run.mjs";

const VERSION = "27.1.0";
const tools = path.join(root, ".tools");
const mutants = path.join(tools, "bin", "cargo-mutants");

await main(async () => {
  if (!outputOf(mutants, ["mutants", "--version"])?.endsWith(VERSION)) {
    await step(`Compiling cargo-mutants ${VERSION} (a few minutes, once)`, () =>
      run("cargo", ["install", `cargo-mutants@${VERSION}`, "--locked", "--quiet", "--debug", "--root", tools], {
        otherwise: `cargo could not install cargo-mutants ${VERSION}; check that crates.io can be reached, then run this again.`,
      }),
    );
  }
  // Where it writes what it found; git ignores the folder.
  const code = await exitCodeOf(mutants, ["mutants", "--output", path.join(root, "target"), ...process.argv.slice(2)]);
  if (code !== 0) throw new Failure("some changes were not noticed, or could not be tried; target/mutants.out has the list.", code);
});
