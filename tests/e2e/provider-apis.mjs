// A stand-in for the APIs of Stripe, Lemon Squeezy, Paddle and Polar: one local server, a folder each, with the documented
// shapes, pages, filters and errors, that misbehaves on demand. It knows its keys and what it sold.
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { createServer } from "node:http";

const secret = (prefix) => `${prefix}${randomBytes(20).toString("hex")}`;
const hex = (key, text) => createHmac("sha256", key).update(text).digest("hex");
const iso = (at) => new Date(at).toISOString();
const secs = (at) => Math.floor(at / 1000);
const MONTH_MS = 30 * 86_400_000;

/**
 * What differs between the providers. `object` is a subscription as the API shows it: `user` is whom it names (nobody if
 * undefined), `at` when it last changed. `event` is the webhook about one, `names` one that says whose a customer is.
 */
export const SHOPS = {
  stripe: {
    settings: ["STRIPE_SECRET_KEY", "STRIPE_API_URL", "STRIPE_WEBHOOK_SECRET"],
    key: secret("sk_live_"), webhookSecret: secret("whsec_"), over: "canceled", newId: () => `sub_${randomBytes(8).toString("hex")}`,
    object: ({ id, user, customer, status = "active", at, end = at + MONTH_MS, quantity = 1, ...more }) => ({
      id, object: "subscription", customer, status, livemode: true, cancel_at_period_end: false, cancel_at: null, canceled_at: null,
      ended_at: status === "canceled" ? secs(at) : null, trial_end: null, created: secs(at) - 86_400, start_date: secs(at) - 86_400, metadata: user ? { userId: user } : {},
      items: { object: "list", data: [{ id: `si_${id}`, object: "subscription_item", created: secs(at) - 86_400, quantity, current_period_start: secs(at) - 60, current_period_end: secs(end), price: { id: "price_pro", product: "prod_1", recurring: { interval: "month" } } }] },
      ...more,
    }),
    event: (object, { at, id = `evt_${randomBytes(9).toString("hex")}`, type = "customer.subscription.updated" }) => ({ id, object: "event", api_version: "2026-10-28.endive", created: secs(at), livemode: true, type, data: { object } }),
    names: (customer, user, at) => SHOPS.stripe.event({ id: customer, object: "customer", metadata: { userId: user } }, { at, type: "customer.updated" }),
    sign: (key, body, at) => ({ "stripe-signature": `t=${at},v1=${hex(key, `${at}.${body}`)}` }),
  },
  lemonsqueezy: {
    settings: ["LEMONSQUEEZY_API_KEY", "LEMONSQUEEZY_API_URL", "LEMONSQUEEZY_WEBHOOK_SECRET"],
    key: secret("eyJ0eXAi."), webhookSecret: secret("").slice(0, 40), over: "expired", newId: () => String(100_000_000 + randomBytes(4).readUInt32BE()),
    object: ({ id, customer, status = "active", at, end = at + MONTH_MS, quantity = 1 }) => ({
      type: "subscriptions", id,
      attributes: {
        store_id: 7, customer_id: Number(customer), order_id: Number(id) + 1, order_item_id: 13, product_id: 3, variant_id: 4711, product_name: "Pro", variant_name: "Monthly", user_name: "Ada", user_email: "ada@example.test",
        status, status_formatted: status, pause: null, cancelled: false, trial_ends_at: null, billing_anchor: 5, urls: { customer_portal: "https://shop.example.test/y" },
        first_subscription_item: { id: 1, subscription_id: Number(id), price_id: 8, quantity, is_usage_based: false },
        renews_at: iso(end), ends_at: status === "expired" ? iso(at) : null, created_at: iso(at - 86_400_000), updated_at: iso(at), test_mode: false,
      },
    }),
    event: (object, { user }) => ({ meta: { event_name: "subscription_updated", test_mode: false, custom_data: user ? { user_id: user } : null }, data: object }),
    names: (customer, user, at) => ({
      meta: { event_name: "order_created", test_mode: false, custom_data: { user_id: user } },
      data: { type: "orders", id: SHOPS.lemonsqueezy.newId(), attributes: { customer_id: Number(customer), status: "pending", first_order_item: { product_id: 9, variant_id: 9, quantity: 1 }, total: 100, currency: "USD", created_at: iso(at), updated_at: iso(at), test_mode: false } },
    }),
    sign: (key, body) => ({ "x-signature": hex(key, body) }),
  },
  paddle: {
    settings: ["PADDLE_API_KEY", "PADDLE_API_URL", "PADDLE_WEBHOOK_SECRET"],
    key: secret("pdl_live_apikey_"), webhookSecret: secret("pdl_ntfset_"), over: "canceled", newId: () => `sub_${randomBytes(13).toString("hex")}`,
    object: ({ id, user, customer, status = "active", at, end = at + MONTH_MS, quantity = 1 }) => ({
      id, status, customer_id: customer, address_id: "add_1", business_id: null, currency_code: "USD", created_at: iso(at - 86_400_000), updated_at: iso(at), started_at: iso(at - 86_400_000),
      first_billed_at: iso(at), next_billed_at: status === "canceled" ? null : iso(end), paused_at: null, canceled_at: status === "canceled" ? iso(at) : null, collection_mode: "automatic",
      current_billing_period: status === "canceled" ? null : { starts_at: iso(at - 60_000), ends_at: iso(end) }, billing_cycle: { interval: "month", frequency: 1 }, scheduled_change: null,
      items: [{ status: "active", quantity, recurring: true, price: { id: "pri_pro", product_id: "pro_1" }, product: { id: "pro_1", name: "Pro" } }], custom_data: user ? { userId: user } : null,
      management_urls: { cancel: "https://buyer-portal.example.test/c" },
    }),
    event: (object, { at }) => ({ event_id: `evt_${randomBytes(13).toString("hex")}`, event_type: "subscription.updated", occurred_at: iso(at), notification_id: "ntf_1", data: object }),
    names: (customer, user, at) => ({ event_id: `evt_${randomBytes(13).toString("hex")}`, event_type: "customer.updated", occurred_at: iso(at), data: { id: customer, custom_data: { userId: user }, updated_at: iso(at) } }),
    sign: (key, body, at) => ({ "paddle-signature": `ts=${at};h1=${hex(key, `${at}:${body}`)}` }),
  },
  polar: {
    settings: ["POLAR_ACCESS_TOKEN", "POLAR_API_URL", "POLAR_WEBHOOK_SECRET"],
    key: secret("polar_oat_"), webhookSecret: `whsec_${secret("")}!`, over: "canceled", newId: () => randomUUID(),
    object: ({ id, user, external, customer, status = "active", at, end = at + MONTH_MS, quantity = 1 }) => ({
      id, created_at: iso(at - 86_400_000), modified_at: iso(at), status, amount: 1000, currency: "usd", recurring_interval: "month", recurring_interval_count: 1,
      current_period_start: iso(at - 60_000), current_period_end: iso(end), trial_start: null, trial_end: null, cancel_at_period_end: false, canceled_at: null, started_at: iso(at - 86_400_000), ends_at: null,
      ended_at: status === "canceled" ? iso(at) : null, past_due_at: null, customer_id: customer, product_id: "prod_pro", seats: quantity, metadata: user ? { userId: user } : {},
      customer: { id: customer, external_id: external ?? null, email: "ada@example.test", metadata: {} }, product: { id: "prod_pro", name: "Pro" }, prices: [{ id: "price_1" }],
    }),
    event: (object, { at }) => ({ type: "subscription.updated", timestamp: iso(at), api_version: "2026-10", data: object }),
    names: (customer, user, at) => ({ type: "customer.updated", timestamp: iso(at), data: { id: customer, external_id: null, metadata: { userId: user }, modified_at: iso(at), created_at: iso(at) } }),
    sign: (key, body, at) => {
      const id = randomUUID();
      return { "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": `v1,${createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64")}` };
    },
  },
};

export const newCustomer = (provider) =>
  ({ stripe: () => `cus_${randomBytes(7).toString("hex")}`, lemonsqueezy: () => SHOPS.lemonsqueezy.newId(), paddle: () => `ctm_${randomBytes(13).toString("hex")}`, polar: () => randomUUID() })[provider]();

/** A delivery of a webhook: its body, and the headers that prove it. */
export function delivery(provider, event) {
  const body = JSON.stringify(event);
  const { sign, webhookSecret } = SHOPS[provider];
  return { body, headers: { "content-type": "application/json", ...sign(webhookSecret, body, secs(Date.now())) } };
}

export class ProviderApis {
  static async start() {
    const self = new ProviderApis();
    self.sold = Object.fromEntries(Object.keys(SHOPS).map((provider) => [provider, new Map()]));
    self.requests = [];
    self.faults = [];
    self.server = createServer((request, response) => self.#answer(request, response));
    await new Promise((resolve) => self.server.listen(0, "127.0.0.1", resolve));
    self.url = `http://127.0.0.1:${self.server.address().port}`;
    return self;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** What the worker needs to know of these providers. */
  bindings(providers = Object.keys(SHOPS)) {
    const of = (provider) => {
      const { settings: [key, url, webhook], ...shop } = SHOPS[provider];
      return { [key]: shop.key, [url]: `${this.url}/${provider}`, [webhook]: shop.webhookSecret };
    };
    return Object.assign({}, ...providers.map(of));
  }

  clear() {
    for (const sold of Object.values(this.sold)) sold.clear();
    this.requests.length = 0;
    this.faults.length = 0;
  }

  /** Sells a subscription, or changes it; the API shows it from now on. The last one shown counts as the newest. */
  show(provider, { id = SHOPS[provider].newId(), ...what }) {
    const object = SHOPS[provider].object({ id, ...what });
    this.sold[provider].delete(id);
    this.sold[provider].set(id, object);
    return object;
  }

  /** The next requests that fit the pattern are answered so: `{ status, headers, body }`, "reset", or by a function. */
  fail(pattern, how, times = 1) {
    for (let n = 0; n < times; n++) this.faults.push({ pattern, how });
  }

  #answer(request, response) {
    const send = (status, body, headers = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
    this.requests.push(request.url);
    const fault = this.faults.findIndex(({ pattern }) => pattern.test(request.url));
    if (fault >= 0) {
      const [{ how }] = this.faults.splice(fault, 1);
      if (how === "reset") return request.socket.destroy();
      if (typeof how === "function") return how(request, response);
      return send(how.status ?? 200, how.body ?? {}, how.headers);
    }
    const [, provider, path] = new URL(request.url, this.url).pathname.match(/^\/(\w+)(\/.*)$/) ?? [];
    if (!SHOPS[provider]) return send(404, {});
    if (request.headers.authorization !== `Bearer ${SHOPS[provider].key}`) return send(401, { error: { code: "unauthorized" } });
    if (request.method !== "GET") return send(405, { error: { code: "method_not_allowed" } });
    const query = new URL(request.url, this.url).searchParams;
    const newestFirst = [...this.sold[provider].values()].reverse();
    const [status, body, headers] = this[`_${provider}`](path, query, newestFirst, request.headers);
    send(status, body, headers);
  }

  _stripe(path, query, sold, headers) {
    const refused = (message) => [400, { error: { type: "invalid_request_error", message } }];
    if (headers["stripe-version"] < "2025-03-31") return refused("too old");
    const limit = Number(query.get("limit") ?? 10);
    if (!(limit >= 1 && limit <= 100)) return refused("limit");
    const list = (all) => [200, { object: "list", url: path, has_more: all.length > limit, data: all.slice(0, limit) }];
    if (path === "/v1/subscriptions/search") {
      const clauses = [...query.get("query").split(" OR ")].map((clause) => clause.match(/^metadata\['(\w+)'\]:'([^']+)'$/));
      if (clauses.includes(null)) return refused("query");
      return list(sold.filter(({ metadata }) => clauses.some(([, name, value]) => metadata[name] === value)));
    }
    if (path !== "/v1/subscriptions") return [404, { error: { message: "Unrecognized request URL" } }];
    const wanted = query.get("status");
    const isOver = ({ status }) => ["canceled", "incomplete_expired"].includes(status);
    const fits = (one) => (wanted === "all" || (wanted === "ended" ? isOver(one) : wanted === null ? one.status !== "canceled" : one.status === wanted)) && (!query.has("customer") || one.customer === query.get("customer"));
    // Cursors go on after an id, whatever was filtered.
    const place = query.has("starting_after") ? sold.findIndex(({ id }) => id === query.get("starting_after")) : -1;
    if (query.has("starting_after") && place < 0) return refused("No such subscription");
    return list(sold.slice(place + 1).filter(fits));
  }

  _lemonsqueezy(path, query, sold, headers) {
    const refused = (status, title) => [status, { jsonapi: { version: "1.0" }, errors: [{ status: String(status), title }] }];
    if (headers.accept !== "application/vnd.api+json") return refused(406, "Not Acceptable");
    const ofCustomer = path.match(/^\/v1\/customers\/(\d+)\/subscriptions$/);
    if (path !== "/v1/subscriptions" && !ofCustomer) return refused(404, "Not Found");
    const fits = ({ attributes }) => (ofCustomer ? String(attributes.customer_id) === ofCustomer[1] : !query.has("filter[status]") || attributes.status === query.get("filter[status]"));
    const all = sold.filter(fits);
    if (ofCustomer && all.length === 0) return refused(404, "Not Found");
    const [size, number] = [Number(query.get("page[size]") ?? 10), Number(query.get("page[number]") ?? 1)];
    if (!(size >= 1 && size <= 100 && number >= 1)) return refused(400, "Bad Request");
    const data = all.slice((number - 1) * size, number * size);
    const lastPage = Math.max(1, Math.ceil(all.length / size));
    return [200, { meta: { page: { currentPage: number, from: (number - 1) * size + 1, lastPage, perPage: size, to: (number - 1) * size + data.length, total: all.length } }, jsonapi: { version: "1.0" }, links: {}, data }];
  }

  _paddle(path, query, sold, headers) {
    const refused = (status, code) => [status, { error: { type: "request_error", code, detail: code }, meta: { request_id: "1" } }];
    if (headers["paddle-version"] !== "1") return refused(400, "invalid_version");
    if (path !== "/subscriptions") return refused(404, "not_found");
    const asked = Number(query.get("per_page") ?? 50);
    if (!(asked >= 1) || ![null, "id[DESC]", "id[ASC]"].includes(query.get("order_by"))) return refused(400, "bad_request");
    const within = (name, value) => !query.has(name) || query.get(name).split(",").includes(value);
    const all = sold.filter(({ status, customer_id }) => within("status", status) && within("customer_id", customer_id));
    const before = query.has("after") ? sold.findIndex(({ id }) => id === query.get("after")) : -1;
    const rest = all.filter((one) => sold.indexOf(one) > before);
    const perPage = Math.min(asked, 200);
    const data = rest.slice(0, perPage);
    return [200, { data, meta: { request_id: randomUUID(), pagination: { per_page: perPage, next: `https://api.paddle.com/subscriptions?after=${data.at(-1)?.id}`, has_more: rest.length > perPage, estimated_total: all.length } } }];
  }

  _polar(path, query, sold) {
    if (path === "/v1/subscriptions") return [307, {}, { location: "/v1/subscriptions/" }];
    if (path !== "/v1/subscriptions/") return [404, { error: "ResourceNotFound", detail: "Not found" }];
    const [limit, page] = [Number(query.get("limit") ?? 10), Number(query.get("page") ?? 1)];
    if (!(limit >= 1 && page >= 1) || !/^-?started_at$/.test(query.get("sorting") ?? "-started_at")) return [422, { error: "RequestValidationError", detail: [] }];
    const isActive = ({ status }) => ["trialing", "active"].includes(status);
    const within = (name, value) => !query.has(name) || query.getAll(name).includes(value);
    const all = sold.filter((one) => (!query.has("active") || isActive(one) === (query.get("active") === "true")) && within("customer_id", one.customer_id) && within("external_customer_id", one.customer.external_id));
    if (query.get("sorting") === "started_at") all.reverse();
    const size = Math.min(limit, 100);
    return [200, { items: all.slice((page - 1) * size, page * size), pagination: { total_count: all.length, max_page: Math.ceil(all.length / size) } }];
  }
}
