// The plain server as a process: the story, duplicates, any order, forged deliveries, and a kill in the middle.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { freePort } from "../../bench/lib/processes.mjs";
import { sign } from "../../lib/dist/inline.js";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const API_KEY = "a key of the test's own";
const DAY = 86_400_000;
const NOW = Date.now();

const folder = mkdtempSync(join(tmpdir(), "plangate-node-"));
let child;
let url;
async function start() {
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const env = { ...process.env, CLERK_WEBHOOK_SIGNING_SECRET: SECRET, API_KEY, DATABASE: join(folder, "plans.db"), PORT: String(port) };
  child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "server.mjs"], { cwd: import.meta.dirname, env, stdio: ["ignore", "ignore", "inherit"] });
  for (;;) {
    assert.equal(child.exitCode, null, "it ended");
    if (await fetch(url).then(() => true, () => false)) return;
  }
}
after(async () => {
  child.kill();
  rmSync(folder, { recursive: true });
});

const item = (user, { id = `i_${user}`, status = "active", at = NOW, end = NOW + DAY, plan = "pro" } = {}) => JSON.stringify({
  object: "event", type: `subscriptionItem.${status}`, timestamp: at,
  data: { id, status, created_at: NOW - DAY, updated_at: at, period_start: NOW - DAY, period_end: end, plan_id: `cplan_${plan}`,
    plan: { id: `cplan_${plan}`, slug: plan }, payer: { id: `p_${user}`, user_id: user } },
});
const deliver = async (id, body, { signed = body, secret = SECRET, route = "/clerk-webhook" } = {}) => {
  const headers = sign("clerk", secret, id, signed, Date.now());
  const response = await fetch(url + route, { method: "POST", headers, body });
  return [response.status, await response.json()];
};
const check = async (query, key = API_KEY) => {
  const response = await fetch(`${url}/check?${query}`, { headers: { authorization: `Bearer ${key}` } });
  return [response.status, await response.json()];
};

test("a plan's story, with a kill in the middle", async () => {
  await start();
  const [, nothing] = await check("user_id=user_1&plan=pro");
  assert.deepEqual([nothing.allowed, nothing.reason], [false, "no_subscription"]);
  assert.deepEqual(await deliver("msg_1", item("user_1")), [200, { outcome: "stored", event_id: "msg_1" }]);
  child.kill("SIGKILL");
  await once(child, "exit");
  await start();
  assert.deepEqual(await deliver("msg_1", item("user_1")), [200, { outcome: "duplicate", event_id: "msg_1" }]);
  const [, paid] = await check("user_id=user_1&plan=pro");
  assert.deepEqual([paid.allowed, paid.reason, paid.version], [true, "active", 1]);
  assert.equal((await deliver("msg_2", item("user_1", { at: NOW + 2, status: "ended", end: NOW }), { route: "/webhooks/clerk" }))[1].outcome, "stored");
  assert.equal((await deliver("msg_3", item("user_1", { at: NOW + 1 })))[1].outcome, "stale");
  const [, ended] = await check("user_id=user_1&plan=pro");
  assert.deepEqual([ended.allowed, ended.reason], [false, "expired"]);
  assert.equal((await check("user_id=user_2&plan=pro"))[1].reason, "no_subscription");
});

test("at once and twice each, nothing is lost and nothing counts twice", async () => {
  const sent = Array.from({ length: 30 }, (_, n) => [`msg_many_${n % 15}`, item(`user_many_${n % 5}`, { id: `i_${n % 5}`, at: NOW + (n % 15) })]);
  const outcomes = await Promise.all(sent.map(([id, body]) => deliver(id, body)));
  assert.equal(outcomes.filter(([, { outcome }]) => outcome === "duplicate").length, 15);
  for (let n = 0; n < 5; n++) assert.deepEqual((({ allowed, version }) => [allowed, version])((await check(`user_id=user_many_${n}&plan=pro`))[1]), [true, 3]);
});

test("what is forged, unsigned or not to be asked is refused", async () => {
  assert.deepEqual(await deliver("msg_f", item("user_f"), { signed: "{}" }), [400, { code: "invalid_signature" }]);
  assert.deepEqual(await deliver("msg_f", item("user_f"), { secret: "whsec_b3RoZXI=" }), [400, { code: "invalid_signature" }]);
  const unsigned = await fetch(`${url}/clerk-webhook`, { method: "POST", body: item("user_f") });
  assert.deepEqual([unsigned.status, await unsigned.json()], [400, { code: "missing_headers" }]);
  assert.deepEqual(await check("user_id=user_1&plan=pro", "another"), [401, { code: "unknown_api_key" }]);
  assert.deepEqual(await check("user_id=user_1&plna=pro"), [400, { code: "invalid_request" }]);
  for (const twice of ["user_id=user_1&plan=pro&plan=free_user", "user_id=user_2&user_id=user_1&plan=pro"]) {
    assert.deepEqual(await check(twice), [400, { code: "invalid_request" }], twice);
  }
  assert.equal((await deliver("msg_d", '{"type":"subscription.updated","data":7}'))[1].outcome, "dead_letter");
  assert.equal((await check("user_id=user_f&plan=pro"))[1].reason, "no_subscription");
});

test("a body counts by its bytes, in however many pieces it comes", async () => {
  const send = async (id, body, size) => {
    const headers = { ...sign("clerk", SECRET, id, body, Date.now()), "transfer-encoding": "chunked" };
    const sending = request(`${url}/clerk-webhook`, { method: "POST", headers });
    const answered = once(sending, "response");
    // One piece is on its way before the next is written.
    for (let at = 0; at < body.length; at += size) await new Promise((done) => sending.write(body.slice(at, at + size), () => setImmediate(done)));
    sending.end();
    const [response] = await answered;
    return [response.statusCode, JSON.parse(await text(response))];
  };
  assert.deepEqual(await send("msg_pieces", item("user_pieces"), 4), [200, { outcome: "stored", event_id: "msg_pieces" }]);
  assert.equal((await check("user_id=user_pieces&plan=pro"))[1].allowed, true);
  const padded = (bytes) => item("user_large").padEnd(bytes);
  assert.equal((await send("msg_large", padded(524_288), 65_536))[0], 200);
  assert.deepEqual(await send("msg_larger", padded(524_289), 65_536), [413, { code: "payload_too_large" }]);
});

test("a port that is taken is said in a sentence", () => {
  const { port } = new URL(url);
  const env = { ...process.env, DATABASE: join(folder, "second.db"), PORT: port };
  const { status, stderr } = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", "server.mjs"], { cwd: import.meta.dirname, env, encoding: "utf8" });
  assert.deepEqual([status, stderr], [1, `port ${port} is in use; stop what listens there, or choose another: PORT=8791 npm start\n`]);
});
