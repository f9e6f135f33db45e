// The npm package `plangate` against the built worker: as a server, as a signed-in browser, and inside another worker.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { createPlangate } from "../../client/dist/index.js";
import { ClerkApi } from "./clerk-api.mjs";
import { API_KEY, DAY_MS, OTHER_KEYS, Plangate, item, itemEvent, newOrg, newUser, token } from "./harness.mjs";

const CLIENT = fileURLToPath(new URL("../../client/dist/", import.meta.url));

const PLANS = { pro: {}, team: { features: ["export"] } };

let clerk;
let plangate;
before(async () => {
  clerk = await ClerkApi.start();
  plangate = await Plangate.start({ bindings: { ...clerk.bindings, PLANS }, outbound: "network" });
});
after(async () => {
  await plangate?.stop();
  await clerk?.stop();
});

const as = (user, { org, ...options } = {}) => createPlangate({ url: plangate.url, getToken: async () => token(user, { org }), ...options });
const server = (options = {}) => createPlangate({ url: plangate.url, apiKey: API_KEY, ...options });
const brief = ({ allowed, reason, plan, status, stale, error }) => ({ allowed, reason, plan, status, stale, error });
const nothing = { allowed: false, reason: "no_subscription", plan: "free_user", status: null, stale: false, error: null };
const active = { allowed: true, reason: "active", plan: "pro", status: "active", stale: false, error: null };

test("a signed-in user is denied, pays, and is let in", async () => {
  const user = newUser();
  const client = as(user);
  assert.deepEqual(brief(await client.check({ plan: "pro" })), nothing);
  await plangate.delivered(itemEvent(user));
  const [pro, team, has] = await Promise.all([client.check({ plan: "user:pro" }), client.check({ plan: "team" }), client.has({ plan: "pro" })]);
  assert.deepEqual(brief(pro), active);
  assert.deepEqual([team.allowed, team.reason, has], [false, "plan_mismatch", true]);
  assert.deepEqual(pro.payer, { type: "user", id: user });
  const { entitlements, error } = await client.entitlements();
  assert.deepEqual([entitlements.plans, error], [["pro"], null]);
});

test("a server asks for a user and an organization with its key", async () => {
  const [user, org] = [newUser(), newOrg()];
  await plangate.delivered(itemEvent(org, { plan: "team" }));
  const { for: payer } = server();
  assert.equal(await payer({ userId: user, orgId: org }).has({ plan: "org:team" }), true);
  assert.equal(await payer({ orgId: org }).has({ plan: "team" }), true);
  assert.equal(await payer({ userId: user }).has({ plan: "team" }), false);
  assert.deepEqual((await payer({ userId: user, orgId: org }).entitlements()).entitlements.plans, ["free_user", "team"]);
  const refused = await createPlangate({ url: plangate.url, apiKey: "not-the-key-0123456789" }).for({ userId: user }).check({ plan: "team" });
  assert.deepEqual([refused.allowed, refused.error.code, refused.error.status], [false, "invalid_api_key", 401]);
  assert.match(refused.error.request_id, /./);
});

test("a hundred and one questions are two requests and come back in order", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const requests = [];
  const client = as(user, { fetch: (...request) => (requests.push(request), fetch(...request)) });
  const names = Array.from({ length: 101 }, (_, n) => (n % 50 === 0 ? { plan: "pro", feature: undefined } : { plan: `other-${n}` }));
  const results = await Promise.all(names.map((condition) => client.check(condition)));
  assert.deepEqual(results.map(({ allowed }) => allowed), names.map(({ plan }) => plan === "pro"));
  assert.equal(requests.length, 1, "equal questions are one, so these are 99");
  await Promise.all(Array.from({ length: 101 }, (_, n) => client.check({ plan: `p${n}` })));
  assert.equal(requests.length, 3);
});

test("on the return from checkout the grant shows before the webhook", async () => {
  const user = newUser();
  const client = as(user);
  assert.equal((await client.check({ plan: "pro" })).allowed, false);
  clerk.show(item(user));
  const { synced, entitlements, error } = await client.sync();
  assert.deepEqual([synced, entitlements?.plans, error], [[{ payer: { type: "user", id: user }, outcome: "changed" }], ["pro"], null]);
  assert.equal((await client.check({ plan: "pro" })).allowed, true);

  const other = newUser();
  clerk.show(item(other));
  const waited = await as(other).syncUntil({ plan: "pro" }, { delaysMs: [] });
  assert.deepEqual([waited.allowed, waited.sync_error], [true, null]);
});

test("a provider that cannot be asked is told of, and the webhook is waited for", async () => {
  const user = newUser();
  clerk.fail(/billing\/subscription$/, { status: 429, headers: { "retry-after": "7" } });
  const { error } = await as(user).sync();
  assert.deepEqual([error.code, error.status, error.retry_after_seconds], ["provider_unavailable", 503, 7]);

  clerk.fail(/billing\/subscription$/, { status: 500 });
  let looks = 0;
  const client = as(user, {
    fetch: async (url, options) => {
      if (String(url).endsWith("/v1/check") && ++looks === 2) await plangate.delivered(itemEvent(user));
      return fetch(url, options);
    },
  });
  const result = await client.syncUntil({ plan: "pro" }, { delaysMs: [1, 1, 1] });
  assert.deepEqual([result.allowed, result.sync_error?.code, looks], [true, "provider_unavailable", 2]);
});

test("an old token is replaced, one of another instance is not believed", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const now = Math.floor(Date.now() / 1000);
  const asked = [];
  const stale = { exp: now - 60, iat: now - 120, nbf: now - 130 };
  const renewing = (first) => createPlangate({ url: plangate.url, getToken: async (options) => (asked.push(options), options?.skipCache ? token(user) : first) });
  for (const first of [token(user, stale), token(user, { keys: OTHER_KEYS })]) {
    asked.length = 0;
    assert.deepEqual(brief(await renewing(first).check({ plan: "pro" })), active);
    assert.deepEqual(asked, [undefined, { skipCache: true }]);
  }
  const foreign = createPlangate({ url: plangate.url, getToken: async () => token(user, { iss: "https://clerk.other.test" }) });
  const { allowed, error } = await foreign.check({ plan: "pro" });
  assert.deepEqual([allowed, error.code, error.status], [false, "token_invalid_issuer", 401]);
});

test("a database that is away denies, or is bridged with the last yes", async () => {
  const faulty = await Plangate.start({ wrapped: true });
  try {
    const [user, other] = [newUser(), newUser()];
    await faulty.delivered(itemEvent(user));
    let faults = "";
    // It has another port after the restart.
    const through = (url, options) => fetch(new URL(new URL(url).pathname, faulty.url), { ...options, headers: { ...options.headers, "x-test-faults": faults } });
    const asking = (who, onError) => createPlangate({ url: faulty.url, onError, fetch: through, getToken: async () => token(who) });
    const client = asking(user, "last-known");
    assert.equal((await client.check({ plan: "pro" })).stale, false);
    // Another isolate's memory, and neither D1 nor KV.
    await faulty.restart();
    faults = "d1,kv_get";
    const stale = await client.check({ plan: "pro" });
    assert.deepEqual([stale.allowed, stale.stale, stale.error?.code, stale.error?.status], [true, true, "store_unavailable", 503]);
    for (const [who, onError] of [[user, "deny"], [user, "last-known"], [other, "last-known"]]) {
      const denied = await asking(who, onError).check({ plan: "pro" });
      assert.deepEqual([denied.allowed, denied.reason, denied.error.code], [false, null, "store_unavailable"]);
    }
  } finally {
    await faulty.stop();
  }
});

test("inside another worker it asks over a service binding", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const contents = `
    import { createPlangate } from "plangate";
    export default {
      async fetch(request, env) {
        const plangate = createPlangate({ url: "https://plangate", apiKey: env.PLANGATE_API_KEY, fetch: env.PLANGATE.fetch.bind(env.PLANGATE) });
        const client = plangate.for({ userId: new URL(request.url).searchParams.get("user") });
        const [check, has, held, lost] = await Promise.all([
          client.check({ plan: "pro" }), client.has({ plan: "team" }), client.entitlements(),
          createPlangate({ url: "https://plangate", apiKey: "wrong-0123456789abcdef", fetch: env.PLANGATE.fetch.bind(env.PLANGATE) }).for({ userId: "u" }).check({ plan: "pro" }),
        ]);
        return Response.json({ check, has, plans: held.entitlements?.plans, lost: lost.error });
      },
    };`;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: CLIENT }, bundle: true, minify: true, format: "esm", write: false, alias: { plangate: `${CLIENT}index.js` },
  });
  const app = new Miniflare(convertV4MiniflareOptions({
    modules: true, script: outputFiles[0].text, compatibilityDate: "2024-01-01", bindings: { PLANGATE_API_KEY: API_KEY },
    // The built worker runs in a workerd of its own.
    serviceBindings: { PLANGATE: (request) => fetch(new URL(new URL(request.url).pathname + new URL(request.url).search, plangate.url), request) },
    host: "127.0.0.1", port: 0,
  }));
  try {
    const answer = await (await fetch(new URL(`/?user=${user}`, await app.ready))).json();
    assert.deepEqual(brief(answer.check), active);
    assert.deepEqual([answer.has, answer.plans], [false, ["pro"]]);
    assert.deepEqual([answer.lost.code, answer.lost.status], ["invalid_api_key", 401]);
  } finally {
    await app.dispose();
  }
});

test("what is canceled is a yes with an end", async () => {
  const user = newUser();
  const end = Date.now() + 5 * DAY_MS;
  await plangate.delivered(itemEvent(user, { status: "canceled", end }));
  const result = await as(user).check({ plan: "pro" });
  assert.deepEqual([result.allowed, result.reason, Date.parse(result.valid_until)], [true, "canceled_until_period_end", end]);
});

test("the README's server asks as it says", async (t) => {
  const told = [];
  t.mock.method(console, "warn", (text) => told.push(text));
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, snippet] = readme.match(/```js\n(import \{ createPlangate \}[^]*?)```/);
  const { outputFiles } = await build({
    stdin: { contents: snippet, resolveDir: CLIENT }, bundle: true, format: "esm", write: false, alias: { plangate: `${CLIENT}index.js` },
    define: { "process.env.PLANGATE_URL": JSON.stringify(plangate.url.href), "process.env.PLANGATE_API_KEY": JSON.stringify(API_KEY) },
  });
  const { mayExport } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
  const [user, org] = [newUser(), newOrg()];
  await plangate.delivered(itemEvent(org, { plan: "team" }));
  assert.deepEqual([await mayExport(user, org), await mayExport(user, null), told.length], [true, false, 0]);
  assert.equal(await mayExport(null, null), false);
  assert.deepEqual(told, ["plangate: signed_out (null), so it is no"]);
});
