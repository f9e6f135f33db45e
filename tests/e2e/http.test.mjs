// The contract of the routes: methods, paths, bodies, questions, settings, health.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { API_KEY, BINDINGS, Plangate, SECRET, itemEvent, newUser, sign, subscriptionEvent, item, token } from "./harness.mjs";

const PLANS = {
  basic: { features: ["export"], limits: { projects: 10 } },
  pro: { features: ["api"], includes: ["basic"], limits: { projects: "unlimited", seats: 5 } },
  free_user: { free: true, features: ["themes"], limits: { projects: 1 } },
};
let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { PLANS } })));
after(() => plangate.stop());

const problem = (answer, status, code) => {
  assert.deepEqual([answer.status, answer.body?.code, answer.headers.get("content-type")], [status, code, "application/problem+json"], answer.text);
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.request_id, answer.headers.get("x-request-id"));
  for (const field of ["type", "title", "detail"]) assert.equal(typeof answer.body[field], "string", field);
};

test("unknown paths and providers are 404, wrong methods 405 with what is allowed", async () => {
  for (const path of ["/", "/v1", "/v1/check/", "/v2/check", "/admin/events", "/webhooks", "/panic-probe", "/V1/CHECK", "/v1//check", "/%76%31/check"]) {
    problem(await plangate.request("GET", path), 404, "not_found");
  }
  for (const path of ["/webhooks/", "/webhooks/nobody", "/webhooks/clerk/", "/webhooks/Clerk"]) {
    problem(await plangate.request("POST", path), 404, "unknown_provider");
  }
  for (const [method, path, allow] of [
    ["GET", "/webhooks/clerk", "POST"],
    ["PUT", "/webhooks/clerk", "POST"],
    ["DELETE", "/v1/check", "GET, HEAD, POST"],
    ["POST", "/v1/entitlements", "GET, HEAD"],
    ["POST", "/healthz", "GET, HEAD"],
  ]) {
    const answer = await plangate.request(method, path);
    problem(answer, 405, "method_not_allowed");
    assert.equal(answer.headers.get("allow"), allow);
  }
});

test("a body over the limit is refused, announced or not, and one at the limit is read", async () => {
  const limit = 512 * 1024;
  const atLimit = sign(Buffer.alloc(limit, "x"));
  assert.equal((await plangate.request("POST", "/webhooks/clerk", atLimit)).body.outcome, "dead_letter");
  const over = sign(Buffer.alloc(limit + 1, "x"));
  problem(await plangate.request("POST", "/webhooks/clerk", over), 413, "payload_too_large");
  const stream = (body) => new ReadableStream({ start: (to) => { for (let at = 0; at < body.length; at += 65536) to.enqueue(body.subarray(at, at + 65536)); to.close(); } });
  const chunked = async ({ headers, body }) => {
    const response = await fetch(new URL("/webhooks/clerk", plangate.url), { method: "POST", headers, body: stream(body), duplex: "half" });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text) };
  };
  problem(await chunked(over), 413, "payload_too_large");
  assert.equal((await chunked(sign(itemEvent(newUser())))).body.outcome, "stored");
});

test("a body that comes a byte at a time is read; of one that stops half way nothing is kept, and others do not wait for it", { timeout: 60_000 }, async () => {
  const framings = {
    announced: { header: ({ length }) => `content-length: ${length}`, frame: (part) => part, end: "" },
    chunked: { header: () => "transfer-encoding: chunked", frame: (part) => Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]), end: "0\r\n\r\n" },
  };
  for (const [name, { header, frame, end }] of Object.entries(framings)) {
    const delivery = sign(itemEvent(newUser()));
    const { headers, body } = delivery;
    const open = async () => {
      const socket = connect(plangate.url.port, plangate.url.hostname);
      await once(socket, "connect");
      socket.setNoDelay(true);
      const lines = [...Object.entries(headers).map(([key, value]) => `${key}: ${value}`), header(body)];
      socket.write(`POST /webhooks/clerk HTTP/1.1\r\nhost: ${plangate.url.host}\r\n${lines.join("\r\n")}\r\n\r\n`);
      return socket;
    };
    const half = await open();
    half.write(frame(body.subarray(0, 100)));
    await plangate.delivered(itemEvent(newUser()));
    half.end();
    assert.match(String((await once(half, "data"))[0]), /^HTTP\/1.1 400 /, name);
    const gone = await open();
    gone.write(frame(body.subarray(0, 100)));
    gone.resetAndDestroy();

    const slow = await open();
    for (const byte of body) await new Promise((done) => slow.write(frame(Buffer.from([byte])), done));
    slow.write(end);
    let answer = "";
    while (!answer.includes("outcome")) answer += (await once(slow, "data"))[0];
    slow.destroy();
    assert.match(answer, /^HTTP\/1.1 200 [^]*"outcome":"stored"/, name);
    assert.equal((await plangate.request("POST", "/webhooks/clerk", delivery)).body.outcome, "duplicate");
  }
});

test("an unusable question is 400 and says why", async () => {
  const user = newUser();
  const get = (query) => plangate.check(user, query);
  for (const [query, detail] of [
    ["plna=pro", /plna/], ["plan=", /1 to 255/], ["plan=team:pro", /scope/], ["feature=org:a:b", /colon/], [`plan=${"x".repeat(256)}`, /1 to 255/],
  ]) {
    const answer = await get(query);
    problem(answer, 400, "invalid_request");
    assert.match(answer.body.detail, detail);
  }
  const post = (body) => plangate.request("POST", "/v1/check", { headers: { authorization: `Bearer ${token(user)}` }, body });
  for (const body of ["", "[]", "{", '{"plna":"pro"}', '{"checks":[]}', JSON.stringify({ checks: Array(101).fill({}) })]) {
    problem(await post(body), 400, "invalid_request");
  }
  problem(await post(`{"plan":"${"x".repeat(70_000)}"}`), 413, "payload_too_large");
  // Somebody who pays and asks so for a plan that nobody has would be told yes: they have some plan.
  await plangate.delivered(itemEvent(user));
  const beside = await plangate.request("POST", "/v1/check?plan=enterprise", { headers: { authorization: `Bearer ${token(user)}` }, body: "{}" });
  problem(beside, 400, "invalid_request");
  assert.match(beside.body.detail, /no query/);
});

test("plans include plans, give features and limits, and unknown names are named", async () => {
  const user = newUser();
  const reason = async (query) => (await plangate.check(user, query)).body.reason;
  assert.equal(await reason("plan=free_user"), "active");
  assert.equal(await reason("feature=themes"), "active");
  assert.equal(await reason("plan=pro"), "no_subscription");
  await plangate.delivered(itemEvent(user));
  for (const [query, expected] of [
    ["", "active"], ["plan=pro", "active"], ["plan=basic", "active"], ["feature=export", "active"], ["plan=pro&feature=api", "active"],
    ["plan=free_user", "plan_mismatch"], ["feature=themes", "feature_not_in_plan"], ["plan=enterprise", "unknown_plan"], ["feature=sso", "unknown_feature"],
    ["plan=pro&feature=sso", "unknown_feature"], ["plan=org:pro", "no_subscription"],
  ]) assert.deepEqual([query, await reason(query)], [query, expected]);

  const { body } = await plangate.request("GET", "/v1/entitlements", { headers: { authorization: `Bearer ${token(user)}` } });
  assert.deepEqual([body.plans, body.features, body.limits], [["basic", "pro"], ["api", "export"], { projects: null, seats: 5 }]);
});

test("several questions are answered in their order", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const { body } = await plangate.request("POST", "/v1/check", {
    headers: { authorization: `Bearer ${token(user)}` },
    body: JSON.stringify({ checks: [{ plan: "pro" }, { plan: "enterprise" }, { feature: "api", plan: "basic" }, {}] }),
  });
  assert.deepEqual(body.results.map(({ allowed }) => allowed), [true, false, true, true]);
});

test("entitlements have a tag that stays while nothing changes, and no shared cache keeps an answer", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const get = (headers = {}) => plangate.request("GET", "/v1/entitlements", { headers: { authorization: `Bearer ${token(user)}`, ...headers } });
  const first = await get();
  const etag = first.headers.get("etag");
  assert.match(etag, /^W\/"[\w-]+"$/);
  assert.equal(first.headers.get("cache-control"), "private, no-cache");
  const unchanged = await get({ "if-none-match": etag });
  assert.deepEqual([unchanged.status, unchanged.text, unchanged.headers.get("etag")], [304, "", etag]);
  await plangate.delivered(itemEvent(user, { at: Date.now() + 1, status: "canceled" }));
  const changed = await get({ "if-none-match": etag });
  assert.equal(changed.status, 200);
  assert.notEqual(changed.headers.get("etag"), etag);
  assert.notEqual(changed.body.cancel_at, null);
  const check = await plangate.check(user);
  assert.equal(check.headers.get("cache-control"), "private, no-store");
  assert.match(check.headers.get("vary"), /Authorization/);
  problem(await plangate.request("GET", "/v1/entitlements?plan=pro", { headers: { authorization: `Bearer ${token(user)}` } }), 400, "invalid_request");
});

test("HEAD answers like GET without a body", async () => {
  const answer = await plangate.request("HEAD", "/healthz");
  assert.deepEqual([answer.status, answer.text], [200, ""]);
});

test("health shows bindings, migrations and the last delivery", async () => {
  await plangate.delivered(itemEvent(newUser()));
  const { status, body } = await plangate.request("GET", "/healthz");
  assert.equal(status, 200);
  assert.equal(body.status, "ok");
  assert.deepEqual(body.bindings, { DB: "ok", ENTITLEMENTS: "ok" });
  assert.equal(body.migrations.applied, body.migrations.expected);
  assert.ok(Date.now() - Date.parse(body.providers.clerk.last_delivery_at) < 60_000);
  assert.ok(body.providers.clerk.deliveries.stored >= 1);
});

test("a database that lacks a migration is not migrated, and one that has later ones will do", async (t) => {
  const own = await Plangate.start();
  t.after(() => own.stop());
  const d1 = await own.d1();
  const health = async () => {
    const { status, body } = await own.request("GET", "/healthz");
    return [status, body.status, body.migrations.applied];
  };
  const [, , latest] = await health();
  assert.deepEqual(await health(), [200, "ok", latest]);
  await d1.prepare("INSERT INTO d1_migrations (name) VALUES ('9999_of_a_worker_to_come.sql')").run();
  assert.deepEqual(await health(), [200, "ok", "9999_of_a_worker_to_come.sql"]);
  await d1.prepare("DELETE FROM d1_migrations WHERE name >= ?").bind(latest).run();
  const [status, word, applied] = await health();
  assert.deepEqual([status, word], [503, "not_migrated"]);
  assert.ok(applied < latest);
});

test("of tables that are missing health says which migration was the last, and a delivery comes again", async (t) => {
  const own = await Plangate.start();
  t.after(() => own.stop());
  const d1 = await own.d1();
  const health = async () => {
    const { status, body } = await own.request("GET", "/healthz");
    return [status, body.status, body.bindings.DB, body.migrations.applied];
  };
  // As where 0005 is the first of those that failed, or were never applied.
  await d1.prepare("DROP TABLE outbox").run();
  await d1.prepare("DELETE FROM d1_migrations WHERE name >= '0005'").run();
  assert.deepEqual(await health(), [503, "not_migrated", "ok", "0004_customers.sql"]);
  const user = newUser();
  const delivery = itemEvent(user);
  await d1.prepare("ALTER TABLE customers RENAME TO missing").run();
  problem(await own.deliver(delivery, { id: "msg_1" }), 503, "store_unavailable");
  assert.deepEqual(await health(), [503, "not_migrated", "ok", "0004_customers.sql"]);
  await d1.prepare("ALTER TABLE missing RENAME TO customers").run();
  await own.delivered(delivery, "stored", { id: "msg_1" });
  await d1.prepare("DROP TABLE d1_migrations").run();
  assert.deepEqual(await health(), [503, "not_migrated", "ok", null]);
});

test("with nothing set, every setting that is needed is named at once, and no value ever", async (t) => {
  const bare = await Plangate.start({ bindings: { CLERK_WEBHOOK_SIGNING_SECRET: undefined, CLERK_JWT_KEY: undefined, API_KEYS: undefined } });
  t.after(() => bare.stop());
  const needed = [/CLERK_WEBHOOK_SIGNING_SECRET/, /CLERK_JWT_KEY, CLERK_PUBLISHABLE_KEY or CLERK_SECRET_KEY/, /API_KEYS/];
  const hook = await bare.deliver(itemEvent(newUser()));
  problem(hook, 503, "provider_not_configured");
  const check = await bare.check(newUser());
  problem(check, 503, "auth_not_configured");
  const health = await bare.request("GET", "/healthz");
  assert.deepEqual([health.status, health.body.status], [503, "misconfigured"]);
  for (const name of needed) {
    for (const text of [hook.body.detail, check.body.detail, JSON.stringify(health.body.settings.missing)]) assert.match(text, name);
  }
});

test("a provider without a secret says which, where nothing else is wrong", async () => {
  const answer = await plangate.request("POST", "/webhooks/stripe", { body: "{}" });
  problem(answer, 503, "provider_not_configured");
  assert.equal(answer.body.detail, "STRIPE_WEBHOOK_SECRET is not set");
});

test("a server key that is there and unusable is not said to be missing", async (t) => {
  const short = await Plangate.start({ bindings: { API_KEYS: "hush" } });
  t.after(() => short.stop());
  const answer = await short.request("GET", "/v1/check", { headers: { authorization: "Bearer hush" } });
  problem(answer, 401, "invalid_api_key");
  assert.equal(answer.body.detail, "it is none of API_KEYS");
});

test("unusable settings are named without their values, and what is right works on", async (t) => {
  const wrong = await Plangate.start({
    bindings: { CLERK_WEBHOOK_SIGNING_SECRET: `${SECRET},whsec_hush!`, API_KEYS: `${API_KEY},hush`, PLANS: { pro: { feature: [] } }, PAST_DUE_GRACE_DAYS: "hush" },
  });
  t.after(() => wrong.stop());
  const user = newUser();
  await wrong.delivered(itemEvent(user));
  problem(await wrong.check(user), 503, "catalog_unusable");
  const health = await wrong.request("GET", "/healthz");
  assert.deepEqual([health.status, health.body.status], [503, "misconfigured"]);
  assert.deepEqual(health.body.settings.unusable.map(({ setting }) => setting), ["CLERK_WEBHOOK_SIGNING_SECRET", "API_KEYS", "PLANS", "PAST_DUE_GRACE_DAYS"]);
  assert.ok(!(health.text + JSON.stringify(wrong.logs)).includes("hush"));
});

test("a key with lost or escaped newlines, the other name of the secret, and PLANS as text work", async (t) => {
  const odd = await Plangate.start({
    bindings: {
      CLERK_JWT_KEY: BINDINGS.CLERK_JWT_KEY.replaceAll("\n", "\\n"), CLERK_WEBHOOK_SIGNING_SECRET: undefined, CLERK_WEBHOOK_SECRET: SECRET,
      PLANS: JSON.stringify(PLANS), PAST_DUE_GRACE_DAYS: 3,
    },
  });
  t.after(() => odd.stop());
  const user = newUser();
  await odd.delivered(itemEvent(user, { status: "past_due", end: Date.now() - 1000 }));
  const { body } = await odd.check(user, "feature=export");
  assert.deepEqual([body.allowed, body.reason], [true, "past_due_grace"]);
});
