// The client against a server that plays each answer and each failure.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { after, afterEach, before, mock, test } from "node:test";
import { createPlangate, prefetch } from "plangate";
import { FakeWorker, HELD, NO, YES, problem, tokenOf } from "./worker.mjs";

let worker;
before(async () => (worker = await FakeWorker.start()));
after(() => worker.stop());
afterEach(() => {
  worker.reset();
  mock.timers.reset();
});

const TOKEN = tokenOf("user_1");
const client = (options = {}) => createPlangate({ url: worker.url, getToken: async () => TOKEN, ...options });
const server = (options = {}) => createPlangate({ url: worker.url, apiKey: "pgk_0123456789abcdef", ...options });
const LIVE = { stale: false, age_seconds: 0, error: null };
const NOTHING = { allowed: false, reason: null, plan: null, status: null, payer: null, valid_until: null, as_of: null, source: null, version: null, stale: false, age_seconds: 0 };
const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
/** Lets everything go on that waits for nothing from outside. */
async function settled() {
  for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve));
}
const paths = () => worker.requests.map(({ method, path }) => `${method} ${path}`);

test("a yes and a no are the worker's words", async () => {
  worker.answers = ({ plan }) => (plan === "pro" ? YES : NO);
  const asking = client();
  assert.deepEqual(await asking.check({ plan: "pro" }), { ...YES, ...LIVE });
  assert.deepEqual(await asking.check({ feature: "org:export" }), { ...NO, ...LIVE });
  assert.deepEqual(worker.requests.map(({ token, body }) => [token, body]), [
    [TOKEN, { checks: [{ plan: "pro" }] }],
    [TOKEN, { checks: [{ feature: "org:export" }] }],
  ]);
});

test("the questions of one tick are one request, and equal ones one question", async () => {
  worker.answers = ({ plan, feature }) => ({ ...YES, plan: `${plan}/${feature}` });
  const asking = client();
  const results = await Promise.all([
    asking.check({ plan: "pro" }), asking.check({ feature: "export" }), asking.check({ plan: "pro" }),
    asking.check({ feature: "export", plan: "pro" }), asking.check({ plan: "pro", feature: undefined }), asking.has({ plan: "user:pro" }),
  ]);
  assert.deepEqual(worker.requests.map(({ body }) => body.checks), [[{ plan: "pro" }, { feature: "export" }, { feature: "export", plan: "pro" }, { plan: "user:pro" }]]);
  assert.deepEqual(results.map((result) => result.plan ?? result), ["pro/undefined", "undefined/export", "pro/undefined", "pro/export", "pro/undefined", true]);
  await asking.check({ plan: "pro" });
  assert.equal(worker.requests.length, 2, "a later tick asks anew");
});

test("a hundred questions are one request, and one more is two", async () => {
  worker.answers = ({ plan }) => ({ ...YES, plan });
  const asking = client();
  const ask = async (count) => {
    worker.requests = [];
    const results = await Promise.all(Array.from({ length: count }, (_, n) => asking.check({ plan: `p${n}` })));
    assert.deepEqual(results.map(({ plan }) => plan), Array.from({ length: count }, (_, n) => `p${n}`));
    return worker.requests.map(({ body }) => body.checks.length).sort((a, b) => b - a);
  };
  assert.deepEqual(await ask(100), [100]);
  assert.deepEqual(await ask(101), [100, 1]);
  assert.deepEqual(await ask(250), [100, 100, 50]);
});

test("misuse throws at once, and asks nothing", async () => {
  const getToken = async () => TOKEN;
  const apiKey = "pgk_0123456789abcdef";
  const { url } = worker;
  for (const options of [
    {}, { getToken }, { url: "", getToken }, { url: "plangate.example", getToken }, { url: "ftp://plangate.example", getToken }, { url },
    { url, apiKey: "" }, { url, getToken, apiKey }, { url, getToken: TOKEN }, { url, getToken, onError: "allow" },
    { url, getToken, maxStaleSeconds: 3601 }, { url, getToken, maxStaleSeconds: -1 }, { url, getToken, maxStaleSeconds: NaN }, { url, getToken, timeoutMs: 0 },
  ]) assert.throws(() => createPlangate(options), TypeError, JSON.stringify(options));
  const asking = client();
  for (const condition of [
    undefined, null, {}, { plan: undefined }, { plan: "" }, { plan: null }, { plan: 1 }, { plan: ["pro"] }, { plan: "x:pro" }, { plan: "org:" }, { plan: "org:a:b" },
    { plan: "a\nb" }, { plan: "\ud800" }, { plan: "a".repeat(256) }, { plan: "ä".repeat(128) }, { plna: "pro" }, { plan: "pro", feature: "" },
    { plan: "pro", features: "x" }, { role: "org:admin" }, { permission: "org:x:y" }, { plan: "pro", role: "org:admin" }, { reverification: "strict" },
  ]) {
    assert.throws(() => asking.check(condition), TypeError, JSON.stringify(condition));
    assert.throws(() => asking.has(condition), TypeError, JSON.stringify(condition));
    assert.throws(() => asking.syncUntil(condition), TypeError, JSON.stringify(condition));
  }
  assert.throws(() => asking.has({ role: "org:admin" }), /not for `role`/);
  assert.throws(() => asking.syncUntil({ plan: "pro" }, { delaysMs: Array(11).fill(1) }), TypeError);
  for (const payer of [{ user_id: "user_1" }, { userId: "" }, { userId: 1 }, { orgId: "o".repeat(256) }]) assert.throws(() => server().for(payer), TypeError);
  assert.deepEqual(worker.requests, []);
});

test("names that the worker takes are sent as they are", async () => {
  const names = ["pro", "user:pro", "u:pro", "org:team", "o:team", "organization:team", "a b", "ä".repeat(127), `org:${"a".repeat(255)}`, "😀"];
  await Promise.all(names.map((plan) => client().check({ plan })));
  assert.deepEqual(worker.requests.flatMap(({ body }) => body.checks.map(({ plan }) => plan)).sort(), [...names].sort());
});

test("an API key does not belong in a browser", () => {
  globalThis.document = {};
  try {
    assert.throws(() => server(), /does not belong in a browser/);
    client();
  } finally {
    delete globalThis.document;
  }
});

// What each failure looks like in a result. None is thrown, and none is a yes.
const FAILURES = [
  ["a refused token", problem(401, "token_invalid_issuer"), { code: "token_invalid_issuer", status: 401, request_id: "req_1", detail: "because of token_invalid_issuer", retry_after_seconds: null }],
  ["an unusable question", problem(400, "invalid_request"), { code: "invalid_request", status: 400, request_id: "req_1", detail: "because of invalid_request", retry_after_seconds: null }],
  ["too much asked", problem(429, "too_many_requests", { "retry-after": "7" }), { code: "too_many_requests", status: 429, request_id: "req_1", detail: "because of too_many_requests", retry_after_seconds: 7 }],
  ["no store", problem(503, "store_unavailable", { "retry-after": "120" }), { code: "store_unavailable", status: 503, request_id: "req_1", detail: "because of store_unavailable", retry_after_seconds: 120 }],
  ["a time that is past", problem(503, "store_unavailable", { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" }), { code: "store_unavailable", status: 503, request_id: "req_1", detail: "because of store_unavailable", retry_after_seconds: 0 }],
  ["a time that is none", problem(503, "store_unavailable", { "retry-after": "soon" }), { code: "store_unavailable", status: 503, request_id: "req_1", detail: "because of store_unavailable", retry_after_seconds: null }],
  ["a page of somebody else's", { status: 502, headers: { "x-request-id": "req_2" }, body: "<html>" }, { code: "http_error", status: 502, request_id: "req_2", detail: "the answer is 502", retry_after_seconds: null }],
  ["a 200 that is no JSON", { body: "<html>welcome to our Wi-Fi" }, { code: "invalid_response", status: 200, request_id: null, detail: "this is not an answer of plangate", retry_after_seconds: null }],
  ["a 200 that is another JSON", { body: { allowed: true } }, { code: "invalid_response", status: 200, request_id: null, detail: "this is not an answer of plangate", retry_after_seconds: null }],
  ["too few answers", { body: { results: [] } }, { code: "invalid_response", status: 200, request_id: null, detail: "this is not an answer of plangate", retry_after_seconds: null }],
  ["an answer that is neither", { body: { results: [{ ...YES, allowed: "yes" }] } }, { code: "invalid_response", status: 200, request_id: null, detail: "this is not an answer of plangate", retry_after_seconds: null }],
  ["a broken connection", "reset", { code: "network", status: null, request_id: null, detail: "TypeError: fetch failed", retry_after_seconds: null }],
];
/** Each Node says in other words how a connection broke. */
function plain({ error, ...result }) {
  if (error.code === "network") assert.match(error.detail, /^TypeError: fetch failed \(.+\)$/);
  return { ...result, error: error.code === "network" ? { ...error, detail: "TypeError: fetch failed" } : error };
}
for (const [name, answer, error] of FAILURES) {
  test(`a failure is in the result: ${name}`, async () => {
    for (const onError of ["deny", "last-known"]) {
      worker.next(answer);
      assert.deepEqual(plain(await client({ onError }).check({ plan: "pro" })), { ...NOTHING, error }, onError);
      worker.next(answer);
      assert.equal(await client({ onError }).has({ plan: "pro" }), false);
    }
    const unusable = error.status === 200 ? { body: {} } : answer;
    worker.next(unusable, unusable);
    assert.deepEqual(plain(await client().entitlements()), { entitlements: null, error });
    assert.deepEqual(plain(await client().sync()), { synced: null, entitlements: null, error });
    assert.equal(worker.requests.length, 6, "nothing is asked twice");
  });
}

/** Lets the time of a request run out once it has arrived. */
async function runOut(call, ms) {
  worker.arrival();
  worker.next(({ broken }) => broken);
  const pending = call();
  let isDone = false;
  pending.then(() => (isDone = true));
  await worker.nextRequest;
  mock.timers.tick(ms - 1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isDone, false, "not before its time");
  mock.timers.tick(1);
  const result = await pending;
  assert.equal(await worker.requests.at(-1).broken, true, "the request is broken off");
  return result;
}

test("a worker that does not answer is given up, and so is a token that does not come", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const error = (ms) => ({ code: "timeout", status: null, request_id: null, detail: `no answer within ${ms} ms`, retry_after_seconds: null });
  assert.deepEqual(await runOut(() => client({ timeoutMs: 700 }).check({ plan: "pro" }), 700), { ...NOTHING, error: error(700) });
  assert.deepEqual(await runOut(() => client().entitlements(), 10_000), { entitlements: null, error: error(10_000) });
  const never = client({ getToken: () => new Promise(() => {}) }).check({ plan: "pro" });
  await new Promise((resolve) => setImmediate(resolve));
  mock.timers.tick(10_000);
  assert.deepEqual((await never).error, error(10_000));
});

test("nobody signed in, or a token that cannot be had, is no, without a request", async () => {
  const out = await client({ getToken: async () => null }).check({ plan: "pro" });
  assert.deepEqual(out, { ...NOTHING, error: { code: "signed_out", status: null, request_id: null, detail: "nobody is signed in", retry_after_seconds: null } });
  const broken = await client({ getToken: async () => { throw new Error("offline"); } }).check({ plan: "pro" });
  assert.deepEqual(broken.error, { code: "token_unavailable", status: null, request_id: null, detail: "Error: offline", retry_after_seconds: null });
  assert.equal((await client({ getToken: () => { throw new Error("at once"); } }).check({ plan: "pro" })).error.code, "token_unavailable");
  assert.deepEqual(worker.requests, []);
});

test("a token that is refused as old is replaced once", async () => {
  for (const code of ["token_expired", "token_invalid_signature", "jwk_kid_mismatch", "session_pending"]) {
    worker.reset();
    const asked = [];
    let fresh;
    const getToken = async (options) => (asked.push(options), options?.skipCache ? (fresh = tokenOf("user_1")) : TOKEN);
    worker.answers = () => YES;
    worker.next(problem(401, code));
    assert.deepEqual(await client({ getToken }).check({ plan: "pro" }), { ...YES, ...LIVE }, code);
    assert.deepEqual(asked, [undefined, { skipCache: true }]);
    assert.deepEqual(worker.requests.map(({ token }) => token), [TOKEN, fresh]);

    worker.next(problem(401, code), problem(401, code));
    assert.equal((await client({ getToken }).check({ plan: "pro" })).error.code, code, "not twice");
    assert.equal(worker.requests.length, 4);
    assert.equal(asked.length, 4);
  }
});

test("a refusal that a new token does not cure is told as it is", async () => {
  const renewed = async () => tokenOf("user_1");
  for (const [getToken, code] of [
    [renewed, "token_invalid_authorized_parties"], [renewed, "token_invalid_issuer"],
    [async () => TOKEN, "token_expired"],
    [async (options) => { if (options) throw new Error("offline"); return TOKEN; }, "token_expired"],
  ]) {
    worker.requests = [];
    worker.next(problem(401, code));
    assert.equal((await client({ getToken }).check({ plan: "pro" })).error.code, code);
    assert.equal(worker.requests.length, 1);
  }
  worker.next(problem(401, "token_expired"));
  assert.equal((await client({ getToken: async (options) => (options ? null : TOKEN) }).check({ plan: "pro" })).error.code, "signed_out");
  worker.requests = [];
  worker.next(problem(401, "token_expired"));
  assert.equal((await server().for({ userId: "user_1" }).check({ plan: "pro" })).error.code, "token_expired");
  assert.equal(worker.requests.length, 1, "a key has no newer one");
});

test("last-known repeats a yes, marked and dated, while the worker cannot be asked", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  worker.answers = () => YES;
  const asking = client({ onError: "last-known" });
  await asking.check({ plan: "pro" });
  for (const answer of ["reset", problem(500, "internal"), problem(503, "store_unavailable"), problem(429, "too_many_requests"), { status: 502, body: "<html>" }, { body: "<html>" }]) {
    mock.timers.tick(1500);
    worker.next(answer);
    const { stale, age_seconds, error, ...rest } = await asking.check({ plan: "pro" });
    assert.deepEqual([rest, stale, typeof error.code], [YES, true, "string"]);
    assert.equal(age_seconds, Math.floor((Date.now() - 1_000_000) / 1000));
    worker.next(answer);
    assert.equal(await asking.has({ plan: "pro" }), true);
    worker.next(answer);
    assert.equal((await asking.check({ plan: "team" })).allowed, false, "another question was never answered");
    worker.next(answer);
    assert.equal((await asking.entitlements()).entitlements, null, "what is held is never told without the worker");
  }
});

test("last-known bridges a worker that does not answer", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  worker.answers = () => YES;
  const asking = client({ onError: "last-known" });
  await asking.check({ plan: "pro" });
  assert.deepEqual([(await runOut(() => asking.check({ plan: "pro" }), 10_000)).stale], [true]);
  assert.deepEqual([(await runOut(() => asking.check({ plan: "team" }), 10_000)).allowed], [false]);
});

test("a last yes ends with its valid_until, with maxStaleSeconds, and when the clock goes back", async () => {
  const start = Date.parse("2026-11-21T10:00:00Z");
  for (const [options, valid_until, after, expected] of [
    [{}, null, 299_999, true], [{}, null, 300_000, false],
    [{ maxStaleSeconds: 3600 }, null, 3_599_999, true], [{ maxStaleSeconds: 3600 }, null, 3_600_000, false],
    [{ maxStaleSeconds: 10 }, null, 9_999, true], [{ maxStaleSeconds: 10 }, null, 10_000, false],
    [{ maxStaleSeconds: 0 }, null, 0, false],
    [{}, "2026-11-21T10:01:00Z", 59_999, true], [{}, "2026-11-21T10:01:00Z", 60_000, false],
    [{}, "not a time", 0, false], [{}, null, -1, false],
  ]) {
    mock.timers.enable({ apis: ["Date"], now: start });
    worker.answers = () => ({ ...YES, valid_until });
    const asking = client({ onError: "last-known", ...options });
    assert.equal((await asking.check({ plan: "pro" })).allowed, true);
    mock.timers.setTime(start + after);
    worker.next("reset");
    const { allowed, stale } = await asking.check({ plan: "pro" });
    assert.deepEqual([allowed, stale], [expected, expected], `${JSON.stringify(options)} ${valid_until} ${after}`);
    mock.timers.reset();
  }
});

test("a last yes is taken away by a no, by a refusal, by a sync, and nobody else gets it", async () => {
  worker.answers = () => YES;
  let token = TOKEN;
  const holding = async () => {
    const asking = client({ onError: "last-known", getToken: async () => token });
    await asking.check({ plan: "pro" });
    return asking;
  };
  const isHeld = async (asking) => {
    // Nothing is asked for somebody who is not signed in.
    worker.script = [];
    worker.next("reset");
    return (await asking.check({ plan: "pro" })).allowed;
  };
  assert.equal(await isHeld(await holding()), true);

  const denying = client();
  await denying.check({ plan: "pro" });
  assert.equal(await isHeld(denying), false, "unless it is asked for, nothing is repeated");

  let asking = await holding();
  worker.next({ body: { results: [NO] } });
  await asking.check({ plan: "pro" });
  worker.next("reset");
  assert.deepEqual([(await asking.check({ plan: "pro" })).reason], [null], "a no, which is not repeated either");

  for (const refusal of [problem(401, "token_invalid"), problem(403, "forbidden"), problem(404, "not_found")]) {
    asking = await holding();
    worker.next(refusal);
    assert.equal((await asking.check({ plan: "team" })).allowed, false);
    assert.equal(await isHeld(asking), false, "a refusal");
  }

  asking = await holding();
  await asking.sync();
  assert.equal(await isHeld(asking), false, "a sync");

  for (const other of [tokenOf("user_2"), tokenOf("user_1", "org_1"), null, "opaque"]) {
    token = TOKEN;
    asking = await holding();
    token = tokenOf("user_1");
    assert.equal(await isHeld(asking), true, "a newer token of the same user");
    token = other;
    assert.equal(await isHeld(asking), false, "another's token");
    worker.script = [];
    token = TOKEN;
    assert.equal(await isHeld(asking), false, "it was forgotten, not put aside");
  }
  assert.equal(await isHeld(client({ onError: "last-known" })), false, "each client remembers for itself");
});

test("an answer that comes after another user signed in is not remembered for anybody", async () => {
  worker.answers = () => YES;
  let token = tokenOf("user_1");
  const asking = client({ onError: "last-known", getToken: async () => token });
  let release;
  worker.next(() => new Promise((resolve) => (release = () => resolve({ body: { results: [YES] } }))));
  const late = asking.check({ plan: "pro" });
  await worker.nextRequest;
  token = tokenOf("user_2");
  await asking.check({ plan: "team" });
  release();
  assert.equal((await late).allowed, true);
  worker.next("reset");
  assert.equal((await asking.check({ plan: "pro" })).allowed, false);
});

test("a late yes is not remembered over what the worker said to a later question", async () => {
  worker.answers = () => YES;
  const asking = client({ onError: "last-known" });
  const shared = server({ onError: "last-known" });
  for (const [name, of, later, expected] of [
    ["a no", asking, () => (worker.next({ body: { results: [NO] } }), asking.check({ plan: "pro" })), false],
    ["a no, and what others were told since", asking, async () => {
      worker.next({ body: { results: [NO] } });
      await asking.check({ plan: "pro" });
      worker.answers = () => NO;
      await Promise.all(Array.from({ length: 1000 }, (_, n) => asking.check({ plan: `p${n}` })));
      worker.answers = () => YES;
    }, false],
    ["a refusal", asking, () => (worker.next(problem(403, "forbidden")), asking.check({ plan: "team" })), false],
    ["a sync", asking, () => asking.sync(), false],
    ["a no and a newer yes", asking, async () => {
      worker.next({ body: { results: [NO] } });
      await asking.check({ plan: "pro" });
      await asking.check({ plan: "pro" });
    }, true],
    ["a newer yes whose end has passed", asking, () => (worker.next({ body: { results: [{ ...YES, valid_until: "2020-01-01T00:00:00Z" }] } }), asking.check({ plan: "pro" })), false],
    ["a no to another question", asking, () => (worker.next({ body: { results: [NO] } }), asking.check({ plan: "team" })), true],
    ["another's refusal", shared.for({ userId: "user_1" }), () => (worker.next(problem(403, "forbidden")), shared.for({ userId: "user_2" }).check({ plan: "pro" })), true],
  ]) {
    let release;
    worker.arrival();
    worker.next(() => new Promise((resolve) => (release = () => resolve({ body: { results: [YES] } }))));
    const late = of.check({ plan: "pro" });
    await worker.nextRequest;
    await later();
    release();
    assert.equal((await late).allowed, true, "it was the answer to that question");
    worker.next("reset");
    assert.equal((await of.check({ plan: "pro" })).allowed, expected, name);
    await asking.sync();
  }
});

test("who asks is noticed when it changes, and only then", async () => {
  let token = tokenOf("user_1");
  const asking = client({ getToken: async () => token });
  let changes = 0;
  const stop = asking.onIdentityChange(() => changes++);
  const after = async (next) => {
    token = next;
    await asking.check({ plan: "pro" });
    return changes;
  };
  assert.equal(await after(tokenOf("user_1")), 0);
  assert.equal(await after(tokenOf("user_1")), 0);
  assert.equal(await after(tokenOf("user_2")), 1);
  assert.equal(await after(tokenOf("user_2", "org_1")), 2);
  assert.equal(await after(null), 3);
  assert.equal(await after(tokenOf("user_2")), 4);
  stop();
  assert.equal(await after(null), 4);
});

test("giving up is one caller's own affair", async () => {
  // A request that is not broken off would end by itself, late.
  mock.timers.enable({ apis: ["setTimeout"] });
  worker.answers = () => YES;
  let tokens = 0;
  const asking = client({ getToken: async () => (tokens++, TOKEN) });
  const reason = new Error("left the page");
  const [one, two] = [new AbortController(), new AbortController()];
  let release;
  worker.next((asked) => Promise.race([new Promise((resolve) => (release = () => resolve(worker.usual(asked)))), asked.broken]));
  const gone = asking.check({ plan: "pro" }, { signal: one.signal });
  const alone = asking.check({ plan: "business" }, { signal: one.signal });
  const same = asking.check({ plan: "pro" });
  const other = asking.check({ plan: "team" }, { signal: two.signal });
  await worker.nextRequest;
  one.abort(reason);
  for (const each of [gone, alone]) await assert.rejects(each, (error) => error === reason);
  release();
  assert.equal((await same).allowed, true);
  assert.equal((await other).allowed, true);
  two.abort();

  worker.arrival();
  worker.next(({ broken }) => broken);
  const [three, four] = [new AbortController(), new AbortController()];
  const both = [asking.check({ plan: "pro" }, { signal: three.signal }), asking.check({ plan: "team" }, { signal: four.signal })];
  await worker.nextRequest;
  three.abort(reason);
  four.abort(reason);
  await Promise.all(both.map((each) => assert.rejects(each, (error) => error === reason)));
  assert.equal(await worker.requests.at(-1).broken, true, "nobody waits any more");

  worker.requests = [];
  tokens = 0;
  await assert.rejects(asking.check({ plan: "pro" }, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
  const early = new AbortController();
  const left = asking.check({ plan: "pro" }, { signal: early.signal });
  early.abort(reason);
  await assert.rejects(left, (error) => error === reason);
  for (const call of [asking.entitlements, asking.sync]) await assert.rejects(call({ signal: AbortSignal.abort(reason) }), (error) => error === reason);
  await settled();
  assert.equal(tokens, 0);
  assert.deepEqual(worker.requests, [], "what nobody waits for is not asked");

  for (const call of [asking.entitlements, asking.sync]) {
    worker.arrival();
    worker.next(({ broken }) => broken);
    const controller = new AbortController();
    const pending = call({ signal: controller.signal });
    await worker.nextRequest;
    controller.abort(reason);
    await assert.rejects(pending, (error) => error === reason);
  }
});

test("a server asks for anybody", async () => {
  worker.answers = () => YES;
  const asking = server({ onError: "last-known" });
  await asking.for({ userId: "user_1", orgId: "org_1" }).check({ plan: "pro" });
  await asking.for({ userId: "user_2", orgId: null }).check({ plan: "pro" });
  await asking.for({ userId: "user 3&", orgId: undefined }).entitlements();
  await asking.for({ orgId: "org_1" }).sync();
  assert.deepEqual(worker.requests.map(({ method, path, token, body }) => [method, path, token, body]), [
    ["POST", "/v1/check", "pgk_0123456789abcdef", { checks: [{ plan: "pro" }], user_id: "user_1", org_id: "org_1" }],
    ["POST", "/v1/check", "pgk_0123456789abcdef", { checks: [{ plan: "pro" }], user_id: "user_2" }],
    ["GET", "/v1/entitlements?user_id=user+3%26", "pgk_0123456789abcdef", ""],
    ["POST", "/v1/sync", "pgk_0123456789abcdef", { org_id: "org_1" }],
  ]);
  worker.requests = [];
  for (const nobody of [{}, { userId: null }, { userId: null, orgId: undefined }]) {
    assert.equal((await asking.for(nobody).check({ plan: "pro" })).error.code, "signed_out");
  }
  assert.deepEqual(worker.requests, []);

  const isHeld = async (payer) => {
    worker.next("reset");
    return (await asking.for(payer).check({ plan: "pro" })).allowed;
  };
  assert.equal(await isHeld({ userId: "user_1", orgId: "org_1" }), true);
  assert.equal(await isHeld({ userId: "user_2" }), true);
  assert.equal(await isHeld({ userId: "user_1" }), false);
  assert.equal(await isHeld({ userId: "user_1", orgId: "org_2" }), false);
  assert.equal(await isHeld({}), false);
});

test("a server remembers a thousand answers, the newest", async () => {
  worker.answers = () => YES;
  const asking = server({ onError: "last-known" });
  const user = asking.for({ userId: "user_1" });
  for (let n = 0; n < 11; n++) await Promise.all(Array.from({ length: 100 }, (_, m) => user.check({ plan: `p${n * 100 + m}` })));
  const held = async (plan) => {
    worker.next("reset");
    return (await asking.for({ userId: "user_1" }).check({ plan })).allowed;
  };
  assert.deepEqual([await held("p0"), await held("p99"), await held("p100"), await held("p1099")], [false, false, true, true]);
});

test("sync and entitlements are handed on", async () => {
  const synced = [{ payer: { type: "user", id: "user_1" }, outcome: "changed" }];
  worker.next({ body: { synced, entitlements: HELD } });
  assert.deepEqual(await client().sync(), { synced, entitlements: HELD, error: null });
  assert.deepEqual(await client().entitlements(), { entitlements: HELD, error: null });
  assert.deepEqual(worker.requests.map(({ method, path, token, body }) => [method, path, token, body]), [["POST", "/v1/sync", TOKEN, ""], ["GET", "/v1/entitlements", TOKEN, ""]]);
});

test("what a framework has in front of fetch is told not to cache, where requests can say so", async () => {
  const said = [];
  const asking = client({ fetch: (url, options) => (said.push(options.cache), fetch(url, options)) });
  const ask = async () => {
    await Promise.all([asking.check({ plan: "pro" }), asking.entitlements(), asking.sync()]);
    return said.splice(0);
  };
  assert.deepEqual(await ask(), ["no-store", "no-store", "no-store"]);
  // A Worker of before 2024-11-11 would throw.
  const { cache } = Object.getOwnPropertyDescriptors(Request.prototype);
  delete Request.prototype.cache;
  try {
    assert.deepEqual(await ask(), [undefined, undefined, undefined]);
  } finally {
    Object.defineProperty(Request.prototype, "cache", cache);
  }
  const { Request: known } = globalThis;
  delete globalThis.Request;
  try {
    const told = client({ fetch: async () => Response.json({ results: [YES] }) });
    assert.equal((await told.check({ plan: "pro" })).error, null, "as where a test has put nothing but a fetch");
  } finally {
    globalThis.Request = known;
  }
});

test("what Next.js throws to stop rendering ahead of time goes through", async () => {
  const stop = Object.assign(new Error("Dynamic server usage"), { digest: "DYNAMIC_SERVER_USAGE" });
  const stopping = () => Promise.reject(stop);
  const isStop = (error) => error === stop;
  for (const asking of [client({ fetch: stopping }), client({ getToken: stopping }), server({ fetch: stopping, onError: "last-known" }).for({ userId: "user_1" })]) {
    const all = [asking.check({ plan: "pro" }), asking.check({ plan: "pro" }), asking.has({ plan: "team" }), asking.entitlements(), asking.sync()];
    for (const each of [...all, asking.syncUntil({ plan: "pro" }), prefetch(asking, [{ plan: "pro" }])]) await assert.rejects(each, isStop);
  }
  assert.deepEqual(worker.requests, []);
});

test("a server's failure that a browser is told of by a number is one like any other", async () => {
  const failed = Object.assign(new Error("An error occurred in the Server Components render."), { digest: "2338481211" });
  assert.equal((await client({ getToken: () => Promise.reject(failed) }).check({ plan: "pro" })).error.code, "token_unavailable");
  assert.equal((await client({ fetch: () => Promise.reject(failed) }).entitlements()).error.code, "network");
});

test("a server that remembers nothing looks at no clock, which Next.js would not prerender", async (t) => {
  const now = t.mock.method(Date, "now");
  const asking = server({ fetch: async (url) => Response.json(String(url).endsWith("check") ? { results: [YES] } : HELD) }).for({ userId: "user_1" });
  assert.equal((await asking.check({ plan: "pro" })).allowed, true);
  assert.equal((await asking.entitlements()).error, null);
  assert.equal(now.mock.callCount(), 0);
});

test("the address may have a path, and slashes behind it", async () => {
  for (const url of [`${worker.url}/plan/gate/`, new URL(`${worker.url}/plan/gate//?x#y`)]) {
    await client({ url }).entitlements();
    assert.equal(worker.requests.at(-1).path, "/plan/gate/v1/entitlements");
  }
});

test("the return from checkout looks again until the grant shows", async () => {
  let checks = 0;
  worker.answers = () => (++checks < 3 ? NO : YES);
  const result = await client().syncUntil({ plan: "pro" }, { delaysMs: [1, 1, 1] });
  assert.deepEqual(result, { ...YES, ...LIVE, sync_error: null });
  assert.deepEqual(paths(), Array(3).fill(["POST /v1/sync", "POST /v1/check"]).flat());
});

test("the return from checkout does not look for ever", async () => {
  const result = await client().syncUntil({ plan: "pro" }, { delaysMs: [1, 1] });
  assert.deepEqual(result, { ...NO, ...LIVE, sync_error: null });
  assert.equal(worker.requests.length, 6);
});

test("the pauses of the return from checkout", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const pending = client({ fetch: async (url) => Response.json(String(url).endsWith("sync") ? { synced: [], entitlements: HELD } : { results: [NO] }) }).syncUntil({ plan: "pro" });
  let isDone = false;
  pending.then(() => (isDone = true));
  let waited = 0;
  for (const pause of [2000, 3000, 5000, 8000]) {
    await settled();
    mock.timers.tick(pause - 1);
    await settled();
    assert.equal(isDone, false, `${waited} ms`);
    mock.timers.tick(1);
    waited += pause;
  }
  await settled();
  assert.equal(isDone, true, `${waited} ms`);
});

test("without a provider's API to ask, the return from checkout waits for the webhook", async () => {
  let checks = 0;
  worker.usual = ({ path }) => (path === "/v1/sync" ? problem(503, "sync_not_configured") : { body: { results: [++checks < 2 ? NO : YES] } });
  const result = await client().syncUntil({ plan: "pro" }, { delaysMs: [1, 1, 1] });
  assert.deepEqual([result.allowed, result.error, result.sync_error.code], [true, null, "sync_not_configured"]);
  assert.deepEqual(paths(), ["POST /v1/sync", "POST /v1/check", "POST /v1/check"]);
});

test("a sync that was lost on the way is made again", async () => {
  worker.next("reset");
  const result = await client().syncUntil({ plan: "pro" }, { delaysMs: [1] });
  assert.equal(result.sync_error, null);
  assert.deepEqual(paths(), ["POST /v1/sync", "POST /v1/check", "POST /v1/sync", "POST /v1/check"]);
});

test("a worker that asks to be left alone is", async () => {
  for (const answer of [problem(429, "too_many_requests", { "retry-after": "9" }), problem(503, "store_unavailable", { "retry-after": "9" }), problem(401, "token_invalid")]) {
    worker.requests = [];
    worker.usual = () => answer;
    const result = await client().syncUntil({ plan: "pro" }, { delaysMs: [1, 1, 1] });
    assert.equal(result.error.code, answer.body.code);
    assert.deepEqual(paths(), ["POST /v1/sync", "POST /v1/check"]);
  }
  let tokens = 0;
  const nobody = client({ getToken: async () => (tokens++, null) });
  assert.equal((await nobody.syncUntil({ plan: "pro" }, { delaysMs: [1, 1, 1] })).error.code, "signed_out");
  assert.equal(tokens, 2, "once for the sync and once for the check");
});

test("the return from checkout can be left, and leaves no timer behind", async () => {
  const controller = new AbortController();
  const reason = new Error("left the page");
  const fetch = async (url) => Response.json(String(url).endsWith("sync") ? { synced: [], entitlements: HELD } : { results: [NO] });
  const before = timers();
  const pending = client({ fetch }).syncUntil({ plan: "pro" }, { delaysMs: [60_000], signal: controller.signal });
  await settled();
  assert.equal(timers(), before + 1, "it waits");
  controller.abort(reason);
  await assert.rejects(pending, (error) => error === reason);
  assert.equal(timers(), before);
});

test("a call leaves neither a timer nor a listener behind", async () => {
  const { signal } = new AbortController();
  let checks = 0;
  const fetch = async (url) => Response.json(String(url).endsWith("check") ? { results: [checks++ ? YES : NO] } : String(url).endsWith("sync") ? { synced: [], entitlements: HELD } : HELD);
  const asking = client({ fetch });
  const before = timers();
  await Promise.all([asking.check({ plan: "pro" }, { signal }), asking.entitlements({ signal }), asking.sync({ signal }), asking.syncUntil({ plan: "pro" }, { signal, delaysMs: [1] })]);
  checks = 0;
  assert.equal((await asking.syncUntil({ plan: "pro" }, { signal, delaysMs: [1] })).allowed, true);
  assert.equal(checks, 2);
  assert.equal(timers(), before);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("a page's answers can be asked for before it is rendered", async () => {
  mock.timers.enable({ apis: ["Date"], now: 5000 });
  worker.answers = ({ plan }) => (plan === "pro" ? YES : NO);
  const initial = await prefetch(client(), [{ plan: "pro" }, { feature: "export" }]);
  assert.deepEqual(JSON.parse(JSON.stringify(initial)), {
    at: 5000, answers: { '["pro",null]': { ...YES, ...LIVE }, '[null,"export"]': { ...NO, ...LIVE } },
  });
  assert.equal(worker.requests.length, 1);
  worker.next("reset");
  assert.deepEqual(await prefetch(client(), [{ plan: "pro" }]), { at: 5000, answers: {} }, "what is not known is left out");
  await assert.rejects(prefetch(client(), [{}]), TypeError);
});

test("neither a token nor a key is in any result", async () => {
  for (const [asking, secret] of [[client({ onError: "last-known" }), TOKEN], [server({ onError: "last-known" }).for({ userId: "user_1" }), "pgk_0123456789abcdef"]]) {
    for (const answer of [undefined, "reset", problem(401, "token_invalid"), { body: "<html>" }]) {
      if (answer) worker.next(answer);
      assert.ok(!JSON.stringify(await asking.check({ plan: "pro" })).includes(secret));
    }
  }
});
