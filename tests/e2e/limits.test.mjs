// How often somebody may ask, what browsers may do, and what every answer carries.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { Plangate, itemEvent, newUser, token } from "./harness.mjs";

const LIMIT = 5;
const PERIOD_MS = 60_000;
const SERVER_KEYS = ["pgk_0123456789abcdef", "pgk_123456789abcdef0", "pgk_23456789abcdef01"];
const ORIGIN = "https://app.example.com";
let plangate;
before(async () => {
  plangate = await Plangate.start({
    bindings: { ALLOWED_ORIGINS: ORIGIN, ADMIN_TOKEN: "pga_0123456789abcdef", API_KEYS: SERVER_KEYS.join(), RATE_LIMIT_PERIOD_SECONDS: 60 },
    more: { ratelimits: { RATE_LIMITER: { namespace_id: "1", simple: { limit: LIMIT, period: 60 } } } },
  });
});
after(() => plangate.stop());

const bearer = (user) => ({ authorization: `Bearer ${token(user)}` });
const get = (path, headers = {}) => plangate.request("GET", path, { headers });
/**
 * With each full minute it is counted anew. Work that such a minute broke in on is done again, by somebody of whom nothing
 * was counted yet: `work` is told how often it was done before.
 */
async function withinAMinute(work) {
  for (let before = 0; ; before += 1) {
    const minute = Math.floor(Date.now() / PERIOD_MS);
    try {
      return await work(before);
    } catch (error) {
      if (Math.floor(Date.now() / PERIOD_MS) === minute) throw error;
    }
  }
}
/** Asks as often as one may, and once more. */
async function exhaust(ask, expected) {
  for (let n = 0; n < LIMIT; n += 1) assert.equal((await ask()).status, expected);
  const answer = await ask();
  assert.deepEqual([answer.status, answer.body.code, answer.headers.get("retry-after")], [429, "rate_limited", "60"]);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.equal(answer.headers.get("cache-control")?.includes("no-store"), true);
}

test("each person has a limit of their own, over every route and token", async () => {
  const ask = (user) => get("/v1/check?plan=pro", bearer(user));
  await withinAMinute(async () => {
    const [one, other] = [newUser(), newUser()];
    await plangate.delivered(itemEvent(one));
    await plangate.delivered(itemEvent(other));
    await exhaust(() => ask(one), 200);
    for (const path of ["/v1/entitlements", "/v1/gate?plan=pro"]) assert.equal((await get(path, bearer(one))).status, 429);
    assert.equal((await ask(other)).status, 200);
  });
});

test("a server has a limit by its key, and others have theirs", async () => {
  await withinAMinute(async (before) => {
    const key = { authorization: `Bearer ${SERVER_KEYS[before]}` };
    await exhaust(() => get(`/v1/check?user_id=${newUser()}`, key), 200);
    assert.equal((await get(`/v1/explain?user_id=${newUser()}`, key)).status, 429);
  });
  assert.equal((await get("/v1/check", bearer(newUser()))).status, 200);
});

test("who tries keys is limited by network, whatever the route; who has a key is not", async () => {
  const from = (ip, n) => ({ "cf-connecting-ip": ip, authorization: `Bearer pgk_guess_${n}_0123456789` });
  const paths = ["/v1/check?user_id=x", "/admin/events", "/v1/explain?user_id=x", "/v1/gate"];
  await withinAMinute(async (before) => {
    let n = 0;
    await exhaust(() => get(paths[n++ % paths.length], from(`2001:db8:${before}:2:${n}::1`, n)), 401);
    assert.equal((await get("/v1/check", from(`2001:db8:${before}:3::1`, 1))).status, 401);
    assert.equal((await get("/v1/check", { ...bearer(newUser()), "cf-connecting-ip": `2001:db8:${before}:2::1` })).status, 200);
    assert.equal((await get("/admin/events", { authorization: "Bearer pga_0123456789abcdef", "cf-connecting-ip": `2001:db8:${before}:2::1` })).status, 200);
  });
});

test("webhooks and health are not limited", async () => {
  for (let n = 0; n <= LIMIT; n += 1) {
    await plangate.delivered(itemEvent(newUser()));
    assert.equal((await get("/healthz")).status, 200);
  }
});

test("a limiter that fails limits nobody, and the log says so", async (t) => {
  const broken = await Plangate.start({ more: { kvNamespaces: { ENTITLEMENTS: "ENTITLEMENTS", RATE_LIMITER: "other" } } });
  t.after(() => broken.stop());
  assert.equal((await broken.check(newUser())).status, 200);
  assert.ok(broken.logs.some(({ message }) => message.includes("RATE_LIMITER did not answer")), JSON.stringify(broken.logs));
});

test("a preflight is kept for a day, and only origins that may ask get one", async () => {
  const ask = (origin) => plangate.request("OPTIONS", "/v1/check", { headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization" } });
  const yes = await ask(ORIGIN);
  assert.deepEqual([yes.status, yes.headers.get("access-control-max-age"), yes.headers.get("access-control-allow-origin")], [204, "86400", ORIGIN]);
  assert.match(yes.headers.get("vary"), /Origin/);
  const no = await ask("https://evil.test");
  assert.deepEqual([no.headers.get("access-control-allow-origin"), no.headers.get("access-control-max-age")], [null, null]);
  const limited = await get("/v1/check", { origin: ORIGIN, "cf-connecting-ip": "203.0.113.77" });
  assert.deepEqual([limited.status, limited.headers.get("access-control-allow-origin")], [401, ORIGIN]);
  assert.match(limited.headers.get("access-control-expose-headers"), /retry-after/);
});

test("every answer may be nothing but what it says", async () => {
  for (const path of ["/healthz", "/openapi.json", "/v1/check", "/nowhere", "/admin/events"]) {
    const { headers } = await get(path, { "cf-connecting-ip": "203.0.113.78" });
    assert.deepEqual([headers.get("x-content-type-options"), headers.get("referrer-policy")], ["nosniff", "no-referrer"], path);
    assert.equal(headers.get("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
  }
});

test("the contract is served as it is written, but for its white space", async () => {
  const document = JSON.parse(readFileSync(new URL("../../openapi.json", import.meta.url), "utf8"));
  assert.deepEqual((await get("/openapi.json")).body, document);
});
