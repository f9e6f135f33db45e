// Stands between workerd and the built worker: counts what the worker does to its real D1 and KV, makes either fail, wait
// or lie on demand, and moves the worker's clock. The request says how; the answer tells in `x-test-operations`.
//
// `x-test-faults`, a comma list, for this request alone:
//   d1                  D1 refuses; nothing is run; d1=TEXT  every batch, with this error, _ for a space
//   d1_inside=N         the batch fails after its Nth statement, in D1, once the delivery's row is there
//   d1_after_commit     the batch is committed and its answer lost
//   d1_gone=TEXT        the first batch is refused with this error; d1_gone_after=TEXT  it is committed before
//   d1_slow=MS          both before and after the batch
//   d1_hold_before=X    the batch waits until `/test/release?X`; d1_hold_after=X does after the commit, and queries after the answer
//   d1_hold_query=X     queries alone wait after the answer
//   kv_get              reading a copy fails;            kv_old   it is the one before
//   kv_put              writing a copy fails;            kv_429   it fails as one write too many does; kv_429=N  the first N do
//                       kv_429_of=N  the Nth alone does
//   kv_lost             writing a copy seems to succeed; kv_hold=X  it waits until `/test/release?X`
//   rows                nothing fails; the rows that statements read and wrote are counted as well
// What the worker does after a pause of a second or more, it does at once, or, after `/test/pause?X`, upon `/test/release?X`. The
// answer comes after it and tells of it as well.
// What it asks of others it gives up when it would, or, after `/test/elapse?MS`, once so many milliseconds went by as these add up to
// from then on. `/test/reached?answered PATH` answers once the headers of an answer from there came.
// `x-test-clock`, in milliseconds: the worker's clock is at least so far ahead from now on. It never goes back.
// `x-test-now`, in milliseconds since 1970: the worker's clock stands there from now on, however long anything takes.
import plangate from "./index.js";

const realNow = Date.now.bind(Date);
let ahead = 0;
let standing;
Date.now = () => standing ?? realNow() + ahead;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const reached = new Set();
const released = new Set();
async function until(set, name) {
  while (!set.has(name)) await pause(2);
}

let pauses;
const realWait = scheduler.wait.bind(scheduler);
scheduler.wait = async (ms) => {
  if (ms < 1000) return realWait(ms);
  if (pauses === undefined) return;
  reached.add(pauses);
  await until(released, pauses);
};

const realTimeout = AbortSignal.timeout.bind(AbortSignal);
let elapsed;
AbortSignal.timeout = (ms) => {
  if (elapsed === undefined) return realTimeout(ms);
  const controller = new AbortController();
  const giveUp = async (at) => {
    while (elapsed < at) await pause(2);
    controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
  };
  giveUp(elapsed + ms);
  return controller.signal;
};
const realFetch = fetch;
globalThis.fetch = async (url, ...args) => {
  const answer = await realFetch(url, ...args);
  const { pathname, search } = new URL(url);
  reached.add(`answered ${pathname}${search}`);
  return answer;
};

/** What each key of KV held before. */
const before = new Map();

function wrap(env, faults, counts, eventId) {
  const count = (what) => (counts[what] = (counts[what] ?? 0) + 1);
  const given = (what) => faults.find((fault) => fault.startsWith(`${what}=`))?.slice(what.length + 1);
  const fail = (what, message = `injected: ${what}`) => {
    if (faults.includes(what)) throw new Error(message);
  };
  const hold = async (what) => {
    const name = given(what);
    if (name === undefined) return;
    reached.add(name);
    await until(released, name);
  };
  // In the words of D1.
  const gone = (what, isFor = counts.d1_batch === 1) => {
    if (isFor && given(what) !== undefined) throw new Error(`D1_ERROR: ${given(what).replaceAll("_", " ")}.`);
  };
  const slow = () => given("d1_slow") && pause(Number(given("d1_slow")));
  const countRows = ({ meta }) => {
    for (const name of ["rows_read", "rows_written"]) counts[name] = (counts[name] ?? 0) + meta[name];
  };
  const statement = (real) => ({
    real,
    bind: (...values) => statement(real.bind(...values)),
    async raw() {
      count("d1_query");
      count("d1_statement");
      fail("d1");
      await slow();
      if (given("d1_hold_after") !== undefined || given("d1_hold_query") !== undefined) {
        const held = await real.raw();
        await hold("d1_hold_after");
        await hold("d1_hold_query");
        return held;
      }
      if (!faults.includes("rows")) return real.raw();
      // Rows as arrays do not come with counts.
      const answer = await real.all();
      countRows(answer);
      return answer.results.map((row) => Object.values(row));
    },
  });
  // Fails in the middle of the transaction, and only if the delivery's row is there.
  const midway = () => env.DB.prepare("INSERT INTO kept (name, value, updated_at) SELECT 'test', NULL, 0 FROM deliveries WHERE event_id = ?").bind(eventId);
  const DB = env.DB && {
    prepare: (sql) => statement(env.DB.prepare(sql)),
    async batch(statements) {
      count("d1_batch");
      statements.forEach(() => count("d1_statement"));
      fail("d1");
      gone("d1", true);
      gone("d1_gone");
      await slow();
      await hold("d1_hold_before");
      const real = statements.map((one) => one.real);
      const inside = given("d1_inside");
      if (inside !== undefined) real.splice(Number(inside), 0, midway());
      const results = await env.DB.batch(real);
      // The answers are those of the worker's own statements.
      if (inside !== undefined) results.splice(Number(inside), 1);
      if (faults.includes("rows")) results.forEach(countRows);
      await slow();
      await hold("d1_hold_after");
      fail("d1_after_commit");
      gone("d1_gone_after");
      return results;
    },
  };
  const ENTITLEMENTS = env.ENTITLEMENTS && {
    async get(key, ...args) {
      count("kv_get");
      fail("kv_get");
      if (faults.includes("kv_old")) return before.get(key) ?? null;
      return env.ENTITLEMENTS.get(key, ...args);
    },
    async put(key, value, ...args) {
      count("kv_put");
      fail("kv_put");
      const tooMany = "KV PUT failed: 429 Too Many Requests";
      fail("kv_429", tooMany);
      if (counts.kv_put <= Number(given("kv_429") ?? 0) || counts.kv_put === Number(given("kv_429_of"))) throw new Error(tooMany);
      if (faults.includes("kv_lost")) return;
      await hold("kv_hold");
      before.set(key, await env.ENTITLEMENTS.get(key));
      return env.ENTITLEMENTS.put(key, value, ...args);
    },
  };
  return { ...env, DB, ENTITLEMENTS };
}

/** `/test/release?X` lets go what is held; `/test/reached?X` answers once something is. */
async function control(url) {
  const name = decodeURIComponent(url.search.slice(1));
  if (url.pathname === "/test/release") released.add(name);
  else if (url.pathname === "/test/pause") pauses = name;
  else if (url.pathname === "/test/elapse") elapsed = (elapsed ?? 0) + Number(name);
  else await until(reached, name);
  return new Response(null, { status: 204 });
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname.startsWith("/test/")) return control(url);
    ahead = Math.max(ahead, Number(request.headers.get("x-test-clock") ?? 0));
    if (request.headers.has("x-test-now")) standing = Number(request.headers.get("x-test-now"));
    const faults = (request.headers.get("x-test-faults") ?? "").split(",");
    const counts = {};
    const pending = [];
    const waiting = { waitUntil: (promise) => pending.push(promise), passThroughOnException() {} };
    const answer = await plangate.fetch(request, wrap(env, faults, counts, request.headers.get("svix-id")), waiting);
    await Promise.all(pending);
    const headers = new Headers(answer.headers);
    headers.set("x-test-operations", JSON.stringify(counts));
    return new Response(answer.body, { status: answer.status, headers });
  },
  scheduled: (controller, env, context) => plangate.scheduled(controller, env, context),
};
