// npm run deploy [-- --env staging …]: migrates the remote database, then deploys the worker to your account.
// npm run deploy:check                  : the same bundle, checked and measured, with no account and nothing sent.

import { buildWorker } from "./build-worker.mjs";
import { exitCodeOf, Failure, main, outputOf, run, say } from "./run.mjs";
import { setUp } from "./setup/set-up.mjs";

await main(async () => {
  const options = process.argv.slice(2);
  process.env.WRANGLER_SEND_METRICS = "false";
  process.env.WRANGLER_HIDE_BANNER = "true";
  const rust = await setUp();

  if (options.includes("--dry-run")) {
    await run("wrangler", ["deploy", ...options], { otherwise: "the worker would not deploy; wrangler's reason is above." });
    return;
  }

  if (outputOf("wrangler", ["whoami", "--json"]) === null) {
    throw new Failure("wrangler is not logged in to Cloudflare, or cannot reach it; run `npx wrangler login`, or set CLOUDFLARE_API_TOKEN, and run this again.");
  }
  // A worker that does not compile must not leave a migrated database behind.
  await buildWorker(rust);

  say("▸ Migrating the remote database");
  const migrated = await exitCodeOf("wrangler", ["d1", "migrations", "apply", "DB", "--remote", ...options]);
  if (migrated !== 0) {
    throw new Failure(
      "the remote database could not be migrated and nothing was deployed; " +
        "if it does not exist yet, make it once with `npx wrangler d1 create plangate` and run this again. " +
        "An environment (--env) needs a database of its own in wrangler.toml, and an API token the permission D1: Edit.",
    );
  }
  say("▸ Deploying the worker");
  await run("wrangler", ["deploy", ...options], { otherwise: "the worker was not deployed; wrangler's reason is above." });
});
