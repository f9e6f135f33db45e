// What may come in, and what becomes of it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Webhook } from "standardwebhooks";
import {
  BINDINGS, DAY_MS, OTHER_SECRET, Plangate, SECRET, clerkPayer, event, eventId, flatEvent, item, itemEvent, newOrg, newUser, sign,
  subscriptionEvent,
} from "./harness.mjs";

let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { CLERK_WEBHOOK_SIGNING_SECRET: `${OTHER_SECRET}, ${SECRET}`, CLERK_INSTANCE_ID: "ins_2abcINSTANCE" } })));
after(() => plangate.stop());

const held = async (query) => (await plangate.request("GET", `/v1/entitlements?${query}`, { headers: { authorization: `Bearer ${BINDINGS.API_KEYS}` } })).body;
const refused = (answer, code) => {
  assert.equal(answer.status, 400, answer.text);
  assert.equal(answer.body.code, code, answer.text);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
};

test("any secret of the list and either family of headers fits, as the public library signs them", async () => {
  for (const secret of [SECRET, OTHER_SECRET]) {
    const [user, id, at] = [newUser(), eventId(), new Date()];
    const body = JSON.stringify(itemEvent(user));
    const signature = new Webhook(secret).sign(id, at, body);
    const seconds = String(Math.floor(at / 1000));
    for (const [family, outcome] of [["webhook", "stored"], ["svix", "duplicate"]]) {
      const headers = { [`${family}-id`]: id, [`${family}-timestamp`]: seconds, [`${family}-signature`]: signature };
      const answer = await plangate.request("POST", "/webhooks/clerk", { headers, body });
      assert.deepEqual([answer.status, answer.body.outcome, answer.body.event_id], [200, outcome, id], answer.text);
    }
  }
});

test("forged, old, early and incomplete deliveries are refused by name and change nothing", async () => {
  const user = newUser();
  const now = Math.floor(Date.now() / 1000);
  const good = sign(itemEvent(user));
  const post = (headers, body = good.body) => plangate.request("POST", "/webhooks/clerk", { headers, body });
  const without = (name) => Object.fromEntries(Object.entries(good.headers).filter(([key]) => key !== name));

  refused(await plangate.deliver(itemEvent(user), { secret: `whsec_${Buffer.from("another key").toString("base64")}` }), "invalid_signature");
  refused(await post(good.headers, Buffer.concat([good.body, Buffer.from(" ")])), "invalid_signature");
  refused(await post({ ...good.headers, "svix-id": "msg_other" }), "invalid_signature");
  refused(await post({ ...good.headers, "svix-signature": good.headers["svix-signature"].replace("v1,", "v2,") }), "invalid_signature");
  refused(await post({ ...good.headers, "svix-timestamp": `${now}.0` }), "invalid_signature");
  refused(await plangate.deliver(itemEvent(user), { at: now - 310 }), "timestamp_out_of_tolerance");
  refused(await plangate.deliver(itemEvent(user), { at: now + 400 }), "timestamp_out_of_tolerance");
  for (const name of ["svix-id", "svix-timestamp", "svix-signature"]) {
    const answer = await post(without(name));
    refused(answer, "missing_headers");
    assert.match(answer.body.detail, new RegExp(name));
  }
  refused(await post({}), "missing_headers");
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.version, 0, "nobody has heard of the user");
});

test("several items: the plan is what grants, not what comes first", async () => {
  const user = newUser();
  const at = Date.now();
  const items = [
    item(user, { plan: "free_user", status: "upcoming", at }),
    item(user, { plan: "basic", status: "ended", at }),
    item(user, { plan: "pro", at }),
    item(user, { plan: "team", status: "upcoming", at }),
  ];
  await plangate.delivered(subscriptionEvent(user, items, { at }));
  const { body } = await plangate.serverCheck(`user_id=${user}&plan=pro`);
  assert.deepEqual([body.allowed, body.plan], [true, "pro"]);
  for (const [plan, reason] of [["basic", "expired"], ["team", "not_started"], ["free_user", "plan_mismatch"]]) {
    assert.deepEqual([(await plangate.serverCheck(`user_id=${user}&plan=${plan}`)).body.reason, plan], [reason, plan]);
  }
});

test("the end of an old item after the start of a new one leaves the new plan alone", async () => {
  const user = newUser();
  const at = Date.now();
  await plangate.delivered(itemEvent(user, { plan: "basic", at: at - 3000 }));
  await plangate.delivered(itemEvent(user, { plan: "pro", at: at - 2000 }));
  await plangate.delivered(itemEvent(user, { plan: "basic", status: "ended", at: at - 1000, end: at - 1000 }));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=pro`)).body.allowed, true);
});

test("an item that does not say whose it is belongs to whom another event says", async () => {
  const user = newUser();
  const at = Date.now();
  const orphan = { ...item(user, { at }), payer: undefined, subscription_id: undefined };
  await plangate.delivered(event("subscriptionItem.active", orphan));
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, false);
  assert.equal((await plangate.request("GET", "/healthz")).body.unassigned_records, 1);
  await plangate.delivered(subscriptionEvent(user, [item(user, { at: at + 1 })], { at: at + 1 }));
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, true);
  assert.equal((await plangate.request("GET", "/healthz")).body.unassigned_records, 0);
});

test("the flat form: created, failed, updated, deleted", async () => {
  const user = newUser();
  const at = Date.now();
  const flat = (type, data, ago) => flatEvent(`subscription.${type}`, { user_id: user, ...data }, { timestamp: at - ago });
  const state = async () => {
    const { plan, status, payers } = await held(`user_id=${user}`);
    const [{ status: stored, customer_id, cancel_at }] = payers[0].subscriptions;
    return { plan, status, stored, customer_id, attempts: payers[0].failed_attempts, canceled: cancel_at !== null };
  };

  await plangate.delivered(flat("created", { plan: "pro", stripe_customer_id: "cus_1" }, 5000));
  assert.deepEqual(await state(), { plan: "pro", status: "active", stored: "active", customer_id: "cus_1", attempts: 0, canceled: false });
  await plangate.delivered(flat("payment_failed", { attempt_count: 2 }, 4000));
  assert.deepEqual(await state(), { plan: "free_user", status: "past_due", stored: "past_due", customer_id: "cus_1", attempts: 2, canceled: false });
  await plangate.delivered(flat("updated", { plan: "team", status: "active" }, 3000));
  assert.deepEqual(await state(), { plan: "team", status: "active", stored: "active", customer_id: "cus_1", attempts: 0, canceled: false });
  await plangate.delivered(flat("updated", { plan: "team", status: "cancelled", period_end: at + DAY_MS }, 2000));
  assert.deepEqual(await state(), { plan: "team", status: "canceled", stored: "canceled", customer_id: "cus_1", attempts: 0, canceled: true });
  await plangate.delivered(flat("deleted", {}, 1000));
  assert.deepEqual(await state(), { plan: "free_user", status: "canceled", stored: "canceled", customer_id: "cus_1", attempts: 0, canceled: true });
  await plangate.delivered(flat("updated", { plan: "pro", status: "active" }, 4500), "stale");
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=free_user`)).body.allowed, true);
});

test("both forms for one payer count together", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user, { plan: "basic" }));
  await plangate.delivered(flatEvent("subscription.created", { user_id: user, plan: "pro" }));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=basic&plan=pro`)).body.allowed, true);
  await plangate.delivered(flatEvent("subscription.deleted", { user_id: user }, { timestamp: Date.now() + 1 }));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=pro`)).body.allowed, false);
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=basic`)).body.allowed, true);
});

test("a trial, its use remembered, and seats", async () => {
  const org = newOrg();
  const at = Date.now();
  const end = at + 14 * DAY_MS;
  await plangate.delivered(itemEvent(org, { plan: "team", at: at - 1000, end, is_free_trial: true, seats: { quantity: 5 } }));
  let body = await held(`org_id=${org}`);
  assert.deepEqual([body.plan, body.status], ["team", "trialing"]);
  assert.deepEqual(body.trial, { active: true, ends_at: new Date(end).toISOString().replace(".000Z", "Z"), used: true });
  assert.deepEqual(body.payers[0].subscriptions[0].seats, { quantity: 5 });
  await plangate.delivered(itemEvent(org, { plan: "team", at, end: end + 30 * DAY_MS, seats: { quantity: null } }));
  body = await held(`org_id=${org}`);
  assert.deepEqual([body.status, body.trial], ["active", { active: false, ends_at: null, used: true }]);
  assert.deepEqual(body.payers[0].subscriptions[0].seats, { quantity: null });
});

test("payments are kept as amounts and attempts, and never with a field of a card", async () => {
  const user = newUser();
  const at = Date.now();
  // Four digits alone are found in times and ids sooner or later.
  const last4 = "<4242>";
  const attempt = (n, status, failed_reason = null) => event(`paymentAttempt.updated`, {
    object: "commerce_payment_attempt", id: `cpa_${user}_${n}`, instance_id: "ins_2abcINSTANCE", payment_id: `cpay_${user}`, status, charge_type: "recurring",
    created_at: at - 10_000 + n * 1000, updated_at: at - 10_000 + n * 1000, failed_reason, payer: clerkPayer(user),
    totals: { grand_total: { amount: 2000, amount_formatted: "20.00", currency: "USD", currency_symbol: "$" } },
    payment_source: { id: "cps_1", gateway: "stripe", payment_method: "card", card_type: "visa", last4 },
  });
  await plangate.delivered(attempt(2, "failed", { code: "card_declined", decline_code: "insufficient_funds" }));
  await plangate.delivered(attempt(1, "failed", { code: "card_declined", decline_code: "do_not_honor" }));
  let [payer] = (await held(`user_id=${user}`)).payers;
  assert.deepEqual([payer.failed_attempts, payer.last_failure_code], [2, "insufficient_funds"]);
  await plangate.delivered(attempt(3, "paid"));
  [payer] = (await held(`user_id=${user}`)).payers;
  assert.equal(payer.failed_attempts, 0);

  const d1 = await plangate.d1();
  const { results } = await d1.prepare("SELECT * FROM payment_attempts WHERE payer = ? ORDER BY attempt").bind(`user:${user}`).all();
  assert.deepEqual(results.map(({ attempt: n, status, amount, currency }) => [n, status, amount, currency]), [[1, "failed", 2000, "USD"], [2, "failed", 2000, "USD"], [3, "paid", 2000, "USD"]]);
  const everything = JSON.stringify([results, (await d1.prepare("SELECT * FROM deliveries").all()).results]);
  for (const trace of [last4, "last4", "visa"]) assert.ok(!everything.includes(trace), trace);
});

test("a deleted user stays deleted, whatever comes late", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  await plangate.delivered(event("user.deleted", { object: "user", id: user, deleted: true }));
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.reason, "payer_deleted");
  await plangate.delivered(itemEvent(user, { at: Date.now() + 1000 }));
  await plangate.delivered(event("user.updated", { object: "user", id: user }));
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.reason, "payer_deleted");
});

test("what is not for us is a success: unused types, another instance, a deletion of nobody", async () => {
  const user = newUser();
  await plangate.delivered(event("session.created", { id: "sess_1", user_id: user }), "ignored");
  await plangate.delivered(event("something.new", { id: 1 }), "ignored");
  await plangate.delivered({ ...itemEvent(user), instance_id: "ins_somebody_elses" }, "ignored");
  await plangate.delivered(event("user.deleted", { object: "user", deleted: true }), "ignored");
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, false);
  const { deliveries } = (await plangate.request("GET", "/healthz")).body.providers.clerk;
  assert.equal(deliveries["ignored:unused_type"], 2);
  assert.equal(deliveries["ignored:other_instance"], 1);
  assert.equal(deliveries["ignored:no_subject"], 1);
});

test("an event that cannot be read is kept whole, card numbers masked, and counts when it is sent again readable", async () => {
  const user = newUser();
  const id = eventId();
  const broken = { ...itemEvent(user), data: { ...item(user), id: undefined, note: "4242 4242 4242 4242" } };
  assert.equal((await plangate.delivered(broken, "dead_letter", { id })).event_id, id);
  await plangate.delivered("this is not JSON 4000056655665556", "dead_letter");
  await plangate.delivered(Buffer.from([0xff, 0xfe, 0x00]), "dead_letter");
  await plangate.delivered("", "dead_letter");
  assert.equal((await plangate.request("GET", "/healthz")).body.dead_letters, 4);
  const { results } = await (await plangate.d1()).prepare("SELECT event_id, detail, body FROM deliveries WHERE outcome = 'dead_letter'").all();
  const kept = results.find(({ event_id }) => event_id === id);
  assert.match(kept.detail, /an item without an id/);
  assert.match(kept.body, /\*{4} \*{4} \*{4} \*{4}/);
  assert.ok(!JSON.stringify(results).match(/4242 4242|4000056655665556/));

  await plangate.delivered(itemEvent(user), "stored", { id });
  await plangate.delivered(itemEvent(user), "duplicate", { id });
  assert.equal((await plangate.serverCheck(`user_id=${user}`)).body.allowed, true);
  assert.equal((await plangate.request("GET", "/healthz")).body.dead_letters, 3);
});

test("unknown statuses and fields are kept and grant nothing", async () => {
  const user = newUser();
  await plangate.delivered(event("subscriptionItem.hibernating", { ...item(user, { status: "hibernating" }), brand_new: { a: [1] } }));
  const { body } = await plangate.serverCheck(`user_id=${user}&plan=pro`);
  assert.deepEqual([body.allowed, body.reason, body.status], [false, "unknown_status", "hibernating"]);
});

test("an old period, a null one and seconds instead of milliseconds", async () => {
  const at = Date.now();
  const cases = [
    [{ end: at - 2 * DAY_MS }, false, "expired"],
    [{ end: at - DAY_MS / 2 }, true, "active"],
    [{ period_end: null }, true, "active"],
    [{ period_end: -62135596800000 }, true, "active"],
    [{ period_end: Math.floor(at / 1000) - 2 * 86400, period_start: 1, updated_at: Math.floor(at / 1000) }, false, "expired"],
    [{ status: "canceled", end: at + 1000 * 60 }, true, "canceled_until_period_end"],
    [{ status: "canceled", end: at - 1000 }, false, "expired"],
    [{ status: "past_due" , end: at - 1000 }, false, "past_due"],
    [{ status: "incomplete" }, false, "incomplete"],
    [{ status: "abandoned" }, false, "expired"],
  ];
  for (const [options, allowed, reason] of cases) {
    const user = newUser();
    await plangate.delivered(itemEvent(user, { at, ...options }));
    const { body } = await plangate.serverCheck(`user_id=${user}&plan=pro`);
    assert.deepEqual([body.allowed, body.reason], [allowed, reason], JSON.stringify(options));
  }
});

test("the days of grace run out, however often the charge is tried again", async (t) => {
  const graceful = await Plangate.start({ bindings: { PAST_DUE_GRACE_DAYS: "3" } });
  t.after(() => graceful.stop());
  const at = Date.now();
  const failing = async (user, due) => {
    for (const ago of [2, 1, 0]) await graceful.delivered(itemEvent(user, { status: "past_due", at: at - ago * 3_600_000, end: due }));
    return (await graceful.serverCheck(`user_id=${user}&plan=pro`)).body;
  };
  const within = await failing(newUser(), at - 2 * DAY_MS);
  assert.deepEqual([within.reason, Date.parse(within.valid_until)], ["past_due_grace", at + DAY_MS], "three days after the charge was due");
  assert.equal((await failing(newUser(), at - 4 * DAY_MS)).reason, "past_due");
});

test("an event that names a plan by its id alone does not take its name away, in either order", async () => {
  const at = Date.now();
  for (const order of [[0, 1], [1, 0]]) {
    const user = newUser();
    const named = itemEvent(user, { at: at - 1000 });
    const canceled = itemEvent(user, { at, status: "canceled" });
    canceled.data.plan = null;
    for (const index of order) assert.equal((await plangate.deliver([named, canceled][index])).status, 200);
    const { body } = await plangate.serverCheck(`user_id=${user}&plan=pro`);
    assert.deepEqual([body.allowed, body.reason], [true, "canceled_until_period_end"]);
  }
});

test("a flat event that tells of a new period and no status is a renewal", async () => {
  const user = newUser();
  const at = Date.now();
  const flat = (type, data, ago) => flatEvent(`subscription.${type}`, { user_id: user, ...data }, { timestamp: at - ago });
  await plangate.delivered(flat("created", { plan: "pro", period_end: at - 2 * DAY_MS }, 3000));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=pro`)).body.reason, "expired");
  await plangate.delivered(flat("updated", { plan: "pro", period_end: at + 30 * DAY_MS }, 2000));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=pro`)).body.allowed, true);
  await plangate.delivered(flat("updated", { plan: "team" }, 1000));
  assert.equal((await plangate.serverCheck(`user_id=${user}&plan=team`)).body.allowed, true);
});
