// What operators see of the ledger, and can do about it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, Plangate, event, eventId, item, itemEvent, newUser, sign } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { ADMIN_TOKEN } })));
after(() => plangate.stop());

const admin = (method, path, body) =>
  plangate.request(method, `/admin/${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, body: body && JSON.stringify(body) });
const events = async (query) => (await admin("GET", `events?${query}`)).body;

test("without ADMIN_TOKEN there are no admin routes, and with it they need it", async (t) => {
  const without = await Plangate.start();
  t.after(() => without.stop());
  for (const path of ["events", "dead-letters", "replay", "anything"]) {
    const answer = await without.request("GET", `/admin/${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    assert.deepEqual([answer.status, answer.body.code], [404, "not_found"]);
  }
  for (const authorization of [undefined, "Bearer ", "Bearer x", ADMIN_TOKEN, `Bearer ${ADMIN_TOKEN}x`, `Bearer ${API_KEY}`]) {
    const answer = await plangate.request("GET", "/admin/events", { headers: authorization ? { authorization } : {} });
    assert.deepEqual([answer.status, answer.body.code], [401, "invalid_admin_token"], authorization);
  }
  assert.equal((await admin("GET", "anything")).status, 404);
  assert.equal((await admin("POST", "events")).status, 405);
  assert.equal((await admin("GET", "replay")).status, 405);
  const short = await Plangate.start({ bindings: { ADMIN_TOKEN: "short" } });
  t.after(() => short.stop());
  assert.equal((await short.request("GET", "/admin/events", { headers: { authorization: "Bearer short" } })).status, 404);
  assert.equal((await short.request("GET", "/healthz")).body.settings.unusable[0].setting, "ADMIN_TOKEN");
});

test("a stranger cannot fill the log with the path", async () => {
  const answer = await plangate.request("GET", `/admin/${"a".repeat(5000)}`);
  assert.equal(answer.status, 401);
  const line = plangate.logs.map(({ message }) => JSON.parse(message)).find((fields) => fields["request.id"] === answer.headers.get("x-request-id"));
  assert.equal(line["request.path"], `/admin/${"a".repeat(193)}`);
});

test("while the token is rotated the old and the new one work", async (t) => {
  const newToken = "pga_fedcba9876543210";
  const both = await Plangate.start({ bindings: { ADMIN_TOKEN: `${ADMIN_TOKEN}, ${newToken}` } });
  t.after(() => both.stop());
  const cases = [[ADMIN_TOKEN, 200], [newToken, 200], [`${ADMIN_TOKEN}, ${newToken}`, 401], [`${newToken}x`, 401]];
  for (const [presented, status] of cases) {
    const answer = await both.request("GET", "/admin/events", { headers: { authorization: `Bearer ${presented}` } });
    assert.equal(answer.status, status, presented);
  }
});

test("the ledger is filtered and paged", async () => {
  const user = newUser();
  const at = Date.now();
  const ids = [];
  for (let n = 0; n < 5; n++) ids.push((await plangate.delivered(itemEvent(user, { at: at + n }))).event_id);
  await plangate.delivered(event("session.created", { id: "sess_1" }), "ignored");
  const payer = `payer=user:${user}`;

  const all = await events(payer);
  assert.deepEqual(all.events.map(({ event_id }) => event_id), ids.toReversed());
  assert.equal(all.next_cursor, null);
  const [newest] = all.events;
  assert.deepEqual([newest.provider, newest.type, newest.outcome, newest.attempts, newest.payer], ["clerk", "subscriptionItem.active", "stored", 1, `user:${user}`]);
  assert.equal(newest.event.records[0].plan.key, "pro");
  assert.equal(Date.parse(newest.occurred_at), at + 4);

  const paged = [];
  let cursor = "";
  do {
    const page = await events(`${payer}&limit=2${cursor}`);
    paged.push(...page.events.map(({ event_id }) => event_id));
    cursor = page.next_cursor === null ? null : `&cursor=${page.next_cursor}`;
  } while (cursor);
  assert.deepEqual(paged, ids.toReversed());

  assert.deepEqual((await events(`provider=clerk&event_id=${ids[2]}`)).events.map(({ event_id }) => event_id), [ids[2]]);
  assert.ok((await events("outcome=ignored")).events.every(({ outcome, detail }) => outcome === "ignored" && detail === "unused_type"));
  assert.equal((await events(`${payer}&until=2020-01-01T00:00:00Z`)).events.length, 0);
  assert.equal((await events(`${payer}&since=2020-01-01T00:00:00Z&type=subscriptionItem.active`)).events.length, 5);
  for (const query of ["payer=nobody", "limit=501", "provder=clerk", "since=now"]) {
    const answer = await admin("GET", `events?${query}`);
    assert.deepEqual([answer.status, answer.body.code], [400, "invalid_request"]);
  }
});

test("dead letters are shown masked, and replayed once they can be read", async () => {
  const user = newUser();
  const id = eventId();
  await plangate.delivered({ ...itemEvent(user), data: { ...item(user), id: undefined, note: "4242 4242 4242 4242" } }, "dead_letter", { id });
  const [letter] = (await admin("GET", `dead-letters?event_id=${id}&provider=clerk`)).body.events;
  assert.match(letter.body, /\*{4} \*{4}/);
  assert.match(letter.detail, /an item without an id/);
  assert.equal((await admin("POST", "replay", { provider: "clerk", event_id: id })).body.replayed[0].outcome, "dead_letter", "nothing was fixed yet");
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, false);

  // As if the code had learned to read it: the kept body is put right.
  const d1 = await plangate.d1();
  await d1.prepare("UPDATE deliveries SET body = ? WHERE event_id = ?").bind(JSON.stringify(itemEvent(user)), id).run();
  assert.equal((await admin("POST", "replay", { provider: "clerk", event_id: id, by: "ada" })).body.replayed[0].outcome, "stored");
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, true);
  assert.equal((await admin("GET", `dead-letters?event_id=${id}&provider=clerk`)).body.events.length, 0);
  const [noted] = (await events("provider=operator&limit=1")).events;
  assert.deepEqual([noted.type, JSON.parse(noted.detail).by], ["admin.replay", "ada"]);

  // As if it had learned that it is not for us.
  const others = eventId();
  await plangate.delivered({ ...itemEvent(user), data: { ...item(user), id: undefined } }, "dead_letter", { id: others });
  await d1.prepare("UPDATE deliveries SET body = ? WHERE event_id = ?").bind(JSON.stringify(event("session.created", { id: "sess_1" })), others).run();
  assert.equal((await admin("POST", "replay", { provider: "clerk", event_id: others })).body.replayed[0].outcome, "ignored");
  const [row] = (await events(`provider=clerk&event_id=${others}`)).events;
  assert.deepEqual([row.outcome, row.type, row.body], ["ignored", "session.created", undefined], "nor is it kept any longer");
});

test("a replay of everything changes nothing, and mends what was damaged", async () => {
  const users = [newUser(), newUser()];
  for (const user of users) await plangate.delivered(itemEvent(user));
  const d1 = await plangate.d1();
  const rows = async () => JSON.stringify((await d1.prepare("SELECT * FROM records ORDER BY provider, id").all()).results);
  const before = await rows();
  const replayAll = async () => {
    const outcomes = [];
    let cursor;
    do {
      const { body } = await admin("POST", "replay", { since: "2020-01-01T00:00:00Z", cursor });
      outcomes.push(...body.replayed.map(({ outcome }) => outcome));
      cursor = body.next_cursor ?? undefined;
    } while (cursor !== undefined);
    return outcomes;
  };
  assert.ok((await replayAll()).includes("reapplied"));
  assert.equal(await rows(), before);
  await d1.prepare("DELETE FROM records WHERE payer = ?").bind(`user:${users[0]}`).run();
  assert.notEqual(await rows(), before);
  await replayAll();
  assert.equal(await rows(), before);
});

test("a replay that makes no sense is refused", async () => {
  const cases = [[{}, 400], [{ provider: "clerk" }, 400], [{ provider: "clerk", event_id: "x", since: "2020-01-01T00:00:00Z" }, 400], [{ since: "soon" }, 400], [{ sinse: 1 }, 400], [{ provider: "clerk", event_id: "msg_nobody" }, 404]];
  for (const [body, status] of cases) assert.equal((await admin("POST", "replay", body)).status, status, JSON.stringify(body));
  assert.equal((await admin("POST", "replay", undefined)).status, 400);
});

test("a grant by hand counts until its end or its revocation, and says who gave it and why", async () => {
  const user = newUser();
  const why = { by: "ada", why: "a bug cost them a week" };
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const ask = async (query) => (await plangate.serverCheck(`user_id=${user}&${query}`)).body;
  assert.equal((await ask("plan=pro")).allowed, false);

  const plan = await admin("POST", "grants", { user_id: user, plan: "pro", until, ...why });
  assert.equal(plan.status, 200, plan.text);
  const granted = await ask("plan=pro");
  assert.deepEqual([granted.allowed, granted.reason, Date.parse(granted.valid_until)], [true, "granted_manually", Date.parse(until)]);
  assert.equal((await ask("plan=team")).reason, "plan_mismatch");
  const feature = (await admin("POST", "grants", { user_id: user, feature: "export", ...why })).body;
  assert.deepEqual([(await ask("feature=export")).reason, (await ask("feature=export")).valid_until], ["granted_manually", null]);
  assert.equal((await ask("feature=api")).reason, "feature_not_in_plan");

  const { body } = await plangate.request("GET", `/v1/entitlements?user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}` } });
  assert.deepEqual([body.plans, body.features], [["pro"], ["export"]]);
  const [row] = (await events(`provider=operator&event_id=${plan.body.grant_id}`)).events;
  assert.deepEqual([row.type, row.payer, row.event.signed], ["grant.created", `user:${user}`, why]);

  const revoked = await admin("POST", `grants/${plan.body.grant_id}/revoke`, { by: "bob", why: "a mistake" });
  assert.deepEqual([revoked.status, revoked.body.outcome], [200, "stored"]);
  assert.deepEqual([(await ask("plan=pro")).allowed, (await ask("plan=pro")).reason], [false, "expired"]);
  assert.equal((await ask("feature=export")).allowed, true);
  await plangate.restart();
  assert.deepEqual([(await ask("plan=pro")).allowed, (await ask("feature=export")).allowed], [false, true], "stored, not only remembered");
  await admin("POST", `grants/${feature.grant_id}/revoke`, { by: "bob", why: "a mistake" });
  assert.equal((await ask("feature=export")).allowed, false);
});

test("a feature given by hand is no paid plan, and takes no free plan away", async () => {
  const user = newUser();
  await admin("POST", "grants", { user_id: user, feature: "export", by: "ada", why: "beta" });
  const ask = async (query) => (await plangate.serverCheck(`user_id=${user}${query}`)).body;
  assert.deepEqual([(await ask("")).allowed, (await ask("&plan=free_user")).allowed], [false, true]);
  assert.deepEqual([(await ask("&feature=export")).allowed, (await ask("&feature=export")).plan], [true, "free_user"]);
});

test("a grant that makes no sense is refused, and nobody takes back what was never given", async () => {
  const usable = { user_id: newUser(), plan: "pro", by: "ada", why: "x" };
  for (const change of [{ by: "" }, { why: undefined }, { plan: undefined }, { org_id: "org_1" }, { until: "2020-01-01T00:00:00Z" }, { for: "ever" }]) {
    const answer = await admin("POST", "grants", { ...usable, ...change });
    assert.deepEqual([answer.status, answer.body.code], [400, "invalid_request"], JSON.stringify(change));
  }
  assert.equal((await plangate.serverCheck(`user_id=${usable.user_id}`)).body.version, 0);
  const { event_id } = await plangate.delivered(itemEvent(newUser()));
  for (const id of ["nobody", event_id]) {
    const answer = await admin("POST", `grants/${id}/revoke`, { by: "ada", why: "x" });
    assert.deepEqual([answer.status, answer.body.code], [404, "unknown_grant"]);
  }
  assert.equal((await admin("POST", "grants//revoke", { by: "ada", why: "x" })).status, 404);
});

test("what was given to somebody who was erased since is no more there to be taken back", async () => {
  const user_id = newUser();
  const given = await admin("POST", "grants", { user_id, feature: "export", by: "ada", why: "beta" });
  await admin("POST", "erase", { user_id, by: "ada", why: "asked" });
  const before = (await admin("GET", "loose-ends")).body.unassigned;
  const answer = await admin("POST", `grants/${given.body.grant_id}/revoke`, { by: "bob", why: "over" });
  assert.deepEqual([answer.status, answer.body.code], [404, "unknown_grant"]);
  assert.deepEqual((await admin("GET", "loose-ends")).body.unassigned, before, "no record of nobody's");
});
