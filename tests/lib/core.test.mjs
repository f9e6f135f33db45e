// plangate-core as it is published: the files of the crate's own tests read through it, its errors, its state.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import * as inline from "../../lib/dist/inline.js";
import { seeded } from "../e2e/harness.mjs";
import { PROVIDERS, SENT_AT, payloads } from "./data.mjs";

const { PlangateError, apply, decide, entitlements, keys, parse, recorded, sign, verify } = inline;
const names = Object.keys(PROVIDERS);
const fails = (code, call) => assert.throws(call, (thrown) => thrown instanceof PlangateError && (assert.equal(thrown.code, code, thrown.message), true));

for (const provider of names) {
  test(`${provider}: every payload is read as the crate reads it`, () => {
    const all = payloads(provider);
    assert.ok(all.length > 40, `${all.length} payloads`);
    for (const { name, event_id, sent_at, body, expected } of all) {
      const read = parse(provider, recorded(provider, { event_id, sent_at }, body), PROVIDERS[provider].ours);
      if (read.outcome === "event") assert.deepEqual(read.delivery, { provider, event_id, event: expected }, name);
      else if (read.outcome === "ignored") assert.deepEqual({ ignored: read.type, reason: read.reason }, expected, name);
      else assert.fail(`${name}: ${read.cause}`);
    }
  });

  test(`${provider}: signed is verified; forged, late and unsigned is not`, () => {
    const { secret } = PROVIDERS[provider];
    const { body } = payloads(provider)[0];
    const headers = sign(provider, secret, "evt_1", body, SENT_AT);
    const proof = verify(provider, ["another secret of ours, which does not fit".replaceAll(/\W/g, ""), secret], headers, body, SENT_AT);
    assert.equal(proof.provider, provider);
    assert.equal(verify(provider, secret, new Headers(headers), body.toString(), new Date(SENT_AT)).event_id, proof.event_id);
    fails("invalid_signature", () => verify(provider, "c29tZXRoaW5nIGVsc2UgZW50aXJlbHk=", headers, body, SENT_AT));
    fails("missing_headers", () => verify(provider, secret, {}, body, SENT_AT));
    if (proof.sent_at !== null) {
      assert.equal(proof.sent_at, SENT_AT);
      fails("timestamp_out_of_tolerance", () => verify(provider, secret, headers, body, SENT_AT + 301_000));
      fails("invalid_signature", () => verify(provider, secret, headers, Buffer.concat([body, Buffer.from(" ")]), SENT_AT));
    }
  });
}

test("npm packs what is needed and no more", () => {
  const pack = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const options = { cwd: new URL("../../lib", import.meta.url), encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] };
  const [{ files, name }] = JSON.parse(execFileSync("npm", pack, options));
  const modules = ["core.wasm", "edge-light.js", "imported.js", "inline.js"].map((file) => `dist/${file}`);
  assert.equal(name, "plangate-core");
  assert.deepEqual(files.map(({ path }) => path).sort(), [...modules, "README.md", "index.d.ts", "package.json"].sort());
});

test("what cannot be done has a code", () => {
  const { secret } = PROVIDERS.clerk;
  fails("unknown_provider", () => verify("nobody", secret, {}, "", 0));
  fails("provider_not_configured", () => verify("clerk", [], {}, "", 0));
  fails("provider_not_configured", () => verify("clerk", " , ", {}, "", 0));
  fails("unusable_secret", () => verify("clerk", "whsec_***", {}, "", 0));
  fails("invalid_request", () => verify("clerk", { CLERK_SECRET: "whsec_aaaa" }, {}, "", 0));
  fails("invalid_request", () => verify("clerk", secret, {}, { parsed: true }, 0));
  fails("invalid_request", () => verify("clerk", secret, {}, "", undefined));
  fails("invalid_request", () => verify("clerk", secret, {}, "", 0, { enviroment: "sandbox" }));
  fails("invalid_request", () => parse("clerk", { provider: "clerk", event_id: "msg_1", sent_at: 0 }));
  fails("invalid_request", () => parse("stripe", recorded("clerk", { event_id: "msg_1" }, "{}")));
  fails("invalid_request", () => apply(null, { provider: "clerk", event_id: "msg_1", event: { type: "x" } }));
  fails("unreadable_state", () => decide({ plan: "pro" }, {}, { user_id: "u" }, 0));
  fails("unreadable_state", () => decide({ known: { records: [{}] }, seen: [] }, {}, { user_id: "u" }, 0));
  fails("unusable_catalog", () => decide(null, { pro: { includes: ["nothing"] } }, { user_id: "u" }, 0));
  fails("unusable_catalog", () => decide(null, { pro: { name: "Pro" } }, { user_id: "u" }, 0));
  fails("invalid_request", () => decide(null, {}, { plan: "pro" }, 0));
  fails("invalid_request", () => decide(null, {}, { user_id: "u", plna: "pro" }, 0));
  fails("invalid_request", () => entitlements(null, {}, { user_id: "u", plan: "pro" }, 0));
  const secretless = (() => { try { verify("clerk", "whsec_***", {}, "", 0); } catch (thrown) { return thrown.message; } })();
  assert.ok(!secretless.includes("***"), "no secret in an error");
});

test("a dead letter keeps its body, and no card number in it", () => {
  const letter = parse("clerk", recorded("clerk", { event_id: "msg_1", sent_at: 0 }, '{"type":"subscription.updated","card":"4242 4242 4242 4242"}'));
  assert.equal(letter.outcome, "dead_letter");
  assert.ok(!letter.body.includes("4242 4242"), letter.body);
});

const DAY = 86_400_000;
const T = Date.UTC(2026, 0, 1);
const item = (id, { user = "user_1", status = "active", at, end = T + 30 * DAY, plan = "pro" }) => {
  const body = JSON.stringify({ type: `subscriptionItem.${status}`, object: "event", timestamp: at, data: {
    id, status, created_at: T, updated_at: at, period_start: T, period_end: end, plan_id: `cplan_${plan}`,
    plan: { id: `cplan_${plan}`, slug: plan }, payer: { id: `cpayer_${user}`, user_id: user } } });
  return parse("clerk", recorded("clerk", { event_id: `msg_${id}_${status}_${at}`, sent_at: at }, body)).delivery;
};

test("denied, paid, canceled, paid for until the end: by the clock that is given", () => {
  const ask = { user_id: "user_1", plan: "pro" };
  assert.deepEqual([decide(null, null, ask, T).reason, decide(null, null, ask, T).version], ["no_subscription", 0]);
  const paid = apply(null, item("i1", { at: T + 1000 }));
  assert.deepEqual([paid.outcome, paid.payer], ["stored", { type: "user", id: "user_1" }]);
  const answer = decide(paid.state, null, ask, T + 2000);
  assert.deepEqual([answer.allowed, answer.reason, answer.source, answer.as_of], [true, "active", "memory", "2026-01-01T00:00:02Z"]);
  const again = apply(paid.state, item("i1", { at: T + 1000 }));
  assert.deepEqual([again.outcome, again.state], ["duplicate", paid.state]);
  const canceled = apply(paid.state, item("i1", { at: T + 3000, status: "canceled" }));
  const late = apply(canceled.state, item("i1", { at: T + 2000, status: "past_due" }));
  assert.equal(late.outcome, "stale");
  assert.equal(decide(late.state, null, ask, T + 30 * DAY - 1).reason, "canceled_until_period_end");
  assert.equal(decide(late.state, null, ask, T + 30 * DAY).reason, "expired");
  const list = decide(late.state, null, { user_id: "user_1", checks: [{ plan: "pro" }, { plan: "team" }] }, T + 4000);
  assert.deepEqual(list.results.map(({ reason }) => reason), ["canceled_until_period_end", "plan_mismatch"]);
  assert.deepEqual(entitlements(late.state, { pro: { features: ["api"] } }, { user_id: "user_1" }, T + 4000).features, ["api"]);
  assert.ok(JSON.stringify(late.state).length < 1600, `${JSON.stringify(late.state).length} bytes of state`);
});

test("a state remembers a bounded number of deliveries, and older ones again are stale", () => {
  let { state } = apply(null, item("i1", { at: T }));
  for (let n = 1; n < 100; n++) ({ state } = apply(state, item("i1", { at: T + n * 1000 })));
  assert.equal(state.seen.length, 32);
  assert.equal(apply(state, item("i1", { at: T })).outcome, "stale");
});

/** States kept apart by their keys, as a host keeps them. */
class Host {
  states = new Map();
  next = 0;
  deliver(delivery) {
    const wanted = keys(delivery);
    const found = [...this.states].filter(([, { held }]) => wanted.some((key) => held.includes(key)));
    const { state, keys: held, outcome } = apply(found.map(([, { state }]) => state), delivery);
    for (const [id] of found) this.states.delete(id);
    this.states.set(this.next++, { state: JSON.parse(JSON.stringify(state)), held });
    return outcome;
  }
  of(payer) {
    return [...this.states.values()].filter(({ held }) => held.includes(payer)).map(({ state }) => state);
  }
}

test("kept apart by their keys, all payloads add up to what they add up to in one piece, in any order", () => {
  // Each under an id of its own: of two events that tell one thing at one moment, the id decides.
  const all = names.flatMap((provider) => payloads(provider).map(({ name, sent_at, body }) =>
    parse(provider, recorded(provider, { event_id: `evt_${name}`, sent_at }, body), PROVIDERS[provider].ours)));
  const deliveries = all.filter(({ outcome }) => outcome === "event").map(({ delivery }) => delivery);
  assert.ok(deliveries.length > 300);
  const views = [1, 2, 3].map((seed) => {
    const random = seeded(seed);
    for (let n = deliveries.length - 1; n > 0; n--) {
      const other = random.below(n + 1);
      [deliveries[n], deliveries[other]] = [deliveries[other], deliveries[n]];
    }
    const host = new Host();
    let whole = null;
    const payers = new Set();
    for (const delivery of deliveries) {
      const applied = apply(whole, delivery);
      whole = applied.state;
      const outcome = host.deliver(delivery);
      assert.equal(outcome, applied.outcome, delivery.event_id);
      if (applied.payer) payers.add(`${applied.payer.type}:${applied.payer.id}`);
    }
    const view = {};
    for (const payer of [...payers].sort()) {
      const [type, id] = payer.split(/:(.*)/);
      const apart = entitlements(host.of(payer), null, { [`${type}_id`]: id }, SENT_AT);
      assert.deepEqual(apart, entitlements(whole, null, { [`${type}_id`]: id }, SENT_AT), payer);
      view[payer] = { ...apart, version: undefined };
    }
    return view;
  });
  assert.ok(Object.keys(views[0]).length > 5);
  assert.deepEqual(views[1], views[0]);
  assert.deepEqual(views[2], views[0]);
});
