// Why an answer is what it is: now, at a time to come, at a time that is past.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, event, eventId, item, itemEvent, newOrg, newUser, subscriptionEvent, token } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { ADMIN_TOKEN }, wrapped: true })));
after(() => plangate.stop());

const ask = (query, authorization = `Bearer ${API_KEY}`, method = "GET") =>
  plangate.request(method, `/v1/explain?${query}`, { headers: authorization ? { authorization } : {} });
const explain = async (query) => {
  const answer = await ask(query);
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
};
const iso = (millis) => new Date(millis).toISOString();
/** When a delivery reached us, as the ledger has it. */
const received = async (id) => (await (await plangate.d1()).prepare("SELECT received_at FROM deliveries WHERE event_id = ?").bind(id).first()).received_at;
/** As if a delivery had reached us at another time. */
const receivedAt = async (id, at) =>
  (await plangate.d1()).prepare("UPDATE deliveries SET received_at = ?1, last_received_at = ?1 WHERE event_id = ?2").bind(at, id).run();
const admin = async (path, body) => {
  const answer = await plangate.request("POST", `/admin/${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
};

test("now: the decision, its rule, the records, the events and the next change", async () => {
  const user = newUser();
  const end = Date.now() + 10 * DAY_MS;
  const first = await plangate.delivered(itemEvent(user, { at: Date.now() - 1000, end }));
  const second = await plangate.delivered(itemEvent(user, { status: "canceled", end }));
  const answer = await ask(`user_id=${user}&plan=pro`);
  assert.equal(answer.headers.get("cache-control"), "private, no-store");
  const { body } = answer;
  assert.deepEqual(body.question, { user_id: user, org_id: null, conditions: [{ what: "plan", name: "pro", scope: null }] });
  assert.equal(body.at, body.now);
  const { allowed, reason, plan, status, payer, valid_until, version, source, age_seconds } = body.decision;
  assert.deepEqual([allowed, reason, plan, status, payer, version, source, age_seconds], [true, "canceled_until_period_end", "pro", "canceled", { type: "user", id: user }, 2, "d1", 0]);
  assert.equal(Date.parse(valid_until), end);
  assert.equal(body.rule.code, "until_period_end");
  assert.match(body.rule.text, /^canceled grants until period_end: until \d{4}-/);
  assert.deepEqual([Date.parse(body.changes_at.at), body.changes_at.allowed, body.changes_at.reason], [end, false, "expired"]);
  const [held] = body.payers[0].records;
  assert.deepEqual([held.provider, held.id, held.status, held.plan, held.decided, held.event_id, held.granted], ["clerk", `csub_item_pro_${user}`, "canceled", "pro", true, second.event_id, null]);
  assert.deepEqual(body.events.map(({ event_id, decided }) => [event_id, decided]), [[second.event_id, true], [first.event_id, false]]);
  assert.deepEqual([body.events[0].type, body.events[0].outcome, body.events[0].records], ["subscriptionItem.canceled", "stored", [held.id]]);
  assert.deepEqual([body.complete, body.has_more_events, body.source, body.check.source], [true, false, "d1", "memory"]);
  assert.equal((await ask(`user_id=${user}`, undefined, "HEAD")).status, 200);
});

test("later: today's facts, decided then", async () => {
  const user = newUser();
  const end = Date.now() + 10 * DAY_MS;
  await plangate.delivered(itemEvent(user, { end }));
  for (const [at, allowed, reason] of [[end + 23 * 3_600_000, true, "active"], [end + DAY_MS, false, "expired"]]) {
    const body = await explain(`user_id=${user}&plan=pro&at=${iso(at)}`);
    assert.deepEqual([body.decision.allowed, body.decision.reason, body.source, body.check], [allowed, reason, "d1", null]);
    assert.deepEqual([Date.parse(body.at), body.rule.code], [at, "until_period_end_and_slack"]);
    assert.equal(body.changes_at === null, !allowed);
  }
});

test("earlier: what was known then", async () => {
  const user = newUser();
  const at = Date.now();
  const bought = await plangate.delivered(itemEvent(user, { at: at - 5000 }));
  // An item that does not say whose it is.
  const ended = await plangate.delivered(event("subscriptionItem.ended", { ...item(user, { status: "ended", at: at - 4000 }), payer: null, subscription_id: null }));
  await receivedAt(bought.event_id, at - 3 * DAY_MS);
  await receivedAt(ended.event_id, at - DAY_MS);
  const known = async (ago) => {
    const body = await explain(`user_id=${user}&plan=pro&at=${iso(at - ago)}`);
    assert.deepEqual([body.source, body.complete, body.check, Date.parse(body.as_of)], ["ledger", true, null, at - ago]);
    return [body.decision.allowed, body.decision.reason, body.events.map(({ event_id }) => event_id)];
  };
  assert.deepEqual(await known(4 * DAY_MS), [false, "no_subscription", []]);
  assert.deepEqual(await known(2 * DAY_MS), [true, "active", [bought.event_id]]);
  assert.deepEqual(await known(DAY_MS / 2), [false, "expired", [ended.event_id, bought.event_id]]);
  // What retention may have thrown away is not claimed to be known.
  assert.equal((await explain(`user_id=${user}&at=${iso(at - 181 * DAY_MS)}`)).complete, false);
});

test("a dead letter was not known before it could be read", async () => {
  const user = newUser();
  const id = eventId();
  await plangate.delivered({ ...itemEvent(user), data: { ...item(user), id: undefined } }, "dead_letter", { id });
  await receivedAt(id, Date.now() - DAY_MS);
  await plangate.delivered(itemEvent(user), "stored", { id });
  const then = await explain(`user_id=${user}&plan=pro&at=${iso(Date.now() - DAY_MS / 2)}`);
  assert.deepEqual([then.decision.allowed, then.events], [false, []]);
  assert.equal((await explain(`user_id=${user}&plan=pro`)).decision.allowed, true);
});

test("a grant by hand says who and why, and so does its end", async () => {
  const user = newUser();
  const given = { by: "ada", why: "a bug cost them a week" };
  const taken = { by: "bob", why: "a mistake" };
  const { grant_id } = await admin("grants", { user_id: user, feature: "export", ...given });
  const before = await explain(`user_id=${user}&feature=export`);
  const [record] = before.payers[0].records;
  assert.deepEqual([record.granted, record.revoked, record.feature, record.decided], [given, null, "export", true]);
  assert.deepEqual([before.decision.reason, before.rule.code, before.changes_at], ["granted_manually", "granted_without_end", null]);
  await receivedAt(grant_id, (await received(grant_id)) - DAY_MS);
  await admin(`grants/${grant_id}/revoke`, taken);
  const after = await explain(`user_id=${user}&feature=export`);
  assert.deepEqual([after.payers[0].records[0].granted, after.payers[0].records[0].revoked], [given, taken]);
  assert.deepEqual([after.decision.allowed, after.rule.code], [false, "status_grants_nothing"]);
  assert.deepEqual(after.events.map(({ type, decided }) => [type, decided]), [["grant.revoked", true], ["grant.created", false]]);
  const then = await explain(`user_id=${user}&feature=export&at=${iso(Date.now() - DAY_MS / 2)}`);
  assert.deepEqual([then.decision.reason, then.payers[0].records[0].revoked], ["granted_manually", null]);
});

test("a copy that is behind shows, and looking does not mend it", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user, { status: "ended" }));
  const kv = await plangate.kv();
  const copy = JSON.parse(await kv.get(`s1:user:${user}`));
  copy.records[0].status = "active";
  copy.version = 0;
  copy.as_of = Date.now() - 60_000;
  await kv.put(`s1:user:${user}`, JSON.stringify(copy));
  await plangate.restart();
  for (let n = 0; n < 2; n++) {
    const { decision, check } = await explain(`user_id=${user}&plan=pro`);
    assert.deepEqual([decision.allowed, decision.reason, decision.source, decision.version], [false, "expired", "d1", 1]);
    assert.deepEqual([check.allowed, check.reason, check.source, check.version], [true, "active", "kv", 0]);
    assert.ok(check.age_seconds >= 60 && check.age_seconds < 120, check.age_seconds);
  }
  // And it was right about the check.
  const answer = await plangate.serverCheck(`user_id=${user}&plan=pro`);
  assert.deepEqual([answer.body.allowed, answer.body.source], [true, "kv"]);
  assert.equal((await explain(`user_id=${user}&plan=pro`)).check.source, "memory");
});

test("without a copy the check is D1's", async () => {
  const user = newUser();
  const { decision, check, payers, changes_at } = await explain(`user_id=${user}&plan=pro`);
  assert.deepEqual([decision.reason, check.source, check.allowed, payers[0].version, payers[0].records, changes_at], ["no_subscription", "d1", false, 0, [], null]);
  assert.equal(await (await plangate.kv()).get(`s1:user:${user}`), null, "nothing is written");
});

test("a tombstone decides, and its event is marked", async () => {
  const user = newUser();
  const org = newOrg();
  await plangate.delivered(itemEvent(user));
  await plangate.delivered(subscriptionEvent(org, [item(org, { plan: "team" })]));
  const { event_id } = await plangate.delivered(event("user.deleted", { id: user, deleted: true }));
  const body = await explain(`user_id=${user}&org_id=${org}&plan=team`);
  assert.deepEqual([body.decision.allowed, body.decision.reason, body.rule.code], [false, "payer_deleted", "deleted_payer_holds_nothing"]);
  assert.ok(body.payers[0].deleted_at);
  assert.deepEqual(body.payers[0].records.map(({ reason }) => reason), ["payer_deleted"]);
  assert.deepEqual(body.payers.map(({ payer }) => payer.id), [user, org]);
  assert.equal(body.events.length, 3);
  assert.deepEqual(body.events.filter(({ decided }) => decided).map((one) => one.event_id), [event_id]);
});

test("with D1 down nothing is explained, and with KV down all is", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  await plangate.restart();
  const ask = (faults) => plangate.request("GET", `/v1/explain?user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}`, "x-test-faults": faults } });
  const down = await ask("d1");
  assert.deepEqual([down.status, down.body.code], [503, "store_unavailable"]);
  const { body } = await ask("kv_get");
  assert.deepEqual([body.decision.allowed, body.check.source], [true, "d1"]);
});

test("an inquiry that makes no sense is refused", async () => {
  const user = newUser();
  for (const query of ["", "plan=pro", `user_id=${user}&at=yesterday`, `user_id=${user}&at=`, `user_id=${user}&plna=pro`, `user_id=${user}&plan=`, `user_id=${user}&at=${iso(1e12)}&at=${iso(1e12)}`]) {
    const answer = await ask(query);
    assert.deepEqual([answer.status, answer.body.code], [400, "invalid_request"], query);
  }
  const refusals = [[undefined, "server_key_required"], [`Bearer ${token(user)}`, "server_key_required"], ["Basic abc", "server_key_required"], ["Bearer pgk_of_nobody", "invalid_api_key"], [`Bearer ${ADMIN_TOKEN}`, "invalid_api_key"]];
  for (const [authorization, code] of refusals) {
    const answer = await ask(`user_id=${user}`, authorization ?? "");
    assert.deepEqual([answer.status, answer.body.code], [401, code], String(authorization));
  }
  assert.equal((await ask(`user_id=${user}`, undefined, "POST")).status, 405);
});
