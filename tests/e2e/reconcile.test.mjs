// What webhooks missed is read from the provider's API: for one payer at once, and for all in bounded runs. The API is a
// local server with Clerk's documented shapes, asked over real HTTP.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { ClerkApi } from "./clerk-api.mjs";
import { API_KEY, DAY_MS, OTHER_SECRET, Plangate, event, eventId, item, itemEvent, newOrg, newUser, sign, subscriptionEvent, token } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
const HOUR_MS = 3_600_000;
let clerk;
let plangate;
before(async () => {
  clerk = await ClerkApi.start();
  // Wrapped: what is asked after an answer is asked by the time that the answer is here.
  plangate = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN }, outbound: "network", wrapped: true });
});
beforeEach(() => {
  clerk.items.clear();
  clerk.plans.length = 0;
  clerk.faults.length = 0;
  clerk.requests.length = 0;
});
after(async () => {
  await plangate.stop();
  await clerk.stop();
});

const bearer = (key) => ({ headers: { authorization: `Bearer ${key}` } });
const sync = (payer, gate = plangate) => gate.request("POST", `/v1/sync?${payer.startsWith("org_") ? "org_id" : "user_id"}=${payer}`, bearer(API_KEY));
const synced = async (payer, outcome) => {
  const answer = await sync(payer);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.body.synced[0].outcome, outcome, answer.text);
  return answer.body;
};
const sweep = async (gate = plangate) => {
  const answer = await gate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
  assert.equal(answer.status, 200, answer.text);
  return answer.body.sweeps.clerk;
};
const health = async (gate = plangate) => (await gate.request("GET", "/healthz")).body;
const reconciled = async (payer) => {
  const { body } = await plangate.request("GET", `/admin/events?payer=user:${payer}&type=plangate.reconciled`, bearer(ADMIN_TOKEN));
  return body.events.length;
};
const allowed = async (payer, query = "plan=pro", gate = plangate) => {
  const { status, body } = await gate.request("GET", `/v1/check?${query}&${payer.startsWith("org_") ? "org_id" : "user_id"}=${payer}`, bearer(API_KEY));
  assert.equal(status, 200);
  return body.allowed;
};
const sql = async (text, ...values) => (await (await plangate.d1()).prepare(text).bind(...values).all()).results;

test("a page reached right after checkout is right before the webhook", async () => {
  const user = newUser();
  assert.equal(await allowed(user), false);
  const bought = clerk.show(item(user));
  const answer = await plangate.request("POST", "/v1/sync", bearer(token(user)));
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.body.synced, [{ payer: { type: "user", id: user }, outcome: "changed" }]);
  assert.deepEqual(answer.body.entitlements.plans, ["pro"]);
  assert.equal((await plangate.check(user)).body.allowed, true);
  // The webhook comes after all, and confirms it.
  await plangate.delivered(event("subscriptionItem.active", bought));
  assert.equal(await allowed(user), true);
  const [{ event_id: told }] = await sql("SELECT event_id FROM records WHERE id = ?", bought.id);
  assert.match(told, /^msg_/);
});

test("an organization is asked about as well, and a server may ask for both at once", async () => {
  const [user, org] = [newUser(), newOrg()];
  clerk.show(item(org, { plan: "team" }));
  const answer = await plangate.request("POST", "/v1/sync", bearer(token(user, { org })));
  assert.deepEqual(answer.body.synced.map(({ outcome }) => outcome), ["unknown", "changed"]);
  assert.equal(await allowed(org, "plan=org:team"), true);
  const { headers } = bearer(API_KEY);
  const both = await plangate.request("POST", "/v1/sync", { headers, body: JSON.stringify({ user_id: newUser(), org_id: org }) });
  assert.equal(both.body.synced.length, 2, both.text);
});

test("what is as we hold it writes nothing, and asking again at once asks nobody", async () => {
  const user = newUser();
  const paid = item(user);
  await plangate.delivered(event("subscriptionItem.active", clerk.show(paid)));
  const now = Date.now();
  const after = async (millis) => {
    const headers = { ...bearer(API_KEY).headers, "x-test-now": String(now + millis) };
    const { body } = await plangate.request("POST", `/v1/sync?user_id=${user}`, { headers });
    return [body.synced[0].outcome, clerk.requests.length];
  };
  assert.deepEqual(await after(0), ["unchanged", 1]);
  assert.deepEqual(await after(1_999), ["recently_read", 1]);
  assert.deepEqual(await after(2_000), ["unchanged", 2]);
  assert.equal(await reconciled(user), 0);
  // With a clock that is right.
  await plangate.restart();
});

test("an end, a cancellation and a renewal that no webhook brought are found", async () => {
  const cases = [
    [{ status: "ended" }, false, "expired"],
    [{ status: "canceled" }, true, "canceled_until_period_end"],
    [{ status: "active", end: Date.now() + 60 * DAY_MS }, true, "active"],
    [{ status: "past_due" }, true, "past_due_grace"],
  ];
  for (const [change, expected, reason] of cases) {
    const user = newUser();
    const at = Date.now() - HOUR_MS;
    await plangate.delivered(itemEvent(user, { at }));
    clerk.show(item(user, { at: at + 1000, ...change }));
    const { entitlements } = await synced(user, "changed");
    assert.equal(entitlements.payers[0].subscriptions[0].reason, reason);
    const { body } = await plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, bearer(API_KEY));
    assert.deepEqual([body.allowed, body.reason], [expected, reason]);
  }
});

test("an item that the API leaves out of its subscription is over; an answer for nobody ends nothing", async () => {
  const [gone, absent] = [newUser(), newUser()];
  const at = Date.now() - HOUR_MS;
  for (const user of [gone, absent]) await plangate.delivered(itemEvent(user, { at }));
  clerk.show(item(gone, { plan: "free_user", at }));
  const { entitlements } = await synced(gone, "changed");
  assert.equal(entitlements.plan, "free_user");
  assert.equal(await allowed(gone), false);
  await synced(absent, "unknown");
  assert.equal(await allowed(absent), true);
});

test("an item made a moment ago is not ended by an answer that does not show it yet", async () => {
  const user = newUser();
  clerk.show(item(user, { plan: "free_user", at: Date.now() - HOUR_MS }));
  await plangate.delivered(itemEvent(user));
  await synced(user, "changed");
  assert.equal(await allowed(user), true);
});

test("an older answer never overwrites what is newer", async () => {
  const user = newUser();
  const at = Date.now() - HOUR_MS;
  clerk.show(item(user, { at, status: "ended" }));
  await plangate.delivered(itemEvent(user, { at: at + 1 }));
  await synced(user, "unchanged");
  assert.equal(await allowed(user), true);
});

test("of two webhooks that tell otherwise at the same time, the provider says which is right", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const user = newUser();
    const at = Date.now() - 1000;
    const end = Date.now() + 10 * DAY_MS;
    const pair = [item(user, { at, end }), item(user, { at, end: end + DAY_MS })];
    const events = pair.map((data, n) => ({ id: `${eventId()}_${n}`, event: event("subscriptionItem.updated", data, { timestamp: at + 5 }) }));
    // The lesser id is right, so the rule alone would be wrong.
    clerk.show(pair[0]);
    for (const n of order) await plangate.delivered(events[n].event, order[0] === 1 && n === 0 ? "stale" : "stored", { id: events[n].id });
    const [{ period_end }] = await sql("SELECT period_end FROM records WHERE id = ?", pair[0].id);
    assert.equal(period_end, end);
    assert.equal((await sql("SELECT count(*) AS n FROM deliveries WHERE payer = ? AND detail = 'tied'", `user:${user}`))[0].n, 1);
  }
});

test("what the provider says of two webhooks reaches KV, though the copy of the second was just written", async () => {
  const user = newUser();
  const at = Date.now() - 1000;
  const [right, wrong] = [-3, 10].map((days) => item(user, { at, end: Date.now() + days * DAY_MS }));
  clerk.show(right);
  const [first, second] = [right, wrong].map((data, n) => sign(event("subscriptionItem.updated", data, { timestamp: at + 5 }), { id: `${eventId()}_${n}` }));
  assert.equal((await plangate.request("POST", "/webhooks/clerk", first)).body.outcome, "stored");
  const answer = await plangate.request("POST", "/webhooks/clerk", { ...second, headers: { ...second.headers, "x-test-faults": "kv_429_of=2" } });
  assert.deepEqual([answer.body.outcome, JSON.parse(answer.headers.get("x-test-operations")).kv_put], ["stored", 3]);
  await plangate.restart();
  assert.equal(await allowed(user), false, "to another isolate");
});

test("a sweep finds everything in bounded runs, goes on where it stopped, and then finds nothing", async (t) => {
  const small = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN, RECONCILE_PAGES_PER_RUN: "2" }, outbound: "network", wrapped: true });
  t.after(() => small.stop());
  const statuses = ["active", "canceled", "past_due", "upcoming", "ended"];
  const users = Array.from({ length: 250 }, (_, n) => [newUser(), statuses[n % 5]]);
  for (const [user, status] of users) clerk.show(item(user, { status, at: Date.now() - HOUR_MS }));
  let runs = 0;
  let before = 0;
  for (;;) {
    const answer = await small.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
    const { clerk: report } = answer.body.sweeps;
    const counts = JSON.parse(answer.headers.get("x-test-operations"));
    const { d1_batch = 0, d1_query = 0, kv_put = 0, kv_get = 0 } = counts;
    assert.ok(d1_batch + d1_query + kv_put + kv_get < 40, JSON.stringify(counts));
    assert.equal(report.error, null);
    runs++;
    if (report.stored === before && Object.values(report.finished_at).filter(Boolean).length === 2) break;
    before = report.stored;
    assert.ok(runs < 150, "it ends");
  }
  assert.ok(runs > 20, `${runs} runs`);
  // What was over before we heard of it is of no use to anybody.
  assert.equal(before, 200);
  for (const [user, status] of users) assert.equal(await allowed(user, "plan=pro", small), ["active", "canceled", "past_due"].includes(status), status);
  const { results } = await (await small.d1()).prepare("SELECT count(*) AS n FROM deliveries WHERE provider = 'clerk'").all();
  assert.equal(results[0].n, 200);
  assert.equal((await health(small)).status, "ok", "what was there before the first run was not missed");
});

test("a run that fails says why, loses nothing and is taken up again", async () => {
  const user = newUser();
  clerk.show(item(user, { at: Date.now() - HOUR_MS }));
  const cases = [
    [{ status: 500 }, /answered 500/],
    [{ status: 401 }, /refused our key/],
    [{ status: 302, headers: { location: "/elsewhere" } }, /answered 302/],
    [{ body: "<html>" }, /reading the provider's answer/],
    [{ body: { data: "none" } }, /reading the provider's answer/],
    [{ body: {} }, /without items/],
    ["reset", /could not be reached/],
  ];
  for (const [fault, expected] of cases) {
    clerk.fail(/subscription_items/, fault);
    assert.match((await sweep()).error, expected);
    assert.match((await health()).providers.clerk.reconcile.error, expected);
  }
  const report = await sweep();
  assert.equal(report.error, null);
  assert.equal(await allowed(user), true);
});

test("a provider that wants to be left alone is", async () => {
  clerk.fail(/subscription_items/, { status: 429, headers: { "retry-after": "120" } });
  const report = await sweep();
  assert.match(report.error, /left alone for 120 s/);
  assert.ok(Date.parse(report.not_before) > Date.now() + 100_000);
  const asked = clerk.requests.length;
  await sweep();
  assert.equal(clerk.requests.length, asked, "nobody is asked before");
  await sql("UPDATE kept SET value = json_set(value, '$.not_before', 1) WHERE name = 'sweep:clerk'");
  assert.equal((await sweep()).error, null);
});

test("how long a provider wants to be left alone is believed within reason", async () => {
  const cases = [["0", 0], ["3600", 3600], ["3601", 3600], ["4294967295", 3600], ["4294967296", 30], ["9".repeat(100), 30], ["-1", 30], ["1e9", 30], ["Wed, 21 Oct 2099 07:28:00 GMT", 30], ["", 30]];
  for (const [said, secs] of cases) {
    clerk.fail(/subscription_items/, { status: 429, headers: { "retry-after": said } });
    const { error, not_before: until } = await sweep();
    assert.equal(error, `asking clerk: it wants to be left alone for ${secs} s`, said);
    assert.ok(Date.parse(until) <= Date.now() + secs * 1000, said);
    await sql("UPDATE kept SET value = json_set(value, '$.not_before', 1) WHERE name = 'sweep:clerk'");
  }
});

test("the health shows nobody the address that is set, and the log says why it could not be asked", async (t) => {
  const gate = await Plangate.start({ bindings: { CLERK_SECRET_KEY: "sk_test_x", CLERK_API_URL: "https://hush.test:99999", ADMIN_TOKEN } });
  t.after(() => gate.stop());
  assert.equal((await sweep(gate)).error, "asking clerk: it could not be reached");
  assert.ok(!JSON.stringify(await health(gate)).includes("hush"));
  assert.ok(gate.logs.some(({ message }) => /failed to reconcile: asking clerk: it could not be reached: .+/.test(message)));
});

test("one item that cannot be read spoils no other", async () => {
  const [user, other] = [newUser(), newUser()];
  const at = Date.now() - HOUR_MS;
  clerk.show(item(user, { at }));
  clerk.show(item(other, { at }));
  const broken = clerk.items.get(`csub_item_pro_${other}`);
  broken.period_end = { never: true };
  const before = (await sweep()).unreadable;
  assert.ok(before >= 1);
  assert.deepEqual([await allowed(user), await allowed(other)], [true, false]);
});

test("when the API is down, a sync says so and what is held stands", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  for (const [fault, retryAfter] of [[{ status: 500 }, null], [{ status: 429, headers: { "retry-after": "7" } }, "7"], ["reset", null]]) {
    await plangate.restart();
    clerk.fail(/billing\/subscription$/, fault);
    const answer = await sync(user);
    assert.deepEqual([answer.status, answer.body.code, answer.headers.get("retry-after")], [503, "provider_unavailable", retryAfter]);
    assert.equal(await allowed(user), true);
    // What failed is no recent reading, and who wants to be left alone is.
    const again = await sync(user);
    if (retryAfter === null) assert.equal(again.body.synced[0].outcome, "unknown");
    else assert.deepEqual([again.status, again.body.code], [503, "provider_unavailable"]);
  }
  assert.ok(plangate.logs.every(({ message }) => !message.includes("sk_test_")));
});

test("a provider that wants to be left alone is asked for nobody's page before", async (t) => {
  // Stripe is there as well, and has nothing to say.
  const bindings = { ...clerk.bindings, STRIPE_SECRET_KEY: "sk_test_x", STRIPE_API_URL: clerk.url };
  const gate = await Plangate.start({ bindings, outbound: "network", wrapped: true });
  t.after(() => gate.stop());
  clerk.fail(/^\/v1\/(?!users)/, { status: 404 }, 100);
  clerk.fail(/billing\/subscription$/, { status: 429, headers: { "retry-after": "60" } });
  const ask = async (user, ahead) => {
    const { status, body, headers } = await gate.request("POST", `/v1/sync?user_id=${user}`, { headers: { ...bearer(API_KEY).headers, "x-test-clock": String(ahead) } });
    return [status, body.code ?? body.synced[0].outcome, headers.get("retry-after")];
  };
  const toClerk = () => clerk.requests.filter((path) => path.startsWith("/v1/users")).length;
  const user = newUser();
  assert.deepEqual(await ask(user, 0), [503, "provider_unavailable", "60"]);
  const asked = clerk.requests.length;
  for (let n = 0; n < 3; n++) assert.deepEqual((await ask(user, 0)).slice(0, 2), [503, "provider_unavailable"]);
  assert.equal(clerk.requests.length, asked, "nor is anybody else asked again at once");
  const [status, code, secs] = await ask(newUser(), 30_000);
  assert.deepEqual([status, code], [503, "provider_unavailable"]);
  assert.ok(secs > 0 && secs <= 30, secs);
  assert.equal(toClerk(), 1);
  assert.deepEqual(await ask(user, 61_000), [200, "unknown", null]);
  assert.equal(toClerk(), 2);
});

test("a sync is refused without who asks, for a question, and without the key of an API", async (t) => {
  const cases = [
    ["POST", "/v1/sync", {}, 401, "session_token_missing"],
    ["POST", "/v1/sync", bearer(API_KEY), 400, "invalid_request"],
    ["POST", "/v1/sync?user_id=u&plan=pro", bearer(API_KEY), 400, "invalid_request"],
    ["POST", "/v1/sync?user_id=u", bearer("pgk_somebody_elses_key"), 401, "invalid_api_key"],
    ["GET", "/v1/sync", bearer(API_KEY), 405, "method_not_allowed"],
  ];
  for (const [method, path, options, status, code] of cases) {
    const answer = await plangate.request(method, path, options);
    assert.deepEqual([answer.status, answer.body?.code ?? answer.body?.detail], [status, code], path);
  }
  // No id leads to another path of the API.
  for (const id of ["..", "%2e%2e", "a%2Fb", "u?x=1"]) await plangate.request("POST", `/v1/sync?user_id=${id}`, bearer(API_KEY));
  assert.ok(clerk.requests.every((path) => /^\/v1\/users\/[A-Za-z0-9_]+\/billing\/subscription$/.test(path)), clerk.requests.join());
  const keyless = await Plangate.start({ bindings: { ADMIN_TOKEN } });
  t.after(() => keyless.stop());
  for (const [path, key] of [["/v1/sync?user_id=u", API_KEY], ["/admin/reconcile", ADMIN_TOKEN]]) {
    const answer = await keyless.request("POST", path, bearer(key));
    assert.deepEqual([answer.status, answer.body.code], [503, "sync_not_configured"]);
    assert.match(answer.body.detail, /CLERK_SECRET_KEY/);
  }
});

test("plans and their features come from Clerk, by who holds them", async () => {
  const [user, org] = [newUser(), newOrg()];
  clerk.offer("pro", ["export"]);
  clerk.offer("pro", ["audit"], { payer: "org" });
  clerk.offer("free_user", ["reading"], { isDefault: true });
  for (const payer of [user, org]) await plangate.delivered(itemEvent(payer));
  await sweep();
  await plangate.restart();
  const cases = [[user, "export", true], [user, "audit", false], [org, "audit", true], [org, "export", false], [newUser(), "reading", true], [newUser(), "export", false]];
  for (const [payer, feature, expected] of cases) assert.equal(await allowed(payer, `feature=${feature}`), expected, `${payer} ${feature}`);

  // A lost copy is no lost plan; nor is a list that is cut off, or that leaves features out.
  await (await plangate.kv()).delete("own1:plans:clerk");
  await plangate.restart();
  assert.equal(await allowed(user, "feature=export"), true);
  // Nor is one that cannot be read, such as one that another version of the worker wrote.
  for (const copy of ["[{", '[{"key":"pro","free":false,"payer":"team"}]']) {
    await (await plangate.kv()).put("own1:plans:clerk", copy);
    await plangate.restart();
    assert.equal(await allowed(user, "feature=export"), true, copy);
  }
  clerk.plans.length = 0;
  await sweep();
  await plangate.restart();
  assert.equal(await allowed(user, "feature=export"), true, "an empty list");
  clerk.offer("pro", undefined);
  clerk.offer("team", ["sso"]);
  await sweep();
  await plangate.restart();
  assert.equal(await allowed(user, "feature=export"), true, "features left out");
  // A feature that Clerk takes away is gone.
  clerk.plans.length = 0;
  clerk.offer("pro", ["import"]);
  await sweep();
  await plangate.restart();
  assert.deepEqual([await allowed(user, "feature=export"), await allowed(user, "feature=import")], [false, true]);
});

test("what another version kept of a sweep is begun anew, and is no alarm", async () => {
  for (const provider of ["clerk", "of_a_worker_to_come"]) {
    await sql("INSERT INTO kept (name, value, updated_at) VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET value = excluded.value", `sweep:${provider}`, '{"listings":{"live":7}}');
  }
  const before = await health();
  assert.deepEqual([before.status, before.bindings.DB, before.providers.clerk.reconcile.checked], ["ok", "ok", 0]);
  clerk.show(item(newUser(), { at: Date.now() - HOUR_MS }));
  assert.equal((await sweep()).checked, 1);
  assert.equal((await health()).status, "ok");
  await sql("DELETE FROM kept WHERE name = 'sweep:of_a_worker_to_come'");
});

test("the scheduled handler sweeps", async () => {
  const user = newUser();
  clerk.show(item(user, { at: Date.now() - HOUR_MS }));
  const worker = await plangate.mf.getWorker();
  await worker.scheduled({ cron: "*/5 * * * *" });
  assert.equal(await allowed(user), true);
});

test("webhooks that stop are noticed, and the likely cause is named", async (t) => {
  const quiet = async (wrong) => {
    const gate = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN, ...wrong }, outbound: "network" });
    t.after(() => gate.stop());
    await gate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
    // The first run was yesterday.
    const d1 = await gate.d1();
    await d1.prepare("UPDATE kept SET value = json_set(value, '$.since', CAST(? AS INTEGER)) WHERE name = 'sweep:clerk'").bind(Date.now() - DAY_MS).run();
    return gate;
  };
  const late = () => clerk.show(item(newUser(), { at: Date.now() - HOUR_MS }));
  const cases = [
    ["no_deliveries", {}, async () => {}],
    ["wrong_secret", { CLERK_WEBHOOK_SIGNING_SECRET: OTHER_SECRET }, async (gate, bought) => assert.equal((await gate.deliver(event("subscriptionItem.active", bought))).status, 400)],
    ["wrong_clock", {}, async (gate, bought) => assert.equal((await gate.deliver(event("subscriptionItem.active", bought), { at: 1_700_000_000 })).status, 400)],
    ["missing_headers", {}, async (gate) => assert.equal((await gate.request("POST", "/webhooks/clerk", { body: "{}" })).status, 400)],
    ["our_errors", { CLERK_WEBHOOK_SIGNING_SECRET: undefined }, async (gate, bought) => assert.equal((await gate.deliver(event("subscriptionItem.active", bought))).status, 503)],
  ];
  for (const [cause, wrong, happens] of cases) {
    clerk.items.clear();
    const gate = await quiet(wrong);
    const bought = late();
    await happens(gate, bought);
    await gate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
    const { status, body } = await gate.request("GET", "/healthz");
    assert.equal(status, 503);
    const { missed, rejections } = body.providers.clerk;
    assert.deepEqual([missed.changes, missed.likely_cause, missed.is_silent], [1, cause, true]);
    if (cause === "wrong_secret") assert.equal(rejections.invalid_signature.count, 1);
    if (cause !== "our_errors") assert.equal(body.status, "deliveries_missing");
  }

  // Deliveries come, but not of these changes; then they do.
  clerk.items.clear();
  const gate = await quiet({});
  const bought = late();
  await gate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
  assert.equal((await health(gate)).status, "deliveries_missing");
  await gate.delivered(event("user.updated", { id: newUser(), updated_at: Date.now() }));
  const { status, providers } = await health(gate);
  assert.deepEqual([status, providers.clerk.missed.likely_cause, providers.clerk.missed.is_silent], ["ok", "not_all_events", false]);
  await gate.delivered(event("subscriptionItem.active", bought));
  assert.equal((await health(gate)).providers.clerk.missed, null);
});

test("a checkout that is synced is no missed change until its webhook is overdue", async (t) => {
  const gate = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN }, outbound: "network" });
  t.after(() => gate.stop());
  await gate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
  const d1 = await gate.d1();
  await d1.prepare("UPDATE kept SET value = json_set(value, '$.since', 1) WHERE name = 'sweep:clerk'").run();
  const user = newUser();
  clerk.show(item(user, { at: Date.now() - 60_000 }));
  await sync(user, gate);
  assert.equal((await health(gate)).providers.clerk.missed, null);
  await d1.prepare("UPDATE records SET occurred_at = occurred_at - ?").bind(HOUR_MS).run();
  assert.equal((await health(gate)).providers.clerk.missed.changes, 1);
});

test("a sweep that fails for an hour, or is not run, is an alarm; one that never ran is none", async (t) => {
  const gate = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN }, outbound: "network" });
  t.after(() => gate.stop());
  assert.deepEqual([(await health(gate)).status, (await health(gate)).providers.clerk.reconcile], ["ok", null]);
  await sweep(gate);
  assert.equal((await health(gate)).status, "ok");
  const d1 = await gate.d1();
  await d1.prepare("UPDATE kept SET value = json_set(value, '$.sound_at', CAST(? AS INTEGER)) WHERE name = 'sweep:clerk'").bind(Date.now() - HOUR_MS - 1000).run();
  clerk.fail(/subscription_items/, { status: 401 });
  assert.match((await sweep(gate)).error, /refused our key/);
  const failing = await gate.request("GET", "/healthz");
  assert.deepEqual([failing.status, failing.body.status, failing.body.providers.clerk.reconcile.is_overdue], [503, "reconcile_failing", true]);
  await sweep(gate);
  assert.equal((await health(gate)).status, "ok");
});

test("a provider whose key was taken out of the settings is no alarm any more", async (t) => {
  const gate = await Plangate.start({ bindings: { ...clerk.bindings, ADMIN_TOKEN }, outbound: "network" });
  t.after(() => gate.stop());
  await sweep(gate);
  const user = newUser();
  clerk.show(item(user, { at: Date.now() - HOUR_MS }));
  await sweep(gate);
  await (await gate.d1()).prepare("UPDATE kept SET value = json_set(value, '$.since', 1, '$.sound_at', 1) WHERE name = 'sweep:clerk'").run();
  assert.equal((await health(gate)).status, "deliveries_missing");
  const keys = Object.keys(clerk.bindings);
  await gate.restart(Object.fromEntries(keys.map((key) => [key, undefined])));
  const { status, providers } = await health(gate);
  assert.deepEqual([status, providers.clerk.missed, providers.clerk.reconcile], ["ok", null, null], "nothing compares any more");
  await gate.restart(clerk.bindings);
  assert.equal((await health(gate)).status, "deliveries_missing");
  await (await gate.d1()).prepare("UPDATE records SET event_id = 'msg_1' WHERE event_id LIKE 'reconciled%'").run();
  assert.equal((await health(gate)).status, "reconcile_failing");
});

test("refused deliveries are counted by cause, and nothing of them is kept", async (t) => {
  const gate = await Plangate.start();
  t.after(() => gate.stop());
  const marker = "MARKER_OF_A_BODY";
  for (let n = 0; n < 3; n++) await gate.deliver({ type: "user.created", data: { id: marker } }, { secret: OTHER_SECRET });
  await gate.request("POST", "/webhooks/clerk", { body: marker });
  await gate.request("POST", "/webhooks/nobody", { body: marker });
  const { rejections } = (await health(gate)).providers.clerk;
  assert.deepEqual(Object.entries(rejections).map(([cause, { count }]) => [cause, count]), [["invalid_signature", 3], ["missing_headers", 1]]);
  const d1 = await gate.d1();
  for (const table of ["deliveries", "rejections", "kept", "records"]) {
    const { results } = await d1.prepare(`SELECT * FROM ${table}`).all();
    assert.ok(!JSON.stringify(results).includes(marker), table);
  }
});

test("with the sweep's answers and webhooks mixed in any order, the newest wins", async () => {
  const user = newUser();
  const at = Date.now() - HOUR_MS;
  const steps = ["active", "past_due", "active", "canceled", "ended"].map((status, n) => item(user, { status, at: at + n * 1000 }));
  for (const [webhook, shown] of [[0, 3], [4, 1], [2, 4], [3, 0], [1, 2]]) {
    clerk.show(steps[shown]);
    await Promise.all([plangate.deliver(event("subscriptionItem.updated", steps[webhook])), sweep()]);
  }
  await plangate.deliver(subscriptionEvent(user, [steps[2]]));
  const [{ status }] = await sql("SELECT status FROM records WHERE id = ?", steps[0].id);
  assert.equal(status, "ended");
});
