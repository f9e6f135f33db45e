// npm run build [-- --features a,b --out folder --within-limit]: the crate as a worker, in build/ unless told otherwise. The last
// fails where it is larger than we want it.
//
// wrangler runs this too, before it serves or deploys (wrangler.toml).

import { parseArgs } from "node:util";
import { buildWorker } from "./build-worker.mjs";
import { main } from "./run.mjs";
import { setUp } from "./setup/set-up.mjs";

await main(async () => {
  const { values } = parseArgs({ options: { features: { type: "string" }, out: { type: "string" }, "within-limit": { type: "boolean" } } });
  const rust = await setUp();
  await buildWorker(rust, values);
});
