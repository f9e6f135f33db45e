// Who may ask, and about whom.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { API_KEY, ISSUER, KEYS, OTHER_KEYS, Plangate, itemEvent, jwk, newOrg, newUser, token } from "./harness.mjs";

let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { AUTHORIZED_PARTIES: "https://app.plangate.test, https://admin.plangate.test", ALLOWED_ORIGINS: "https://app.plangate.test" } })));
after(() => plangate.stop());

const AZP = { azp: "https://app.plangate.test" };
const with_ = (authorization) => plangate.request("GET", "/v1/check?plan=pro", { headers: { authorization } });
const unauthorized = (answer, code) => {
  assert.deepEqual([answer.status, answer.body?.code], [401, code], answer.text);
  assert.equal(answer.headers.get("www-authenticate"), "Bearer");
};

test("a session token says who asks, in version 1 and 2, with and without an organization", async () => {
  const [user, org] = [newUser(), newOrg()];
  await plangate.delivered(itemEvent(org, { plan: "team" }));
  for (const v1 of [false, true]) {
    assert.equal((await plangate.check(user, "plan=team", { ...AZP, v1 })).body.allowed, false);
    const { body } = await plangate.check(user, "plan=team", { ...AZP, org, v1 });
    assert.deepEqual([body.allowed, body.payer], [true, { type: "org", id: org }]);
    assert.equal((await plangate.check(user, "plan=org:team", { ...AZP, org, v1 })).body.allowed, true);
    assert.equal((await plangate.check(user, "plan=user:team", { ...AZP, org, v1 })).body.allowed, false);
  }
});

test("the user's plan counts while an organization is active", async () => {
  const [user, org] = [newUser(), newOrg()];
  await plangate.delivered(itemEvent(user));
  const { body } = await plangate.check(user, "plan=pro", { ...AZP, org });
  assert.deepEqual([body.allowed, body.payer], [true, { type: "user", id: user }]);
});

test("every claim that is wrong has its own code", async () => {
  const user = newUser();
  const now = Math.floor(Date.now() / 1000);
  const cases = [
    [{ exp: now - 10 }, "token_expired"],
    [{ exp: "soon" }, "token_invalid"],
    [{ exp: undefined }, "token_invalid"],
    [{ nbf: now + 60 }, "token_not_active_yet"],
    [{ iat: now + 60 }, "token_iat_in_the_future"],
    [{ iss: "https://clerk.other.test" }, "token_invalid_issuer"],
    [{ iss: undefined }, "token_invalid_issuer"],
    [{ azp: "https://evil.test" }, "token_invalid_authorized_parties"],
    [{ azp: undefined }, "token_invalid_authorized_parties"],
    [{ sts: "pending" }, "session_pending"],
    [{ sub: null }, "token_invalid"],
    [{ sub: "mch_1" }, "token_type_mismatch"],
    [{ header: { cat: "cl_B7d4PD333AAA" } }, "token_type_mismatch"],
    [{ header: { typ: "at+jwt" } }, "token_type_mismatch"],
    [{ header: { alg: "RS512" } }, "token_invalid_algorithm"],
    [{ header: { alg: "none" } }, "token_invalid_algorithm"],
    [{ keys: OTHER_KEYS }, "token_invalid_signature"],
  ];
  for (const [claims, code] of cases) {
    unauthorized(await plangate.check(user, "plan=pro", { ...AZP, ...claims }), code);
  }
});

test("neither no signature nor the public key as a secret passes", async () => {
  const [header, claims, signature] = token(newUser(), AZP).split(".");
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  unauthorized(await with_(`Bearer ${none}.${claims}.`), "token_invalid_algorithm");
  const hs256 = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");
  const mac = createHmac("sha256", KEYS.publicKey).update(`${hs256}.${claims}`).digest("base64url");
  unauthorized(await with_(`Bearer ${hs256}.${claims}.${mac}`), "token_invalid_algorithm");
  unauthorized(await with_(`Bearer ${header}.${claims}.`), "token_invalid_signature");
  unauthorized(await with_(`Bearer ${header}.${claims}.${signature.slice(0, 340)}`), "token_invalid_signature");
  unauthorized(await with_(`Bearer ${header}.${claims}.${signature}=`), "token_invalid");
});

test("a token that was accepted once is refused once it has expired", async (t) => {
  const standing = await Plangate.start({ wrapped: true });
  t.after(() => standing.stop());
  const exp = Math.floor(Date.now() / 1000);
  const authorization = `Bearer ${token(newUser(), { exp })}`;
  const at = (millis) => standing.request("GET", "/v1/check?plan=pro", { headers: { authorization, "x-test-now": String(millis) } });
  // The skew is 5 s.
  for (const left of [5_000, 1]) assert.equal((await at(exp * 1000 + 5_000 - left)).status, 200, `${left} ms are left`);
  unauthorized(await at(exp * 1000 + 5_000), "token_expired");
});

test("what is no credential is refused by name", async () => {
  unauthorized(await plangate.request("GET", "/v1/check"), "session_token_missing");
  unauthorized(await with_("Basic dXNlcjpwYXNz"), "session_token_missing");
  unauthorized(await with_("x"), "invalid_api_key");
  unauthorized(await with_(`Bearer ${API_KEY}x`), "invalid_api_key");
  unauthorized(await with_("Bearer ak_machine"), "token_type_mismatch");
  unauthorized(await with_("Bearer a.b.c"), "token_invalid");
  unauthorized(await with_(`Bearer ${"a".repeat(9000)}.b.c`), "token_invalid");
});

test("a server key asks for whom it names, and must name somebody", async () => {
  const [user, org] = [newUser(), newOrg()];
  await plangate.delivered(itemEvent(user));
  const ask = (query, init = {}) => plangate.request("GET", `/v1/check?${query}`, { headers: { authorization: `Bearer ${API_KEY}` }, ...init });
  assert.equal((await ask(`user_id=${user}&plan=pro`)).body.allowed, true);
  assert.equal((await ask(`user_id=${user}&org_id=${org}&plan=pro`)).body.allowed, true);
  assert.equal((await ask(`org_id=${org}&plan=pro`)).body.allowed, false);
  const nobody = await ask("plan=pro");
  assert.deepEqual([nobody.status, nobody.body.code], [400, "invalid_request"]);
  const post = await plangate.request("POST", "/v1/check", {
    headers: { authorization: `Bearer ${API_KEY}` }, body: JSON.stringify({ user_id: user, plan: "pro" }),
  });
  assert.equal(post.body.allowed, true);
});

test("a session cannot ask about somebody else", async () => {
  const answer = await plangate.check(newUser(), `plan=pro&user_id=${newUser()}`, AZP);
  assert.deepEqual([answer.status, answer.body.code], [400, "invalid_request"]);
});

const KEY = "pk_test_Y2xlcmsucGxhbmdhdGUudGVzdCQ";
const SUFFIX = createHash("sha1").update(KEY).digest("base64url").slice(0, 8);

test("the session cookie that counts is verified like a token", async (t) => {
  const withKey = await Plangate.start({ bindings: { CLERK_PUBLISHABLE_KEY: KEY, CLERK_ISSUER: undefined } });
  t.after(() => withKey.stop());
  const user = newUser();
  await withKey.delivered(itemEvent(user));
  const now = Math.floor(Date.now() / 1000);
  const mine = token(user);
  const stranger = token(newUser());
  const ask = async (...cookies) => {
    const answer = await withKey.request("GET", "/v1/check?plan=pro", { headers: { cookie: cookies.join("; ") } });
    return answer.status === 200 ? answer.body.allowed : answer.body.code;
  };
  assert.equal(await ask(`__session=${mine}`), true);
  assert.equal(await ask(`__session_${SUFFIX}=${mine}`), true);
  assert.equal(await ask(`theme=dark`, `__session=${token(newUser(), { iat: now - 50 })}`, `__session_${SUFFIX}=${mine}`, `__client_uat=1`, `__client_uat_${SUFFIX}=1`), true);
  assert.equal(await ask(`__session=${mine}`, `__session_${SUFFIX}=${token(newUser(), { iat: now - 50 })}`, `__client_uat=1`, `__client_uat_${SUFFIX}=1`), true);
  assert.equal(await ask(`__session=${token(user, { iss: "https://clerk.other.test" })}`, `__session_${SUFFIX}=${mine}`, `__client_uat_${SUFFIX}=1`), true);
  assert.equal(await ask(`__session=${stranger}`), false);
  assert.equal(await ask(`__session_OtherKey=${mine}`), "session_token_missing");
  assert.equal(await ask(`__session=${mine}`, `__client_uat=${now + 100}`), "session_token_iat_before_client_uat");
  assert.equal(await ask(`__session=${mine}`, `__client_uat=0`), "session_token_iat_before_client_uat");
  assert.equal(await ask(`__session=${token(user, { keys: OTHER_KEYS })}`), "token_invalid_signature");
});

test("keys come from the instance's key set, which is fetched once, and again for an unknown key", async (t) => {
  const asked = [];
  let keys = [jwk(KEYS.publicKey, "ins_test")];
  let healthy = true;
  const outbound = (request) => {
    asked.push([request.url, request.headers.get("authorization")]);
    return healthy ? Response.json({ keys: [{ kid: "ec", kty: "EC" }, ...keys] }) : new Response("down", { status: 500 });
  };
  const [publishable, secret] = [
    { CLERK_JWT_KEY: undefined, CLERK_ISSUER: undefined, CLERK_PUBLISHABLE_KEY: KEY },
    { CLERK_JWT_KEY: undefined, CLERK_SECRET_KEY: "sk_test_hush", CLERK_API_URL: "https://api.clerk.test/" },
  ];
  for (const [bindings, address, authorization] of [
    [publishable, "https://clerk.plangate.test/.well-known/jwks.json", null],
    [secret, "https://api.clerk.test/v1/jwks", "Bearer sk_test_hush"],
  ]) {
    const remote = await Plangate.start({ bindings, outbound });
    t.after(() => remote.stop());
    asked.length = 0;
    for (let n = 0; n < 3; n++) assert.equal((await remote.check(newUser())).status, 200);
    assert.deepEqual(asked, [[address, authorization]], "three tokens, one fetch");
    unauthorized(await remote.check(newUser(), "", { header: { kid: "made_up" } }), "jwk_kid_mismatch");
    unauthorized(await remote.check(newUser(), "", { header: { kid: undefined } }), "jwk_kid_mismatch");
    unauthorized(await remote.check(newUser(), "", { keys: OTHER_KEYS }), "token_invalid_signature");
    assert.equal((await remote.check(newUser())).status, 200);
    assert.ok(asked.length <= 2, "made-up key ids do not make it fetch again and again");
  }
  const down = await Plangate.start({ bindings: publishable, outbound });
  t.after(() => down.stop());
  healthy = false;
  const answer = await down.check(newUser());
  assert.deepEqual([answer.status, answer.body.code], [503, "jwks_unavailable"]);
  healthy = true;
  assert.equal((await down.check(newUser())).status, 200, "the next one tries again");
  assert.ok(!JSON.stringify(down.logs).includes("hush"));
});

test("of many who need keys at once few fetch, and who holds a usable key waits for nobody", async (t) => {
  const MINUTE = 60_000;
  const asked = [];
  let answer;
  const good = () => Response.json({ keys: [jwk(KEYS.publicKey, "ins_test")] });
  /** Answers of the key server that wait until they are let go. */
  const held = () => {
    let release;
    const released = new Promise((resolve) => (release = resolve));
    let arrived;
    const arrival = new Promise((resolve) => (arrived = resolve));
    return { release, released, arrived, arrival };
  };
  const remote = await Plangate.start({
    bindings: { CLERK_JWT_KEY: undefined, CLERK_ISSUER: undefined, CLERK_PUBLISHABLE_KEY: KEY },
    outbound: (request) => (asked.push(request.url), answer()),
    wrapped: true,
  });
  t.after(() => remote.stop());
  const start = Date.now();
  /** Asks when the worker's clock stands so much later. */
  const check = (later, header) => {
    const now = Math.floor((start + later) / 1000);
    const authorization = `Bearer ${token(newUser(), { iat: now, nbf: now - 1, exp: now + 60, header })}`;
    return remote.request("GET", "/v1/check?plan=pro", { headers: { authorization, "x-test-now": String(start + later) } });
  };
  const checked = async (later) => assert.equal((await check(later)).status, 200);

  // A new isolate: nobody is refused, and few fetch. The fourth fetch lets all go.
  const first = held();
  answer = async () => {
    if (asked.length === 4) first.release();
    await first.released;
    return good();
  };
  await Promise.all(Array.from({ length: 20 }, () => checked(0)));
  assert.equal(asked.length, 4);

  // Key ids that somebody makes up.
  asked.length = 0;
  const second = held();
  answer = async () => {
    second.arrived();
    await second.released;
    return good();
  };
  const junk = Promise.all(Array.from({ length: 50 }, (_, n) => check(6_000, { kid: `made_up_${n}` })));
  await second.arrival;
  await checked(6_000);
  second.release();
  for (const refused of await junk) unauthorized(refused, "jwk_kid_mismatch");
  assert.equal(asked.length, 1);

  // Keys that are to be fetched anew, from a server that takes its time and then fails.
  asked.length = 0;
  const third = held();
  answer = async () => {
    third.arrived();
    await third.released;
    return new Response("down", { status: 500 });
  };
  const fetching = checked(6 * MINUTE);
  await third.arrival;
  await checked(6 * MINUTE + 7_000);
  third.release();
  await fetching;
  await checked(6 * MINUTE + 7_000);
  assert.equal(asked.length, 1, "the pause is counted from the end of a try");

  // A set without keys is none.
  answer = () => Response.json({ keys: [] });
  for (const later of [7 * MINUTE, 8 * MINUTE, 9 * MINUTE]) await checked(later);
  assert.equal(asked.length, 4);
  assert.match(remote.logs.at(-1).message, /using those of before: the key server lists no key/);
  answer = good;
  await checked(70 * MINUTE);
});

test("an endless key set is not read to its end", async (t) => {
  const remote = await Plangate.start({
    bindings: { CLERK_JWT_KEY: undefined, CLERK_ISSUER: undefined, CLERK_PUBLISHABLE_KEY: KEY },
    outbound: () => Response.json({ keys: [jwk(KEYS.publicKey, "ins_test")], more: "x".repeat(4 * 1024 * 1024) }),
  });
  t.after(() => remote.stop());
  const answer = await remote.check(newUser());
  assert.deepEqual([answer.status, answer.body.code], [503, "jwks_unavailable"]);
  assert.match(remote.logs.at(-1).message, /longer than 4 MiB/);
});

test("only allowed origins may read an answer, and are told so ahead", async () => {
  const ask = (method, origin) => plangate.request(method, "/v1/check", { headers: { origin, authorization: `Bearer ${token(newUser(), AZP)}` } });
  const allowed = "https://app.plangate.test";
  assert.equal((await ask("GET", allowed)).headers.get("access-control-allow-origin"), allowed);
  assert.equal((await ask("GET", "https://evil.test")).headers.get("access-control-allow-origin"), null);
  const preflight = await ask("OPTIONS", allowed);
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("access-control-allow-origin"), allowed);
  assert.match(preflight.headers.get("access-control-allow-headers"), /authorization/);
  assert.equal((await ask("OPTIONS", "https://evil.test")).headers.get("access-control-allow-origin"), null);
  const refused = await plangate.request("GET", "/v1/check", { headers: { origin: allowed } });
  assert.deepEqual([refused.status, refused.headers.get("access-control-allow-origin")], [401, allowed], "or a front end could not read why");
});
