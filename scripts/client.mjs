// npm run build:client: the contract's types, from openapi.json, and the npm package `plangate`, in client/dist.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { main, root, run } from "./run.mjs";
import { installPackages } from "./setup/packages.mjs";

const CONTRACT = path.join(root, "client", "src", "contract.ts");
/** The routes the client asks. */
const PATHS = ["/v1/check", "/v1/entitlements", "/v1/sync"];

/** Builds the package. */
export async function buildClient() {
  rmSync(path.join(root, "client", "dist"), { recursive: true, force: true });
  await run("tsc", ["-p", "client"], { otherwise: "the client does not compile; the reasons are above." });
}

/** The types of what the client asks and is answered, as TypeScript. */
export async function contractTypes() {
  const { default: openapiTS, astToString } = await import("openapi-typescript");
  const document = JSON.parse(readFileSync(path.join(root, "openapi.json"), "utf8"));
  document.paths = Object.fromEntries(PATHS.map((name) => [name, document.paths[name]]));
  document.components.schemas = reachable(document);
  const types = astToString(await openapiTS(document));
  return `// Made from openapi.json by \`npm run build:client\`. Not to be changed by hand.\n\n${types}`;
}

/** The schemas that the paths mention, and those that these mention. */
function reachable({ paths, components }) {
  const wanted = new Set();
  const visit = (part) => {
    for (const [, name] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (wanted.has(name)) continue;
      wanted.add(name);
      visit(components.schemas[name]);
    }
  };
  visit(paths);
  return Object.fromEntries(Object.entries(components.schemas).filter(([name]) => wanted.has(name)));
}

if (process.argv[1] === import.meta.filename) {
  await main(async () => {
    await installPackages();
    writeFileSync(CONTRACT, await contractTypes());
    await buildClient();
  });
}
