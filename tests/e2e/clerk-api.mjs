// A stand-in for Clerk's Backend API: a local server with the documented shapes (bapi/2026-05-12.yml) that misbehaves on
// demand. It holds items and plans, lists them in pages, and knows its key.
import { createServer } from "node:http";

export const SECRET_KEY = "sk_test_plangate_0123456789abcdef";

const MONEY = (amount) => ({ amount, amount_formatted: (amount / 100).toFixed(2), currency: "USD", currency_symbol: "$" });

export class ClerkApi {
  static async start() {
    const self = new ClerkApi();
    self.items = new Map();
    self.plans = [];
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

  /** What the worker needs to know of it. */
  get bindings() {
    return { CLERK_SECRET_KEY: SECRET_KEY, CLERK_API_URL: this.url };
  }

  /** Shows an item, given in the shape of a webhook, as the API would. */
  show(item) {
    const { plan, payer, interval, object, ...rest } = item;
    const isCanceled = item.status === "canceled";
    this.items.set(item.id, {
      object: "commerce_subscription_item", instance_id: "ins_2abcINSTANCE", canceled_at: isCanceled ? item.updated_at : null,
      past_due_at: item.status === "past_due" ? item.updated_at : null, ended_at: item.status === "ended" ? item.updated_at : null,
      lifetime_paid: MONEY(0), is_free_trial: false, ...rest,
      // There is no such status here: what is canceled and still runs is active.
      status: isCanceled ? "active" : item.status,
      plan_period: interval,
      plan: { object: "commerce_plan", id: plan.id, slug: plan.slug, name: plan.name, is_default: plan.slug.startsWith("free_"), is_recurring: plan.is_recurring, fee: MONEY(plan.amount), annual_fee: null, annual_monthly_fee: null, features: [], for_payer_type: payer.organization_id ? "org" : "user" },
      payer_id: payer.id,
      payer,
    });
    return item;
  }

  forget(id) {
    this.items.delete(id);
  }

  /** Offers a plan. */
  offer(slug, features, { payer = "user", isDefault = false } = {}) {
    const named = features?.map((name) => ({ object: "feature", id: `feat_${name}`, name, description: null, slug: name, avatar_url: null }));
    this.plans.unshift({ object: "commerce_plan", id: `cplan_${slug}`, slug, name: slug, is_default: isDefault, is_recurring: !isDefault, for_payer_type: payer, has_base_fee: !isDefault, fee: MONEY(2000), publicly_visible: true, free_trial_enabled: false, free_trial_days: null, ...(named && { features: named }) });
  }

  /** The next request that fits the pattern is answered so: `{ status, headers, body }`, "reset", or by a function. */
  fail(pattern, how, times = 1) {
    for (let n = 0; n < times; n++) this.faults.push({ pattern, how });
  }

  #answer(request, response) {
    const url = new URL(request.url, this.url);
    this.requests.push(`${url.pathname}${url.search}`);
    const send = (status, body, headers = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
    const refuse = (status, code) => send(status, { errors: [{ message: code, long_message: code, code }], clerk_trace_id: "trace_1" });
    const fault = this.faults.findIndex(({ pattern }) => pattern.test(request.url));
    if (fault >= 0) {
      const [{ how }] = this.faults.splice(fault, 1);
      if (how === "reset") return request.socket.destroy();
      if (typeof how === "function") return how(request, response);
      return send(how.status ?? 200, how.body ?? { errors: [] }, how.headers);
    }
    if (request.headers.authorization !== `Bearer ${SECRET_KEY}`) return refuse(401, "clerk_key_invalid");
    if (!/^\d{4}-\d\d-\d\d$/.test(request.headers["clerk-api-version"] ?? "") || request.headers["clerk-api-version"] < "2025-11-10") return refuse(404, "resource_not_found");
    if (request.method !== "GET") return refuse(405, "method_not_allowed");

    const ofPayer = url.pathname.match(/^\/v1\/(users|organizations)\/([A-Za-z0-9_]+)\/billing\/subscription$/);
    if (ofPayer) {
      const field = ofPayer[1] === "users" ? "user_id" : "organization_id";
      const items = [...this.items.values()].filter((item) => item.payer[field] === ofPayer[2]);
      if (items.length === 0) return refuse(404, "resource_not_found");
      const inside = items.map(({ payer, ...item }) => item);
      return send(200, { object: "commerce_subscription", id: `csub_${ofPayer[2]}`, instance_id: "ins_2abcINSTANCE", status: "active", payer_id: items[0].payer_id, created_at: 1, updated_at: 2, active_at: 1, past_due_at: null, subscription_items: inside });
    }
    const limit = Number(url.searchParams.get("limit") ?? 10);
    const offset = Number(url.searchParams.get("offset") ?? 0);
    if (!(limit >= 1 && limit <= 500 && offset >= 0)) return refuse(422, "form_param_value_invalid");
    const page = (all) => send(200, { data: all.slice(offset, offset + limit), total_count: all.length });
    if (url.pathname === "/v1/billing/plans") {
      const payer = url.searchParams.get("payer_type");
      return page(this.plans.filter((plan) => payer === null || plan.for_payer_type === payer));
    }
    if (url.pathname === "/v1/billing/subscription_items") {
      const status = url.searchParams.get("status");
      if (!["active", "ended", "past_due", "upcoming", "free_trial", null].includes(status)) return refuse(422, "form_param_value_invalid");
      const fits = (item) => {
        if (url.searchParams.get("include_free") !== "true" && item.plan.is_default) return false;
        if (status === "free_trial") return item.is_free_trial && item.status === "active";
        return status === null || item.status === status;
      };
      // Newest first.
      return page([...this.items.values()].filter(fits).sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1)));
    }
    refuse(404, "resource_not_found");
  }
}
