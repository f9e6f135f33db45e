// An empty database, every migration applied by wrangler as a user would.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Applies them to the state in this folder. */
export function migrate(folder) {
  const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
  execFileSync(process.execPath, [wrangler, "d1", "migrations", "apply", "DB", "--local", "--persist-to", folder], {
    cwd: ROOT,
    env: { ...process.env, CI: "true", WRANGLER_SEND_METRICS: "false" },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

let migrated = process.env.PLANGATE_MIGRATED_STATE;
/**
 * A folder with such a database, to be copied. It takes wrangler seconds, so a process does it once at most, and the processes
 * to which `PLANGATE_MIGRATED_STATE` names a folder take that.
 */
export function migratedState() {
  if (migrated === undefined) {
    migrated = mkdtempSync(join(tmpdir(), "plangate-migrated-"));
    process.on("exit", () => rmSync(migrated, { recursive: true, force: true }));
    migrate(migrated);
  }
  return migrated;
}
