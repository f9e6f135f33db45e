// node bench/cost.mjs [--write]: what plangate costs on Cloudflare, from bench/measured.json and the prices below. Prints the
// tables of docs/cost.md, or with --write puts them there.
//
// Prices and limits are Cloudflare's own pages', as read on PRICES_READ; dollars, and for the month or the day as it says there.

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const MILLION = 1e6;
const here = path.dirname(fileURLToPath(import.meta.url));
export const PAGE = path.join(here, "../docs/cost.md");
export const measured = JSON.parse(readFileSync(path.join(here, "measured.json"), "utf8"));

export const PRICES_READ = "2026-11-21";

/** For a million, on the paid plan, of what is more than included. */
export const PAID = {
  subscription: 5, // a month: https://developers.cloudflare.com/workers/platform/pricing/
  requests: 0.3, // same page
  cpu_ms: 0.02, // same page
  rows_read: 0.001, // https://developers.cloudflare.com/d1/platform/pricing/
  rows_written: 1, // same page
  kv_get: 0.5, // https://developers.cloudflare.com/kv/platform/pricing/
  kv_put: 5, // same page
};
/** A month, on the paid plan, for the subscription alone: the same pages. */
export const INCLUDED = { requests: 10e6, cpu_ms: 30e6, rows_read: 25e9, rows_written: 50e6, kv_get: 10e6, kv_put: 1e6 };
/** Dollars for a gigabyte of D1 and month, and how many are included: https://developers.cloudflare.com/d1/platform/pricing/ */
export const STORAGE = { gigabyte: 0.75, included_gb: 5 };
/** A day on the free plan; CPU is for each request. The same pages, and https://developers.cloudflare.com/workers/platform/limits/ */
export const FREE = { requests: 100_000, rows_read: 5e6, rows_written: 100_000, kv_get: 100_000, kv_put: 1_000 };
export const FREE_CPU_MS = 10;
/** Bytes of one database: https://developers.cloudflare.com/d1/platform/limits/ */
export const DATABASE_BYTES = { free: 500e6, paid: 10e9 };

/** A team's month. What is assumed stands here and nowhere else. */
export const MONTH = {
  days: 30,
  /** Checks by each payer and day, of which so many find nothing in memory, and so many of those an old copy or none. */
  checks_a_day: 40,
  cold: 0.5,
  stale: 0.2,
  /** Of all checks, those that are denials of somebody known. */
  denied: 0.05,
  /** Webhooks by each payer: a renewal is two or three events, and some are sent twice. */
  webhooks: 3,
  duplicates: 0.05,
};

/** What one request of a phase uses: counts, and CPU in milliseconds. */
export function usage(phase, worker) {
  const found = measured.phases[phase][worker];
  const { rows_read, rows_written, kv_get, kv_put } = found.operations;
  return { requests: 1, cpu_ms: found.cpu_us / 1000, rows_read, rows_written, kv_get, kv_put };
}

/** Dollars for so much of each, without what is included. */
export function dollars(used) {
  return Object.fromEntries(Object.entries(used).map(([what, amount]) => [what, (amount / MILLION) * PAID[what]]));
}
export const sum = (parts) => Object.values(parts).reduce((total, part) => total + part, 0);

/** How many requests of this kind a day of the free plan holds, and which limit ends it. */
export function freePlan(used, ignoring = []) {
  const limits = Object.entries(FREE).filter(([what]) => used[what] > 0 && !ignoring.includes(what));
  const [what, most] = limits.map(([what, limit]) => [what, Math.floor(limit / used[what])]).sort((a, b) => a[1] - b[1])[0];
  return { what, most };
}

/** What a month of so many payers uses. */
export function month(payers, worker) {
  const checks = payers * MONTH.checks_a_day * MONTH.days;
  const denied = checks * MONTH.denied;
  const allowed = checks - denied;
  const cold = allowed * MONTH.cold;
  const hooks = payers * MONTH.webhooks;
  const mixture = [
    ["check-warm", allowed - cold],
    ["check-distinct", cold * (1 - MONTH.stale)],
    ["check-stale", cold * MONTH.stale],
    ["check-denied", denied],
    ["hook-new", hooks * (1 - MONTH.duplicates)],
    ["hook-duplicate", hooks * MONTH.duplicates],
  ];
  const used = {};
  for (const [phase, count] of mixture) {
    for (const [what, amount] of Object.entries(usage(phase, worker))) used[what] = (used[what] ?? 0) + amount * count;
  }
  return used;
}

/** Dollars of a month, with what is included taken off. */
export function bill(used, gigabytes) {
  const over = Object.fromEntries(Object.entries(used).map(([what, amount]) => [what, Math.max(0, amount - INCLUDED[what])]));
  return PAID.subscription + sum(dollars(over)) + Math.max(0, gigabytes - STORAGE.included_gb) * STORAGE.gigabyte;
}

/** Bytes of a payer with the webhooks of half a year (`RETENTION_DAYS`), of the largest database that was measured. */
export function bytesOfPayer() {
  const { payers, bytes, bytes_per_event } = measured.store.at(-1);
  const events = MONTH.webhooks * 6;
  return { first: bytes / payers, event: bytes_per_event, half_a_year: bytes / payers + events * bytes_per_event };
}

const NAMES = { requests: "requests", rows_read: "rows read in D1", rows_written: "rows written in D1", kv_get: "KV reads", kv_put: "KV writes" };
const whole = (number) => Math.round(number).toLocaleString("en-US");
const money = (number) => (number < 0.005 ? "0" : number.toFixed(2));
const row = (...cells) => `| ${cells.join(" | ")} |`;
const head = (names) => [row(...names), row(...names.map((_, n) => (n === 0 ? "---" : "--:")))];
const counted = (number) => String(Math.round(number * 10) / 10);

const PHASES = {
  "check-warm": "a check, remembered",
  "check-distinct": "a check, from KV",
  "check-stale": "a check, copy gone or old",
  "check-denied": "a denial",
  "check-unknown": "a stranger",
  "check-forged": "a forged token",
  "hook-new": "a webhook",
  "hook-duplicate": "a duplicate",
  "hook-ignored": "an event not for us",
  "hook-forged": "a forged webhook",
  entitlements: "entitlements",
};

function each(make) {
  return Object.entries(PHASES).map(([phase, name]) => make(phase, name, ["plangate", "yardstick"].filter((worker) => measured.phases[phase][worker])));
}

export function tables() {
  const used = [
    ...head(["one request", "CPU, ms", "rows read", "rows written", "KV reads", "KV writes", "yardstick: CPU, ms", "rows read", "rows written", "KV reads", "KV writes"]),
    ...each((phase, name, workers) => {
      const cells = ["plangate", "yardstick"].flatMap((worker) => {
        if (!workers.includes(worker)) return ["–", "–", "–", "–", "–"];
        const one = usage(phase, worker);
        return [one.cpu_ms.toFixed(2), ...["rows_read", "rows_written", "kv_get", "kv_put"].map((what) => counted(one[what]))];
      });
      return row(name, ...cells);
    }),
  ];

  const paid = [
    ...head(["a million of", "requests", "CPU", "D1 rows", "KV", "together", "yardstick"]),
    ...each((phase, name, workers) => {
      const cost = dollars(usage(phase, "plangate"));
      const all = (one) => money(MILLION * sum(one));
      const parts = [cost.requests, cost.cpu_ms, cost.rows_read + cost.rows_written, cost.kv_get + cost.kv_put];
      const other = workers.includes("yardstick") ? all(dollars(usage(phase, "yardstick"))) : "–";
      return row(name, ...parts.map((part) => money(MILLION * part)), all(cost), other);
    }),
  ];

  const free = [
    ...head(["only this, each day", "at most", "because of", "yardstick", "because of"]),
    ...each((phase, name, workers) => {
      const cells = ["plangate", "yardstick"].flatMap((worker) => {
        if (!workers.includes(worker)) return ["–", "–"];
        const { what, most } = freePlan(usage(phase, worker));
        return [whole(most), NAMES[what]];
      });
      return row(name, ...cells);
    }),
    row("a webhook, its copy in KV forgone", ...["plangate", "yardstick"].flatMap((worker) => {
      const { what, most } = freePlan(usage("hook-new", worker), ["kv_put"]);
      return [whole(most), NAMES[what]];
    })),
  ];

  const size = bytesOfPayer();
  const months = [
    ...head(["payers", "checks", "webhooks", "rows written", "KV writes", "D1, GB", "dollars a month", "yardstick"]),
    ...[1_000, 10_000, 100_000, 1_000_000].map((payers) => {
      const ours = month(payers, "plangate");
      const gigabytes = (payers * size.half_a_year) / 1e9;
      const hooks = payers * MONTH.webhooks;
      const costs = [ours, month(payers, "yardstick")].map((one) => bill(one, gigabytes).toFixed(2));
      return row(whole(payers), whole(ours.requests - hooks), whole(hooks), whole(ours.rows_written), whole(ours.kv_put), gigabytes.toFixed(2), ...costs);
    }),
  ];

  const room = [
    ...head(["database", "payers with one event", "payers with half a year of events", "deliveries"]),
    ...Object.entries(DATABASE_BYTES).map(([plan, bytes]) => row(`${plan}: ${bytes / 1e9} GB`, whole(bytes / size.first), whole(bytes / size.half_a_year), whole(bytes / size.event))),
  ];
  return Object.fromEntries(Object.entries({ used, paid, free, months, room }).map(([name, lines]) => [name, lines.join("\n")]));
}

/** The page with each table put between its marks. */
export function withTables(page, found) {
  let text = page;
  for (const [name, table] of Object.entries(found)) {
    const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- end of ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`the page has no place for the table \`${name}\``);
    text = text.slice(0, from + begin.length) + table + text.slice(to);
  }
  return text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--write")) writeFileSync(PAGE, withTables(readFileSync(PAGE, "utf8"), tables()));
  else for (const [name, table] of Object.entries(tables())) process.stdout.write(`${name}\n\n${table}\n\n`);
}
