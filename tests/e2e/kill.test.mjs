// workerd is killed outright under load, again and again, while a sender retries on Svix's own schedule, made shorter by a
// constant factor, and gives up where Svix would. Beside it payers are checked all the time. Nothing acknowledged is lost,
// nothing is applied twice, nothing is given up, and nobody who has paid is denied. A failure prints the seed; KILL_SEED
// repeats it, as far as a kill can be repeated.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, eventId, itemEvent, newUser, seeded, sign } from "./harness.mjs";

const USERS = 40;
const EVENTS_EACH = 30;
const SENDERS = 16;
const CHECKERS = 4;
const KILLS = 4;
/** Svix: at once, then 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h after the attempt before. Then it gives up. */
const SCHEDULE_S = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
const TIMES_FASTER = 5_000;
const TTL_MS = 300_000;
const seed = Number(process.env.KILL_SEED ?? Date.now() % 2 ** 31);
const random = seeded(seed);

let plangate;
before(async () => (plangate = await Plangate.start({ wrapped: true })));
after(() => plangate.stop());

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const check = async (user, clock = 0) => {
  const headers = { authorization: `Bearer ${API_KEY}`, "x-test-clock": String(clock) };
  return plangate.request("GET", `/v1/check?plan=pro&user_id=${user}`, { headers });
};

test(`${USERS * EVENTS_EACH} webhooks through ${KILLS} kills, retried as Svix does (seed ${seed})`, async () => {
  const at = Date.now() - 3_600_000;
  // Each of them gives the plan; only the newest event of every other user ends it.
  const statuses = ["active", "past_due", "active", "canceled"];
  const users = Array.from({ length: USERS }, (_, n) => ({ user: newUser(), keeps: n % 2 === 0, isKnown: false, endedAt: undefined }));
  const pending = users.flatMap((owner) =>
    Array.from({ length: EVENTS_EACH }, (_, n) => {
      const ends = n === EVENTS_EACH - 1 && !owner.keeps;
      const event = itemEvent(owner.user, { at: at + n * 1000, status: ends ? "ended" : statuses[n % statuses.length], end: at + 30 * DAY_MS });
      return { id: eventId(), event, owner, ends, attempts: 0, due: 0 };
    }),
  );
  for (let n = pending.length - 1; n > 0; n--) {
    const other = random.below(n + 1);
    [pending[n], pending[other]] = [pending[other], pending[n]];
  }
  const total = pending.length;
  const acknowledged = new Map();
  const attemptsOf = [];
  const seen = { attempts: 0, checks: 0, unanswered: 0, stale: {}, stalestMs: 0 };

  const rows = async (sql) => (await (await plangate.d1()).prepare(sql).all()).results;
  const stored = async () => new Map((await rows("SELECT event_id, outcome FROM deliveries")).map(({ event_id, outcome }) => [event_id, outcome]));

  /** Kills are spread over the run, one at a time; after each, all that was acknowledged is looked for. */
  const killWhen = Array.from({ length: KILLS }, (_, n) => Math.floor(((n + 1) * total) / (KILLS + 1)));
  let killing;
  const kill = async () => {
    killWhen.shift();
    const before = [...acknowledged.keys()];
    await plangate.killAndRestart();
    const there = await stored();
    for (const id of before) assert.ok(there.has(id), `${id} was acknowledged and is lost`);
    killing = undefined;
  };

  const attempt = async (delivery) => {
    const { headers, body } = sign(delivery.event, { id: delivery.id });
    seen.attempts++;
    delivery.attempts++;
    try {
      const response = await fetch(new URL("/webhooks/clerk", plangate.url), { method: "POST", headers, body });
      const { outcome } = await response.json();
      if (response.status === 200) {
        acknowledged.set(delivery.id, outcome);
        attemptsOf.push(delivery.attempts);
        delivery.owner.isKnown = true;
        if (delivery.ends) delivery.owner.endedAt = Date.now();
        return;
      }
    } catch {
      // The connection broke: the sender cannot know whether it was stored, and sends again.
    }
    assert.ok(delivery.attempts < SCHEDULE_S.length, `${delivery.id} was given up`);
    delivery.due = Date.now() + (SCHEDULE_S[delivery.attempts] * 1000) / TIMES_FASTER;
    pending.push(delivery);
  };
  const sender = async () => {
    while (acknowledged.size < total) {
      const now = Date.now();
      const next = pending.findIndex(({ due }) => due <= now);
      if (next === -1) await pause(1);
      else await attempt(pending.splice(next, 1)[0]);
      if (acknowledged.size >= killWhen[0] && killing === undefined) killing = kill();
    }
    await killing;
  };
  const checker = async () => {
    while (acknowledged.size < total) {
      const { user, keeps, isKnown, endedAt } = users[random.below(USERS)];
      if (!isKnown) {
        await pause(1);
        continue;
      }
      const asked = Date.now();
      let answer;
      try {
        answer = await check(user);
      } catch {
        // Nobody answered, which is no denial.
      }
      seen.checks++;
      if (answer?.status !== 200) {
        assert.ok(answer === undefined || answer.status >= 500, answer?.text);
        seen.unanswered++;
        await pause(5);
      } else if (keeps) {
        assert.equal(answer.body.allowed, true, `a payer was denied: ${answer.text}`);
      } else if (answer.body.allowed && endedAt !== undefined) {
        // An older event's copy may have been written after the newest one's, and memory is gone with the isolate.
        seen.stale[answer.body.source] = (seen.stale[answer.body.source] ?? 0) + 1;
        seen.stalestMs = Math.max(seen.stalestMs, asked - endedAt);
        assert.ok(asked - Date.parse(answer.body.as_of) <= TTL_MS, answer.text);
      }
    }
  };
  await Promise.all([...Array.from({ length: SENDERS }, sender), ...Array.from({ length: CHECKERS }, checker)]);

  assert.equal(killWhen.length, 0, "every kill happened");
  assert.equal(acknowledged.size, total);
  assert.ok(seen.attempts > total, "no attempt was broken, so nothing was shown");
  assert.ok(seen.checks > total / 4, `only ${seen.checks} checks`);
  assert.equal((await stored()).size, total, "each event once");
  const duplicates = [...acknowledged.values()].filter((outcome) => outcome === "duplicate").length;
  console.log(`  ${seen.attempts} attempts for ${total} events, ${Math.max(...attemptsOf)} of ${SCHEDULE_S.length} at most for one; ${duplicates} had been stored when their answer was lost`);
  console.log(`  ${seen.checks} checks beside, ${seen.unanswered} unanswered, none wrong; grants after their end was acknowledged: ${JSON.stringify(seen.stale)}, ${seen.stalestMs} ms at most`);

  const records = await rows("SELECT payer FROM records");
  assert.equal(records.length, USERS);
  const payers = await rows("SELECT payer, version FROM payers");
  assert.ok(payers.every(({ version }) => version === EVENTS_EACH), "each event was applied once");
  // A kill between the commit and the copy leaves an old copy, which is believed until its time is up.
  let behind = 0;
  for (const { user, keeps } of users) {
    const { body } = await check(user);
    if (keeps) assert.equal(body.allowed, true);
    else if (body.allowed) behind++;
  }
  console.log(`  ${behind} copies were left behind by a kill`);
  for (const { user, keeps } of users) {
    const answer = await check(user, TTL_MS + 1);
    assert.equal(answer.body.allowed, keeps, `${user}: ${answer.text}`);
  }
});
