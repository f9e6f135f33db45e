// Minutes at saturation: webhooks and checks of a few thousand payers at once, as fast as they are answered. Then: did memory
// grow, is every acknowledged webhook in the ledger, was any answer wrong.
//
// The model of an answer: each payer has one record. Its webhooks alternate between a plan that grants and one that ended, each
// newer than the last, and only one of a payer's is on its way at a time. A check that began after a webhook was acknowledged
// and ended before the next was sent must say what that webhook said. A check that met a webhook on its way may say either.
// A denial must be right at once; a grant may come from memory for ten seconds after it was taken back by nobody but this very
// isolate, which takes it back in memory too, so here both must be right at once.
import { Agent } from "node:http";
import { BINDINGS, eventId, item, itemEvent, newUser, seeded, sign } from "../../tests/e2e/harness.mjs";
import { say } from "../../scripts/run.mjs";
import { CONCURRENCY, longToken, send, sendAll } from "./load.mjs";
import { Store, plangate, residentOf } from "./processes.mjs";

const PAYERS = 3_000;
/** Of every ten requests so many are webhooks; one in ten of those is sent twice. */
const HOOKS_IN_TEN = 3;
/** How often a payer comes with a new token. */
const TOKEN_MS = 240_000;
/** More than an isolate remembers. */
const STRANGERS = 5_000;
/** The share of the time that counts as warming up still. */
const WARM_UP = 0.2;
/** What memory may grow by after that: V8 gives pages back when it likes. */
const MOST_GROWTH = 1.1;

export async function soak({ seconds }) {
  const random = seeded(2026);
  const store = await Store.start();
  const worker = await plangate(store, BINDINGS, { watched: true });
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });
  // A connection of its own each time: one that idles between two looks may be closed just when it is used again.
  const looks = new Agent({ keepAlive: false });
  const payers = Array.from({ length: PAYERS }, () => ({ id: newUser(), version: 0, grants: false, busy: false, at: Date.now() - 1_000_000, token: undefined, tokenAt: 0 }));
  const acknowledged = new Set();
  const wrong = [];
  const memory = [];
  const statuses = {};
  let [checks, hooks, duplicates, undecided] = [0, 0, 0, 0];

  const hook = async (payer) => {
    payer.busy = true;
    payer.at += 10;
    const id = eventId();
    const grants = !payer.grants;
    const data = { id: `i_${payer.id}`, at: payer.at, status: grants ? "active" : "ended" };
    const delivery = sign(itemEvent(payer.id, data), { id });
    const twice = random.below(10) === 0;
    for (const expected of twice ? ["stored", "duplicate"] : ["stored"]) {
      const answer = await send(agent, worker.url, { method: "POST", path: "/webhooks/clerk", ...delivery });
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      if (answer.status !== 200) {
        wrong.push(`webhook ${id}: ${answer.status} ${answer.text.slice(0, 200)}`);
        continue;
      }
      acknowledged.add(id);
      hooks += 1;
      if (expected === "duplicate") duplicates += 1;
      const { outcome } = JSON.parse(answer.text);
      if (outcome !== expected) wrong.push(`webhook ${id}: ${outcome}, not ${expected}`);
      payer.grants = grants;
      payer.version += 1;
    }
    payer.busy = false;
  };

  const check = async (payer) => {
    if (Date.now() - payer.tokenAt > TOKEN_MS) [payer.token, payer.tokenAt] = [longToken(payer.id), Date.now()];
    const [wasBusy, version] = [payer.busy, payer.version];
    const answer = await send(agent, worker.url, { path: "/v1/check?plan=pro", headers: { authorization: `Bearer ${payer.token}` } });
    statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    checks += 1;
    if (answer.status !== 200) return wrong.push(`check of ${payer.id}: ${answer.status} ${answer.text.slice(0, 200)}`);
    if (wasBusy || payer.busy || payer.version !== version) return (undecided += 1);
    const { allowed, reason, source } = JSON.parse(answer.text);
    if (allowed !== payer.grants) wrong.push(`check of ${payer.id}: ${allowed} (${reason}, ${source}), not ${payer.grants}`);
  };

  // Every memory of the isolate is full before the clock starts: its bounds are 4,096 tokens and as many payers. Then every
  // payer is known, or memory would grow with what is learned of them.
  say(`▸ Warming up: ${STRANGERS} strangers ask, ${PAYERS} payers subscribe`);
  const strangers = Array.from({ length: STRANGERS }, () => ({ path: "/v1/check?plan=pro", headers: { authorization: `Bearer ${longToken(newUser())}` } }));
  await sendAll(worker.url, strangers, ({ status, text }) => {
    if (status !== 200 || !text.includes('"allowed":false')) throw new Error(`a stranger was answered ${status} ${text}`);
  });
  let introduced = 0;
  const introduce = async () => {
    while (introduced < PAYERS) {
      const payer = payers[introduced++];
      await hook(payer);
      await check(payer);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, introduce));

  const begun = performance.now();
  const passed = () => (performance.now() - begun) / 1000;
  const wasm = async () => JSON.parse((await send(looks, worker.url, { path: "/bench/memory" })).text);
  const sample = async () => {
    const { bytes, instances } = await wasm();
    memory.push({ at: passed(), worker: worker.resident(), store: residentOf(store.pid), pages: bytes / 65_536, instances });
  };
  const sampling = setInterval(() => sample().catch((error) => wrong.push(String(error))), Math.max(250, seconds * 5));
  const telling = setInterval(() => say(`  … ${passed().toFixed(0)} s, ${checks} checks, ${hooks} webhooks, worker ${memory.at(-1)?.worker?.toFixed(0)} MiB`), 30_000);
  const sender = async () => {
    while (passed() < seconds) {
      // A few payers are asked about far more than the rest.
      const payer = payers[Math.floor(PAYERS * random.next() ** 2)];
      if (random.below(10) < HOOKS_IN_TEN && !payer.busy) await hook(payer);
      else await check(payer);
    }
  };
  try {
    await Promise.all(Array.from({ length: CONCURRENCY }, sender));
    const took = passed();
    clearInterval(sampling);
    clearInterval(telling);
    await sample();

    // Every acknowledged delivery, in pages.
    const found = new Set();
    for (let after = 0; ; ) {
      const { results } = await store.d1.prepare("SELECT seq, event_id FROM deliveries WHERE seq > ?1 ORDER BY seq LIMIT 20000").bind(after).all();
      if (results.length === 0) break;
      results.forEach(({ event_id }) => found.add(event_id));
      after = results.at(-1).seq;
    }
    const lost = [...acknowledged].filter((id) => !found.has(id));
    // And what is held in the end, of every payer.
    const { results: records } = await store.d1.prepare("SELECT id, status FROM records").all();
    const held = new Map(records.map(({ id, status }) => [id, status === "active"]));
    const different = payers.filter((payer) => payer.version > 0 && held.get(`i_${payer.id}`) !== payer.grants);

    const settled = memory.filter(({ at, worker: size }) => at >= took * WARM_UP && size !== null);
    const part = (from, to) => settled.slice(Math.floor(settled.length * from), Math.ceil(settled.length * to));
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const [early, late] = [part(0, 0.2), part(0.8, 1)].map((samples) => mean(samples.map((one) => one.worker)));
    const [pagesEarly, pagesLate] = [part(0, 0.2)[0].pages, memory.at(-1).pages];
    const result = {
      seconds: took, checks, hooks, duplicates, undecided, statuses,
      acknowledged: acknowledged.size, in_ledger: found.size, lost: lost.length, wrong: wrong.length, different: different.length,
      resident_mib: { first: memory[0]?.worker, after_warm_up: early, at_the_end: late, most: Math.max(...settled.map((one) => one.worker)) },
      wasm_pages: { first: memory[0]?.pages, after_warm_up: pagesEarly, at_the_end: pagesLate },
      wasm_instances: memory.at(-1).instances,
      in_tenths: Array.from({ length: 10 }, (_, n) => memory.find(({ at }) => at >= (took * n) / 10)).map(({ worker: mib, pages }) => ({ mib: Math.round(mib), pages })),
    };
    process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
    const failures = [
      lost.length > 0 && `${lost.length} acknowledged webhooks are not in the ledger`,
      wrong.length > 0 && `${wrong.length} wrong answers, first: ${wrong.slice(0, 3).join("; ")}`,
      different.length > 0 && `${different.length} payers are held otherwise than the last webhook told`,
      late > early * MOST_GROWTH && `the worker's memory grew from ${early.toFixed(0)} to ${late.toFixed(0)} MiB`,
      pagesLate > pagesEarly * MOST_GROWTH && `the worker's WebAssembly grew from ${pagesEarly} to ${pagesLate} pages`,
      memory.at(-1).instances !== 1 && "the core panicked",
      acknowledged.size === 0 && "no webhook was acknowledged",
    ].filter(Boolean);
    for (const failure of failures) say(`✗ ${failure}`);
    if (failures.length > 0) {
      say(worker.log.slice(-2_000));
      process.exitCode = 1;
    } else say(`No webhook lost, no answer wrong, memory × ${(late / early).toFixed(2)}, ${pagesLate} pages of WebAssembly.`);
    return result;
  } finally {
    clearInterval(sampling);
    clearInterval(telling);
    agent.destroy();
    looks.destroy();
    await worker.stop();
    await store.stop();
  }
}
