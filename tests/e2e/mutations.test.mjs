// Bad input: thousands of seeded mutations of valid deliveries and tokens. Never a 5xx, never a stored change, and the
// worker still serves afterwards. A failure prints the seed; MUTATION_SEED repeats it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Plangate, event, flatEvent, item, itemEvent, newOrg, newUser, seeded, sign, subscriptionEvent, token } from "./harness.mjs";

const DELIVERIES = 5_000;
const TOKENS = 5_000;
const AT_ONCE = 16;
const seed = Number(process.env.MUTATION_SEED ?? Date.now() % 2 ** 31);
const random = seeded(seed);
const pick = (list) => list[random.below(list.length)];

let plangate;
before(async () => (plangate = await Plangate.start()));
after(() => plangate.stop());

/** Other bytes than before: one flipped, removed, doubled or inserted, a stretch cut out, or two parts swapped. */
function mutate(bytes) {
  const at = random.below(bytes.length);
  const end = Math.min(bytes.length, at + 1 + random.below(8));
  const parts = [
    () => { const copy = Buffer.from(bytes); copy[at] ^= 1 << random.below(8); return copy; },
    () => Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]),
    () => Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]),
    () => Buffer.concat([bytes.subarray(0, at), Buffer.from([random.below(256)]), bytes.subarray(at)]),
    () => bytes.subarray(0, at),
  ];
  const mutated = pick(parts)();
  return mutated.equals(bytes) ? mutate(bytes) : mutated;
}
/** What HTTP can carry in a header, trimmed as HTTP trims it. */
const headerText = (bytes) => Buffer.from(bytes.map((byte) => (byte < 0x20 || byte > 0x7e ? 0x21 + (byte % 0x5d) : byte))).toString("latin1").trim();

async function inBatches(count, one) {
  for (let done = 0; done < count; done += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - done) }, one));
  }
}

/** Every row of every table. */
async function everything() {
  const d1 = await plangate.d1();
  const rows = {};
  for (const table of ["deliveries", "records", "payments", "payers", "delivery_counts"]) {
    rows[table] = (await d1.prepare(`SELECT * FROM ${table}`).all()).results;
  }
  return JSON.stringify(rows);
}

test(`${DELIVERIES} mutated deliveries are refused (seed ${seed})`, async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const before = await everything();
  const valid = [
    itemEvent(user, { status: "ended" }), subscriptionEvent(user, [item(user), item(user, { plan: "free_user" })]), flatEvent("subscription.deleted", { user_id: user }),
    event("user.deleted", { object: "user", id: user, deleted: true }), event("paymentAttempt.updated", { id: "cpa_1", status: "failed", payer: { user_id: user } }),
  ];
  const seen = new Map();
  await inBatches(DELIVERIES, async () => {
    const { headers, body } = sign(pick(valid), { family: pick(["svix", "webhook"]) });
    const where = pick(["body", ...Object.keys(headers).filter((name) => name !== "content-type")]);
    const sent = { headers: { ...headers }, body };
    if (where === "body") sent.body = mutate(body);
    else sent.headers[where] = headerText(mutate(Buffer.from(headers[where])));
    // Cutting at a space, or trimming, may have given back what was there.
    if (where !== "body" && sent.headers[where] === headers[where]) return;
    const answer = await plangate.request("POST", "/webhooks/clerk", sent);
    const told = `${answer.status} ${answer.body?.code}`;
    seen.set(told, (seen.get(told) ?? 0) + 1);
    assert.equal(answer.status, 400, `${where} ${JSON.stringify(sent.headers)} ${sent.body.toString("latin1")} → ${answer.text}`);
  });
  for (const code of ["invalid_signature", "missing_headers", "timestamp_out_of_tolerance"]) assert.ok(seen.get(`400 ${code}`) > 0, `${code} was never tried`);
  assert.equal(await everything(), before, "something was stored");
  assert.equal((await plangate.check(user)).body.allowed, true);
});

test(`${TOKENS} mutated tokens are refused (seed ${seed})`, async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  const valid = [token(user), token(user, { org: newOrg() }), token(user, { v1: true, org: newOrg() })];
  await inBatches(TOKENS, async () => {
    const good = pick(valid);
    const bad = headerText(mutate(Buffer.from(good)));
    if (bad === good) return;
    const carry = pick([() => ({ authorization: `Bearer ${bad}` }), () => ({ cookie: `__session=${bad}` })]);
    const answer = await plangate.request("GET", "/v1/check?plan=pro", { headers: carry() });
    assert.equal(answer.status, 401, `${bad} → ${answer.text}`);
  });
  assert.equal((await plangate.check(user)).body.allowed, true);
});

test(`mutated questions and signed nonsense are answered, never with a 5xx (seed ${seed})`, async () => {
  const user = newUser();
  const body = Buffer.from(JSON.stringify({ checks: [{ plan: "pro" }, { feature: "user:export" }], org_id: null }));
  const nonsense = Buffer.from(JSON.stringify(subscriptionEvent(user, [item(user, { plan: "free_user" })])));
  await inBatches(1_000, async () => {
    const headers = { authorization: `Bearer ${token(user)}` };
    const query = headerText(mutate(Buffer.from("plan=org:pro&feature=export&feature=u:b"))).replaceAll("#", "");
    for (const answer of [
      await plangate.request("GET", `/v1/check?${query}`, { headers }),
      await plangate.request("POST", "/v1/check", { headers, body: mutate(body) }),
    ]) assert.ok([200, 400].includes(answer.status), answer.text);
    // Signed, so it gets in; what cannot be read is a dead letter, and what can says nothing of a paid plan.
    const answer = await plangate.deliver(mutate(nonsense));
    assert.equal(answer.status, 200, answer.text);
  });
  assert.equal((await plangate.check(user, "")).body.allowed, false);
  assert.equal((await plangate.request("GET", "/healthz")).status, 200);
});
