// plangate-core loads and answers where it is meant to: a bare V8 context with nothing of Node in it (what Deno, browsers and
// Convex offer too), real workerd, and whatever resolves its name by the conditions of package.json.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import vm from "node:vm";
import { build } from "esbuild";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";

const DIST = fileURLToPath(new URL("../../lib/dist/", import.meta.url));
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW = Date.UTC(2026, 0, 2);

/** Signs, verifies, parses, applies and decides; answers what was decided. */
const STORY = `(core, body, secret, now) => {
  const headers = core.sign("clerk", secret, "msg_1", body, now);
  let forged;
  try { core.verify("clerk", secret, headers, body + " ", now); } catch (thrown) { forged = thrown.code; }
  const { delivery } = core.parse("clerk", core.verify("clerk", secret, headers, body, now));
  const { state, outcome } = core.apply(null, delivery);
  return JSON.stringify([forged, outcome, core.decide(state, null, { user_id: "user_1", plan: "pro" }, now).reason]);
}`;
const EXPECTED = ["invalid_signature", "stored", "active"];
const BODY = JSON.stringify({
  type: "subscriptionItem.active", object: "event", timestamp: NOW - 1000,
  data: { id: "i", status: "active", created_at: NOW - 1000, updated_at: NOW - 1000, period_start: NOW - 1000, period_end: NOW + 86_400_000,
    plan_id: "cplan_pro", plan: { id: "cplan_pro", slug: "pro" }, payer: { id: "p", user_id: "user_1" } },
});

async function inBareContext(source, globals, imported = () => assert.fail("it imports something")) {
  const context = vm.createContext(globals);
  const module = new vm.SourceTextModule(source, { context });
  await module.link((name) => imported(name, context));
  await module.evaluate();
  return JSON.parse(vm.runInContext(STORY, context)(module.namespace, BODY, SECRET, NOW));
}

test("a context with nothing but WebAssembly, TextEncoder, TextDecoder and atob", async () => {
  const source = readFileSync(`${DIST}inline.js`, "utf8");
  assert.deepEqual(await inBareContext(source, { TextEncoder, TextDecoder, atob }), EXPECTED);
});

test("Next's edge runtime, which compiles the module in another realm than the code runs in", async () => {
  const compiled = new WebAssembly.Module(readFileSync(`${DIST}core.wasm`));
  const source = readFileSync(`${DIST}edge-light.js`, "utf8");
  const imported = (name, context) => {
    assert.equal(name, "./core.wasm?module");
    return new vm.SyntheticModule(["default"], function () { this.setExport("default", compiled); }, { context });
  };
  assert.deepEqual(await inBareContext(source, { TextEncoder, TextDecoder }, imported), EXPECTED);
});

test("real workerd, which compiles nothing at run time", async () => {
  const worker = `import * as core from "./imported.js"; const story = ${STORY};
    export default { fetch: async (request) => new Response(story(core, ...(await request.json()))) };`;
  const mf = new Miniflare(convertV4MiniflareOptions({
    modulesRoot: DIST,
    modules: [
      { type: "ESModule", path: `${DIST}worker.js`, contents: worker },
      { type: "ESModule", path: `${DIST}imported.js` },
      { type: "CompiledWasm", path: `${DIST}core.wasm` },
    ],
    compatibilityDate: "2026-10-01",
  }));
  try {
    const answer = await mf.dispatchFetch("http://worker.test/", { method: "POST", body: JSON.stringify([BODY, SECRET, NOW]) });
    assert.deepEqual(await answer.json(), EXPECTED);
  } finally {
    await mf.dispose();
  }
});

for (const [conditions, file] of [[["workerd", "worker"], "imported.js"], [["browser"], "inline.js"], [["node"], "inline.js"], [["deno"], "inline.js"], [["edge-light"], "edge-light.js"], [["convex", "module"], "imported.js"]]) {
  test(`${conditions[0]} is given ${file}`, async () => {
    const { metafile } = await build({
      stdin: { contents: 'export * from "plangate-core"', resolveDir: fileURLToPath(new URL("../../lib/", import.meta.url)) },
      bundle: true, format: "esm", platform: "neutral", write: false, metafile: true, conditions, external: ["*.wasm", "*.wasm?module"],
    });
    assert.ok(Object.keys(metafile.inputs).some((input) => input.endsWith(`lib/dist/${file}`)), JSON.stringify(Object.keys(metafile.inputs)));
  });
}

test("Node resolves it by its name", () => {
  const script = 'import("plangate-core").then((core) => console.log(typeof core.verify, import.meta.resolve("plangate-core").split("/").pop()))';
  const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], { cwd: fileURLToPath(new URL("../../lib/", import.meta.url)), encoding: "utf8" });
  assert.equal(printed.trim(), "function inline.js");
});
