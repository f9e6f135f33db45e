// What the benchmark's load asks of the worker it watches. Its times are nobody's to assert, its parts have to work.
import assert from "node:assert/strict";
import { test } from "node:test";
import { sendAll } from "../../bench/lib/load.mjs";
import { Store, plangate } from "../../bench/lib/processes.mjs";
import { BINDINGS } from "./harness.mjs";

test("the watched worker tells how much memory its WebAssembly has", async (t) => {
  const store = await Store.start();
  t.after(() => store.stop());
  const worker = await plangate(store, BINDINGS, { watched: true });
  t.after(() => worker.stop());
  await sendAll(worker.url, [{ path: "/bench/memory" }], ({ status, text }) => {
    assert.equal(status, 200, text);
    const { bytes, instances } = JSON.parse(text);
    assert.equal(bytes % 65_536, 0);
    assert.ok(bytes > 0);
    assert.equal(instances, 1);
  });
});
