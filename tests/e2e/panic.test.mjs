// A panic in one request must not poison the isolate for those after it. The build under test is the worker with one
// more route, which panics (feature `panic-probe`); the worker that is deployed has no such route.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Plangate, itemEvent, newUser } from "./harness.mjs";

let plangate;
before(async () => (plangate = await Plangate.start({ build: "build-probe" })));
after(() => plangate.stop());

test("after a panic the next requests are served, with nothing lost", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  for (let round = 0; round < 3; round++) {
    for (const path of ["/panic-probe", "/panic-probe?later"]) {
      assert.equal((await plangate.request("GET", path)).status, 500);
      assert.equal((await plangate.check(user)).body.allowed, true, `a check after ${path}`);
      await plangate.delivered(itemEvent(newUser()));
    }
  }
});

test("requests in flight beside a panic end, and the isolate serves on", async () => {
  const user = newUser();
  await plangate.delivered(itemEvent(user));
  for (const path of ["/panic-probe", "/panic-probe?later"]) {
    const beside = Array.from({ length: 20 }, (_, n) => (n === 10 ? plangate.request("GET", path) : plangate.check(user, "plan=other")));
    const answers = await Promise.all(beside);
    assert.equal(answers[10].status, 500);
    for (const { status, body } of answers) assert.ok(status === 500 || body.allowed === false, "an error, or the right answer");
    assert.equal((await plangate.check(user)).body.allowed, true);
  }
});
