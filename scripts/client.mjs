// npm run build:client: the contract's types, from openapi.json, and the npm package `plangate`, in client/dist.

import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { withLock } from "./lock.mjs";
import { errorsOnly, exitCodeOf, main, root, run, step } from "./run.mjs";
import { installPackages } from "./setup/packages.mjs";

const CONTRACT = path.join(root, "client", "src", "contract.ts");
/** The routes the client asks. */
const PATHS = ["/v1/check", "/v1/entitlements", "/v1/sync"];

/** Builds the package. */
export async function buildClient() {
  rmSync(path.join(root, "client", "dist"), { recursive: true, force: true });
  await run("tsc", ["-p", "client"], { otherwise: "the client does not compile; the reasons are above." });
}

/** Builds the package unless it is newer than all that it is made of: somebody may be reading it. */
export async function bringClientUpToDate() {
  await withLock("client", async () => {
    const folder = path.join(root, "client");
    const built = path.join(folder, "dist", "index.js");
    const sources = [path.join(folder, "tsconfig.json"), ...readdirSync(path.join(folder, "src")).map((file) => path.join(folder, "src", file))];
    const at = (file) => statSync(file).mtimeMs;
    if (!existsSync(built) || sources.some((file) => at(file) > at(built))) await buildClient();
  });
}

/** Its types, its tests, its size. */
export async function testClient() {
  await buildClient();
  await run("tsc", ["-p", path.join("client", "test")], { otherwise: "the client's types allow or refuse the wrong things; the reasons are above." });
  const folder = path.join("client", "test");
  const files = readdirSync(path.join(root, folder)).filter((file) => file.endsWith(".test.mjs"));
  return exitCodeOf("node", ["--test", ...files.map((file) => path.join(folder, file))]);
}

/** The examples, against the types of the real packages. */
export async function checkExamples() {
  const folder = path.join(root, "examples", "next");
  const installed = path.join(folder, "node_modules");
  const stamp = path.join(installed, ".plangate-stamp");
  const wanted = createHash("sha256").update(readFileSync(path.join(folder, "package-lock.json"))).digest("hex");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    await step("Installing Next.js and Clerk for the example (270 MB, about half a minute)", () =>
      // Types need neither Next.js's compiler for this machine, which is optional, nor anybody's install script.
      run("npm", ["ci", "--prefix", folder, "--omit=optional", "--ignore-scripts", "--loglevel=error"], {
        stdio: errorsOnly,
        otherwise: "`npm ci` failed in examples/next; check that the npm registry can be reached, then run this again.",
      }),
    );
    writeFileSync(stamp, wanted);
  }
  // What npm copied there may be the client of another day.
  rmSync(path.join(installed, "plangate"), { recursive: true, force: true });
  for (const part of ["package.json", "dist"]) cpSync(path.join(root, "client", part), path.join(installed, "plangate", part), { recursive: true });
  for (const example of ["next", "html"]) {
    const code = await exitCodeOf("tsc", ["--noEmit", "-p", path.join("examples", example)]);
    if (code !== 0) return code;
  }
  return 0;
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
