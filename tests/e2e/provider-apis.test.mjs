// What webhooks of Stripe, Lemon Squeezy, Paddle and Polar missed is read from their APIs: for one payer at once, and for all
// in bounded runs. The APIs are a local server with the documented shapes, asked over real HTTP.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { API_KEY, Plangate, newUser } from "./harness.mjs";
import { ProviderApis, SHOPS, delivery, newCustomer } from "./provider-apis.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
const PLANS = { pro: { ids: { stripe: ["price_pro"], lemonsqueezy: ["4711"], paddle: ["pri_pro"], polar: ["prod_pro"] } } };
const PROVIDERS = Object.keys(SHOPS);
const HOUR_MS = 3_600_000;
let apis;
let plangate;
before(async () => {
  apis = await ProviderApis.start();
  // Wrapped: what is asked after an answer is asked by the time that the answer is here.
  plangate = await Plangate.start({ bindings: { ...apis.bindings(), ADMIN_TOKEN, PLANS, RECONCILE_PAGES_PER_RUN: "100" }, outbound: "network", wrapped: true });
});
beforeEach(() => apis.clear());
after(async () => {
  await plangate.stop();
  await apis.stop();
});

const bearer = (key) => ({ headers: { authorization: `Bearer ${key}` } });
const answers = [];
const request = async (gate, ...what) => {
  const answer = await gate.request(...what);
  answers.push(answer.text);
  return answer;
};
const sync = (user, gate = plangate) => request(gate, "POST", `/v1/sync?user_id=${user}`, bearer(API_KEY));
const synced = async (user, outcome) => {
  const answer = await sync(user);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.body.synced[0].outcome, outcome, answer.text);
};
const sweep = async (gate = plangate) => {
  const answer = await request(gate, "POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
  assert.equal(answer.status, 200, answer.text);
  return answer.body.sweeps;
};
const health = async (gate = plangate) => (await request(gate, "GET", "/healthz")).body;
const allowed = async (user, gate = plangate) => (await request(gate, "GET", `/v1/check?plan=pro&user_id=${user}`, bearer(API_KEY))).body.allowed;
const delivered = async (provider, event, outcome = "stored", gate = plangate) => {
  const { body, headers } = delivery(provider, event);
  const answer = await request(gate, "POST", `/webhooks/${provider}`, { body, headers });
  assert.deepEqual([answer.status, answer.body.outcome], [200, outcome], answer.text);
};
const sql = async (text, ...values) => (await (await plangate.d1()).prepare(text).bind(...values).all()).results;
/** Everything that the worker said, anywhere. */
const assertNoKey = (gate) => {
  for (const { key, webhookSecret } of Object.values(SHOPS)) {
    for (const said of [...answers, ...gate.logs.map(({ message }) => JSON.stringify(message))]) assert.ok(!said.includes(key) && !said.includes(webhookSecret), said);
  }
};

for (const provider of PROVIDERS) {
  const { over, newId, object, event, names } = SHOPS[provider];

  test(`${provider}: an end and a purchase whose webhooks were lost are found by the sweep`, async () => {
    const [user, customer, at] = [newUser(), newCustomer(provider), Date.now() - HOUR_MS];
    const id = newId();
    await delivered(provider, event(object({ id, user, customer, at }), { at, user }));
    assert.equal(await allowed(user), true);
    apis.show(provider, { id, user, customer, at: at + 60_000, status: over });
    assert.equal((await sweep())[provider].error, null);
    assert.equal(await allowed(user), false);
    // Of a customer who is known, though the subscription names nobody.
    apis.show(provider, { customer, at: at + 120_000 });
    await sweep();
    assert.equal(await allowed(user), true);
    const found = (await sql("SELECT count(*) AS n FROM deliveries WHERE provider = ? AND event_type = 'plangate.reconciled'", provider))[0].n;
    await sweep();
    assert.equal((await sql("SELECT count(*) AS n FROM deliveries WHERE provider = ? AND event_type = 'plangate.reconciled'", provider))[0].n, found, "then nothing differs");
  });

  test(`${provider}: a page reached right after checkout is right before the webhook`, async () => {
    const [user, customer, at] = [newUser(), newCustomer(provider), Date.now() - 2000];
    await synced(user, "unknown");
    await plangate.restart();
    const others = Array.from({ length: 3 }, () => apis.show(provider, { user: newUser(), customer: newCustomer(provider), at }).id);
    const bought = apis.show(provider, { user, customer, at });
    // Lemon Squeezy's API does not say for whom something was bought: until a webhook does, nobody can know.
    if (provider === "lemonsqueezy") {
      await synced(user, "unknown");
      await delivered(provider, names(customer, user, at));
      await plangate.restart();
    }
    await synced(user, "changed");
    assert.equal(await allowed(user), true);
    for (const other of others) assert.deepEqual(await sql("SELECT id FROM records WHERE provider = ? AND id = ?", provider, other), [], "of the others nothing is taken");
    await delivered(provider, event(bought, { at: at + 1000, user }));
    assert.equal(await allowed(user), true);
    const [{ event_id: told }] = await sql("SELECT event_id FROM records WHERE provider = ? AND id = ?", provider, bought.id);
    assert.doesNotMatch(told, /^re/, "the webhook took over");
    await plangate.restart();
    await synced(user, "unchanged");
  });

  test(`${provider}: whom only a customer leads to is found by the customer`, async () => {
    const [user, customer, at] = [newUser(), newCustomer(provider), Date.now() - 60_000];
    await delivered(provider, names(customer, user, at));
    apis.show(provider, { customer, at });
    await synced(user, "changed");
    assert.equal(await allowed(user), true);
    assert.ok(apis.requests.some((path) => path.startsWith(`/${provider}/`) && path.includes(customer)), apis.requests.join("\n"));
    // And the end of it: Stripe's search would be an hour behind.
    const [bought] = apis.sold[provider].keys();
    apis.show(provider, { id: bought, customer, at: at + 30_000, status: over });
    await plangate.restart();
    await synced(user, "changed");
    assert.equal(await allowed(user), false);
  });

  test(`${provider}: a run that fails says why in /healthz, loses nothing and is taken up again`, async () => {
    const [user, customer, at] = [newUser(), newCustomer(provider), Date.now() - HOUR_MS];
    await delivered(provider, names(customer, user, at));
    apis.show(provider, { customer, at });
    const cases = [
      [{ status: 500 }, /answered 500/],
      [{ status: 401 }, /refused our key/],
      [{ status: 403 }, /refused our key/],
      [{ status: 302, headers: { location: "/elsewhere" } }, /answered 302/],
      [{ body: "<html>" }, /reading the provider's answer/],
      [{ body: { data: "none", items: "none" } }, /an answer without/],
      [{ body: {} }, /an answer without/],
      ["reset", /could not be reached/],
    ];
    for (const [fault, expected] of cases) {
      apis.fail(new RegExp(`^/${provider}/`), fault);
      const sweeps = await sweep();
      assert.match(sweeps[provider].error, expected);
      for (const other of PROVIDERS) if (other !== provider) assert.equal(sweeps[other].error, null, other);
      assert.match((await health()).providers[provider].reconcile.error, expected);
    }
    assert.equal(await allowed(user), false);
    apis.fail(new RegExp(`^/${provider}/`), { status: 429, headers: { "retry-after": "120" } });
    assert.match((await sweep())[provider].error, /left alone for 120 s/);
    const asked = apis.requests.length;
    await sweep();
    assert.ok(apis.requests.slice(asked).every((path) => !path.startsWith(`/${provider}/`)), "nobody is asked before");
    await sql("UPDATE kept SET value = json_set(value, '$.not_before', 1) WHERE name = ?", `sweep:${provider}`);
    assert.equal((await sweep())[provider].error, null);
    assert.equal(await allowed(user), true);
    assertNoKey(plangate);
  });
}

test("one entry that cannot be read spoils no other", async () => {
  for (const provider of PROVIDERS) {
    const users = [newUser(), newUser()];
    for (const user of users) {
      const customer = newCustomer(provider);
      await delivered(provider, SHOPS[provider].names(customer, user, Date.now() - HOUR_MS));
      apis.show(provider, { user, customer, at: Date.now() - HOUR_MS });
    }
    const [broken] = apis.sold[provider].values();
    (broken.attributes ?? broken).status = {};
    if (provider === "lemonsqueezy") broken.attributes.status = "active", broken.attributes.renews_at = { never: true };
    else if (provider === "polar") broken.status = "active", broken.current_period_end = { never: true };
    else apis.fail(new RegExp(`^/${provider}/.*`), { body: provider === "stripe" ? { data: [broken, [...apis.sold.stripe.values()][1]], has_more: false } : { data: [broken, [...apis.sold.paddle.values()][1]], meta: { pagination: { has_more: false } } } });
    assert.ok((await sweep())[provider].unreadable >= 1, provider);
    assert.deepEqual([await allowed(users[0]), await allowed(users[1])], [false, true], provider);
  }
});

test("hundreds of subscribers of four providers are found in bounded runs, none missed", async (t) => {
  const small = await Plangate.start({ bindings: { ...apis.bindings(), ADMIN_TOKEN, PLANS }, outbound: "network", wrapped: true });
  t.after(() => small.stop());
  const EACH = 70;
  const buyers = [];
  for (let n = 0; n < EACH; n++) {
    for (const provider of PROVIDERS) {
      const [user, customer, at] = [newUser(), newCustomer(provider), Date.now() - HOUR_MS];
      const isOver = n % 7 === 0;
      apis.show(provider, { user, customer, at, status: isOver ? SHOPS[provider].over : "active" });
      buyers.push({ provider, user, customer, isOver });
    }
  }
  let runs = 0;
  let before = -1;
  let still = 0;
  while (still < 12) {
    const asked = apis.requests.length;
    const answer = await small.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
    const counts = JSON.parse(answer.headers.get("x-test-operations"));
    const { d1_batch = 0, d1_query = 0, kv_put = 0, kv_get = 0 } = counts;
    const calls = d1_batch + d1_query + kv_put + kv_get + apis.requests.length - asked;
    assert.ok(calls <= 45, `${calls} calls`);
    const sweeps = Object.values(answer.body.sweeps);
    assert.deepEqual(sweeps.map(({ error }) => error), [null, null, null, null]);
    const stored = sweeps.reduce((sum, one) => sum + one.stored, 0);
    still = stored === before ? still + 1 : 0;
    before = stored;
    assert.ok(++runs < 200, "it ends");
  }
  assert.ok(runs > 20, `${runs} runs`);
  assert.equal(before, buyers.filter(({ isOver }) => !isOver).length);
  // Whose Lemon Squeezy's are is told by a webhook, whenever it comes.
  for (const { provider, user, customer } of buyers) if (provider === "lemonsqueezy") await delivered(provider, SHOPS.lemonsqueezy.names(customer, user, Date.now() - HOUR_MS), "stored", small);
  for (const { provider, user, isOver } of buyers) assert.equal(await allowed(user, small), !isOver, provider);
});

test("a sweep whose place is gone there begins anew, and one that was only refused goes on", async (t) => {
  const small = await Plangate.start({ bindings: { ...apis.bindings(["stripe"]), ADMIN_TOKEN, PLANS, RECONCILE_PAGES_PER_RUN: "2" }, outbound: "network" });
  t.after(() => small.stop());
  const at = Date.now() - HOUR_MS;
  // A page and the last one; of the first nothing is to be stored.
  const [bought, last] = [newUser(), SHOPS.stripe.newId()];
  apis.show("stripe", { user: bought, customer: newCustomer("stripe"), at });
  apis.show("stripe", { id: last, customer: newCustomer("stripe"), at, status: "incomplete_expired" });
  for (let n = 0; n < 24; n++) apis.show("stripe", { customer: newCustomer("stripe"), at, status: "incomplete_expired" });
  const cursor = async () => {
    const { results } = await (await small.d1()).prepare("SELECT json_extract(value, '$.listings.live.cursor') AS cursor FROM kept WHERE name = 'sweep:stripe'").all();
    return results[0].cursor;
  };
  const run = async () => (await sweep(small)).stripe.error;
  assert.deepEqual([await run(), await cursor()], [null, last]);
  for (const status of [500, 401, 403, 408]) {
    apis.fail(/starting_after/, { status });
    assert.match(await run(), /^asking stripe: it (answered|refused)/);
    assert.equal(await cursor(), last, `after ${status}`);
  }
  for (const status of [400, 404]) {
    apis.fail(/starting_after/, { status });
    assert.match(await run(), /^asking stripe: it /);
    assert.equal(await cursor(), null, `after ${status}`);
    assert.deepEqual([await run(), await cursor()], [null, last]);
  }
  // Or it is asked with the key of another account.
  apis.sold.stripe.delete(last);
  assert.equal(await run(), "asking stripe: it answered 400");
  for (let n = 0; n < 2; n++) assert.equal(await run(), null);
  assert.equal(await allowed(bought, small), true);
});

test("a provider that is down keeps none of the others from being asked", async () => {
  const limited = { status: 429, headers: { "retry-after": "7" } };
  const cases = ["stripe", "lemonsqueezy"].flatMap((down) => [[down, { status: 500 }, null], [down, limited, "7"]]);
  for (const [down, fault, retryAfter] of cases) {
    const [user, at] = [newUser(), Date.now() - 1000];
    await delivered("lemonsqueezy", SHOPS.lemonsqueezy.names(newCustomer("lemonsqueezy"), user, at));
    apis.show("polar", { external: user, customer: newCustomer("polar"), at });
    apis.fail(new RegExp(`^/${down}/`), fault);
    const answer = await sync(user);
    assert.deepEqual([answer.status, answer.body.code, answer.headers.get("retry-after")], [503, "provider_unavailable", retryAfter]);
    assert.equal(await allowed(user), true, "what the others said is stored");
    // What failed is no recent reading. Who wants to be left alone is, as far as this isolate knows.
    if (retryAfter !== null) {
      assert.equal((await sync(user)).status, 503);
      await plangate.restart();
    }
    await synced(user, "unchanged");
  }
  assertNoKey(plangate);
});

test("of two events of Stripe's of one second the API says which is right, whichever came first", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    for (const right of [0, 1]) {
      const [user, customer, at, id] = [newUser(), newCustomer("stripe"), Date.now() - 60_000, SHOPS.stripe.newId()];
      await delivered("stripe", SHOPS.stripe.names(customer, user, at));
      const pair = [2, 3].map((quantity) => SHOPS.stripe.object({ id, customer, at, quantity }));
      apis.show("stripe", { id, customer, at, quantity: [2, 3][right] });
      // The greater id wins by the rule alone.
      const events = pair.map((object, n) => SHOPS.stripe.event(object, { at, id: `evt_${n}_${user}` }));
      for (const n of order) await delivered("stripe", events[n], order[0] === 1 && n === 0 ? "stale" : "stored");
      const seats = async () => (await sql("SELECT seats FROM records WHERE id = ?", id))[0].seats;
      assert.equal(await seats(), [2, 3][right], `${order} ${right}`);
      assert.equal((await sql("SELECT count(*) AS n FROM deliveries WHERE detail = 'tied' AND event_id LIKE ?", `%${user}`))[0].n, 1);
    }
  }
});

test("what ties at this moment is asked about once the answer is newer than both", async () => {
  const [user, customer, at, id] = [newUser(), newCustomer("stripe"), Date.now(), SHOPS.stripe.newId()];
  await delivered("stripe", SHOPS.stripe.names(customer, user, at));
  apis.show("stripe", { id, customer, at, quantity: 2 });
  const tell = (quantity) => delivered("stripe", SHOPS.stripe.event(SHOPS.stripe.object({ id, customer, at, quantity }), { at, id: `evt_${quantity}_${user}` }));
  const seats = async () => (await sql("SELECT seats FROM records WHERE id = ?", id))[0].seats;
  await plangate.request("GET", `/test/pause?${id}`);
  await tell(2);
  const told = tell(3);
  await plangate.request("GET", `/test/reached?${id}`);
  assert.equal(await seats(), 3);
  assert.ok(apis.requests.every((path) => !path.includes(customer)), "not at once: it might be older");
  // An event tells the second, and an answer may be ten seconds old.
  await plangate.request("GET", "/healthz", { headers: { "x-test-clock": "11000" } });
  await plangate.request("GET", `/test/release?${id}`);
  await told;
  assert.equal(await seats(), 2);
  // With a clock that is right.
  await plangate.restart();
});

test("a key of test mode grants nothing where money is real, and /healthz says so", async (t) => {
  const gate = await Plangate.start({ bindings: { ...apis.bindings(["stripe", "lemonsqueezy"]), ADMIN_TOKEN, PLANS }, outbound: "network" });
  t.after(() => gate.stop());
  const user = newUser();
  apis.show("stripe", { user, customer: newCustomer("stripe"), at: Date.now() - HOUR_MS, livemode: false });
  const sold = apis.show("lemonsqueezy", { customer: newCustomer("lemonsqueezy"), at: Date.now() - HOUR_MS });
  sold.attributes.test_mode = true;
  await sweep(gate);
  const { providers } = await health(gate);
  for (const provider of ["stripe", "lemonsqueezy"]) assert.match(providers[provider].reconcile.error, /it is of test mode, and `ENVIRONMENT` is `production`/);
  assert.deepEqual([(await sync(user, gate)).status, await allowed(user, gate)], [503, false]);
  await gate.restart({ ENVIRONMENT: "sandbox" });
  await sweep(gate);
  assert.equal(await allowed(user, gate), true);
});

test("a provider whose key is not set is left alone, whatever address is", async (t) => {
  const gate = await Plangate.start({ bindings: { ...apis.bindings(["polar"]), ADMIN_TOKEN, PLANS, STRIPE_API_URL: `${apis.url}/stripe` }, outbound: "network" });
  t.after(() => gate.stop());
  assert.deepEqual(Object.keys(await sweep(gate)), ["polar"]);
  assert.ok(apis.requests.every((path) => path.startsWith("/polar/")));
  const keyless = await Plangate.start({ bindings: { ADMIN_TOKEN } });
  t.after(() => keyless.stop());
  const refused = await keyless.request("POST", "/v1/sync?user_id=u", bearer(API_KEY));
  for (const { settings } of Object.values(SHOPS)) assert.ok(refused.body.detail.includes(settings[0]), refused.body.detail);
});
