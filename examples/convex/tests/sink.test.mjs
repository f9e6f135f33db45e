// @vitest-environment node
// The built worker in real workerd passes its changes on to one app, and another app gets the webhooks themselves: both end in
// the same state. Needs the worker's build (npm run build in the root).
import { createServer } from "node:http";
import { convexTest } from "convex-test";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { DAY_MS, Plangate, SECRET, event, itemEvent, newUser, sign } from "../../../tests/e2e/harness.mjs";
import { PLANS } from "../convex/catalog";
import schema from "../convex/schema";
import { api } from "../convex/server";

const modules = { ...import.meta.glob("../convex/*.ts"), "../convex/_generated/server.js": () => import("../convex/server") };
const SINK_SECRET = "whsec_c2luayBzZWNyZXQgb2YgdGhlIHRlc3Q=";

let plangate;
let server;
let direct;
let passedOn;
const failures = [];
const outcomes = [];
beforeAll(async () => {
  vi.stubEnv("CLERK_WEBHOOK_SIGNING_SECRET", SECRET);
  vi.stubEnv("SINK_SECRET", SINK_SECRET);
  [direct, passedOn] = [convexTest(schema, modules), convexTest(schema, modules)];
  server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    // Every third time it fails, before or after the app took it.
    if (failures.length < 4 && (failures.length + outcomes.length) % 3 === 0) {
      failures.push(request.url);
      if (failures.length % 2) await passedOn.fetch(request.url, { method: "POST", headers: request.headers, body });
      return request.socket.destroy();
    }
    const answer = await passedOn.fetch(request.url, { method: "POST", headers: request.headers, body });
    outcomes.push((await answer.json()).outcome);
    response.writeHead(answer.status).end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const SINK_URL = `http://127.0.0.1:${server.address().port}/plangate-sink`;
  plangate = await Plangate.start({ bindings: { SINK_URL, SINK_SECRET, PLANS }, outbound: "network" });
}, 60_000);
afterAll(async () => {
  await plangate?.stop();
  server?.close();
  vi.unstubAllEnvs();
});

test("by the sink and by webhooks, with failures, duplicates and late events, the state is the same", async () => {
  const at = Date.now() - DAY_MS;
  const [one, two, three] = [newUser(), newUser(), newUser()];
  const end = Date.now() + 9 * DAY_MS;
  const history = [
    itemEvent(one, { at: at + 1, end }), itemEvent(one, { at: at + 3, end, status: "canceled" }), itemEvent(one, { at: at + 2, end, status: "past_due" }),
    itemEvent(two, { at: at + 1, end, plan: "basic" }), itemEvent(two, { at: at + 5, end: at + 5, plan: "basic", status: "ended" }),
    itemEvent(three, { at: at + 1, end }), event("user.deleted", { id: three, deleted: true }),
  ];
  for (const [n, one] of history.entries()) {
    for (let time = 0; time < (n % 2) + 1; time++) {
      const { headers, body } = sign(one, { id: `msg_sink_${n}` });
      const sent = { method: "POST", headers, body };
      expect((await plangate.request("POST", "/webhooks/clerk", sent)).status).toBe(200);
      expect((await direct.fetch("/clerk-webhook", sent)).status).toBe(200);
    }
  }
  const db = await plangate.d1();
  for (let n = 0; n < 20; n++) {
    await db.prepare("UPDATE outbox SET next_at = 0").run();
    await (await plangate.mf.getWorker()).scheduled({ cron: "*/5 * * * *" });
  }
  expect((await db.prepare("SELECT * FROM outbox").all()).results).toEqual([]);
  expect(failures.length).toBeGreaterThan(1);
  expect(outcomes).toContain("duplicate");

  const comparable = ({ as_of, version, ...rest }) => rest;
  for (const user of [one, two, three]) {
    for (const later of [0, 8 * DAY_MS, 9 * DAY_MS + 1]) {
      const clock = vi.spyOn(Date, "now").mockReturnValue(at + DAY_MS + later);
      const [first, second] = await Promise.all([direct, passedOn].map((app) => app.withIdentity({ subject: user }).query(api.plangate.entitlements, {})));
      const [yes, same] = await Promise.all([direct, passedOn].map((app) => app.withIdentity({ subject: user }).query(api.plangate.check, { plan: "pro" })));
      clock.mockRestore();
      expect(comparable(second)).toEqual(comparable(first));
      expect(comparable(same)).toEqual(comparable(yes));
    }
  }
  const check = async (user) => (await passedOn.withIdentity({ subject: user }).query(api.plangate.check, { plan: "pro" })).reason;
  expect([await check(one), await check(two), await check(three)]).toEqual(["canceled_until_period_end", "no_subscription", "payer_deleted"]);
}, 60_000);

test("what is not signed with the sink's secret is refused", async () => {
  const { headers, body } = sign({ type: "payer.changed", data: { payer: "user:x", sequence: 9, snapshot: {} } }, { family: "webhook" });
  const answer = await passedOn.fetch("/plangate-sink", { method: "POST", headers, body });
  expect([answer.status, (await answer.json()).code]).toEqual([400, "invalid_signature"]);
});
