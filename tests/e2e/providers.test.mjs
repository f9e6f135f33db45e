// Every provider's deliveries, signed by the provider's own library where it has one, against the running worker.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Paddle } from "@paddle/paddle-node-sdk";
import { webhooks as polarWebhooks } from "@polar-sh/sdk/2026-10";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { API_KEY, DAY_MS, Plangate, itemEvent, newUser } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
const STRIPE_SECRETS = [1, 2].map(() => `whsec_${randomBytes(24).toString("base64url")}`);
const SECRETS = {
  lemonsqueezy: randomBytes(15).toString("hex"),
  paddle: `pdl_ntfset_01hv8_${randomBytes(16).toString("hex")}`,
  polar: `whsec_${randomBytes(30).toString("hex").slice(0, 43)}`,
  own: `whsec_${randomBytes(32).toString("base64")}`,
  revenuecat: randomBytes(24).toString("hex"),
  revenuecatHeader: `Bearer ${randomBytes(24).toString("hex")}`,
};
const IDS = { lemonsqueezy: ["4711"], paddle: ["pri_pro"], polar: ["prod_pro"], revenuecat: ["pro_monthly"], stripe: ["price_pro"] };
const PLANS = { pro: { features: ["api"], ids: IDS }, team: { includes: ["pro"], ids: { stripe: ["prod_team"] } } };

let plangate;
before(async () => {
  const bindings = {
    ADMIN_TOKEN, PLANS, STRIPE_WEBHOOK_SECRET: STRIPE_SECRETS.join(", "), LEMONSQUEEZY_WEBHOOK_SECRET: SECRETS.lemonsqueezy, PADDLE_WEBHOOK_SECRET: SECRETS.paddle,
    POLAR_WEBHOOK_SECRET: SECRETS.polar, REVENUECAT_WEBHOOK_SECRET: SECRETS.revenuecatHeader, REVENUECAT_SIGNING_SECRET: SECRETS.revenuecat,
    STANDARD_WEBHOOKS_SECRET: `whsec_${randomBytes(32).toString("base64")}, ${SECRETS.own}`,
  };
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
  assert.equal(answer.status, 200, answer.text);
  if (outcome !== null) assert.equal(answer.body.outcome, outcome, answer.text);
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
  await plangate.restart({ PLANS: { ...PLANS, pro: { features: ["api"], ids: { ...IDS, stripe: ["price_pro", "prod_new"] } } } });
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
    // Far enough ahead that it still is when the others were refused.
    [good.body, stripe(event, { timestamp: now() + 400 }).headers, "timestamp_out_of_tolerance"],
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

/** A captured payload, with other values at some of its paths. */
function captured(provider, name, changes) {
  const payload = JSON.parse(readFileSync(new URL(`../data/${provider}/${name}.json`, import.meta.url)));
  for (const [path, value] of Object.entries(changes)) {
    const steps = path.split(".");
    const last = steps.pop();
    steps.reduce((at, step) => at[step], payload)[last] = value;
  }
  return payload;
}

const iso = (secondsFromNow) => new Date(Date.now() + secondsFromNow * 1000).toISOString();
const hex = (secret, ...parts) => parts.reduce((mac, part) => mac.update(part), createHmac("sha256", secret)).digest("hex");
const MONTH = 30 * 86_400;

/** The others: how each signs, what it refuses, and one subscription from its beginning to its end. */
const OTHERS = {
  paddle: {
    sign: (body, { secret = SECRETS.paddle, at = now() } = {}) => ({ "paddle-signature": `ts=${at};h1=${hex(secret, `${at}:`, body)}` }),
    /** Paddle's own library reads what we sign, so what we sign is what Paddle signs. */
    agrees: async (body, headers) => (await new Paddle("test").webhooks.unmarshal(body, SECRETS.paddle, headers["paddle-signature"])) !== null,
    events: (user) => {
      const subscription = (name, at, changes) => captured("paddle", name, {
        event_id: id("evt"), occurred_at: iso(at), "data.id": `sub_${user}`, "data.updated_at": iso(at), "data.customer_id": `ctm_${user}`, "data.custom_data": { userId: user },
        "data.current_billing_period": { starts_at: iso(-60), ends_at: iso(MONTH) }, "data.items.0.price.id": "pri_pro", ...changes,
      });
      return [
        subscription("subscription.activated", 0, {}),
        subscription("subscription.updated", 1, { "data.scheduled_change": { action: "cancel", effective_at: iso(MONTH), resume_at: null } }),
        subscription("subscription.canceled", 2, { "data.current_billing_period": null, "data.status": "canceled", "data.canceled_at": iso(2), "data.scheduled_change": null }),
      ];
    },
  },
  polar: {
    sign: (body, { secret = SECRETS.polar, at = now() } = {}) => {
      const headers = { "webhook-id": randomUUID(), "webhook-timestamp": String(at) };
      // Polar signs with the text of the secret: the library takes it encoded, and decodes it.
      const key = new Webhook(Buffer.from(secret).toString("base64"));
      return { ...headers, "webhook-signature": key.sign(headers["webhook-id"], new Date(at * 1000), body) };
    },
    agrees: async (body, headers) => (await polarWebhooks.validateEvent(body, headers, SECRETS.polar)) !== undefined,
    events: (user) => {
      const subscription = (name, at, changes) => captured("polar", name, {
        timestamp: iso(at), "data.id": `5e_${user}`, "data.modified_at": iso(at), "data.customer_id": `c0_${user}`, "data.customer.id": `c0_${user}`, "data.customer.external_id": user,
        "data.current_period_start": iso(-60), "data.current_period_end": iso(MONTH), "data.product_id": "prod_pro", ...changes,
      });
      return [
        subscription("subscription.active", 0, {}),
        subscription("subscription.canceled", 1, { "data.cancel_at_period_end": true, "data.ends_at": iso(MONTH), "data.canceled_at": iso(1) }),
        subscription("subscription.revoked", 2, { "data.status": "canceled", "data.ended_at": iso(2), "data.ends_at": iso(2), "data.cancel_at_period_end": true }),
      ];
    },
  },
  lemonsqueezy: {
    sign: (body, { secret = SECRETS.lemonsqueezy } = {}) => ({ "x-signature": hex(secret, body), "x-event-name": "subscription_created" }),
    isUntimed: true,
    events: (user) => {
      const subscription = (name, at, changes) => captured("lemonsqueezy", name, {
        "meta.custom_data": { user_id: user }, "data.id": String(Math.floor(Math.random() * 1e9)), "data.attributes.updated_at": iso(at), "data.attributes.created_at": iso(-60),
        "data.attributes.customer_id": `c${user}`, "data.attributes.order_id": `o${user}`, "data.attributes.variant_id": 4711, "data.attributes.renews_at": iso(MONTH), ...changes,
      });
      const all = [
        subscription("subscription_created", 0, {}),
        subscription("subscription_cancelled", 1, { "data.attributes.status": "cancelled", "data.attributes.cancelled": true, "data.attributes.ends_at": iso(MONTH) }),
        subscription("subscription_expired", 2, { "data.attributes.status": "expired", "data.attributes.cancelled": true, "data.attributes.ends_at": iso(-1) }),
      ];
      for (const one of all) one.data.id = all[0].data.id;
      return all;
    },
  },
  "standard-webhooks": {
    sign: (body, { secret = SECRETS.own, at = now(), eventId = id("msg") } = {}) => {
      const key = new Webhook(secret === SECRETS.own ? secret : Buffer.from(secret).toString("base64"));
      return { "webhook-id": eventId, "webhook-timestamp": String(at), "webhook-signature": key.sign(eventId, new Date(at * 1000), body) };
    },
    agrees: (body, headers) => new Webhook(SECRETS.own).verify(body, headers) !== undefined,
    events: (user) => {
      const subscription = (at, changes) => captured("standard-webhooks", "subscription.changed", {
        timestamp: iso(at), "data.id": `sub_${user}`, "data.user_id": user, "data.customer_id": `acct_${user}`, "data.updated_at": iso(at),
        "data.period_start": iso(-60), "data.period_end": iso(MONTH), ...changes,
      });
      return [subscription(0, {}), subscription(1, { "data.cancel_at": iso(MONTH) }), subscription(2, { "data.status": "ended", "data.ended_at": iso(2) })];
    },
  },
  revenuecat: {
    sign: (body, { secret = SECRETS.revenuecat, at = now() } = {}) => ({ authorization: SECRETS.revenuecatHeader, "x-revenuecat-webhook-signature": `t=${at},v1=${hex(secret, `${at}.`, body)}` }),
    events: (user) => {
      const event = (name, at, changes) => captured("revenuecat", name, {
        "event.id": randomUUID(), "event.event_timestamp_ms": Date.now() + at * 1000, "event.app_user_id": user, "event.original_app_user_id": user, "event.aliases": [user],
        "event.product_id": "pro_monthly", "event.original_transaction_id": `t_${user}`, "event.purchased_at_ms": Date.now() - 60_000, "event.expiration_at_ms": Date.now() + MONTH * 1000, ...changes,
      });
      return [event("INITIAL_PURCHASE", 0, {}), event("CANCELLATION", 1, { "event.cancel_reason": "UNSUBSCRIBE" }), event("EXPIRATION", 2, { "event.expiration_at_ms": Date.now() - 1000 })];
    },
  },
};

for (const [provider, { sign, agrees, events, isUntimed }] of Object.entries(OTHERS)) {
  const signed = (event, options) => {
    const body = JSON.stringify(event);
    return { body, headers: { "content-type": "application/json", ...sign(body, options) } };
  };

  test(`${provider}: bought, canceled, ended, in any order of arrival`, async () => {
    const reasons = ["active", "canceled_until_period_end", "expired"];
    for (const order of [[0, 1, 2], [2, 0, 1], [1, 2, 0]]) {
      const user = newUser();
      const all = events(user);
      for (const [place, index] of order.entries()) {
        const delivery = signed(all[index]);
        if (agrees) assert.ok(await agrees(delivery.body, delivery.headers), "the provider's own library");
        const { outcome } = await accepted(provider, delivery, null);
        assert.ok(["stored", "stale"].includes(outcome), outcome);
        await accepted(provider, delivery, "duplicate");
        const newest = Math.max(...order.slice(0, place + 1));
        const answer = await check(user);
        assert.deepEqual([answer.allowed, answer.reason], [newest < 2, reasons[newest]], `${order} after ${index}`);
      }
    }
  });

  test(`${provider}: a signature is refused for what is wrong with it`, async () => {
    const [event] = events(newUser());
    const good = signed(event);
    const names = Object.keys(good.headers).filter((name) => !["content-type", "x-event-name"].includes(name));
    for (const name of names) {
      const { [name]: _, ...rest } = good.headers;
      const answer = await post(provider, good.body, rest);
      assert.deepEqual([answer.status, answer.body.code], [400, "missing_headers"], name);
    }
    const cases = [
      [`${good.body} `, good.headers, "invalid_signature"],
      [good.body, signed(event, { secret: "somebody-elses-secret" }).headers, "invalid_signature"],
      ...(isUntimed ? [] : [[good.body, signed(event, { at: now() - 400 }).headers, "timestamp_out_of_tolerance"], [good.body, signed(event, { at: now() + 400 }).headers, "timestamp_out_of_tolerance"]]),
    ];
    for (const [body, headers, code] of cases) {
      const answer = await post(provider, body, headers);
      assert.deepEqual([answer.status, answer.body.code], [400, code], JSON.stringify(headers));
    }
    assert.equal((await post(provider, good.body, good.headers)).status, 200);
  });
}

// A system of the operator's own, beyond what is the same for all.

/** A delivery, signed by the npm package of the specification. */
function own(type, data, options) {
  const body = JSON.stringify({ type, timestamp: iso(0), data });
  return { body, headers: { "content-type": "application/json", ...OTHERS["standard-webhooks"].sign(body, options) } };
}

test("a system of one's own: everything it can say of a payer", async () => {
  const [user, org, customer] = [newUser(), `acme-${id("o")}`, id("acct")];
  await accepted("standard-webhooks", own("purchase.completed", { id: `p_${user}`, user_id: user, plan: "lifetime", seats: "unlimited" }));
  assert.deepEqual([(await check(user, "plan=lifetime")).allowed, (await check(user, "plan=lifetime")).valid_until], [true, null]);
  for (const attempt of [1, 2]) await accepted("standard-webhooks", own("payment.failed", { id: `y_${user}`, user_id: user, purchase_id: `p_${user}`, attempt, updated_at: iso(attempt) }));
  assert.equal((await entitlements(user)).payers[0].failed_attempts, 2);
  await accepted("standard-webhooks", own("purchase.revoked", { id: `p_${user}`, updated_at: iso(1) }));
  assert.deepEqual([(await check(user, "plan=lifetime")).allowed, (await check(user, "plan=lifetime")).reason], [false, "expired"]);

  // Of a customer first, and whose that is later.
  const team = async () => (await plangate.request("GET", `/v1/check?plan=org:team&org_id=${org}`, bearer(API_KEY))).body;
  await accepted("standard-webhooks", own("subscription.changed", { id: `s_${org}`, customer_id: customer, plan: "team", status: "active", period_end: iso(MONTH) }));
  assert.equal((await team()).allowed, false);
  await accepted("standard-webhooks", own("customer.linked", { customer_id: customer, org_id: org }));
  assert.deepEqual([(await team()).allowed, (await team()).reason], [true, "active"]);
  await accepted("standard-webhooks", own("payer.deleted", { org_id: org }));
  assert.deepEqual([(await team()).allowed, (await team()).reason], [false, "payer_deleted"]);
});

test("a system of one's own: what cannot have been meant is kept with its cause, and what is not of the form is ignored", async () => {
  const [user, eventId] = [newUser(), id("msg")];
  const wrong = own("subscription.changed", { id: `s_${user}`, user_id: user, org_id: "org_1", plan: "pro", status: "active" }, { eventId });
  assert.equal((await accepted("standard-webhooks", wrong, "dead_letter")).event_id, eventId);
  const [letter] = (await plangate.request("GET", `/admin/dead-letters?event_id=${eventId}&provider=standard-webhooks`, bearer(ADMIN_TOKEN))).body.events;
  assert.equal(letter.detail, "reading `subscription.changed`: it is either a `user_id`'s or an `org_id`'s");
  assert.equal((await check(user)).allowed, false);
  await accepted("standard-webhooks", own("invoice.finalized", { id: "in_1" }), "ignored");
  await accepted("standard-webhooks", own("subscription.changed", { id: `s_${user}`, user_id: user, plan: "pro", status: "hibernating" }));
  assert.equal((await check(user)).reason, "unknown_status");
});

test("a system of one's own: the examples of its page", async (t) => {
  const page = readFileSync(new URL("../../docs/standard-webhooks.md", import.meta.url), "utf8");
  const block = (language) => page.match(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "m"))[1];
  const env = { ...process.env, PLANGATE: plangate.url.origin, STANDARD_WEBHOOKS_SECRET: SECRETS.own };
  const output = async (command, args) => (await promisify(execFile)(command, args, { env, cwd: fileURLToPath(new URL("../..", import.meta.url)) })).stdout;

  assert.match(await output(process.execPath, ["--input-type=module", "--eval", block("js")]), /^200 {"outcome":"stored"/);
  assert.equal((await check("user_1")).reason, "active");
  const missing = ["openssl", "curl", "base64", "od"].filter((tool) => spawnSync("which", [tool]).status !== 0);
  if (missing.length > 0) return t.diagnostic(`not run, for want of ${missing.join(", ")}: the example for a shell`);
  assert.match(await output("sh", ["-ec", block("sh")]), /"outcome":"stored"/);
  assert.equal((await check("user_2", "plan=lifetime")).allowed, true);
});
