// Stands between workerd and the built worker: counts what the worker does to its real D1 and KV, and makes either fail
// on demand. The request says how in `x-test-faults`, the answer tells in `x-test-operations`.
import Plangate from "./index.js";

function wrap(env, faults, counts) {
  const count = (what) => (counts[what] = (counts[what] ?? 0) + 1);
  const fail = (what) => {
    if (faults.includes(what)) throw new Error(`injected: ${what}`);
  };
  const statement = (real) => ({
    real,
    bind: (...values) => statement(real.bind(...values)),
    async raw() {
      count("d1_query");
      count("d1_statement");
      fail("d1");
      return real.raw();
    },
  });
  const DB = env.DB && {
    prepare: (sql) => statement(env.DB.prepare(sql)),
    async batch(statements) {
      count("d1_batch");
      statements.forEach(() => count("d1_statement"));
      fail("d1");
      const results = await env.DB.batch(statements.map(({ real }) => real));
      fail("d1_after_commit");
      return results;
    },
  };
  const ENTITLEMENTS = env.ENTITLEMENTS && {
    async get(...args) {
      count("kv_get");
      fail("kv_get");
      return env.ENTITLEMENTS.get(...args);
    },
    async put(...args) {
      count("kv_put");
      fail("kv_put");
      return env.ENTITLEMENTS.put(...args);
    },
  };
  return { ...env, DB, ENTITLEMENTS };
}

export default {
  async fetch(request, env, context) {
    const faults = (request.headers.get("x-test-faults") ?? "").split(",");
    const counts = {};
    const pending = [];
    const waiting = { waitUntil: (promise) => pending.push(promise), passThroughOnException() {} };
    const worker = new Plangate(context, wrap(env, faults, counts));
    worker.ctx = waiting;
    const answer = await worker.fetch(request);
    await Promise.all(pending);
    const headers = new Headers(answer.headers);
    headers.set("x-test-operations", JSON.stringify(counts));
    return new Response(answer.body, { status: answer.status, headers });
  },
};
