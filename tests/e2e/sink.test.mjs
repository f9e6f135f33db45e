// Changes are passed on to a receiver that fails in every way: signed, in order, again until they are taken, and nothing is
// lost when either side is killed.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Webhook } from "standardwebhooks";
import { DAY_MS, Plangate, event, itemEvent, newUser } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const SECRET = `whsec_${randomBytes(24).toString("base64")}`;
const OLD_SECRET = `whsec_${randomBytes(24).toString("base64")}`;
const ADMIN_TOKEN = randomBytes(24).toString("hex");
const admin = { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" };

/** A receiver that orders by sequence and drops what is old, as the documentation says. `mode` is how it answers. */
class Receiver {
  mode = () => 204;
  attempts = [];
  held = new Map();

  async listen(port = 0) {
    this.server = createServer((request, response) => this.#take(request, response));
    await new Promise((done) => this.server.listen(port, "127.0.0.1", done));
    this.port = this.server.address().port;
    return this;
  }
  close() {
    this.server.closeAllConnections();
    return new Promise((done) => this.server.close(done));
  }
  get url() {
    return `http://127.0.0.1:${this.port}/plangate-sink`;
  }
  async #take(request, response) {
    let body = "";
    try {
      for await (const part of request) body += part;
    } catch {
      // Who sent it was killed in the middle of it.
      return;
    }
    const message = new Webhook(SECRET).verify(body, request.headers);
    new Webhook(OLD_SECRET).verify(body, request.headers);
    const { data } = message;
    this.attempts.push({ id: request.headers["webhook-id"], payer: data.payer, sequence: data.sequence, message });
    const answer = await this.mode(data, this.attempts.length);
    if (answer === "reset") return request.socket.destroy();
    if (answer === "silence") return;
    const newest = this.held.get(data.payer)?.sequence ?? 0;
    const isTaken = answer >= 200 && answer < 300;
    if ((isTaken || answer === "taken, then reset") && data.sequence > newest) this.held.set(data.payer, data);
    if (answer === "taken, then reset") return request.socket.destroy();
    response.writeHead(...[answer].flat()).end("a body");
  }
}

let plangate;
let receiver;
before(async () => {
  receiver = await new Receiver().listen();
  const bindings = { SINK_URL: receiver.url, SINK_SECRET: `${SECRET}, ${OLD_SECRET}`, ADMIN_TOKEN, PLANS: { pro: { features: ["api"] } } };
  // Wrapped: what is sent after an answer is sent by the time that the answer is here.
  plangate = await Plangate.start({ bindings, outbound: "network", wrapped: true });
});
after(async () => {
  await plangate.stop();
  await receiver.close();
});

const outbox = async () => (await plangate.request("GET", "/admin/outbox", { headers: admin })).body;
const rows = async (sql) => (await (await plangate.d1()).prepare(sql).all()).results;
const due = async () => (await plangate.d1()).prepare("UPDATE outbox SET next_at = 0 WHERE dead_at IS NULL").run();
/** A scheduled run, once all that waits is due. */
const run = async () => {
  await due();
  assert.equal((await (await plangate.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
};
const drain = async (limit = 60) => {
  for (let n = 0; n < limit; n++) {
    if ((await outbox()).pending === 0) return;
    await run();
  }
  assert.fail(`still waiting: ${JSON.stringify(await outbox())}`);
};
const at = (n) => Date.now() - 3_600_000 + n * 1000;
const paid = (user, n, more) => itemEvent(user, { at: at(n), end: Date.now() + 20 * DAY_MS, ...more });
const of = (user) => receiver.attempts.filter(({ payer }) => payer === `user:${user}`);

test("a change is sent with the webhook that made it: signed, with the payer's state and the event", async () => {
  receiver.mode = () => 204;
  const user = newUser();
  const { event_id } = await plangate.delivered(paid(user, 1));
  const [{ id, message }, ...more] = of(user);
  assert.deepEqual(more, []);
  assert.match(id, /^pg_[0-9a-f]{64}_1$/);
  assert.equal(message.type, "payer.changed");
  const { payer, sequence, delivery, entitlements, snapshot } = message.data;
  assert.deepEqual([payer, sequence, delivery.provider, delivery.event_id], [`user:${user}`, 1, "clerk", event_id]);
  assert.equal(delivery.event.records[0].plan.key, "pro");
  assert.deepEqual([snapshot.payer, snapshot.version, snapshot.records.length], [`user:${user}`, 1, 1]);
  const { body: held } = await plangate.request("GET", `/v1/entitlements?user_id=${user}`, { headers: { authorization: `Bearer ${plangate.options.bindings.API_KEYS}` } });
  const comparable = ({ as_of, source, ...rest }) => rest;
  assert.deepEqual(comparable(entitlements), comparable(held));
  assert.deepEqual(entitlements.features, ["api"]);
  assert.deepEqual(await rows("SELECT * FROM outbox"), []);
});

test("what changes nothing is not sent: duplicates, stale events, events about nothing that is held", async () => {
  const user = newUser();
  await plangate.delivered(paid(user, 5), "stored", { id: `msg_${user}` });
  await plangate.delivered(paid(user, 5), "duplicate", { id: `msg_${user}` });
  await plangate.delivered(paid(user, 4), "stale");
  await plangate.delivered(event("user.updated", { id: user, updated_at: Date.now() }));
  assert.deepEqual(of(user).map(({ sequence }) => sequence), [1]);
  await plangate.delivered(event("user.deleted", { id: user, deleted: true }));
  assert.deepEqual(of(user).map(({ sequence, message }) => [sequence, message.data.entitlements.payers[0].deleted]), [[1, false], [4, true]]);
});

test("after the database was restored, the README's command lifts what is sent above what was", async () => {
  receiver.mode = () => 204;
  const user = newUser();
  await plangate.delivered(paid(user, 1));
  const [{ version }] = await rows(`SELECT version FROM payers WHERE payer = 'user:${user}'`);
  await plangate.delivered(paid(user, 2, { status: "canceled" }));
  await plangate.delivered(paid(user, 3));
  // As it was after the first.
  await rows(`UPDATE payers SET version = ${version} WHERE payer = 'user:${user}'`);
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  await rows(readme.match(/d1 execute DB --remote --command "(.*)"/)[1]);
  await plangate.delivered(paid(user, 4, { status: "ended" }));
  assert.deepEqual(of(user).map(({ sequence }) => sequence), [1, 2, 3, 1000002]);
  assert.equal(receiver.held.get(`user:${user}`).entitlements.plan, "free_user");
});

test("one statement more with a sink, none more without", async () => {
  const count = async (target, user) => {
    const answer = await target.deliver(paid(user, 1));
    return JSON.parse(answer.headers.get("x-test-operations")).d1_statement;
  };
  receiver.mode = () => 204;
  const plain = await Plangate.start({ wrapped: true });
  const passing = await Plangate.start({ bindings: plangate.options.bindings, outbound: "network", wrapped: true });
  try {
    const without = await count(plain, newUser());
    // Afterwards: two batches of three statements and of two, and a look that finds nothing more.
    assert.equal(await count(passing, newUser()), without + 1 + 3 + 2 + 3);
    assert.deepEqual((await (await plain.d1()).prepare("SELECT * FROM outbox").all()).results, []);
  } finally {
    await plain.stop();
    await passing.stop();
  }
});

test("what changes while the sink's settings cannot be used waits for them", async (t) => {
  receiver.mode = () => 204;
  const own = await Plangate.start({ bindings: plangate.options.bindings, outbound: "network" });
  t.after(() => own.stop());
  const { SINK_URL, SINK_SECRET } = plangate.options.bindings;
  const user = newUser();
  for (const [n, unusable] of [{ SINK_SECRET: undefined }, { SINK_SECRET: "whsec_***" }, { SINK_URL: "http://sink.example.com" }].entries()) {
    await own.restart({ SINK_URL, SINK_SECRET, ...unusable });
    assert.equal((await own.request("GET", "/healthz")).body.status, "misconfigured");
    await own.delivered(paid(user, n));
  }
  assert.deepEqual(of(user), []);
  await own.restart({ SINK_URL, SINK_SECRET });
  assert.equal((await (await own.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
  assert.deepEqual(of(user).map(({ sequence }) => sequence), [1, 2], "two rounds of a run");
  assert.equal((await own.request("GET", "/admin/outbox", { headers: admin })).body.pending, 1);
});

test("a receiver that fails holds up one payer's order and nobody else; what it took twice it knows", async () => {
  const [slow, fine] = [newUser(), newUser()];
  receiver.mode = ({ payer }, n) => (payer !== `user:${slow}` ? 204 : [500, 302, "reset", "taken, then reset"][n % 4]);
  for (let n = 1; n <= 4; n++) {
    await plangate.delivered(paid(slow, n, { status: n % 2 ? "active" : "past_due" }));
    await plangate.delivered(paid(fine, n, { status: n % 2 ? "active" : "past_due" }));
  }
  assert.deepEqual(of(fine).map(({ sequence }) => sequence), [1, 2, 3, 4]);
  assert.deepEqual(new Set(of(slow).map(({ sequence }) => sequence)), new Set([1]), "the second waits for the first");
  const listed = await outbox();
  assert.deepEqual([listed.pending, listed.dead, listed.rows.length], [4, 0, 4]);
  assert.match(listed.rows.find(({ sequence }) => sequence === 1).failure, /it answered|connection|reset|lost/i);
  assert.ok(Date.parse(listed.rows[0].next_at) > Date.now(), "after a failure it waits");

  const before = of(slow).length;
  assert.equal((await (await plangate.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
  assert.ok(of(slow).length <= before + 1, "and not only for the next run");
  receiver.mode = ({ payer }, n) => (payer !== `user:${slow}` || n % 2 ? 204 : "taken, then reset");
  await drain();
  const order = of(slow).map(({ sequence }) => sequence);
  assert.deepEqual(order, order.toSorted((a, b) => a - b), "in order");
  assert.equal(receiver.held.get(`user:${slow}`).sequence, 4);
});

test("a message goes to the address that is set and to no other", async (t) => {
  let asked = 0;
  const elsewhere = createServer((_, response) => response.end(String((asked += 1)))).listen(0, "127.0.0.1");
  await once(elsewhere, "listening");
  t.after(() => elsewhere.close());
  const location = `http://localhost:${elsewhere.address().port}/`;
  for (const status of [301, 302, 303, 307, 308]) {
    const user = newUser();
    receiver.mode = ({ payer }) => (payer === `user:${user}` ? [status, { location }] : 204);
    await plangate.delivered(paid(user, 1));
    assert.deepEqual([(await outbox()).rows.map(({ failure }) => failure), asked], [[`it answered ${status}`], 0]);
    receiver.mode = () => 204;
    await drain();
  }
});

test("an address that no request can be made to is told of, and not quoted", async (t) => {
  const bindings = { ...plangate.options.bindings, SINK_URL: "https://sink.test:99999/?token=hush" };
  const own = await Plangate.start({ bindings, outbound: "network", wrapped: true });
  t.after(() => own.stop());
  await own.delivered(paid(newUser(), 1));
  const { rows } = (await own.request("GET", "/admin/outbox", { headers: admin })).body;
  assert.deepEqual(rows.map(({ failure }) => failure), ["Invalid URL: its address"]);
  const told = own.logs.map(({ message }) => message).filter((message) => message.includes("Invalid URL"));
  assert.ok(told.length > 0);
  assert.ok(!told.some((message) => message.includes("hush")));
});

test("while the receiver thinks about a change nobody sends it again, nor the payer's next one", async () => {
  const user = newUser();
  const [asked, thought] = [Promise.withResolvers(), Promise.withResolvers()];
  receiver.mode = ({ payer }) => (payer === `user:${user}` ? (asked.resolve(), thought.promise) : 204);
  const first = plangate.delivered(paid(user, 1));
  await asked.promise;
  await plangate.delivered(paid(user, 2, { status: "past_due" }));
  assert.equal((await (await plangate.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
  assert.deepEqual(of(user).map(({ sequence }) => sequence), [1]);
  thought.resolve(204);
  await first;
  await drain();
  assert.deepEqual(of(user).map(({ sequence }) => sequence), [1, 2]);
});

test("what is never taken is given up, can be seen, lets others pass, and can be replayed", async () => {
  const user = newUser();
  receiver.mode = ({ sequence }) => (sequence === 1 ? 500 : 204);
  await plangate.delivered(paid(user, 1));
  await plangate.delivered(paid(user, 2, { status: "past_due" }));
  for (let n = 0; n < 9; n++) await run();
  await run();
  const { dead, pending, rows: listed } = await outbox();
  assert.deepEqual([dead, pending], [1, 0]);
  assert.deepEqual([listed[0].payer, listed[0].attempts, listed[0].failure, listed[0].next_at], [`user:${user}`, 10, "it answered 500", null]);
  assert.equal(receiver.held.get(`user:${user}`).sequence, 2);
  const sent = of(user).length;
  await run();
  assert.equal(of(user).length, sent, "it is not tried by itself");

  receiver.mode = () => 204;
  const replay = (body) => plangate.request("POST", "/admin/outbox/replay", { headers: admin, body: JSON.stringify(body) });
  assert.equal((await replay({ payer: "nobody" })).status, 400);
  assert.equal((await replay({ sequence: 1 })).status, 400);
  assert.deepEqual((await replay({ payer: `user:${newUser()}` })).body, { replayed: 0 });
  assert.deepEqual((await replay({ payer: `user:${user}`, sequence: 1, by: "test" })).body, { replayed: 1 });
  await drain();
  assert.deepEqual(of(user).at(-1).sequence, 1);
  assert.equal(receiver.held.get(`user:${user}`).sequence, 2, "what is older changes nothing");
  assert.deepEqual([(await outbox()).dead, (await outbox()).pending], [0, 0]);
  assert.equal((await plangate.request("GET", "/admin/outbox", { headers: {} })).status, 401);
});

test("what waits for more than an hour raises an alarm, until it is sent or the sink is taken away", async () => {
  const user = newUser();
  const health = async (now) => {
    const { status, body } = await plangate.request("GET", "/healthz", { headers: now ? { "x-test-now": String(now) } : {} });
    return [status, body.status, body.unsent_since];
  };
  assert.deepEqual(await health(), [200, "ok", null]);
  receiver.mode = () => 500;
  await plangate.delivered(paid(user, 1));
  const [{ created_at: since }] = await rows("SELECT created_at FROM outbox");
  const waits = new Date(since).toISOString();
  assert.deepEqual(await health(since + HOUR_MS), [200, "ok", waits]);
  assert.deepEqual(await health(since + HOUR_MS + 1), [503, "sink_failing", waits]);
  const { SINK_URL } = plangate.options.bindings;
  await plangate.restart({ SINK_URL: undefined });
  assert.deepEqual(await health(since + HOUR_MS + 1), [200, "ok", null]);
  await plangate.restart({ SINK_URL });
  receiver.mode = () => 204;
  await drain();
  assert.deepEqual(await health(since + HOUR_MS + 1), [200, "ok", null]);
  await plangate.restart();
});

test("an erased payer is sent no more, and a rebuild sends nothing again", async () => {
  receiver.mode = () => 500;
  const [erased, kept] = [newUser(), newUser()];
  for (const user of [erased, kept]) await plangate.delivered(paid(user, 1));
  const answer = await plangate.request("POST", "/admin/erase", { headers: admin, body: JSON.stringify({ user_id: erased, by: "test", why: "asked" }) });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual((await rows("SELECT payer FROM outbox")).map(({ payer }) => payer), [`user:${kept}`]);
  receiver.mode = () => 204;
  await drain();
  const sent = receiver.attempts.length;
  await (await plangate.d1()).prepare("UPDATE records SET plan = 'basic' WHERE payer = ?").bind(`user:${kept}`).run();
  const rebuilt = await plangate.request("POST", "/admin/rebuild", { headers: admin, body: JSON.stringify({ replace: true, by: "test" }) });
  assert.equal(rebuilt.status, 200, rebuilt.text);
  assert.deepEqual(rebuilt.body.replaced, true);
  await run();
  assert.equal(receiver.attempts.length, sent);
  await plangate.delivered(paid(kept, 2, { status: "past_due" }));
  const sequences = of(kept).map(({ sequence }) => sequence);
  assert.ok(sequences.at(-1) > sequences.at(-2), "the next change is newer than what was sent before the rebuild");
});

test("the worker and the receiver are killed, again and again: nothing is lost, nothing goes back", async () => {
  const users = Array.from({ length: 12 }, newUser);
  const expected = new Map();
  for (let round = 1; round <= 4; round++) {
    receiver.mode = (_, n) => [204, 500, "taken, then reset", 204, "silence"][n % 5 === 4 && round !== 2 ? 0 : n % 5];
    const sending = users.map(async (user, n) => {
      const id = `msg_${round}_${user}`;
      for (let tries = 0; tries < 2_000; tries++) {
        try {
          const answer = await plangate.deliver(paid(user, round, { status: (n + round) % 3 ? "active" : "past_due" }), { id });
          if (answer.status === 200) return expected.set(user, ((n + round) % 3 ? "active" : "past_due"));
        } catch {
          // It was killed: the sender tries again.
        }
        await new Promise((done) => setTimeout(done, 10));
      }
      assert.fail(`${id} was never stored`);
    });
    if (round % 2) {
      await new Promise((done) => setImmediate(done));
      await plangate.killAndRestart();
    } else {
      const { port } = receiver;
      await receiver.close();
      await receiver.listen(port);
    }
    receiver.mode = (_, n) => (n % 3 ? 204 : "taken, then reset");
    await Promise.all(sending);
  }
  receiver.mode = () => 204;
  await drain();
  const versions = new Map((await rows("SELECT payer, version FROM payers")).map(({ payer, version }) => [payer, version]));
  for (const user of users) {
    const held = receiver.held.get(`user:${user}`);
    assert.equal(held.sequence, versions.get(`user:${user}`), user);
    assert.equal(held.entitlements.payers[0].subscriptions[0].status, expected.get(user), user);
    const order = of(user).map(({ sequence }) => sequence);
    assert.deepEqual(order, order.toSorted((a, b) => a - b), `${user} in order`);
  }
});
