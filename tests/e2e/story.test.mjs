// The main job: a signed Clerk webhook changes what the edge answers.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DAY_MS, Plangate, item, itemEvent, newOrg, newUser, subscriptionEvent, flatEvent, sign, OTHER_SECRET } from "./harness.mjs";

let plangate;
before(async () => (plangate = await Plangate.start()));
after(() => plangate.stop());

const asks = async (user, expected, query, options) => {
  const answer = await plangate.check(user, query, options);
  assert.equal(answer.status, 200, answer.text);
  const { allowed, reason, plan, status } = answer.body;
  assert.deepEqual({ allowed, reason, plan, status }, expected, answer.text);
  return answer.body;
};
const active = { allowed: true, reason: "active", plan: "pro", status: "active" };
const expired = { allowed: false, reason: "expired", plan: "free_user", status: "ended" };
const nothing = { allowed: false, reason: "no_subscription", plan: "free_user", status: null };

test("denied, paid, canceled, paid for until the end, ended", async () => {
  const user = newUser();
  const now = Date.now();
  const end = now + 20 * DAY_MS;
  await asks(user, nothing);

  const paid = itemEvent(user, { at: now - 3000, end });
  const signed = sign(paid);
  const first = await plangate.request("POST", "/webhooks/clerk", signed);
  assert.deepEqual([first.status, first.body.outcome], [200, "stored"]);
  assert.equal(first.body.event_id, signed.headers["svix-id"]);
  const allowed = await asks(user, active);
  assert.deepEqual(allowed.payer, { type: "user", id: user });
  assert.equal(Date.parse(allowed.valid_until), end + DAY_MS, "the period and a day of slack");

  const again = await plangate.request("POST", "/webhooks/clerk", signed);
  assert.deepEqual([again.status, again.body.outcome], [200, "duplicate"]);
  assert.equal((await asks(user, active)).version, allowed.version, "a duplicate changes nothing");

  await plangate.delivered(itemEvent(user, { at: now - 2000, end, status: "canceled" }));
  const canceled = await asks(user, { allowed: true, reason: "canceled_until_period_end", plan: "pro", status: "canceled" });
  assert.equal(Date.parse(canceled.valid_until), end);

  await plangate.delivered(itemEvent(user, { at: now - 2500, end }), "stale");
  await asks(user, { allowed: true, reason: "canceled_until_period_end", plan: "pro", status: "canceled" });

  await plangate.delivered(itemEvent(user, { at: now - 1000, end: now - 1000, status: "ended" }));
  await asks(user, expired);
});
