// Any order, any duplicate: 200 generated histories, each delivered once in order and once shuffled, doubled and all at
// once, end in the same rows and the same answers. A failure prints the seed; HISTORIES_SEED repeats it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, clerkPayer, event, eventId, flatEvent, item, itemEvent, newUser, seeded, subscriptionEvent } from "./harness.mjs";

const HISTORIES = 200;
const AT_ONCE = 8;
const seed = Number(process.env.HISTORIES_SEED ?? Date.now() % 2 ** 31);
const random = seeded(seed);
const pick = (list) => list[random.below(list.length)];

let plangate;
before(async () => (plangate = await Plangate.start()));
after(() => plangate.stop());

/** The steps of a life, as functions of the payer and a time: upgrades, downgrades, trials, failures, ends, both forms. */
const STEPS = [
  (payer, at) => itemEvent(payer, { plan: pick(["basic", "pro"]), at, status: "active", is_free_trial: random.below(4) === 0 }),
  (payer, at) => itemEvent(payer, { plan: pick(["basic", "pro"]), at, status: pick(["canceled", "past_due", "ended", "upcoming", "incomplete", "hibernating"]) }),
  (payer, at) => subscriptionEvent(payer, [
    item(payer, { plan: "free_user", status: pick(["active", "upcoming", "ended"]), at }),
    item(payer, { plan: "pro", status: pick(["active", "canceled", "past_due", "ended"]), at, end: at + random.below(60) * DAY_MS }),
  ], { at }),
  (payer, at) => event("subscriptionItem.updated", { ...item(payer, { plan: "basic", at }), payer: undefined }, { timestamp: at }),
  (payer, at) => flatEvent(`subscription.${pick(["created", "updated", "deleted", "payment_failed"])}`, { user_id: payer, plan: pick(["pro", "team", undefined]), status: pick([undefined, "active", "past_due", "cancelled"]), attempt_count: random.below(4), stripe_customer_id: "cus_1" }, { timestamp: at }),
  (payer, at) => event("paymentAttempt.updated", { id: `cpa_${payer}_${random.below(3)}`, payment_id: `cpay_${payer}`, status: pick(["failed", "paid", "pending"]), created_at: at, updated_at: at, payer: clerkPayer(payer) }, { timestamp: at }),
];

/** The same history for two payers. Times are apart, so the tie rule (which the native suite covers) is not needed. */
function history(payers) {
  const begun = Date.now() - 90 * DAY_MS;
  return Array.from({ length: 3 + random.below(8) }, (_, n) => {
    const at = begun + n * DAY_MS;
    const step = pick(STEPS);
    const first = step(payers[0], at);
    return payers.map((payer) => ({ id: eventId(), event: JSON.parse(JSON.stringify(first).replaceAll(payers[0], payer)) }));
  });
}

/**
 * What is held, without what names the payer or the event. Nor the version, which counts the deliveries that were known to
 * be about the payer: one that does not say so counts only once another has told.
 */
async function state(payer) {
  const d1 = await plangate.d1();
  const rows = async (sql) => JSON.stringify((await d1.prepare(sql).bind(`user:${payer}`).all()).results).replaceAll(payer, "payer").replaceAll(/msg_[0-9a-f]+/g, "msg");
  const { body } = await plangate.request("GET", `/v1/entitlements?user_id=${payer}`, { headers: { authorization: `Bearer ${API_KEY}` } });
  const { as_of, source, version, ...held } = body;
  return [
    await rows("SELECT * FROM records WHERE payer = ? ORDER BY id"),
    await rows("SELECT * FROM payments WHERE payer = ? ORDER BY id"),
    JSON.stringify(held).replaceAll(payer, "payer"),
  ];
}

test(`${HISTORIES} histories in any order (seed ${seed})`, async () => {
  let deliveries = 0;
  const send = async ({ id, event: one }) => {
    deliveries++;
    assert.equal((await plangate.deliver(one, { id })).status, 200);
  };
  const one = async () => {
    const payers = [newUser(), newUser()];
    const events = history(payers);
    for (const [inOrder] of events) await send(inOrder);
    const shuffled = events.flatMap(([, copy]) => (random.below(3) === 0 ? [copy, copy] : [copy]));
    for (let n = shuffled.length - 1; n > 0; n--) {
      const other = random.below(n + 1);
      [shuffled[n], shuffled[other]] = [shuffled[other], shuffled[n]];
    }
    await Promise.all(shuffled.map(send));
    assert.deepEqual(await state(payers[1]), await state(payers[0]), JSON.stringify(shuffled.map(({ event: sent }) => sent), null, 1));
  };
  for (let done = 0; done < HISTORIES; done += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, one));
  assert.ok(deliveries > HISTORIES * 6, `only ${deliveries} deliveries`);
});
