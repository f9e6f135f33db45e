// npm run setup: everything that has to be there before the first build. Every other script does this first.

import { setUp } from "./setup/set-up.mjs";
import { main, say } from "./run.mjs";

await main(async () => {
  await setUp();
  say("Set-up is complete.");
});
