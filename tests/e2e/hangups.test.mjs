// Who asks may hang up before the answer. workerd then lets go of all that the request waited for, and nothing of it may stay in
// the isolate's memory. Miniflare keeps a request going, so this is workerd as it is, with the build that tells what it waits for.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { sendAll } from "../../bench/lib/load.mjs";
import { Store, Worker } from "../../bench/lib/processes.mjs";
import { API_KEY, BINDINGS, KEYS, itemEvent, jwk, newUser, sign, token } from "./harness.mjs";

const ASKED = 100;
const MAX_LOOKS = 1_000;

const modules = [
  ["collected.js", "esModule"],
  ["../../build-probe/index.js", "esModule"],
  ["../../build-probe/index_bg.wasm", "wasm"],
].map(([file, type]) => ({ name: file.split("/").at(-1), file: fileURLToPath(new URL(file, import.meta.url)), type }));
const texts = Object.fromEntries(Object.entries(BINDINGS).filter(([, value]) => typeof value === "string"));

test("what was waited for by those who hung up is forgotten", async (t) => {
  // Stands where KV and D1 are, and never answers.
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const store = { url: new URL(`http://127.0.0.1:${silent.address().port}`) };
  const worker = await Worker.start({ name: "plangate", modules, bindings: texts, store, v8Flags: ["--expose-gc"] });
  t.after(async () => {
    silent.closeAllConnections();
    silent.close();
    await worker.stop();
  });
  const get = async (path) => {
    let text;
    await sendAll(worker.url, [{ path }], (answer) => {
      assert.equal(answer.status, 200);
      text = answer.text;
    });
    return text;
  };
  const waits = async () => Number(await get("/panic-probe?waits"));
  assert.equal(await waits(), 0);

  const headers = { authorization: `Bearer ${API_KEY}` };
  const asked = Array.from({ length: ASKED }, () => {
    const call = request(new URL(`/v1/check?plan=pro&user_id=${newUser()}`, worker.url), { headers, agent: false });
    call.on("error", () => {});
    call.end();
    return call;
  });
  for (let look = 0; (await waits()) < ASKED; look += 1) assert.ok(look < MAX_LOOKS, "all of them wait for the store");
  // By a reset: after an orderly end workerd would still try to answer.
  for (const call of asked) call.socket.resetAndDestroy();

  for (let look = 0; (await waits()) > 0; look += 1) {
    assert.ok(look < MAX_LOOKS, `${await waits()} are still waited for`);
    await get("/collect");
  }
});

test("what a webhook stored reaches KV, though its sender hung up", { timeout: 60_000 }, async (t) => {
  const store = await Store.start();
  t.after(() => store.stop());
  // Before it: keeps what it is asked until it is let go.
  const gate = Promise.withResolvers();
  const arrived = Promise.withResolvers();
  const before = createServer((asked, answer) => {
    arrived.resolve();
    const { method, headers, url } = asked;
    const passed = request({ host: store.url.hostname, port: store.url.port, method, headers, path: url }, (theirs) => {
      answer.writeHead(theirs.statusCode, theirs.headers);
      theirs.pipe(answer);
    });
    gate.promise.then(() => asked.pipe(passed));
  }).listen(0, "127.0.0.1");
  await once(before, "listening");
  const url = new URL(`http://127.0.0.1:${before.address().port}`);
  const worker = await Worker.start({ name: "plangate", modules, bindings: texts, store: { url }, v8Flags: ["--expose-gc"] });
  t.after(async () => {
    before.closeAllConnections();
    before.close();
    await worker.stop();
  });

  const { headers, body } = sign(itemEvent(newUser()));
  const call = request(new URL("/webhooks/clerk", worker.url), { method: "POST", headers, agent: false });
  call.on("error", () => {});
  call.end(body);
  await arrived.promise;
  call.socket.resetAndDestroy();
  // By the time that it has answered these it has seen the reset.
  await sendAll(worker.url, Array(10).fill({ path: "/openapi.json" }), ({ status }) => assert.equal(status, 200), { concurrency: 1 });
  gate.resolve();

  for (let look = 0; (await store.kv.list()).keys.length === 0; look += 1) assert.ok(look < MAX_LOOKS, "there is no copy");
  const { results } = await store.d1.prepare("SELECT outcome FROM deliveries").all();
  assert.deepEqual(results, [{ outcome: "stored" }]);
});

test("the keys of session tokens are fetched to the end, though who began it hung up", { timeout: 60_000 }, async (t) => {
  const store = await Store.start();
  t.after(() => store.stop());
  const [gate, arrived] = [Promise.withResolvers(), Promise.withResolvers()];
  let asked = 0;
  const keys = createServer((_, answer) => {
    asked += 1;
    arrived.resolve();
    gate.promise.then(() => answer.end(JSON.stringify({ keys: [jwk(KEYS.publicKey, "ins_test")] })));
  }).listen(0, "127.0.0.1");
  await once(keys, "listening");
  const internet = new URL(`http://127.0.0.1:${keys.address().port}`);
  const { CLERK_JWT_KEY, ...others } = texts;
  const bindings = { ...others, CLERK_SECRET_KEY: "sk_test_x", CLERK_API_URL: internet.origin };
  const worker = await Worker.start({ name: "plangate", modules, bindings, store, internet, v8Flags: ["--expose-gc"] });
  t.after(async () => {
    keys.closeAllConnections();
    keys.close();
    await worker.stop();
  });
  const check = () => ({ path: "/v1/check?plan=pro", headers: { authorization: `Bearer ${token(newUser())}` } });
  const get = async (path) => {
    let text;
    await sendAll(worker.url, [{ path }], (answer) => (text = answer.text));
    return text;
  };

  const { path, headers } = check();
  const call = request(new URL(path, worker.url), { headers, agent: false });
  call.on("error", () => {});
  call.end();
  await arrived.promise;
  call.socket.resetAndDestroy();
  await sendAll(worker.url, Array(10).fill({ path: "/openapi.json" }), ({ status }) => assert.equal(status, 200), { concurrency: 1 });
  gate.resolve();
  for (let look = 0; Number(await get("/panic-probe?waits")) > 0; look += 1) {
    assert.ok(look < MAX_LOOKS, "it waits for nothing any more");
    await get("/collect");
  }
  await sendAll(worker.url, [check()], ({ status }) => assert.equal(status, 200));
  assert.equal(asked, 1);
});
