// D1 and KV fail, wait, lose and lie, in every way we know, for every kind of event. Whatever they do: nothing acknowledged
// is lost, nothing is applied twice, no payer with a paid plan is denied, and a grant is never older than was promised.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, event, eventId, itemEvent, newUser, seeded, sign } from "./harness.mjs";

const TTL_MS = 300_000;
const MEMORY_MS = 10_000;

let plangate;
before(async () => (plangate = await Plangate.start({ wrapped: true })));
after(() => plangate.stop());

/** How far the worker's clock is ahead of ours. */
let ahead = 0;
const now = () => Date.now() + ahead;
const pass = (ms) => (ahead += ms);
const headers = (faults) => ({ "x-test-faults": faults, "x-test-clock": String(ahead) });

const send = (delivery, faults = "") => {
  // Every attempt is signed anew.
  const signed = sign(delivery.event, { id: delivery.id, at: Math.floor(now() / 1000) });
  return plangate.request("POST", "/webhooks/clerk", { body: signed.body, headers: { ...signed.headers, ...headers(faults) } });
};
const ask = (user, faults = "") =>
  plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}`, ...headers(faults) } });
const rows = async (sql, ...values) => (await (await plangate.d1()).prepare(sql).bind(...values).all()).results;
const kept = (id, user) =>
  Promise.all([
    rows("SELECT * FROM deliveries WHERE event_id = ?", id),
    rows("SELECT * FROM records WHERE event_id = ?", id),
    rows("SELECT version, deleted_at FROM payers WHERE payer = ?", `user:${user}`),
  ]);
const versionOf = async (user) => (await rows("SELECT version FROM payers WHERE payer = ?", `user:${user}`))[0]?.version ?? 0;

/** A delivery about the user's only item, newer than all that came before. */
const about = (user, status, more = {}) => ({ id: eventId(), event: itemEvent(user, { status, at: now(), end: now() + 30 * DAY_MS, ...more }) });
const KINDS = [
  { kind: "activate", held: false, make: (user) => about(user, "active"), allowed: true },
  { kind: "cancel", held: true, make: (user) => about(user, "canceled"), allowed: true },
  { kind: "end", held: true, make: (user) => about(user, "ended"), allowed: false },
  {
    kind: "delete user", held: true, allowed: false,
    make: (user) => ({ id: eventId(), event: event("user.deleted", { object: "user", id: user, deleted: true }, { timestamp: now() }) }),
  },
];
/** What a fault does to a delivery: what is answered, whether it was stored, and what the resend is. */
const FAULTS = [
  { fault: "d1", status: 503, stored: false },
  { fault: "d1_inside=1", status: 503, stored: false },
  { fault: "d1_inside=2", status: 503, stored: false },
  { fault: "d1_inside=3", status: 503, stored: false },
  { fault: "d1_after_commit", status: 503, stored: true },
  { fault: "d1_slow=15", status: 200, stored: true },
  { fault: "kv_put", status: 200, stored: true },
  { fault: "kv_429", status: 200, stored: true },
  { fault: "kv_lost", status: 200, stored: true },
  { fault: "d1_after_commit,kv_lost", status: 503, stored: true },
];

/** The largest time for which a grant outlived the acknowledgement of what ended it, by where the grant came from. */
const staleness = {};
function note(source, ms) {
  staleness[source] = Math.max(staleness[source] ?? 0, ms);
  assert.ok(ms <= TTL_MS, `a grant from ${source} ${ms} ms after its end was acknowledged`);
}
after(() => console.log(`  largest staleness of a grant: ${JSON.stringify(staleness)} ms`));

for (const { fault, status, stored } of FAULTS) {
  for (const { kind, held, make, allowed } of KINDS) {
    test(`${kind} through ${fault}: acknowledged is stored, stored is applied once, and answers are right`, async () => {
      const user = newUser();
      if (held) assert.equal((await send(about(user, "active"))).body.outcome, "stored");
      const [wasAllowed, version] = [held, await versionOf(user)];
      pass(5_000);
      const delivery = make(user);

      const before = await kept(delivery.id, user);
      const answer = await send(delivery, fault);
      assert.equal(answer.status, status, answer.text);
      if (status === 200) assert.equal(answer.body.outcome, "stored");
      else assert.deepEqual([answer.body.code, answer.body.outcome], ["store_unavailable", undefined]);
      assert.equal((await rows("SELECT 1 FROM deliveries WHERE event_id = ?", delivery.id)).length, stored ? 1 : 0);
      if (!stored) assert.deepEqual(await kept(delivery.id, user), before, "nothing of it is there");

      // Before any resend: the answer is what was stored or, for a grant, what was promised.
      const between = await ask(user);
      assert.equal(between.status, 200);
      const truth = stored ? allowed : wasAllowed;
      if (truth) assert.equal(between.body.allowed, true, `a payer was denied: ${between.text}`);
      else if (between.body.allowed) assert.ok(stored && wasAllowed && status !== 200, "only an unacknowledged end may be unknown here");

      const resent = await send(delivery);
      assert.deepEqual([resent.status, resent.body.outcome], [200, stored ? "duplicate" : "stored"]);
      assert.equal((await send(delivery)).body.outcome, "duplicate");
      assert.equal(await versionOf(user), version + 1, "applied once");
      const acknowledged = now();
      assert.equal((await ask(user)).body.allowed, allowed, "in the isolate where it came by");

      // When memory has forgotten, KV may still hold what was before, until its time is up.
      pass(MEMORY_MS + 1);
      const later = await ask(user);
      if (allowed) assert.equal(later.body.allowed, true, later.text);
      else if (later.body.allowed) {
        assert.match(fault, /kv_/, "only a copy that could not be written may be behind");
        note(later.body.source, now() - acknowledged);
      }
      pass(TTL_MS);
      const healed = await ask(user);
      assert.deepEqual([healed.body.allowed, healed.status], [allowed, 200], "healed by itself");
      assert.ok(now() - Date.parse(healed.body.as_of) <= TTL_MS);
    });
  }
}

test("the batch that fails inside fails in D1, after statements that had run", async () => {
  const user = newUser();
  const answer = await send(about(user, "active"), "d1_inside=0");
  assert.equal(answer.body.outcome, "stored", "before the first statement there is no row to fail on");
  const refused = await send(about(user, "canceled"), "d1_inside=3");
  assert.equal(refused.status, 503);
  const [{ status, event_id }] = await rows("SELECT status, event_id FROM records WHERE payer = ?", `user:${user}`);
  assert.equal(status, "active", "the record that the second statement wrote was rolled back");
  assert.ok((await rows("SELECT 1 FROM deliveries WHERE event_id = ?", event_id)).length === 1);
  assert.ok(plangate.logs.some(({ message }) => /NOT NULL constraint failed: kept\.value/.test(message)), "D1 itself refused");
});

test("checks that meet a fault grant nothing they should not, and never deny who has paid", async () => {
  const [paid, ended, stranger] = [newUser(), newUser(), newUser()];
  for (const user of [paid, ended]) await send(about(user, "active"));
  pass(1_500);
  await send(about(ended, "ended"));
  const faults = ["", "kv_get", "kv_old", "d1", "d1,kv_get", "d1,kv_old", "d1_slow=10", "kv_old,kv_429", "kv_get,kv_lost"];
  for (const wait of [0, MEMORY_MS + 1, 60_000, TTL_MS]) {
    pass(wait);
    for (const fault of faults) {
      const sure = await ask(paid, fault);
      assert.ok(sure.status === 503 || sure.body.allowed === true, `${fault}: a payer was denied: ${sure.text}`);
      if (!fault.includes("d1") || fault.includes("slow")) assert.equal(sure.status, 200, `${fault}: D1 was there`);
      assert.notEqual((await ask(stranger, fault)).body.allowed, true, fault);
      const over = await ask(ended, fault);
      if (over.body.allowed) {
        assert.match(fault, /kv_old/, `only an old copy may grant what is over: ${over.text}`);
        assert.ok(now() - Date.parse(over.body.as_of) <= TTL_MS, over.text);
      }
    }
  }
  pass(TTL_MS + 1);
  for (const fault of faults) assert.notEqual((await ask(ended, fault)).body.allowed, true, fault);
});

test("while one webhook waits for D1, checks and the payer's other webhooks go on, and the newest counts", async () => {
  for (const [hold, isCommitted] of [["d1_hold_before", false], ["d1_hold_after", true]]) {
    const user = newUser();
    const [older, newer] = [about(user, "active"), (pass(1_000), about(user, "canceled"))];
    const gate = eventId();
    const held = send(older, `${hold}=${gate}`);
    await plangate.request("GET", `/test/reached?${gate}`);

    // What is committed counts, whether or not the sender knows.
    assert.equal((await ask(user)).body.allowed, isCommitted);
    assert.equal((await send(older)).body.outcome, isCommitted ? "duplicate" : "stored");
    assert.equal((await send(newer)).body.outcome, "stored");
    const { body } = await ask(user);
    assert.deepEqual([body.allowed, body.status], [true, "canceled"]);

    await plangate.request("GET", `/test/release?${gate}`);
    const answer = await held;
    assert.deepEqual([answer.status, answer.body.outcome], [200, isCommitted ? "stored" : "duplicate"]);
    assert.equal((await ask(user)).body.status, "canceled", "the late answer takes nothing back");
    assert.equal(await versionOf(user), 2);
  }
});

test("an answer of D1's that comes late writes no copy over a newer one", async () => {
  const user = newUser();
  const [older, newer] = [about(user, "active"), (pass(1), about(user, "ended"))];
  const d1 = eventId();
  const held = send(older, `d1_hold_after=${d1}`);
  await plangate.request("GET", `/test/reached?${d1}`);
  await send(newer);
  await plangate.request("GET", `/test/release?${d1}`);
  const late = await held;
  assert.equal(late.body.outcome, "stored");
  assert.equal(JSON.parse(late.headers.get("x-test-operations")).kv_put, undefined);
  assert.equal((await ask(user)).body.allowed, false);
  // Nor does another isolate find the older one in KV.
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false);
});

test("a check's answer of D1's that comes late writes no copy over a webhook's", async () => {
  const user = newUser();
  await send(about(user, "active"));
  pass(TTL_MS + 1);
  const d1 = eventId();
  const asked = ask(user, `d1_hold_after=${d1}`);
  await plangate.request("GET", `/test/reached?${d1}`);
  await send(about(user, "ended"));
  await plangate.request("GET", `/test/release?${d1}`);
  assert.equal((await asked).body.allowed, true, "as it was when D1 was read");
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false);
});

test("an event that changes no holdings and overtakes one that does leaves no old copy", async () => {
  const user = newUser();
  await send(about(user, "active"));
  const [ended, updated] = [(pass(1), about(user, "ended")), (pass(1), { id: eventId(), event: event("user.updated", { object: "user", id: user }, { timestamp: now() }) })];
  const d1 = eventId();
  const held = send(ended, `d1_hold_after=${d1}`);
  await plangate.request("GET", `/test/reached?${d1}`);
  assert.equal((await send(updated)).body.outcome, "stored");
  await plangate.request("GET", `/test/release?${d1}`);
  assert.equal((await held).body.outcome, "stored");
  pass(MEMORY_MS + 1);
  const { body } = await ask(user);
  assert.deepEqual([body.allowed, body.reason], [false, "expired"]);
});

/** How many statements asked D1, and how often KV was written, in answering one request. */
const operations = ({ headers }) => {
  const { d1_query = 0, kv_put = 0 } = JSON.parse(headers.get("x-test-operations"));
  return { d1_query, kv_put };
};

for (const [text, passes] of [
  ["Network connection lost", true],
  ["Internal error in D1 DB storage caused object to be reset", true],
  ["D1 DB reset because its code was updated", true],
  ["D1 DB is overloaded. Requests queued for too long", false],
  ["D1 DB storage operation exceeded timeout which caused object to be reset", false],
]) {
  for (const [fault, outcome] of [["d1_gone", "stored"], ["d1_gone_after", "duplicate"]]) {
    test(`what D1 wants tried again is tried once more, and nothing else: ${fault}, ${text}`, async () => {
      const user = newUser();
      await send(about(user, "active"));
      const ended = (pass(1), about(user, "ended"));
      const answer = await send(ended, `${fault}=${text.replaceAll(" ", "_")}`);
      assert.deepEqual([answer.status, answer.body.outcome], passes ? [200, outcome] : [503, undefined], answer.text);
      const { d1_batch, kv_put = 0 } = JSON.parse(answer.headers.get("x-test-operations"));
      assert.deepEqual([d1_batch, kv_put], passes ? [2, 1] : [1, 0], "and its copy follows");
      if (!passes) assert.equal((await send(ended)).status, 200);
      assert.equal(await versionOf(user), 2, "applied once");
      pass(MEMORY_MS + 1);
      assert.equal((await ask(user)).body.allowed, false, "to another isolate");
    });
  }
}

test("what D1 loses twice is left to the sender", async () => {
  const ended = about(newUser(), "ended");
  const answer = await send(ended, "d1=Network_connection_lost");
  assert.deepEqual([answer.status, JSON.parse(answer.headers.get("x-test-operations")).d1_batch], [503, 2]);
  assert.equal((await send(ended)).body.outcome, "stored");
});

for (const [fault, spent, allowed] of [
  ["kv_429=1", { d1_query: 1, kv_put: 2 }, false],
  ["kv_429=2", { d1_query: 2, kv_put: 3 }, false],
  ["kv_429", { d1_query: 2, kv_put: 3 }, true],
]) {
  test(`a copy that comes too soon after another is written after a pause: ${fault}`, async () => {
    const user = newUser();
    await send(about(user, "active"));
    pass(1);
    const answer = await send(about(user, "ended"), fault);
    assert.deepEqual([answer.status, operations(answer)], [200, spent]);
    pass(MEMORY_MS + 1);
    assert.equal((await ask(user)).body.allowed, allowed, "to another isolate");
  });
}

test("of several copies that come too soon one is written, the newest", async () => {
  const user = newUser();
  await send(about(user, "active"));
  const paused = eventId();
  await plangate.request("GET", `/test/pause?${paused}`);
  const first = send((pass(1), about(user, "past_due")), "kv_429=1");
  await plangate.request("GET", `/test/reached?${paused}`);
  const second = await send((pass(1), about(user, "ended")), "kv_429=1");
  assert.deepEqual(operations(second), { d1_query: 0, kv_put: 1 });
  await plangate.request("GET", `/test/release?${paused}`);
  assert.deepEqual(operations(await first), { d1_query: 1, kv_put: 2 });
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false);
});

test("a copy is mended though an event that changes no holdings overtakes what is read for it", async () => {
  const user = newUser();
  await send(about(user, "active"));
  const [ended, updated] = [(pass(1), about(user, "ended")), (pass(1), { id: eventId(), event: event("user.updated", { object: "user", id: user }, { timestamp: now() }) })];
  const d1 = eventId();
  const held = send(ended, `kv_429=1,d1_hold_query=${d1}`);
  await plangate.request("GET", `/test/reached?${d1}`);
  assert.equal((await send(updated)).body.outcome, "stored");
  await plangate.request("GET", `/test/release?${d1}`);
  assert.deepEqual(operations(await held), { d1_query: 2, kv_put: 2 });
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false, "to another isolate");
});

test("a webhook's copy that KV takes late stays over no newer one", async () => {
  const user = newUser();
  const [older, newer] = [about(user, "active"), (pass(1), about(user, "ended"))];
  const kv = eventId();
  const held = send(older, `kv_hold=${kv}`);
  await plangate.request("GET", `/test/reached?${kv}`);
  await send(newer);
  await plangate.request("GET", `/test/release?${kv}`);
  assert.deepEqual(operations(await held), { d1_query: 1, kv_put: 2 });
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false);
});

test("a check's copy that KV takes late stays over no newer one", async () => {
  const user = newUser();
  await send(about(user, "active"));
  pass(TTL_MS + 1);
  const kv = eventId();
  const asked = ask(user, `kv_hold=${kv}`);
  await plangate.request("GET", `/test/reached?${kv}`);
  await send((pass(1), about(user, "ended")));
  await plangate.request("GET", `/test/release?${kv}`);
  assert.equal((await asked).body.allowed, true, "as it was when D1 was read");
  pass(MEMORY_MS + 1);
  assert.equal((await ask(user)).body.allowed, false);
});

const WEBHOOKS = 500;
const PAYERS = 20;
const AT_ONCE = 8;
const seed = Number(process.env.PLANGATE_SEED ?? 2026);

test(`${WEBHOOKS} webhooks for ${PAYERS} payers through a mixture of faults (seed ${seed})`, async () => {
  const random = seeded(seed);
  const pick = (list) => list[random.below(list.length)];
  const shuffle = (list) => {
    for (let n = list.length - 1; n > 0; n--) {
      const other = random.below(n + 1);
      [list[n], list[other]] = [list[other], list[n]];
    }
    return list;
  };
  // The even ones keep a paid plan throughout; the newest event of the odd ones ends it, by turns by deleting the user.
  const payers = Array.from({ length: PAYERS }, (_, n) => ({ user: newUser(), keeps: n % 2 === 0, deleted: n % 4 === 1, ended: undefined }));
  for (const { user } of payers) assert.equal((await send(about(user, "active"))).body.outcome, "stored");
  const each = WEBHOOKS / PAYERS;
  const begun = now();
  const pending = shuffle(payers.flatMap((payer) => Array.from({ length: each }, (_, n) => {
    const at = begun + (n + 1) * 10;
    const last = n === each - 1 && !payer.keeps;
    const one = last && payer.deleted
      ? event("user.deleted", { object: "user", id: payer.user, deleted: true }, { timestamp: at })
      : itemEvent(payer.user, { at, end: begun + 30 * DAY_MS, status: last ? "ended" : ["active", "canceled", "past_due"][n % 3] });
    return { id: eventId(), event: one, payer, ends: last };
  })));
  assert.equal(pending.length, WEBHOOKS);

  const OF_D1 = ["d1", "d1_inside=1", "d1_inside=2", "d1_inside=3", "d1_after_commit", "d1_slow=3", "d1_slow=20"];
  const OF_KV = ["kv_put", "kv_429", "kv_lost"];
  const OF_CHECKS = ["", "", "kv_get", "kv_old", "d1", "d1,kv_get", "kv_old,kv_lost", "kv_get,kv_429", "d1_slow=5"];
  const counts = { attempts: 0, refused: 0, checks: 0, unavailable: 0, stale: 0 };
  const injected = {};
  const acknowledged = new Map();
  const inject = (fault) => {
    for (const one of fault.split(",").filter(Boolean)) injected[one] = (injected[one] ?? 0) + 1;
    return fault;
  };

  const attempt = async () => {
    const delivery = pending.splice(random.below(pending.length), 1)[0];
    const fault = inject([random.below(2) ? pick(OF_D1) : "", random.below(2) ? pick(OF_KV) : ""].filter(Boolean).join(","));
    counts.attempts++;
    const answer = await send(delivery, fault);
    assert.ok([200, 503].includes(answer.status), answer.text);
    if (answer.status === 503) {
      counts.refused++;
      return pending.push(delivery);
    }
    acknowledged.set(delivery.id, answer.body.outcome);
    if (delivery.ends) delivery.payer.ended = now();
    // Some senders send again what was acknowledged.
    if (random.below(10) === 0) assert.equal((await send(delivery)).body.outcome, "duplicate");
  };
  const check = async () => {
    const payer = pick(payers);
    const ended = payer.ended;
    const asked = now();
    const fault = inject(pick(OF_CHECKS));
    const { status, body, text } = await ask(payer.user, fault);
    counts.checks++;
    if (status === 503) return void counts.unavailable++;
    assert.equal(status, 200, text);
    if (payer.keeps) assert.equal(body.allowed, true, `${fault}: a payer was denied: ${text}`);
    if (body.allowed) assert.ok(asked - Date.parse(body.as_of) <= TTL_MS, `${fault}: a grant of ${body.as_of}`);
    if (body.allowed && ended !== undefined) {
      counts.stale++;
      note(body.source, asked - ended);
    }
  };
  const worker = async () => {
    while (pending.length > 0) {
      await attempt();
      for (let n = 0; n < 2; n++) await check();
      pass(random.below(2_500));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (let n = 0; n < 100; n++) {
    pass(4_000);
    await check();
  }

  // All faults off, all copies old.
  assert.equal(acknowledged.size, WEBHOOKS);
  assert.ok(counts.refused > 100 && counts.unavailable > 0, JSON.stringify(counts));
  for (const id of acknowledged.keys()) {
    const [row] = await rows("SELECT event FROM deliveries WHERE event_id = ?", id);
    assert.ok(row?.event, `${id} was acknowledged and is lost`);
  }
  pass(TTL_MS + 1);
  for (const payer of payers) {
    const { body } = await ask(payer.user);
    assert.deepEqual([body.allowed, body.reason], payer.keeps ? [true, body.reason] : [false, payer.deleted ? "payer_deleted" : "expired"]);
    assert.equal(await versionOf(payer.user), each + 1, "each event was applied once");
    const copy = JSON.parse(await (await plangate.kv()).get(`s1:user:${payer.user}`));
    assert.equal(copy.version, each + 1, "the copy is mended");
  }
  console.log(`  ${JSON.stringify(counts)}\n  faults injected: ${JSON.stringify(injected)}`);
});
