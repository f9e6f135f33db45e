// The package as npm packs it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { contractTypes } from "../../scripts/client.mjs";

const folder = fileURLToPath(new URL("..", import.meta.url));
const read = (name) => readFileSync(`${folder}${name}`, "utf8");

/** What an application is heavier by, in bytes. */
async function weight(entry) {
  const options = { bundle: true, minify: true, format: "esm", write: false, external: ["react", "react/jsx-runtime"] };
  const { outputFiles } = await build({ ...options, entryPoints: [`${folder}dist/${entry}.js`] });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

test("the types are those of openapi.json today", async () => {
  assert.ok(read("src/contract.ts") === (await contractTypes()), "openapi.json has changed: run npm run build:client");
});

test("it is less than 4 kB, and as much again for React", async (t) => {
  const [client, react] = await Promise.all([weight("index"), weight("react")]);
  t.diagnostic(`plangate: ${client} bytes gzipped; plangate/react: ${react}`);
  assert.ok(client < 4096, `${client} bytes`);
  assert.ok(react < 4096, `${react} bytes`);
});

/** What npm would pack. */
function packed(name) {
  const cwd = fileURLToPath(new URL(`../../${name}`, import.meta.url));
  const [about] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  return about;
}

test("the docs have the packed file installed", () => {
  // Of a folder npm makes a link, and then React is that of this repository.
  const folders = { client: packed("client").filename, lib: packed("lib").filename };
  let commands = 0;
  for (const page of ["README.md", "docs/client.md", "docs/library.md", "docs/convex.md"]) {
    const text = readFileSync(new URL(`../../${page}`, import.meta.url), "utf8");
    for (const [, name, file] of text.matchAll(/npm install <[^>]+>\/(client|lib)\/?([^`]*)`/g)) {
      assert.equal(file, folders[name], page);
      commands++;
    }
  }
  assert.equal(commands, 5);
});

test("npm packs what is needed and no more", () => {
  const { files, name } = packed("client");
  const modules = ["contract", "index", "question", "react"].flatMap((module) => [`dist/${module}.d.ts`, `dist/${module}.js`]);
  assert.equal(name, "plangate");
  assert.deepEqual(files.map(({ path }) => path).sort(), [...modules, "README.md", "package.json"].sort());
});

test("it depends on React alone, and that only in React", () => {
  const { dependencies, peerDependencies } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, peerDependencies], [undefined, { react: ">=18" }]);
  const imports = (name) => [...read(`dist/${name}.js`).matchAll(/(?:\bfrom|\bimport)\s*\(?["']([^"']+)["']/g)].map(([, from]) => from);
  assert.deepEqual([imports("contract"), imports("question"), imports("index")], [[], [], ["./question.js"]]);
  assert.deepEqual(imports("react").sort(), ["./question.js", "react", "react/jsx-runtime"]);
  for (const name of ["index", "question", "react"]) assert.doesNotMatch(read(`dist/${name}.js`), /\b(process|Buffer|require)\b\s*[.([]/, `nothing of Node in ${name}.js`);
  assert.match(read("dist/react.js"), /^"use client";/, "Next.js must not run it on the server");
});

test("every code of the client's own is documented", () => {
  const docs = readFileSync(new URL("../../docs/client.md", import.meta.url), "utf8");
  const codes = [...read("src/index.ts").matchAll(/(?:own|problem)\([^"`]*"([a-z_]+)"/g)].map(([, code]) => code);
  assert.deepEqual([...new Set(codes)].sort(), ["http_error", "invalid_response", "network", "signed_out", "timeout", "token_unavailable"]);
  for (const code of codes) assert.ok(docs.includes(`\`${code}\``), code);
});
