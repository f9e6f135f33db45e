// A Stripe of another make, localstripe, as a process of its own: its own signed webhooks drive the worker, and the worker asks its
// API for what it never told. It speaks the shapes of 2017 (periods of the subscription, `plan` instead of `price`).
//
// What it does not do, and real Stripe does: it tells of no `customer.subscription.updated`, tries each webhook once, has no search
// and knows no `status=ended` in listings. The events and shapes that it lacks are in providers.test.mjs.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { localstripe } from "../../scripts/setup/python.mjs";
import { API_KEY, Plangate, newUser } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
const SECRET = `whsec_${randomBytes(24).toString("base64url")}`;
const STRIPE_KEY = `sk_test_${randomBytes(12).toString("hex")}`;
/** How far its clock is behind ours: more than the time that a reading of the API looks back, less than a signature may be old. */
const BEHIND_SECS = 60;
const MONTH_SECS = 28 * 86_400;

const why = localstripe.whyNot();
if (why !== null) console.error(`localstripe.test.mjs is not run: ${why}`);

describe("localstripe", { skip: why !== null && `not run: ${why}` }, () => {
  let stripe;
  let plangate;
  before(async () => {
    assert.ok(localstripe.hasPackages(), "localstripe is not installed; `npm test -- --only e2e` does it");
    stripe = await LocalStripe.start();
    plangate = await Plangate.start({
      bindings: {
        ADMIN_TOKEN, STRIPE_WEBHOOK_SECRET: SECRET, STRIPE_SECRET_KEY: STRIPE_KEY, STRIPE_API_URL: stripe.url, ENVIRONMENT: "sandbox",
        PLANS: { pro: { ids: { stripe: ["pro-monthly"] } }, team: { ids: { stripe: ["team-monthly"] } } },
      },
      // The worker's own question and localstripe's own answer, but for one word: it calls `canceled` what Stripe lists as `ended`.
      outbound: async (request) => fetch(request.url.replace("status=ended", "status=canceled"), { headers: request.headers }),
    });
    await stripe.tell(plangate);
    for (const id of ["pro-monthly", "team-monthly"]) {
      const product = await stripe.call("POST", "/v1/products", { name: id, type: "service" });
      await stripe.call("POST", "/v1/plans", { id, product: product.id, amount: 2000, currency: "usd", interval: "month" });
      await stripe.told("plan.created", id);
    }
  });
  after(async () => {
    await stripe?.stop();
    await plangate?.stop();
  });

  const bearer = (key) => ({ headers: { authorization: `Bearer ${key}` } });
  const check = async (user, query = "plan=pro") => (await plangate.request("GET", `/v1/check?${query}&user_id=${user}`, bearer(API_KEY))).body;
  const answer = async (user, query) => {
    const { allowed, reason } = await check(user, query);
    return [allowed, reason];
  };
  const outcome = async (event) => {
    const { body } = await plangate.request("GET", `/admin/events?provider=stripe&event_id=${event.id}`, bearer(ADMIN_TOKEN));
    return body.events.map(({ outcome: was }) => was);
  };
  const sweep = async () => {
    const { status, body, text } = await plangate.request("POST", "/admin/reconcile", bearer(ADMIN_TOKEN));
    assert.equal(status, 200, text);
    assert.deepEqual([body.sweeps.stripe.error ?? null, body.sweeps.stripe.unreadable], [null, 0], text);
    return body.sweeps.stripe;
  };

  test("its webhooks grant what was bought, and end it when it is deleted", async () => {
    const user = newUser();
    const { customer, subscription } = await stripe.subscribes(user, "pro-monthly");
    const linked = await stripe.told("customer.created", customer.id);
    const bought = await stripe.told("customer.subscription.created", subscription.id);
    assert.equal(bought.event.api_version, "2017-08-15");
    assert.deepEqual([await outcome(linked.event), await outcome(bought.event)], [["stored"], ["stored"]]);
    assert.deepEqual(await answer(user), [true, "active"]);
    assert.deepEqual(await answer(user, "plan=team"), [false, "plan_mismatch"]);
    const { payers } = (await plangate.request("GET", `/v1/entitlements?user_id=${user}`, bearer(API_KEY))).body;
    assert.equal(payers[0].subscriptions[0].period_end, new Date(subscription.current_period_end * 1000).toISOString().replace(".000", ""));
    // It paid for the whole of its month.
    assert.ok(subscription.current_period_end - subscription.current_period_start >= MONTH_SECS);

    await stripe.call("DELETE", `/v1/subscriptions/${subscription.id}`);
    const ended = await stripe.told("customer.subscription.deleted", subscription.id);
    assert.deepEqual(await outcome(ended.event), ["stored"]);
    assert.deepEqual(await answer(user), [false, "expired"]);

    // The same bytes again are nothing new, whichever of them, and an altered one is nobody's.
    for (const { body, headers } of [ended, bought, linked]) {
      const again = await plangate.request("POST", "/webhooks/stripe", { body, headers });
      assert.deepEqual([again.status, again.body.outcome], [200, "duplicate"]);
    }
    const altered = Buffer.from(bought.body.toString().replace(user, newUser()).replace("active", "unpaid"));
    const forged = await plangate.request("POST", "/webhooks/stripe", { body: altered, headers: bought.headers });
    assert.deepEqual([forged.status, forged.body.code], [400, "invalid_signature"]);
    assert.deepEqual(await answer(user), [false, "expired"]);
  });

  test("everything that it told was believed and could be read", async () => {
    assert.ok(stripe.deliveries.length >= 10, `${stripe.deliveries.length} deliveries`);
    for (const { event } of stripe.deliveries) {
      const [was] = await outcome(event);
      assert.ok(["stored", "ignored"].includes(was), `${event.type}: ${was}`);
    }
    const types = new Set(stripe.deliveries.map(({ event }) => event.type));
    for (const type of ["customer.created", "customer.subscription.created", "customer.subscription.deleted", "invoice.payment_succeeded"]) {
      assert.ok(types.has(type), `${type} is not among ${[...types]}`);
    }
    assert.ok(!types.has("customer.subscription.updated"), "it tells of changes now: this file can do more");
  });

  test("what arrives late and in another order ends alike", async () => {
    const user = newUser();
    await stripe.losing(async () => {
      const { customer, subscription } = await stripe.subscribes(user, "pro-monthly");
      await stripe.call("DELETE", `/v1/subscriptions/${subscription.id}`);
      const late = [
        await stripe.kept("customer.subscription.deleted", subscription.id),
        await stripe.kept("customer.subscription.created", subscription.id),
        await stripe.kept("customer.created", customer.id),
      ];
      assert.deepEqual(await answer(user), [false, "no_subscription"]);
      const outcomes = [];
      for (const { body, headers } of late) outcomes.push((await plangate.request("POST", "/webhooks/stripe", { body, headers })).body.outcome);
      assert.deepEqual([outcomes[0], outcomes[2]], ["stored", "stored"]);
      assert.deepEqual(await answer(user), [false, "expired"]);
    });
  });

  test("a first charge that fails grants nothing", async () => {
    const user = newUser();
    const { subscription } = await stripe.subscribes(user, "pro-monthly", { card: "4000000000000341" });
    await stripe.told("customer.subscription.created", subscription.id);
    assert.deepEqual(await answer(user), [false, "incomplete"]);
  });

  test("a cancellation that it never tells is found in its API, and takes effect when the period ends", async () => {
    const user = newUser();
    const { subscription } = await stripe.subscribes(user, "pro-monthly");
    await stripe.told("customer.subscription.created", subscription.id);
    assert.equal((await stripe.call("POST", `/v1/subscriptions/${subscription.id}`, { cancel_at_period_end: true })).cancel_at_period_end, true);
    assert.deepEqual(await answer(user), [true, "active"]);

    assert.ok((await sweep()).stored >= 1);
    const { allowed, reason, valid_until: until } = await check(user);
    assert.deepEqual([allowed, reason, Date.parse(until) / 1000], [true, "canceled_until_period_end", subscription.current_period_end]);
    const why = async (at) => (await plangate.request("GET", `/v1/explain?plan=pro&user_id=${user}&at=${new Date(at * 1000).toISOString()}`, bearer(API_KEY))).body.decision;
    assert.equal((await why(subscription.current_period_end - 1)).allowed, true);
    assert.equal((await why(subscription.current_period_end)).allowed, false);
  });

  test("purchases and ends of which every webhook was lost are found in its API, and a second look finds nothing", async () => {
    const [user, gone] = [newUser(), newUser()];
    const ended = await stripe.subscribes(gone, "pro-monthly", { metadata: { userId: gone } });
    await stripe.told("customer.subscription.created", ended.subscription.id);
    assert.deepEqual(await answer(gone), [true, "active"]);
    await stripe.losing(async () => {
      // Whose the customer is was lost too, so the subscription has to say it.
      await stripe.subscribes(user, "team-monthly", { metadata: { userId: user } });
      await stripe.call("DELETE", `/v1/subscriptions/${ended.subscription.id}`);
      await stripe.kept("customer.subscription.deleted", ended.subscription.id);
    });
    assert.deepEqual(await answer(user, "plan=team"), [false, "no_subscription"]);
    assert.deepEqual(await answer(gone), [true, "active"]);

    const { stored } = await sweep();
    assert.ok(stored >= 2, `${stored} stored`);
    assert.deepEqual(await answer(user, "plan=team"), [true, "active"]);
    assert.deepEqual(await answer(gone), [false, "expired"]);
    assert.equal((await sweep()).stored, stored);
    assert.deepEqual(await answer(user, "plan=team"), [true, "active"]);
  });

  test("a return from checkout changes nothing where there is no search", async () => {
    const user = newUser();
    const { status, body } = await plangate.request("POST", `/v1/sync?user_id=${user}`, bearer(API_KEY));
    assert.deepEqual([status, body.synced.map(({ outcome: was }) => was)], [200, ["unknown"]]);
  });
});

/** A running localstripe, and everything that it tells. */
class LocalStripe {
  deliveries = [];
  #waiting = [];

  static async start() {
    const self = new LocalStripe();
    const script = fileURLToPath(new URL("localstripe/serve.py", import.meta.url));
    // It counts months in its own time zone, where one may have an hour less.
    // In a group of its own, so that all of it can be ended. It also ends by itself when its stdin is closed, by whatever end of ours.
    self.process = spawn(localstripe.python, [script, String(BEHIND_SECS)], { detached: true, env: { ...process.env, TZ: "UTC" }, stdio: ["pipe", "pipe", "pipe"] });
    self.errors = "";
    self.process.stderr.on("data", (chunk) => (self.errors += chunk));
    self.exited = once(self.process, "exit");
    const printed = once(createInterface(self.process.stdout), "line");
    const port = await Promise.race([printed.then(([line]) => line), self.exited.then(() => Promise.reject(new Error(`localstripe ended: ${self.errors}`)))]);
    self.url = `http://127.0.0.1:${port}`;

    // A second endpoint, which localstripe tells after the first: what has come here, the worker has answered.
    self.recorder = createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      response.end();
      self.deliveries.push({ event: JSON.parse(body), body, headers: { "stripe-signature": request.headers["stripe-signature"] }, endpoint: request.url.slice(1) });
      for (const look of self.#waiting) look();
    });
    await once(self.recorder.listen(0, "127.0.0.1"), "listening");
    return self;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) process.kill(-this.process.pid, "SIGKILL");
    await this.exited;
    this.recorder.close();
    this.recorder.closeAllConnections();
  }

  /** One call of its API, with the form of a Stripe library. */
  async call(method, path, fields) {
    const headers = { authorization: `Bearer ${STRIPE_KEY}` };
    const response = await fetch(this.url + path, { method, headers, body: fields && new URLSearchParams(fields) });
    const text = await response.text();
    assert.equal(response.status, 200, `${method} ${path}: ${response.status} ${text} ${this.errors}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  /** Points its webhooks at the worker, and then at the recorder. */
  async tell(plangate) {
    const { port } = this.recorder.address();
    this.worker = `${plangate.url.origin}/webhooks/stripe`;
    await this.call("POST", "/_config/webhooks/worker", { url: this.worker, secret: SECRET });
    await this.call("POST", "/_config/webhooks/recorder", { url: `http://127.0.0.1:${port}/told`, secret: SECRET });
  }

  /** While `work` is done, the worker is told nothing. Whatever was told of it is then in the recorder alone. */
  async losing(work) {
    const { port } = this.recorder.address();
    const to = (url) => this.call("POST", "/_config/webhooks/worker", { url, secret: SECRET });
    await to(`http://127.0.0.1:${port}/lost`);
    try {
      await work();
    } finally {
      await to(this.worker);
    }
  }

  /** A customer with a card, who subscribes. */
  async subscribes(user, plan, { card = "4242424242424242", metadata = {} } = {}) {
    const customer = await this.call("POST", "/v1/customers", { email: "ada@example.test", "metadata[userId]": user });
    const method = await this.call("POST", "/v1/payment_methods", { type: "card", "card[number]": card, "card[exp_month]": "12", "card[exp_year]": "2099", "card[cvc]": "123" });
    await this.call("POST", `/v1/payment_methods/${method.id}/attach`, { customer: customer.id });
    await this.call("POST", `/v1/customers/${customer.id}`, { "invoice_settings[default_payment_method]": method.id });
    const labels = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`metadata[${name}]`, value]));
    const subscription = await this.call("POST", "/v1/subscriptions", { customer: customer.id, "items[0][plan]": plan, ...labels });
    return { customer, subscription };
  }

  /** The delivery of that type about that object, once the worker has answered it. */
  told = (type, id) => this.#delivery("told", type, id);

  /** The delivery that the worker did not get. */
  kept = (type, id) => this.#delivery("lost", type, id);

  #delivery(endpoint, type, id) {
    const found = () => this.deliveries.find((delivery) => delivery.endpoint === endpoint && delivery.event.type === type && delivery.event.data.object.id === id);
    return new Promise((resolve, reject) => {
      // It tells a second after the fact.
      const timeout = setTimeout(() => reject(new Error(`no ${type} of ${id} came: ${this.errors}`)), 30_000);
      const look = () => {
        const delivery = found();
        if (delivery === undefined) return;
        clearTimeout(timeout);
        this.#waiting.splice(this.#waiting.indexOf(look), 1);
        resolve(delivery);
      };
      this.#waiting.push(look);
      look();
    });
  }
}
