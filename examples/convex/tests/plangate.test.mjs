// The app against convex-test: the story of a plan, and everything that a webhook may be.
import { convexTest } from "convex-test";
import { keys, parse, recorded, sign } from "plangate-core";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import schema from "../convex/schema";
import { api, internal } from "../convex/server";

// convex-test finds the folder of the functions by the generated one, which this example does without.
const modules = { ...import.meta.glob("../convex/*.ts"), "../convex/_generated/server.js": () => import("../convex/server") };

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DAY = 86_400_000;
const T = Date.UTC(2026, 0, 1);

let app;
beforeEach(() => {
  vi.useFakeTimers({ now: T });
  vi.stubEnv("CLERK_WEBHOOK_SIGNING_SECRET", SECRET);
  vi.stubEnv("SINK_SECRET", SECRET);
  app = convexTest(schema, modules);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

const item = ({ user = "user_1", id = `i_${user}`, status = "active", at = T, end = T + 30 * DAY, plan = "pro" } = {}) => JSON.stringify({
  object: "event", type: `subscriptionItem.${status}`, timestamp: at,
  data: { id, status, created_at: T, updated_at: at, period_start: T, period_end: end, plan_id: `cplan_${plan}`, plan: { id: `cplan_${plan}`, slug: plan },
    payer: user.startsWith("org_") ? { id: `p_${user}`, user_id: "", organization_id: user } : { id: `p_${user}`, user_id: user } },
});
const post = async (path, provider, id, body, { secret = SECRET, signed = body, at = Date.now() } = {}) => {
  const response = await app.fetch(path, { method: "POST", headers: sign(provider, secret, id, signed, at), body });
  return { status: response.status, ...(await response.json()) };
};
const deliver = (id, body, options) => post("/clerk-webhook", "clerk", id, body, options);
const as = (user, more = {}) => app.withIdentity({ subject: user, ...more });
const check = (user = "user_1", plan = "pro", more) => as(user, more).query(api.plangate.check, { plan });
const tables = (names) => app.run(async (ctx) => Object.fromEntries(await Promise.all(names.map(async (name) => [name, await ctx.db.query(name).collect()]))));

test("denied, paid, canceled, paid for until the end, over: and inside a mutation", async () => {
  expect(await check()).toMatchObject({ allowed: false, reason: "no_subscription", plan: "free_user" });
  await expect(as("user_1").mutation(api.projects.create, { name: "a" })).rejects.toThrow("plan_required");

  expect(await deliver("msg_1", item())).toEqual({ status: 200, outcome: "stored", event_id: "msg_1" });
  expect(await check()).toMatchObject({ allowed: true, reason: "active", plan: "pro", payer: { type: "user", id: "user_1" } });
  await as("user_1").mutation(api.projects.create, { name: "a" });
  expect(await as("user_1").query(api.projects.list, {})).toEqual(["a"]);
  expect(await as("user_1").query(api.plangate.entitlements, {})).toMatchObject({ features: ["api", "export"], limits: { projects: null } });
  expect((await check("user_2")).allowed).toBe(false);

  vi.setSystemTime(T + 2 * DAY);
  await deliver("msg_2", item({ status: "canceled", at: T + DAY }));
  expect(await check()).toMatchObject({ allowed: true, reason: "canceled_until_period_end" });
  vi.setSystemTime(T + 30 * DAY);
  expect(await check()).toMatchObject({ allowed: false, reason: "expired" });
  await expect(as("user_1").mutation(api.projects.create, { name: "b" })).rejects.toThrow("plan_required");
});

test("an organization's plan counts where it is active in the session, and nobody is asked about without one", async () => {
  await deliver("msg_1", item({ user: "org_1", plan: "team" }));
  expect((await check("user_1", "org:team")).allowed).toBe(false);
  expect((await check("user_1", "org:team", { org_id: "org_1" })).allowed).toBe(true);
  await expect(app.query(api.plangate.check, { plan: "pro" })).rejects.toThrow("unauthenticated");
});

test("a delivery that comes again changes nothing, not even at the same moment", async () => {
  const answers = await Promise.all(Array.from({ length: 5 }, () => deliver("msg_1", item())));
  expect(answers.map(({ outcome }) => outcome).sort()).toEqual(["duplicate", "duplicate", "duplicate", "duplicate", "stored"]);
  const before = await tables(["deliveries", "states", "keys"]);
  for (let n = 2; n < 40; n++) await deliver(`msg_${n}`, item({ at: T + n }));
  const after = await tables(["deliveries", "states", "keys"]);
  expect(await deliver("msg_1", item())).toMatchObject({ outcome: "duplicate" });
  expect(await tables(["deliveries", "states", "keys"])).toEqual(after);
  expect([before.states.length, after.states.length, after.deliveries.length]).toEqual([1, 1, 39]);
});

test("any order ends in the same answers", async () => {
  const history = [
    item({ at: T + 1 }), item({ at: T + 2, status: "past_due" }), item({ at: T + 3 }), item({ id: "i_2", plan: "basic", at: T + 4 }),
    item({ at: T + 5, status: "ended", end: T + 5 }),
  ];
  const seen = new Set();
  const orders = (list) => (list.length < 2 ? [list] : list.flatMap((one, at) => orders(list.toSpliced(at, 1)).map((rest) => [one, ...rest])));
  for (const order of orders([0, 1, 2, 3, 4])) {
    app = convexTest(schema, modules);
    for (const n of order) await deliver(`msg_${n}`, history[n]);
    const { version, ...held } = await as("user_1").query(api.plangate.entitlements, {});
    expect(version).toBe(5);
    seen.add(JSON.stringify(held));
  }
  expect(seen.size).toBe(1);
  expect(JSON.parse([...seen][0]).plan).toBe("basic");
});

test("forged, damaged, late and unsigned deliveries are refused and leave nothing", async () => {
  expect(await deliver("msg_1", item(), { secret: "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==" })).toMatchObject({ status: 400, code: "invalid_signature" });
  expect(await deliver("msg_1", item(), { signed: item({ plan: "basic" }) })).toMatchObject({ status: 400, code: "invalid_signature" });
  expect(await deliver("msg_1", item(), { at: T - 301_000 })).toMatchObject({ status: 400, code: "timestamp_out_of_tolerance" });
  const unsigned = await app.fetch("/clerk-webhook", { method: "POST", body: item() });
  expect([unsigned.status, (await unsigned.json()).code]).toEqual([400, "missing_headers"]);
  vi.stubEnv("CLERK_WEBHOOK_SIGNING_SECRET", "");
  expect(await deliver("msg_1", item())).toMatchObject({ status: 503, code: "provider_not_configured" });
  expect(await tables(["deliveries", "states", "keys"])).toEqual({ deliveries: [], states: [], keys: [] });
});

test("what cannot be read is kept, and counts once it can be", async () => {
  expect(await deliver("msg_1", '{"type":"subscription.updated","data":7,"card":"4242424242424242"}')).toMatchObject({ status: 200, outcome: "dead_letter" });
  const { deliveries } = await tables(["deliveries"]);
  expect(deliveries[0].body).not.toContain("4242424242424242");
  expect(await deliver("msg_1", "{}")).toMatchObject({ outcome: "duplicate" });
  expect(await deliver("msg_1", item())).toMatchObject({ outcome: "stored" });
  expect((await check()).allowed).toBe(true);
  expect(await deliver("msg_2", JSON.stringify({ type: "session.created", object: "event", data: { id: "s" } }))).toMatchObject({ outcome: "ignored" });
});

test("a deleted user stays deleted", async () => {
  await deliver("msg_1", item());
  await deliver("msg_2", JSON.stringify({ type: "user.deleted", object: "event", timestamp: T + 1, data: { id: "user_1", deleted: true } }));
  await deliver("msg_3", item({ at: T + 2 }));
  expect(await check()).toMatchObject({ allowed: false, reason: "payer_deleted" });
});

test("when a plan runs out, the document that subscribed queries read is touched", async () => {
  await deliver("msg_1", item({ status: "canceled", end: T + 5 * DAY }));
  const before = (await tables(["states"])).states[0];
  expect(before.next_at).toBe(T + 5 * DAY);
  await deliver("msg_2", item({ id: "i_2", plan: "basic", end: T + 9 * DAY }));
  await vi.advanceTimersByTimeAsync(5 * DAY);
  await app.finishInProgressScheduledFunctions();
  const after = (await tables(["states"])).states[0];
  expect(after.looked_at).toBe(T + 5 * DAY);
  expect(after.next_at).toBe(T + 10 * DAY);
  expect((await check()).allowed).toBe(false);
  expect((await check("user_1", "basic")).allowed).toBe(true);
});

test("an end that is further away than Convex schedules is looked at on the way", async () => {
  const end = T + 10 * 365 * DAY;
  expect(await deliver("msg_1", item({ status: "canceled", end }))).toMatchObject({ outcome: "stored" });
  const scheduled = () => app.run((ctx) => ctx.db.system.query("_scheduled_functions").order("desc").first());
  for (let now = T; ; ) {
    const { scheduledTime, args: [look] } = await scheduled();
    // Convex refuses what is more than five years away, and with it the whole mutation.
    expect(scheduledTime - now).toBeLessThan(5 * 365 * DAY);
    expect(look.next_at).toBe(scheduledTime);
    if (scheduledTime === end) break;
    vi.setSystemTime((now = scheduledTime));
    await app.mutation(internal.plangate.look, look);
    expect((await check()).allowed).toBe(true);
  }
});

test("several payers' deliveries do not mix, and two states become one when a delivery joins them", async () => {
  for (const user of ["user_1", "user_2", "user_3"]) await deliver(`msg_${user}`, item({ user }));
  expect((await tables(["states"])).states).toHaveLength(3);
  await deliver("msg_move", item({ user: "user_2", id: "i_user_1", at: T + 5 }));
  const { states, keys: rows } = await tables(["states", "keys"]);
  expect(states).toHaveLength(2);
  expect(rows.filter(({ state }) => !states.some(({ _id }) => _id === state))).toEqual([]);
  expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
  expect([(await check("user_1")).allowed, (await check("user_2")).allowed, (await check("user_3")).allowed]).toEqual([false, true, true]);
});

test("a mutation that fails leaves neither the id nor the state", async () => {
  const { delivery } = parse("clerk", recorded("clerk", { event_id: "msg_1", sent_at: T }, item()));
  expect(keys(delivery).length).toBeGreaterThan(0);
  const broken = { ...delivery, event: { type: "x" } };
  const parsed = { outcome: "event", type: "x", delivery: broken };
  await expect(app.mutation(internal.plangate.receive, { provider: "clerk", event_id: "msg_1", parsed })).rejects.toThrow();
  expect(await tables(["deliveries", "states"])).toEqual({ deliveries: [], states: [] });
  expect(await deliver("msg_1", item())).toMatchObject({ outcome: "stored" });
});
