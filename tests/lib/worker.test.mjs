// The same deliveries, in one order and some of them twice, to the built worker in real workerd and to the library: after each
// of them both say the same of the payer.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as core from "../../lib/dist/inline.js";
import { API_KEY, Plangate, seeded } from "../e2e/harness.mjs";
import { PROVIDERS, payloads } from "./data.mjs";

const PLANS = { pro: { includes: ["basic"], features: ["api"], limits: { projects: "unlimited" }, ids: { stripe: ["price_pro"] } }, basic: { features: ["export"], limits: { projects: 3 } } };

let plangate;
before(async () => {
  const secrets = Object.entries(PROVIDERS).map(([name, { secret }]) => [name === "clerk" ? "CLERK_WEBHOOK_SIGNING_SECRET" : `${name.replaceAll("-", "_").toUpperCase()}${name === "standard-webhooks" ? "_SECRET" : "_WEBHOOK_SECRET"}`, secret]);
  plangate = await Plangate.start({ bindings: { ...Object.fromEntries(secrets), PLANS, CLERK_INSTANCE_ID: PROVIDERS.clerk.ours.clerk_instance_id } });
});
after(() => plangate.stop());

/** All providers' together: their payloads are about the same payers. */
let state = null;

const comparable = ({ as_of, source, ...rest }) => rest;
const headers = { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" };

for (const [provider, { secret, ours }] of Object.entries(PROVIDERS)) {
  test(`${provider}: every payload, to both`, async () => {
    const random = seeded(5);
    let compared = 0;
    const deliver = async (body, id, isRepeated = false) => {
      const now = Math.floor(Date.now() / 1000) * 1000;
      const signed = core.sign(provider, secret, id, body, now);
      const answer = await plangate.request("POST", `/webhooks/${provider}`, { headers: { "content-type": "application/json", ...signed }, body });
      assert.equal(answer.status, 200, answer.text);
      const verified = core.verify(provider, secret, signed, body, now, ours);
      assert.equal(verified.event_id, answer.body.event_id, id);
      const parsed = core.parse(provider, verified, ours);
      if (parsed.outcome !== "event") {
        // Which of those came before is for the host to remember.
        assert.equal(isRepeated ? "duplicate" : parsed.outcome, answer.body.outcome, id);
        return;
      }
      const applied = core.apply(state, parsed.delivery);
      assert.equal(applied.outcome, answer.body.outcome, id);
      state = applied.state;
      if (!applied.payer) return;
      const who = { [`${applied.payer.type}_id`]: applied.payer.id };
      const held = await plangate.request("GET", `/v1/entitlements?${new URLSearchParams(who)}`, { headers });
      assert.deepEqual(comparable(core.entitlements(state, PLANS, who, Date.parse(held.body.as_of))), comparable(held.body), id);
      const asked = { ...who, checks: [{}, { plan: "pro" }, { feature: "export" }, { plan: "nobody_sells_this" }] };
      const checked = await plangate.request("POST", "/v1/check", { headers, body: JSON.stringify(asked) });
      const decided = core.decide(state, PLANS, asked, Date.now()).results;
      assert.deepEqual(decided.map(comparable), checked.body.results.map(comparable), id);
      compared++;
    };
    const seen = new Set();
    let copies = 0;
    for (const { name, body: bytes } of payloads(provider)) {
      // Where the id is within the body, files share one, and no two events do.
      const now = Date.now();
      let body = bytes.toString();
      const { event_id } = core.verify(provider, secret, core.sign(provider, secret, `evt_${provider}_${name}`, body, now), body, now);
      if (seen.has(event_id)) body = body.replaceAll(event_id, `${event_id}${copies++}`);
      seen.add(event_id);
      await deliver(body, `evt_${provider}_${name}`);
      if (random.below(5) === 0) await deliver(body, `evt_${provider}_${name}`, true);
    }
    assert.ok(compared > 20, `${compared} answers were compared`);
  });
}
