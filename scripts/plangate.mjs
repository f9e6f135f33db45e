// npm run plangate -- …: the command line tool, compiled for this machine. Its exit code is passed on.
//
// It needs Rust and .dev.vars and nothing of the rest of the set-up. Nothing but the tool writes to stdout.

import { existsSync } from "node:fs";
import path from "node:path";
import { withLock } from "./lock.mjs";
import { exitCodeOf, main, root, say } from "./run.mjs";
import { writeDevVars } from "./setup/dev-vars.mjs";
import { defaultRust } from "./setup/rust.mjs";

await main(async () => {
  defaultRust();
  await withLock("set-up", writeDevVars);
  const built = existsSync(path.join(root, process.env.CARGO_TARGET_DIR ?? "target", "debug", "plangate"));
  if (!built) say("▸ Compiling the plangate command (about a minute, once)");
  const quiet = built ? ["--quiet"] : [];
  process.exitCode = await exitCodeOf("cargo", ["run", ...quiet, "--features", "cli", "--", ...process.argv.slice(2)]);
});
