// The pages about cost and scale say what their scripts reckon from what was measured.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as cost from "../../bench/cost.mjs";
import * as scale from "../../bench/simulate-scale.mjs";

for (const [name, script, { PAGE, tables }] of [
  ["docs/cost.md", "bench/cost.mjs", cost],
  ["docs/scale.md", "bench/simulate-scale.mjs", scale],
]) {
  test(`the tables of ${name} are what the script prints`, () => {
    const page = readFileSync(PAGE, "utf8");
    assert.equal(cost.withTables(page, tables()), page, `run node ${script} --write`);
  });
}

test("a table that has no place in the page is an error", () => {
  assert.throws(() => cost.withTables("<!-- one -->\n\n<!-- end of one -->", { two: "x" }), /no place for the table `two`/);
  assert.equal(cost.withTables("a\n<!-- one -->\nold\n<!-- end of one -->\nb", { one: "new" }), "a\n<!-- one -->\nnew\n<!-- end of one -->\nb");
});

test("dollars are reckoned as Cloudflare's own examples are", () => {
  // https://developers.cloudflare.com/workers/platform/pricing/, examples 1 and 4, as of 2026-11-21.
  const none = { rows_read: 0, rows_written: 0, kv_get: 0, kv_put: 0 };
  const close = (used, expected) => assert.ok(Math.abs(cost.bill({ ...none, ...used }, 0) - expected) < 0.005);
  close({ requests: 15e6, cpu_ms: 15e6 * 7 }, 8);
  close({ requests: 100e6, cpu_ms: 100e6 * 7 }, 45.4);
  close({ requests: 1, cpu_ms: 1 }, 5);
  assert.deepEqual(cost.freePlan({ requests: 1, rows_read: 31, rows_written: 9, kv_get: 0, kv_put: 1 }), { what: "kv_put", most: 1_000 });
  assert.deepEqual(cost.freePlan({ requests: 1, rows_read: 31, rows_written: 9, kv_get: 0, kv_put: 1 }, ["kv_put"]), { what: "rows_written", most: 11_111 });
});

test("the model of the queue agrees with what is known of queues", () => {
  // Four times as many databases, a quarter of the load each: less busy, and never slower.
  const [few, many] = [scale.latency(30, 1, 1), scale.latency(120, 1, 1)];
  assert.ok(many.busy < few.busy && many.p99 <= few.p99 * 1.05, JSON.stringify([few, many]));
  // Little's law and a single server: the busy share is what arrives times what it takes.
  const { hook_ms, check_ms } = scale.measuredAt(10_000_000 / 30);
  const expected = ((10_000 / 30) * (hook_ms + 1) + (scale.readsPerSecond() / 30) * check_ms) / 1000;
  assert.ok(Math.abs(few.busy - expected) < 0.03, `${few.busy}, not ${expected}`);
});

test("in the storm nothing is lost, and with a queue nothing even fails", () => {
  for (const factor of [1.1, 2]) {
    const without = scale.storm(10_000 * factor, false);
    assert.ok(without.failed >= 10_000 * scale.ASSUMED.outage_s && without.lost === 0, JSON.stringify(without));
    const queued = scale.storm(10_000 * factor, true);
    assert.deepEqual([queued.failed, queued.lost, queued.peak], [0, 0, 10_000]);
  }
});
