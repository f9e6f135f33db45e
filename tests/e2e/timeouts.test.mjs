// Whom the worker asks may take as long as he likes: a provider's API, the server of keys, the receiver of changes. He is given
// up in time, others are served meanwhile, and nothing counts as read or sent that was not. The others are local servers, asked
// over real HTTP; the time alone is the test's.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";
import { ClerkApi } from "./clerk-api.mjs";
import { API_KEY, DAY_MS, KEYS, Plangate, item, itemEvent, jwk, newUser } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const ASKED_MS = 5_000;
const SENT_MS = 10_000;
/** Where a test waits for what never comes, it fails. */
const LIMIT = { timeout: 30_000 };
/** Answers that never end. */
const UNENDING = {
  "no answer": () => {},
  "headers and no body": (response) => response.writeHead(200).flushHeaders(),
  "a byte at a time": (response) => {
    response.writeHead(200);
    const dripping = setInterval(() => response.write(" "), 5);
    response.on("close", () => clearInterval(dripping));
  },
};
const PIECE = Buffer.alloc(65_536, " ");
function endless(response) {
  const more = () => {
    while (!response.destroyed && response.write(PIECE));
  };
  response.on("drain", more);
  response.writeHead(200);
  more();
}

/** Somebody who answers so, once: when he was asked, and when he was let go. */
function unending(how) {
  const [asked, gone] = [Promise.withResolvers(), Promise.withResolvers()];
  const answer = (request, response) => {
    request.socket.once("close", gone.resolve);
    how(response);
    asked.resolve();
  };
  return { asked: asked.promise, gone: gone.promise, answer };
}

let clerk;
let receiver;
let plangate;
let taken;
let take;
before(async () => {
  clerk = await ClerkApi.start();
  receiver = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const { payer, sequence } = JSON.parse(body).data;
    const unending = take(payer);
    if (unending) return unending.answer(request, response);
    taken.push([payer, sequence]);
    response.writeHead(204).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
});
beforeEach(async () => {
  clerk.items.clear();
  clerk.requests.length = 0;
  clerk.faults.length = 0;
  taken = [];
  take = () => undefined;
});
after(async () => {
  receiver.closeAllConnections();
  receiver.close();
  await clerk.stop();
});

/** A worker whose requests are given up when the test says so. */
async function start(t, bindings) {
  plangate = await Plangate.start({ bindings, outbound: "network", wrapped: true });
  t.after(() => plangate.stop());
  await elapse(0);
}
const sink = () => ({ SINK_URL: `http://127.0.0.1:${receiver.address().port}/sink`, SINK_SECRET: `whsec_${randomBytes(24).toString("base64")}` });
const elapse = (ms) => plangate.request("GET", `/test/elapse?${ms}`);
const answered = (how, path) => how === "no answer" || plangate.request("GET", `/test/reached?${encodeURIComponent(`answered ${path}`)}`);
const bearer = { authorization: `Bearer ${API_KEY}` };
const allowed = async (user) => (await plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, { headers: bearer })).body.allowed;
const scheduled = async () => (await plangate.mf.getWorker()).scheduled({ cron: "*/5 * * * *" });
const rows = async (sql) => (await (await plangate.d1()).prepare(sql).all()).results;

/** What comes of it when so much time went by, and not a millisecond before. */
async function afterTime(ms, pending) {
  let isOver = false;
  const over = pending.finally(() => (isOver = true));
  await elapse(ms - 1);
  for (let n = 0; n < 3; n++) assert.equal(await allowed(newUser()), false, "others are served meanwhile");
  assert.equal(isOver, false, "it has more time than that");
  await elapse(1);
  return over;
}

for (const how of Object.keys(UNENDING)) {
  test(`an API gives ${how}: a sync says so after five seconds, and what is held stands`, LIMIT, async (t) => {
    await start(t, clerk.bindings);
    const user = newUser();
    await plangate.delivered(itemEvent(user, { at: Date.now() - HOUR_MS }));
    const sync = () => plangate.request("POST", `/v1/sync?user_id=${user}`, { headers: bearer });
    const silent = unending(UNENDING[how]);
    clerk.fail(/billing\/subscription$/, silent.answer);
    const asked = sync();
    await silent.asked;
    await answered(how, `/v1/users/${user}/billing/subscription`);
    const answer = await afterTime(ASKED_MS, asked);
    assert.deepEqual([answer.status, answer.body.code], [503, "provider_unavailable"]);
    await silent.gone;
    assert.equal(await allowed(user), true);
    assert.match(plangate.logs.at(-1).message, /aborted due to timeout/);

    clerk.show(item(user, { at: Date.now(), status: "ended" }));
    assert.equal((await sync()).body.synced[0].outcome, "changed", "what was not read is no recent reading");
    assert.equal(await allowed(user), false);
  });

  test(`an API gives ${how} in the middle of a sweep: the next run goes on with that page`, LIMIT, async (t) => {
    await start(t, { ...clerk.bindings, RECONCILE_PAGES_PER_RUN: "100" });
    const user = newUser();
    const at = Date.now() - HOUR_MS;
    await plangate.delivered(itemEvent(user, { at }));
    for (let n = 0; n < 250; n++) clerk.show(item(newUser(), { id: `csub_item_b${n}`, status: "ended", at }));
    // The last of three pages.
    clerk.show(item(user, { at: at + 1000, status: "ended" }));
    clerk.items.get(`csub_item_pro_${user}`).created_at = 1;
    const silent = unending(UNENDING[how]);
    clerk.fail(/ended.*offset=100$/, silent.answer);
    const running = scheduled();
    await silent.asked;
    await answered(how, clerk.requests.at(-1));
    assert.equal((await afterTime(ASKED_MS, running)).outcome, "ok");
    await silent.gone;
    const { reconcile } = (await plangate.request("GET", "/healthz")).body.providers.clerk;
    assert.deepEqual([reconcile.error, reconcile.finished_at.over], ["asking clerk: it could not be reached", null]);
    assert.equal(await allowed(user), true);

    const asked = clerk.requests.length;
    await scheduled();
    const offsets = clerk.requests.slice(asked).flatMap((path) => path.match(/ended.*offset=(\d+)$/)?.[1] ?? []);
    assert.deepEqual(offsets, ["100", "200"]);
    assert.equal(await allowed(user), false);
  });

  test(`a receiver gives ${how}: the change counts as not sent after ten seconds, and its payer's next one waits`, LIMIT, async (t) => {
    await start(t, sink());
    const [user, other] = [newUser(), newUser()];
    const paid = (user, n) => itemEvent(user, { at: Date.now() - HOUR_MS + n, end: Date.now() + n * DAY_MS });
    const silent = unending(UNENDING[how]);
    take = (payer) => (payer === `user:${user}` ? silent : undefined);
    const first = plangate.delivered(paid(user, 1));
    await silent.asked;
    await answered(how, "/sink");
    await plangate.delivered(paid(user, 2));
    await plangate.delivered(paid(other, 1));
    assert.deepEqual(taken, [[`user:${other}`, 1]], "nobody else waits");
    await afterTime(SENT_MS, first);
    await silent.gone;
    const waiting = await rows("SELECT sequence, attempts, failure, claim FROM outbox ORDER BY sequence");
    assert.deepEqual(waiting, [
      { sequence: 1, attempts: 1, failure: "The operation was aborted due to timeout", claim: null },
      { sequence: 2, attempts: 0, failure: null, claim: null },
    ]);

    take = () => undefined;
    await rows("UPDATE outbox SET next_at = 0");
    await scheduled();
    assert.deepEqual(taken.slice(1), [[`user:${user}`, 1], [`user:${user}`, 2]]);
    assert.deepEqual(await rows("SELECT * FROM outbox"), []);
  });

  test(`the server of keys gives ${how}: a check says so after five seconds, or uses the key that is held`, LIMIT, async (t) => {
    await start(t, { ...clerk.bindings, CLERK_JWT_KEY: undefined });
    const now = Date.now();
    const check = () => plangate.check(newUser(), "plan=pro", { exp: Math.floor(now / 1000) + 3600 });
    const checkedIn = async (minutes) => {
      await plangate.request("GET", "/openapi.json", { headers: { "x-test-now": String(now + minutes * 60_000) } });
      const silent = unending(UNENDING[how]);
      clerk.fail(/jwks$/, silent.answer);
      const asked = check();
      await silent.asked;
      await answered(how, "/v1/jwks");
      const answer = await afterTime(ASKED_MS, asked);
      await silent.gone;
      return [answer.status, answer.body.code];
    };
    assert.deepEqual(await checkedIn(0), [503, "jwks_unavailable"]);
    clerk.fail(/jwks$/, { body: { keys: [jwk(KEYS.publicKey, "ins_test")] } });
    assert.equal((await check()).status, 200);
    assert.deepEqual(await checkedIn(6), [200, undefined]);
    assert.match(plangate.logs.at(-1).message, /using those of before: .*aborted due to timeout/);
  });
}

test("who gives more and more is let go at once, though another one still thinks", LIMIT, async (t) => {
  await start(t, { ...clerk.bindings, ...sink() });
  const [user, other] = [newUser(), newUser()];
  const paid = (user) => itemEvent(user, { at: Date.now() - HOUR_MS });
  const [early, late, receiving] = [UNENDING["no answer"], UNENDING["no answer"], endless].map(unending);
  take = () => early;
  const first = plangate.delivered(paid(other));
  await early.asked;
  await elapse(SENT_MS);
  await first;
  await rows("UPDATE outbox SET next_at = 0");
  // Both in one run.
  take = (payer) => (payer === `user:${user}` ? receiving : late);
  const second = plangate.delivered(paid(user));
  await late.asked;
  await receiving.gone;
  await elapse(SENT_MS);
  await second;
  assert.deepEqual(await rows("SELECT payer FROM outbox"), [{ payer: `user:${other}` }], "what is said with a yes is no matter");

  const talking = unending(endless);
  clerk.fail(/billing\/subscription$/, talking.answer);
  const answer = await plangate.request("POST", `/v1/sync?user_id=${user}`, { headers: bearer });
  assert.deepEqual([answer.status, answer.body.code], [503, "provider_unavailable"]);
  assert.match(plangate.logs.at(-1).message, /longer than 4 MiB/);
  await talking.gone;
  assert.equal(await allowed(user), true);
});
