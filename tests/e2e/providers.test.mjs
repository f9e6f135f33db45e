// Every provider's deliveries, signed by the provider's own library where it has one, against the running worker.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import Stripe from "stripe";
import { API_KEY, DAY_MS, Plangate, itemEvent, newUser } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
const STRIPE_SECRETS = [1, 2].map(() => `whsec_${randomBytes(24).toString("base64url")}`);
const PLANS = { pro: { features: ["api"], ids: { stripe: ["price_pro"] } }, team: { includes: ["pro"], ids: { stripe: ["prod_team"] } } };

let plangate;
before(async () => {
  const bindings = { ADMIN_TOKEN, PLANS, STRIPE_WEBHOOK_SECRET: STRIPE_SECRETS.join(", ") };
  plangate = await Plangate.start({ bindings });
});
after(() => plangate.stop());

const now = () => Math.floor(Date.now() / 1000);
const id = (prefix) => `${prefix}_${randomBytes(9).toString("hex")}`;
const bearer = (key) => ({ headers: { authorization: `Bearer ${key}` } });
const check = async (user, query = "plan=pro") => (await plangate.request("GET", `/v1/check?${query}&user_id=${user}`, bearer(API_KEY))).body;
const entitlements = async (user) => (await plangate.request("GET", `/v1/entitlements?user_id=${user}`, bearer(API_KEY))).body;
const post = (provider, body, headers) => plangate.request("POST", `/webhooks/${provider}`, { headers, body });
const accepted = async (provider, { body, headers }, outcome = "stored") => {
  const answer = await post(provider, body, headers);
  assert.deepEqual([answer.status, answer.body.outcome], [200, outcome], answer.text);
  return answer.body;
};

/** A delivery as Stripe sends it: its own library signs. */
function stripe(event, { secret = STRIPE_SECRETS[0], timestamp = now() } = {}) {
  const body = JSON.stringify(event, null, 2);
  return { body, headers: { "content-type": "application/json; charset=utf-8", "stripe-signature": Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }) } };
}

const stripeEvent = (type, object, more = {}) => ({ id: id("evt"), object: "event", api_version: "2026-10-28.endive", created: now(), livemode: true, pending_webhooks: 1, request: { id: null, idempotency_key: null }, type, data: { object }, ...more });

/** A subscription; `basil` is the shape since 2025-03-31. */
function stripeSubscription({ customer, user, price = "price_pro", product = "prod_1", basil = true, end = now() + 30 * 86_400, ...more }) {
  const period = { current_period_start: now() - 86_400, current_period_end: end };
  return {
    id: `sub_${customer}`, object: "subscription", customer, status: "active", cancel_at_period_end: false, cancel_at: null, canceled_at: null,
    ended_at: null, trial_end: null, created: now() - 86_400, metadata: user ? { userId: user } : {}, ...(!basil && period),
    items: { object: "list", data: [{ id: `si_${customer}`, created: now() - 86_400, quantity: 1, ...(basil && period), price: { id: price, product, recurring: { interval: "month" } } }] },
    ...more,
  };
}

test("Stripe: bought, canceled, ended; before and after basil", async () => {
  for (const basil of [true, false]) {
    const [user, customer] = [newUser(), id("cus")];
    const tell = (what, more = {}, seconds = 0) =>
      accepted("stripe", stripe(stripeEvent(`customer.subscription.${what}`, stripeSubscription({ user, customer, basil, ...more }), { created: now() + seconds })));
    assert.equal((await check(user)).reason, "no_subscription");
    await tell("created");
    assert.deepEqual([(await check(user)).allowed, (await check(user, "feature=api")).allowed], [true, true]);
    await tell("updated", { cancel_at_period_end: true, canceled_at: now() }, 1);
    assert.equal((await check(user)).reason, "canceled_until_period_end");
    await tell("deleted", { status: "canceled", ended_at: now() }, 2);
    assert.deepEqual([(await check(user)).allowed, (await check(user)).reason], [false, "expired"]);
  }
});

test("Stripe: who the customer is may come before or after what was bought", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const [user, customer] = [newUser(), id("cus")];
    const deliveries = [
      stripe(stripeEvent("customer.subscription.created", stripeSubscription({ customer }))),
      stripe(stripeEvent("checkout.session.completed", { id: id("cs"), object: "checkout.session", mode: "subscription", payment_status: "paid", customer, client_reference_id: user, subscription: `sub_${customer}`, metadata: {} })),
    ];
    for (const index of order) await accepted("stripe", deliveries[index]);
    assert.equal((await check(user)).allowed, true, order.join());
    // What names the customer alone from now on is the user's.
    await accepted("stripe", stripe(stripeEvent("customer.subscription.updated", stripeSubscription({ customer, status: "unpaid" }), { created: now() + 1 })));
    assert.deepEqual([(await check(user)).allowed, (await check(user)).reason], [false, "unpaid"]);
  }
});

test("Stripe: what nobody is linked to, and what nothing maps, waits where an operator sees it", async () => {
  const [customer, user] = [id("cus"), newUser()];
  await accepted("stripe", stripe(stripeEvent("customer.subscription.created", stripeSubscription({ customer, price: "price_new", product: "prod_new" }))));
  const loose = async () => (await plangate.request("GET", "/admin/loose-ends", bearer(ADMIN_TOKEN))).body;
  const waits = (body) => [body.unassigned.some((record) => record.customer === customer), body.unmapped.some(({ provider, key }) => provider === "stripe" && key === "price_new")];
  assert.deepEqual(waits(await loose()), [true, true]);
  const health = (await plangate.request("GET", "/healthz")).body;
  assert.ok(health.unmapped_plans.some(({ key, id: product }) => key === "price_new" && product === "prod_new"));
  await accepted("stripe", stripe(stripeEvent("customer.updated", { id: customer, object: "customer", metadata: { userId: user } })));
  assert.deepEqual(waits(await loose()), [false, true]);
  assert.equal((await check(user)).allowed, false);
  // Once it is mapped it counts, without a new event.
  await plangate.restart({ PLANS: { ...PLANS, pro: { features: ["api"], ids: { stripe: ["price_pro", "prod_new"] } } } });
  assert.equal((await check(user)).allowed, true);
  assert.deepEqual(waits(await loose()), [false, false]);
  await plangate.restart({ PLANS });
});

test("Stripe: a signature is refused for what is wrong with it", async () => {
  const event = stripeEvent("customer.subscription.created", stripeSubscription({ customer: id("cus"), user: newUser() }));
  const good = stripe(event);
  const signature = good.headers["stripe-signature"];
  const cases = [
    [good.body, {}, "missing_headers"],
    [`${good.body} `, good.headers, "invalid_signature"],
    [good.body, { "stripe-signature": signature.replace("v1=", "v0=") }, "invalid_signature"],
    [good.body, { "stripe-signature": signature.toUpperCase() }, "invalid_signature"],
    [good.body, stripe(event, { secret: `whsec_${randomBytes(24).toString("base64url")}` }).headers, "invalid_signature"],
    [good.body, stripe(event, { secret: STRIPE_SECRETS[0].slice(6) }).headers, "invalid_signature"],
    [good.body, stripe(event, { timestamp: now() - 302 }).headers, "timestamp_out_of_tolerance"],
    [good.body, stripe(event, { timestamp: now() + 302 }).headers, "timestamp_out_of_tolerance"],
  ];
  for (const [body, headers, code] of cases) {
    const answer = await post("stripe", body, headers);
    assert.deepEqual([answer.status, answer.body.code], [400, code], JSON.stringify(headers));
  }
  // Either secret fits, and either of several signatures.
  await accepted("stripe", stripe(event, { secret: STRIPE_SECRETS[1] }));
  const other = stripe(event, { secret: STRIPE_SECRETS[1] }).headers["stripe-signature"].match(/v1=.*/)[0];
  await accepted("stripe", { body: good.body, headers: { "stripe-signature": `${signature},v1=potato,${other}` } }, "duplicate");
});

test("Stripe: test mode counts for nothing where money is real", async () => {
  const user = newUser();
  const event = stripeEvent("customer.subscription.created", stripeSubscription({ customer: id("cus"), user }), { livemode: false });
  await accepted("stripe", stripe(event), "ignored");
  assert.equal((await check(user)).allowed, false);
  const { deliveries } = (await plangate.request("GET", "/healthz")).body.providers.stripe;
  assert.ok(deliveries["ignored:other_environment"] >= 1);
});

test("Stripe: failed charges are shown with their number", async () => {
  const [user, customer] = [newUser(), id("cus")];
  await accepted("stripe", stripe(stripeEvent("customer.subscription.created", stripeSubscription({ customer, user }))));
  const invoice = (attempts) => ({ id: `in_${customer}`, object: "invoice", customer, status: "open", amount_due: 1000, amount_paid: 0, currency: "usd", created: now(), attempt_count: attempts, billing_reason: "subscription_cycle", parent: { type: "subscription_details", subscription_details: { subscription: `sub_${customer}`, metadata: {} } } });
  await accepted("stripe", stripe(stripeEvent("invoice.payment_failed", invoice(1))));
  await accepted("stripe", stripe(stripeEvent("invoice.payment_failed", invoice(3), { created: now() + 1 })));
  assert.equal((await entitlements(user)).payers[0].failed_attempts, 3);
});

test("a purchase that was paid back stands, unless refunds revoke", async () => {
  const [user, customer] = [newUser(), id("cus")];
  const session = id("cs");
  await accepted("stripe", stripe(stripeEvent("checkout.session.completed", { id: session, object: "checkout.session", mode: "payment", payment_status: "paid", customer, client_reference_id: user, payment_intent: `pi_${customer}`, amount_total: 1000, currency: "usd", created: now(), metadata: { price_id: "price_pro" } })));
  assert.deepEqual([(await check(user)).allowed, (await check(user)).valid_until], [true, null]);
  const charge = { id: id("ch"), object: "charge", customer, payment_intent: `pi_${customer}`, amount: 1000, amount_refunded: 1000, refunded: true, currency: "usd", created: now() };
  await accepted("stripe", stripe(stripeEvent("charge.refunded", charge, { created: now() + 1 })));
  assert.equal((await check(user)).allowed, true);
  await plangate.restart({ REFUNDS_REVOKE: "true" });
  assert.deepEqual([(await check(user)).allowed, (await check(user)).reason], [false, "expired"]);
  const why = (await plangate.request("GET", `/v1/explain?plan=pro&user_id=${user}`, bearer(API_KEY))).body;
  assert.equal(why.rule.code, "paid_back");
  await plangate.restart({ REFUNDS_REVOKE: undefined });
});

test("a move from Stripe to Clerk leaves no gap", async () => {
  const [user, customer] = [newUser(), id("cus")];
  const end = now() + 86_400;
  await accepted("stripe", stripe(stripeEvent("customer.subscription.updated", stripeSubscription({ customer, user, end, cancel_at_period_end: true, canceled_at: now() }))));
  await plangate.delivered(itemEvent(user, { plan: "pro", end: Date.now() + 30 * DAY_MS }));
  assert.equal((await check(user)).reason, "active");
  await accepted("stripe", stripe(stripeEvent("customer.subscription.deleted", stripeSubscription({ customer, user, end, status: "canceled", ended_at: now() }), { created: now() + 1 })));
  const answer = await check(user);
  assert.deepEqual([answer.allowed, answer.reason], [true, "active"]);
});
