// Plays the story of one subscriber against a running worker: `npm run demo`, after `npm start`.
//
// Every step is a real exchange over HTTP and is checked; the first that is not as told ends the demo with exit code 1.
// The deliveries are made, signed and sent by the `plangate` command line tool, which finds the signing secret and the
// key for session tokens in the environment or in `.dev.vars`.
//
//   PLANGATE_URL  where the worker is; http://localhost:8787 unless set
//   PLANGATE_BIN  a built `plangate`; without it, it is built first
//   --json        one line of JSON a step, for programs

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const URL_BASE = (process.env.PLANGATE_URL || "http://localhost:8787").replace(/\/+$/, "");
const AS_JSON = process.argv.includes("--json");
const COLUMNS = 100;
const SECOND = 1000;
const DAY = 86_400 * SECOND;
// A grant may be repeated from an isolate's memory for 10 s, a denial for 1 s. A deployed worker has many isolates and is
// given that time; a local one has a single isolate, which knows of every delivery and must be right at once.
const IS_LOCAL = ["localhost", "127.0.0.1", "[::1]"].includes(hostOf(URL_BASE));
const PATIENCE = IS_LOCAL ? 0 : 15 * SECOND;
const HTTP_TIMEOUT = 15 * SECOND;

const started = Date.now();
const user = `user_demo_${randomBytes(6).toString("hex")}`;
const periodEnd = Math.floor(started / SECOND) * SECOND + 30 * DAY;

let plangate;
let exchanges = [];
let steps = 0;

class Unexpected extends Error {}

async function story() {
  await step("Nobody has paid yet: denied", async () => {
    await ask({ allowed: false, reason: "no_subscription" });
  });

  const bought = { event: "subscriptionItem.active", id: eventId(), at: started - 180 * SECOND };
  await step("Clerk tells of a payment: allowed", async () => {
    await deliver(bought, 200, { outcome: "stored", event_id: bought.id });
    await ask({ allowed: true, reason: "active", plan: "pro" });
  });

  await step("The same delivery once more: known, and nothing changes", async () => {
    await deliver(bought, 200, { outcome: "duplicate", event_id: bought.id });
    await ask({ allowed: true, reason: "active", plan: "pro" });
  });

  await step("A forged delivery, signed with another secret: refused", async () => {
    const secret = `whsec_${randomBytes(24).toString("base64")}`;
    const forged = { event: "subscriptionItem.ended", id: eventId(), at: started, secret };
    await deliver(forged, 400, { code: "invalid_signature" });
    await ask({ allowed: true, reason: "active", plan: "pro" });
  });

  await step("A genuine delivery, signed 10 minutes ago: refused", async () => {
    const old = { event: "subscriptionItem.ended", id: eventId(), at: started, sentAt: Date.now() - 600 * SECOND };
    await deliver(old, 400, { code: "timestamp_out_of_tolerance" });
    await ask({ allowed: true, reason: "active", plan: "pro" });
  });

  const untilPeriodEnd = { allowed: true, reason: "canceled_until_period_end", plan: "pro", valid_until: periodEnd };
  await step("Canceled: still allowed until the period ends", async () => {
    const canceled = { event: "subscriptionItem.canceled", id: eventId(), at: started - 60 * SECOND };
    await deliver(canceled, 200, { outcome: "stored", event_id: canceled.id });
    await ask(untilPeriodEnd);
  });

  await step("An older event arrives late: stale, and nothing changes", async () => {
    const late = { event: "subscriptionItem.updated", id: eventId(), at: started - 120 * SECOND };
    await deliver(late, 200, { outcome: "stale", event_id: late.id });
    await ask(untilPeriodEnd);
  });

  await step("Ended: denied", async () => {
    const ended = { event: "subscriptionItem.ended", id: eventId(), at: started, periodEnd: started };
    await deliver(ended, 200, { outcome: "stored", event_id: ended.id });
    await ask({ allowed: false, reason: "expired" });
  });
}

function eventId() {
  return `msg_demo_${randomBytes(9).toString("hex")}`;
}

async function step(headline, act) {
  steps += 1;
  exchanges = [];
  if (!AS_JSON) print(`\n${bold(`${steps}. ${headline}`)}`);
  try {
    await act();
  } catch (error) {
    if (error instanceof Unexpected && AS_JSON) {
      print(JSON.stringify({ step: steps, headline, ok: false, error: error.message, exchanges }));
    }
    throw error;
  }
  if (AS_JSON) print(JSON.stringify({ step: steps, headline, ok: true, exchanges }));
}

// Sends an event through the command line tool, and expects this status and these fields in the answer.
async function deliver({ event, id, at, sentAt, periodEnd: end = periodEnd, secret }, status, fields) {
  const args = ["trigger", "clerk", event, "--url", URL_BASE, "--user", user, "--plan", "pro", "--event-id", id];
  args.push("--at", String(at), "--period-end", String(end), "--json");
  if (sentAt !== undefined) args.push("--sent-at", String(sentAt));
  if (secret !== undefined) args.push("--secret", secret);
  const { request, response, error } = run(args, [0, 1, 3]);
  if (!response) throw new Unexpected(`no answer from ${URL_BASE}: ${error}; run \`npm start\` first`);
  const headers = Object.entries(request.headers).filter(([name]) => name.startsWith("svix-"));
  show({
    request: { method: request.method, path: pathOf(request.url), headers: Object.fromEntries(headers), about: event },
    response: { status: response.status, body: response.body },
  });
  compare("the webhook", response, status, fields);
}

// Asks with a session token of the user, and expects these fields in the answer.
//
// What is not yet as expected is asked again, for as long as another isolate may remember what was.
async function ask(fields) {
  const path = "/v1/check?plan=pro";
  for (const askedAt = Date.now(); ; ) {
    const { token } = run(["token", "--user", user, "--json"], [0]);
    const response = await get(path, { authorization: `Bearer ${token}` });
    const waited = Date.now() - askedAt;
    const problem = difference("the check", response, 200, fields);
    if (problem && response.status === 200 && waited < PATIENCE) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      continue;
    }
    show({
      request: { method: "GET", path, headers: { authorization: `Bearer ${token}` } },
      response,
      ...(waited > 2 * SECOND && { waited_ms: waited }),
    });
    if (problem) throw new Unexpected(problem);
    return;
  }
}

async function get(path, headers) {
  const signal = AbortSignal.timeout(HTTP_TIMEOUT);
  const response = await fetch(URL_BASE + path, { headers, signal, redirect: "manual" }).catch((error) => {
    throw new Unexpected(`no answer from ${URL_BASE}: ${error.cause?.code ?? error.message}; run \`npm start\` first`);
  });
  const text = await response.text();
  return { status: response.status, body: parsed(text) ?? text };
}

function compare(what, response, status, fields) {
  const problem = difference(what, response, status, fields);
  if (problem) throw new Unexpected(problem);
}

// What is not as expected, in one sentence; null when everything is.
function difference(what, response, status, fields) {
  const body = response.body ?? {};
  if (response.status !== status) {
    const told = body.code ? ` (${body.code}: ${body.detail})` : "";
    return `${what} answered ${response.status}${told} where ${status} was expected`;
  }
  for (const [name, expected] of Object.entries(fields)) {
    // Times are compared as times: milliseconds may be written or not.
    const same = name === "valid_until" ? Date.parse(body[name]) === expected : body[name] === expected;
    if (!same) {
      const wanted = name === "valid_until" ? new Date(expected).toISOString() : JSON.stringify(expected);
      const reason = name === "allowed" ? ` (${body.reason})` : "";
      return `${what} answered ${name} = ${JSON.stringify(body[name])}${reason} where ${wanted} was expected`;
    }
  }
  return null;
}

// Runs the command line tool and reads its JSON. Its own errors are sentences and are passed on.
function run(args, expected) {
  const { status, stdout, stderr, error } = spawnSync(plangate, args, { encoding: "utf8" });
  const answer = parsed(stdout ?? "");
  if (error || !expected.includes(status) || !answer) {
    const why = error ? `${plangate} cannot be run (${error.code}); build it, or set PLANGATE_BIN` : stderr.trim();
    throw new Unexpected(why || `${plangate} ${args[0]} ended with exit code ${status}`);
  }
  return answer;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pathOf(url) {
  return new URL(url).pathname;
}

function hostOf(url) {
  return URL.canParse(url) ? new URL(url).hostname : "";
}

function show(exchange) {
  const { request, response, waited_ms: waited } = exchange;
  for (const name of Object.keys(request.headers)) request.headers[name] = shortened(name, request.headers[name]);
  exchanges.push(exchange);
  if (AS_JSON) return;
  const about = request.about ? dim(`  ${request.about}`) : "";
  print(`   ${request.method} ${request.path}${about}`);
  for (const [name, value] of Object.entries(request.headers)) print(dim(`     ${name}: ${value}`));
  const status = `${response.status}`;
  const after = waited ? dim(`  after ${(waited / SECOND).toFixed(1)} s: an answer may be remembered for a while`) : "";
  print(`   ${response.status < 300 ? green(status) : yellow(status)}${after}`);
  for (const line of wrapped(response.body, COLUMNS - 5)) print(`     ${line}`);
}

// Tokens and signatures are as good as passwords for a minute or five: their ends are enough to tell them apart.
function shortened(name, value) {
  if (name !== "authorization" && !name.endsWith("signature")) return value;
  const ends = value.match(/^((?:Bearer |v1,)?.{6}).*(.{6})$/);
  return ends ? `${ends[1]}…${ends[2]}` : "…";
}

// JSON on lines of at most so many columns, broken between members.
function wrapped(body, columns) {
  const text = typeof body === "string" ? [body] : members(body);
  const lines = [""];
  for (const part of text) {
    const last = lines[lines.length - 1];
    if (last && last.length + part.length + 1 > columns) lines.push(` ${part}`);
    else lines[lines.length - 1] = last ? `${last} ${part}` : part;
  }
  return lines.map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line));
}

function members(object) {
  const all = Object.entries(object).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  return all.map((text, at) => `${at === 0 ? "{" : ""}${text}${at === all.length - 1 ? "}" : ","}`);
}

function print(line) {
  process.stdout.write(`${line}\n`);
}

const colored = process.stdout.isTTY && !process.env.NO_COLOR;
const style = (code) => (text) => (colored ? `\x1b[${code}m${text}\x1b[0m` : text);
const bold = style("1");
const dim = style("2");
const green = style("32");
const yellow = style("33");

// The tool: the one that was named, else a fresh build.
function build() {
  if (process.env.PLANGATE_BIN) return process.env.PLANGATE_BIN;
  const binary = join(process.env.CARGO_TARGET_DIR || join(ROOT, "target"), "debug", "plangate");
  if (!existsSync(binary)) process.stderr.write("building the command line tool, which takes a minute the first time\n");
  const { status, stderr, error } = spawnSync("cargo", ["build", "--features", "cli", "--quiet"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  if (error) throw new Unexpected("cargo cannot be run; install Rust (https://rustup.rs), or set PLANGATE_BIN");
  if (status !== 0) throw new Unexpected(`the command line tool cannot be built:\n${stderr.trim()}`);
  return binary;
}

try {
  if (!hostOf(URL_BASE)) throw new Unexpected("PLANGATE_URL is no address; give one such as http://localhost:8787");
  // Also when something is wrong with it, a worker says of itself how it is.
  const { body } = await get("/healthz", {});
  if (!body?.bindings) throw new Unexpected(`what answers at ${URL_BASE} is no plangate worker; set PLANGATE_URL to the address of one`);
  plangate = build();
  if (!AS_JSON) print(`plangate demo at ${URL_BASE}, as ${user}`);
  await story();
  if (AS_JSON) print(JSON.stringify({ ok: true, steps }));
  else print(`\n${bold(`All ${steps} steps went as told.`)}`);
} catch (error) {
  if (!(error instanceof Unexpected)) throw error;
  process.stderr.write(steps ? `step ${steps} failed: ${error.message}\n` : `${error.message}\n`);
  process.exitCode = 1;
}
