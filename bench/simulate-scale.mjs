// node bench/simulate-scale.mjs [--write]: 10 million payers and 10,000 webhooks a second, as a model. Prints the tables of
// docs/scale.md, or with --write puts them there.
//
// What is measured comes from bench/measured.json: how long the statements of a webhook and of a check keep SQLite busy, by
// the number of payers, and how large a payer is. What is assumed stands in ASSUMED, and nothing else is. Seeded: it prints
// the same each time.

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DATABASE_BYTES, MONTH, bytesOfPayer, dollars, measured, sum, usage, withTables } from "./cost.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
export const PAGE = path.join(here, "../docs/scale.md");

const PAYERS = 10_000_000;
const HOOKS_PER_SECOND = 10_000;

export const ASSUMED = {
  /** What D1 adds to each call while nothing else runs: confirming a write elsewhere. Nobody but Cloudflare can measure it. */
  commit_ms: [0, 1, 5],
  /** The busiest second has so many times the checks of the average one. */
  peak: 4,
  /** No database is planned to be busier, or fuller, than this. */
  busy: 0.5,
  full: 0.7,
  /** Webhooks that a queue's consumer puts into one batch of D1, where there is a queue. */
  together: 25,
  /** How long the sender waits: https://docs.svix.com/retries */
  patience_s: 15,
  /** And when it tries again after each failure, in seconds: the same page. */
  retries_s: [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000],
  outage_s: 1_800,
  /** Messages a second that one queue takes: https://developers.cloudflare.com/queues/platform/limits/ */
  queue_per_second: 5_000,
};

/** A seeded random source (xorshift32). */
function numbers(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 4294967296;
  };
}

/** Measured service times in milliseconds, at the largest number of payers that is not more than `payers`. */
export function measuredAt(payers) {
  const sizes = measured.store.filter((one) => one.payers <= payers);
  const { webhook, check } = sizes.at(-1) ?? measured.store[0];
  return { hook_ms: webhook.p50_us / 1000, check_ms: check.p50_us / 1000 };
}

/** Checks a second that reach D1 at the busiest time: stale copies and denials. */
export function readsPerSecond() {
  const toD1 = (1 - MONTH.denied) * MONTH.cold * MONTH.stale + MONTH.denied;
  return ((PAYERS * MONTH.checks_a_day) / 86_400) * ASSUMED.peak * toD1;
}

/** How many databases hold it: by time and by room. `together` webhooks share one call. */
export function shards(commitMs, together) {
  let count = 1;
  // A database with fewer payers is faster, so the time depends on the count.
  for (let n = 0; n < 20; n++) {
    const { hook_ms, check_ms } = measuredAt(PAYERS / count);
    const busy = (HOOKS_PER_SECOND * (hook_ms + commitMs / together) + readsPerSecond() * check_ms) / 1000;
    const next = Math.ceil(busy / ASSUMED.busy);
    if (next === count) break;
    count = next;
  }
  const byRoom = Math.ceil((PAYERS * bytesOfPayer().half_a_year) / (DATABASE_BYTES.paid * ASSUMED.full));
  return { byTime: count, byRoom, count: Math.max(count, byRoom) };
}

/**
 * One database of `count`, alone with its queue: Poisson arrivals of webhooks and reads, one server, first come first served.
 * Service times are spread exponentially around half of their mean, on top of the other half. Answers the milliseconds from arrival
 * to answer.
 */
export function latency(count, commitMs, together, seed = 2026) {
  const next = numbers(seed);
  const { hook_ms, check_ms } = measuredAt(PAYERS / count);
  const [hooks, reads] = [HOOKS_PER_SECOND / count / together / 1000, readsPerSecond() / count / 1000];
  const spread = (mean) => mean / 2 - (mean / 2) * Math.log(next());
  const times = [];
  let [now, free, busy] = [0, 0, 0];
  for (let n = 0; n < 200_000; n++) {
    now -= Math.log(next()) / (hooks + reads);
    const isHook = next() < hooks / (hooks + reads);
    const service = spread(isHook ? hook_ms * together + commitMs : check_ms);
    const done = Math.max(now, free) + service;
    free = done;
    busy += service;
    if (isHook) times.push(done - now);
  }
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor((times.length - 1) * share)];
  return { busy: busy / free, p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/**
 * All databases are down for half an hour and then come back, while webhooks go on arriving. Steps of a second; what cannot be
 * answered within the sender's patience fails and is tried again by its schedule. Six hours after the outage no new ones come, so
 * that every run ends.
 *
 * With a queue in front nothing fails: it is acknowledged once the queue has it, and the databases work the queue off.
 */
export function storm(capacity, hasQueue) {
  const arrive = HOOKS_PER_SECOND;
  const horizon = 3_600 * 60;
  const attempts = ASSUMED.retries_s.length + 1;
  // How many come in a second, by the attempt it is, and when the oldest of them happened.
  const due = Array.from({ length: attempts }, () => new Float64Array(horizon));
  const oldest = Array.from({ length: attempts }, () => new Float64Array(horizon).fill(Infinity));
  let [waiting, peak, peakWaiting, failed, lost, latest, calm] = [0, 0, 0, 0, 0, 0, 0];
  for (let second = 0; second < horizon; second++) {
    const isDown = second < ASSUMED.outage_s;
    due[0][second] = second < ASSUMED.outage_s + 6 * 3_600 ? arrive : 0;
    oldest[0][second] = second;
    let coming = 0;
    for (let n = 0; n < attempts; n++) coming += due[n][second];
    peak = Math.max(peak, coming);
    // A line longer than this is not answered in time.
    const room = hasQueue ? Infinity : isDown ? 0 : Math.max(0, capacity * ASSUMED.patience_s - waiting);
    const taken = Math.min(coming, room);
    const share = coming === 0 ? 0 : taken / coming;
    for (let n = 0; n < attempts; n++) {
      const count = due[n][second];
      if (count === 0) continue;
      const since = oldest[n][second];
      if (share > 0 && !hasQueue) latest = Math.max(latest, second - since);
      const refused = count * (1 - share);
      if (refused < 1e-9) continue;
      failed += refused;
      const again = second + ASSUMED.retries_s[n];
      if (n + 1 >= attempts || again >= horizon) lost += refused;
      else {
        due[n + 1][again] += refused;
        oldest[n + 1][again] = Math.min(oldest[n + 1][again], since);
      }
    }
    waiting += taken;
    if (!isDown) waiting -= Math.min(waiting, capacity);
    peakWaiting = Math.max(peakWaiting, waiting);
    if (hasQueue && isDown) latest = ASSUMED.outage_s + waiting / capacity;
    const retried = due.slice(1).some((of) => of[second] > 0);
    if (retried || waiting > capacity) calm = second + 1;
  }
  return { peak, peakWaiting, failed, lost, latest, calm: Math.max(0, calm - ASSUMED.outage_s) };
}

const whole = (number) => Math.round(number).toLocaleString("en-US");
const span = (seconds) => (seconds >= 5_400 ? `${(seconds / 3_600).toFixed(1)} h` : seconds >= 90 ? `${(seconds / 60).toFixed(0)} min` : `${seconds.toFixed(0)} s`);
const row = (...cells) => `| ${cells.join(" | ")} |`;
const head = (names) => [row(...names), row(...names.map((_, n) => (n === 0 ? "---" : "--:")))];

export function tables() {
  const service = [
    ...head(["payers in the database", "a webhook, ms", "a duplicate, ms", "a check, ms", "size, MB"]),
    ...measured.store.map(({ payers, webhook, duplicate, check, bytes }) =>
      row(whole(payers), ...[webhook, duplicate, check].map((one) => (one.p50_us / 1000).toFixed(2)), (bytes / 1e6).toFixed(0)),
    ),
  ];
  const ways = [
    ["D1, a webhook a call", 1],
    [`a queue, then D1, ${ASSUMED.together} webhooks a call`, ASSUMED.together],
  ];
  const plan = [
    ...head(["way", "confirming, ms", "databases by time", "by room", "chosen", "busy", "p50, ms", "p99, ms", "p99.9, ms"]),
    ...ways.flatMap(([name, together]) =>
      ASSUMED.commit_ms.map((commit) => {
        const { byTime, byRoom, count } = shards(commit, together);
        const { busy, p50, p99, p999 } = latency(count, commit, together);
        return row(name, commit, byTime, byRoom, count, `${(busy * 100).toFixed(0)} %`, ...[p50, p99, p999].map((ms) => ms.toFixed(1)));
      }),
    ),
  ];
  const single = ASSUMED.commit_ms.map((commit) => 1000 / (measuredAt(1e6).hook_ms + commit));
  const one = [...head(["confirming, ms", "webhooks a second of one database with a million payers"]), ...ASSUMED.commit_ms.map((commit, n) => row(commit, whole(single[n])))];
  const storms = [
    ...head(["in front", "capacity", "most in a second", "most waiting", "failed attempts", "lost", "last one stored after", "calm again after"]),
    ...[false, true].flatMap((hasQueue) =>
      [1.1, 1.5, 2, 4].map((factor) => {
        const { peak, peakWaiting, failed, lost, latest, calm } = storm(HOOKS_PER_SECOND * factor, hasQueue);
        return row(hasQueue ? "queues" : "nothing", `× ${factor}`, whole(peak), whole(peakWaiting), whole(failed), whole(lost), span(latest), span(calm));
      }),
    ),
  ];
  const events = HOOKS_PER_SECOND * 3_600;
  const price = (sum(dollars(usage("hook-new", "plangate"))) * events).toFixed(0);
  const hour = [
    ...head(["an hour at 10,000 a second", ""]),
    row("webhooks", whole(events)),
    row("added to the databases, GB", ((events * bytesOfPayer().event) / 1e9).toFixed(1)),
    row("dollars, from the tables of cost.md", whole(price)),
    row("the same number of webhooks in an ordinary month of these payers, hours", ((PAYERS * MONTH.webhooks) / events).toFixed(1)),
    row("queues, at half of what one takes", Math.ceil(HOOKS_PER_SECOND / (ASSUMED.queue_per_second / 2))),
    row("checks a second that reach a database, at the busiest time", whole(readsPerSecond())),
  ];
  return Object.fromEntries(Object.entries({ service, one, plan, storms, hour }).map(([name, lines]) => [name, lines.join("\n")]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--write")) writeFileSync(PAGE, withTables(readFileSync(PAGE, "utf8"), tables()));
  else for (const [name, table] of Object.entries(tables())) process.stdout.write(`${name}\n\n${table}\n\n`);
}
