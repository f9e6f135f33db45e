// KV is a copy and D1 the truth: what is answered when one of them is lost, old, wrong or down.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, itemEvent, newOrg, newUser, sign, token } from "./harness.mjs";

let plangate;
before(async () => (plangate = await Plangate.start({ wrapped: true })));
after(() => plangate.stop());

const key = (user) => `s1:user:${user}`;
const ask = async (user, faults = "", query = "plan=pro") => {
  const headers = { authorization: `Bearer ${token(user)}`, "x-test-faults": faults };
  return plangate.request("GET", `/v1/check?${query}`, { headers });
};
const paid = async (options = {}) => {
  const user = newUser();
  await plangate.delivered(itemEvent(user, options));
  return user;
};
/** The KV copy, changed. */
const rewrite = async (user, change) => {
  const kv = await plangate.kv();
  const copy = JSON.parse(await kv.get(key(user)));
  change(copy);
  await kv.put(key(user), JSON.stringify(copy));
};

test("a lost copy is read from D1 and written again", async () => {
  const user = await paid();
  await (await plangate.kv()).delete(key(user));
  await plangate.restart();
  const { body } = await ask(user);
  assert.deepEqual([body.allowed, body.source], [true, "d1"]);
  assert.equal(JSON.parse(await (await plangate.kv()).get(key(user))).version, body.version);
  await plangate.restart();
  assert.equal((await ask(user)).body.source, "kv");
  assert.equal((await ask(user)).body.source, "memory");
});

test("a copy that says no is never believed: who has just paid is never told no", async () => {
  const user = await paid();
  await rewrite(user, (copy) => (copy.records = []));
  await plangate.restart();
  const { body } = await ask(user);
  assert.deepEqual([body.allowed, body.source], [true, "d1"]);
});

test("a copy that says yes to one question does not say no to another, however young it is", async () => {
  const user = await paid();
  await plangate.delivered(itemEvent(user, { plan: "team" }));
  const now = Date.now();
  await rewrite(user, (copy) => {
    copy.as_of = now;
    copy.records = copy.records.filter(({ plan }) => plan === "pro");
  });
  await plangate.restart();
  const headers = { authorization: `Bearer ${API_KEY}`, "x-test-now": String(now) };
  for (const [plan, source] of [["pro", "kv"], ["pro", "memory"], ["team", "d1"]]) {
    const { body } = await plangate.request("GET", `/v1/check?plan=${plan}&user_id=${user}`, { headers });
    assert.deepEqual([body.allowed, body.source], [true, source], plan);
  }
  // With a clock that is right.
  await plangate.restart();
});

test("a copy that says yes is believed for SNAPSHOT_TTL_SECONDS and no longer", async () => {
  const user = await paid({ status: "ended" });
  const now = Date.now();
  /** Asks an isolate that remembers nothing, twice, for a copy of that age. */
  const believed = async (age) => {
    await rewrite(user, (copy) => {
      copy.as_of = now - age;
      copy.records[0].status = "active";
    });
    await plangate.restart();
    const headers = { authorization: `Bearer ${API_KEY}`, "x-test-now": String(now) };
    const told = [];
    for (let n = 0; n < 2; n++) {
      const { body } = await plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, { headers });
      told.push([body.allowed, body.source]);
    }
    return told;
  };
  assert.deepEqual(await believed(300_000), [[true, "kv"], [true, "memory"]]);
  assert.deepEqual(await believed(300_001), [[false, "d1"], [false, "memory"]]);
  assert.deepEqual(await believed(-60_000), [[false, "d1"], [false, "memory"]], "nor one from the future, which would never grow old");
  // With a clock that is right.
  await plangate.restart();
});

test("a copy that cannot be read, or is somebody else's, is not believed", async () => {
  const [user, other] = [await paid({ status: "ended" }), await paid()];
  const copyOfOther = await (await plangate.kv()).get(key(other));
  for (const value of ["", "{", "[]", '{"payer":"nobody"}', copyOfOther]) {
    await (await plangate.kv()).put(key(user), value);
    await plangate.restart();
    const { status, body } = await ask(user);
    assert.deepEqual([status, body.allowed, body.source], [200, false, "d1"], value);
  }
});

test("with KV down everything is answered and stored", async () => {
  const user = newUser();
  const { headers, body } = sign(itemEvent(user));
  const stored = await plangate.request("POST", "/webhooks/clerk", { headers: { ...headers, "x-test-faults": "kv_put" }, body });
  assert.equal(stored.body.outcome, "stored");
  await plangate.restart();
  assert.deepEqual((await ask(user, "kv_get,kv_put")).body.source, "d1");
  assert.equal((await ask(user, "kv_get,kv_put")).body.allowed, true);
});

test("rule_9_fail_closed: with D1 down a grant stands for its time, a denial is 503, and never a yes for nobody", async () => {
  const [payer, lapsed, stranger] = [await paid(), await paid({ status: "ended" }), newUser()];
  await plangate.restart();
  assert.deepEqual([(await ask(payer, "d1")).body.allowed, (await ask(payer, "d1")).status], [true, 200]);
  for (const user of [lapsed, stranger]) {
    for (const faults of ["d1", "d1,kv_get"]) {
      const answer = await ask(user, faults);
      assert.deepEqual([answer.status, answer.body.code, answer.body.allowed], [503, "store_unavailable", undefined]);
    }
  }
  await plangate.restart();
  assert.equal((await ask(payer, "d1,kv_get")).status, 503, "neither memory nor KV nor D1");
  const list = await plangate.request("GET", "/v1/entitlements", { headers: { authorization: `Bearer ${token(payer)}`, "x-test-faults": "d1" } });
  assert.deepEqual([list.status, list.body.code], [503, "store_unavailable"]);
});

test("a webhook that was not stored is not acknowledged, and the resend is not taken for a duplicate", async () => {
  const user = newUser();
  const { headers, body } = sign(itemEvent(user));
  const post = (faults) => plangate.request("POST", "/webhooks/clerk", { headers: { ...headers, "x-test-faults": faults }, body });
  const refused = await post("d1");
  assert.deepEqual([refused.status, refused.body.code], [503, "store_unavailable"]);
  assert.equal((await ask(user)).body.allowed, false);
  assert.equal((await post("")).body.outcome, "stored");
  assert.equal((await ask(user)).body.allowed, true);
});

test("a webhook whose answer was lost after the commit is a duplicate when it comes again, and counts", async () => {
  const user = newUser();
  const { headers, body } = sign(itemEvent(user));
  const post = (faults) => plangate.request("POST", "/webhooks/clerk", { headers: { ...headers, "x-test-faults": faults }, body });
  assert.equal((await post("d1_after_commit")).status, 503);
  assert.equal((await post("")).body.outcome, "duplicate");
  assert.equal((await ask(user)).body.allowed, true);
});

test("what the database has lost is stored when it comes again, though this isolate remembers to have stored it", async () => {
  // One that lost no answer.
  await plangate.restart();
  const user = newUser();
  const delivery = sign(itemEvent(user));
  const post = async (faults = "") => (await plangate.request("POST", "/webhooks/clerk", { headers: { ...delivery.headers, "x-test-faults": faults }, body: delivery.body })).body;
  assert.equal((await post()).outcome, "stored");
  const d1 = await plangate.d1();
  // As after it was restored to an earlier time.
  for (const table of ["deliveries WHERE payer", "records WHERE payer", "payers WHERE payer"]) {
    await d1.prepare(`DELETE FROM ${table} = ?1`).bind(`user:${user}`).run();
  }
  assert.equal((await post("d1")).code, "store_unavailable");
  assert.equal((await post()).outcome, "stored");
  assert.equal((await post()).outcome, "duplicate");
  const { attempts } = await d1.prepare("SELECT attempts FROM deliveries WHERE payer = ?1").bind(`user:${user}`).first();
  assert.equal(attempts, 2);
  assert.equal((await ask(user)).body.allowed, true);
});

test("without migrations nothing is acknowledged and nobody is let in, and health says why", async (t) => {
  const bare = await Plangate.start({ migrations: false });
  t.after(() => bare.stop());
  const user = newUser();
  assert.equal((await bare.deliver(itemEvent(user))).status, 503);
  assert.equal((await bare.check(user)).status, 503);
  const health = await bare.request("GET", "/healthz");
  assert.deepEqual([health.status, health.body.status, health.body.bindings.DB, health.body.migrations.applied], [503, "not_migrated", "ok", null]);
});

test("without its bindings the worker says so and keeps serving", async (t) => {
  for (const without of [["DB"], ["ENTITLEMENTS"]]) {
    const lame = await Plangate.start({ without });
    t.after(() => lame.stop());
    const user = newUser();
    const works = !without.includes("DB");
    assert.equal((await lame.deliver(itemEvent(user))).status, works ? 200 : 503);
    assert.equal((await lame.check(user)).status, works ? 200 : 503);
    assert.equal((await lame.request("GET", "/healthz")).body.bindings[without[0]], "unavailable");
  }
});

test("twenty webhooks for one payer at once end in the newest state, in any order", async () => {
  const user = newUser();
  const at = Date.now();
  const events = Array.from({ length: 20 }, (_, n) => itemEvent(user, { at: at + n, status: n === 19 ? "canceled" : n % 2 ? "past_due" : "active", end: at + DAY_MS }));
  const answers = await Promise.all(events.sort(() => Math.random() - 0.5).map((one) => plangate.deliver(one)));
  assert.ok(answers.every(({ status }) => status === 200));
  await plangate.restart();
  const { body } = await ask(user);
  assert.deepEqual([body.allowed, body.status], [true, "canceled"]);
});
