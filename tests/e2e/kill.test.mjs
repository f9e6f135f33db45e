// workerd is killed outright under load, again and again, while a sender retries as Svix does (its schedule compressed to
// "until it is acknowledged"). Nothing acknowledged is lost, nothing is applied twice, nobody is answered wrongly.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, eventId, itemEvent, newUser, seeded, sign } from "./harness.mjs";

const USERS = 40;
const EVENTS_EACH = 30;
const AT_ONCE = 16;
const KILLS = 4;
const seed = Number(process.env.KILL_SEED ?? Date.now() % 2 ** 31);
const random = seeded(seed);

let plangate;
before(async () => (plangate = await Plangate.start()));
after(() => plangate.stop());

test(`${USERS * EVENTS_EACH} webhooks through ${KILLS} kills (seed ${seed})`, async () => {
  const at = Date.now() - 3_600_000;
  const statuses = ["active", "past_due", "active", "canceled"];
  const users = Array.from({ length: USERS }, newUser);
  const pending = users.flatMap((user) =>
    Array.from({ length: EVENTS_EACH }, (_, n) => {
      // The newest event of every other user ends the plan.
      const last = n === EVENTS_EACH - 1;
      const status = last ? (users.indexOf(user) % 2 ? "ended" : "active") : statuses[n % statuses.length];
      return { id: eventId(), event: itemEvent(user, { at: at + n * 1000, status, end: at + 30 * DAY_MS }) };
    }),
  );
  for (let n = pending.length - 1; n > 0; n--) {
    const other = random.below(n + 1);
    [pending[n], pending[other]] = [pending[other], pending[n]];
  }
  const total = pending.length;
  const acknowledged = new Map();
  const killWhen = Array.from({ length: KILLS }, (_, n) => Math.floor(((n + 1) * total) / (KILLS + 1)));
  let attempts = 0;

  const send = async (delivery) => {
    const { headers, body } = sign(delivery.event, { id: delivery.id });
    attempts++;
    try {
      const response = await fetch(new URL("/webhooks/clerk", plangate.url), { method: "POST", headers, body });
      const { outcome } = await response.json();
      if (response.status === 200) return acknowledged.set(delivery.id, outcome);
    } catch {
      // The connection broke: the sender cannot know whether it was stored, and sends again.
    }
    pending.push(delivery);
  };
  const stored = async () => {
    const { results } = await (await plangate.d1()).prepare("SELECT event_id, outcome FROM deliveries").all();
    return new Map(results.map(({ event_id, outcome }) => [event_id, outcome]));
  };

  while (pending.length > 0) {
    let killing;
    const senders = Array.from({ length: AT_ONCE }, async () => {
      while (pending.length > 0 && !killing) {
        await send(pending.shift());
        if (acknowledged.size >= killWhen[0] && !killing) {
          killWhen.shift();
          killing = plangate.killAndRestart();
        }
      }
    });
    await Promise.all(senders);
    await killing;
    const rows = await stored();
    for (const id of acknowledged.keys()) assert.ok(rows.has(id), `${id} was acknowledged and is lost`);
  }

  assert.equal(killWhen.length, 0, "every kill happened");
  assert.equal(acknowledged.size, total);
  assert.ok(attempts > total, "no attempt was broken, so nothing was shown");
  const rows = await stored();
  assert.equal(rows.size, total, "each event once");
  const duplicates = [...acknowledged.values()].filter((outcome) => outcome === "duplicate").length;
  console.log(`  ${attempts} attempts for ${total} events; ${duplicates} had been stored when their answer was lost`);

  const d1 = await plangate.d1();
  const { results: records } = await d1.prepare("SELECT payer, status, occurred_at FROM records").all();
  assert.equal(records.length, USERS);
  const { results: payers } = await d1.prepare("SELECT payer, version FROM payers").all();
  assert.ok(payers.every(({ version }) => version === EVENTS_EACH), "each event was applied once");
  for (const [n, user] of users.entries()) {
    const answer = await plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}` } });
    assert.equal(answer.body.allowed, n % 2 === 0, `${user}: ${answer.text}`);
  }
});
