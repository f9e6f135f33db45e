// Upkeep in the real runtime: erasing, handing over, pruning, rebuilding, and the look at one payer.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { API_KEY, DAY_MS, Plangate, event, eventId, flatEvent, item, itemEvent, newOrg, newUser, sign, subscriptionEvent } from "./harness.mjs";

const ADMIN_TOKEN = "pga_0123456789abcdef";
let plangate;
before(async () => (plangate = await Plangate.start({ bindings: { ADMIN_TOKEN } })));
after(() => plangate.stop());

const admin = (method, path, body) =>
  plangate.request(method, `/admin/${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, body: body && JSON.stringify(body) });
const ask = async (user, query = "plan=pro") => (await plangate.serverCheck(`user_id=${user}&${query}`)).body;
const lines = (text) => text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
const all = async (sql, ...values) => (await (await plangate.d1()).prepare(sql).bind(...values).all()).results;
const notes = (type) => all("SELECT detail FROM deliveries WHERE provider = 'operator' AND event_type = ? ORDER BY seq DESC", type);

/** Every row of every table, as text. */
async function dump() {
  const tables = await all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'");
  const rows = [];
  // What a shop sells is nobody's own.
  for (const { name } of tables.filter(({ name }) => name !== "plan_keys")) for (const row of await all(`SELECT * FROM ${name}`)) rows.push(`${name}: ${JSON.stringify(row)}`);
  return rows;
}

/** Follows the links of an export. */
async function exported(query) {
  const pages = [];
  let path = `/admin/export?${query}`;
  while (path) {
    const answer = await plangate.request("GET", path, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers.get("content-type"), "application/x-ndjson");
    assert.match(answer.headers.get("cache-control"), /no-store/);
    pages.push(lines(answer.text));
    path = answer.headers.get("link")?.match(/^<(.*)>; rel="next"$/)[1];
  }
  return pages;
}

test("of an erased payer only the tombstone is left, and nothing comes back", async () => {
  const user = newUser();
  const marker = user.replace("user_", "");
  const deliveries = [
    itemEvent(user, { id: `item_${marker}`, plan: `plan_${marker}` }),
    subscriptionEvent(user, [item(user, { id: `item2_${marker}` })]),
    flatEvent("subscription.created", { user_id: user, plan: "pro", stripe_customer_id: `cus_${marker}` }),
    event("paymentAttempt.updated", { id: `cpa_${marker}`, status: "paid", payer: { user_id: user } }),
    event("user.updated", { object: "user", id: user, email: `${marker}@example.test` }),
  ].map((one) => sign(one));
  for (const delivery of deliveries) await plangate.request("POST", "/webhooks/clerk", delivery);
  await plangate.delivered({ ...itemEvent(user), data: { note: `about ${user}` } }, "dead_letter");
  await admin("POST", "grants", { user_id: user, feature: "export", by: "ada", why: `for ${marker}` });
  assert.equal((await ask(user)).allowed, true);
  assert.ok((await dump()).filter((row) => row.includes(marker)).length > 10);
  const kv = await plangate.kv();
  assert.ok(await kv.get(`s1:user:${user}`));

  const answer = await admin("POST", "erase", { user_id: user, by: "ada", why: "asked for it" });
  assert.equal(answer.status, 200, answer.text);
  const payer_sha256 = createHash("sha256").update(`user:${user}`).digest("hex");
  assert.deepEqual(answer.body, {
    payer_sha256,
    erased: { customers: 0, dead_letters: 1, events: 6, payments: 1, records: 4, unnamed_events: 0 },
    copy_deleted: true,
  });
  assert.deepEqual(JSON.parse((await notes("admin.erase"))[0].detail), { by: "ada", why: "asked for it", payer_sha256 });
  const onlyTheTombstone = async () => {
    const left = (await dump()).filter((row) => row.includes(marker));
    assert.equal(left.length, 1, left.join("\n"));
    assert.match(left[0], /^payers: .*"erased_at":\d+/);
    assert.deepEqual((await kv.list()).keys.filter(({ name }) => name.includes(marker)), []);
  };
  await onlyTheTombstone();

  // The same deliveries once more, and new ones.
  for (const delivery of deliveries) {
    const again = await plangate.request("POST", "/webhooks/clerk", delivery);
    assert.deepEqual([again.status, again.body.outcome], [200, "duplicate"]);
  }
  await plangate.delivered(itemEvent(user, { id: `item_${marker}` }), "ignored");
  await plangate.delivered(event("user.deleted", { id: user, deleted: true }), "ignored");
  await plangate.delivered({ ...itemEvent(user), data: { note: `about ${user}` } }, "ignored");
  assert.equal((await admin("POST", "grants", { user_id: user, plan: "pro", by: "bob", why: "did not know" })).body.outcome, "ignored");
  await onlyTheTombstone();

  for (const when of ["from memory", "after a restart"]) {
    assert.deepEqual([(await ask(user)).allowed, (await ask(user)).reason], [false, "payer_deleted"], when);
    await plangate.restart();
  }
  const twice = await admin("POST", "erase", { user_id: user, by: "ada", why: "once more" });
  assert.deepEqual([twice.status, twice.body.erased], [200, { customers: 0, dead_letters: 0, events: 0, payments: 0, records: 0, unnamed_events: 0 }]);
});

test("somebody unknown can be erased, and then never comes in", async () => {
  const org = newOrg();
  assert.equal((await admin("POST", "erase", { org_id: org, by: "ada", why: "asked" })).status, 200);
  await plangate.delivered(itemEvent(org), "ignored");
  const { body } = await plangate.serverCheck(`org_id=${org}&plan=pro`);
  assert.deepEqual([body.allowed, body.reason], [false, "payer_deleted"]);
});

test("everything about a payer is handed over, page by page", async () => {
  const user = newUser();
  const at = Date.now();
  const ids = [];
  for (let n = 0; n < 5; n++) ids.push((await plangate.delivered(itemEvent(user, { at: at + n }))).event_id);
  // Which does not say whose it is.
  ids.push((await plangate.delivered(itemEvent(user, { at: at + 9, payer: null }))).event_id);
  const letter = eventId();
  await plangate.delivered({ ...itemEvent(user), data: { note: user } }, "dead_letter", { id: letter });
  await plangate.delivered(itemEvent(newUser()));

  const pages = await exported(`payer=user:${user}&limit=3`);
  assert.deepEqual(pages.map((page) => page.length), [2 + 3, 3, 1]);
  const tables = pages.flat().map(({ table }) => table);
  assert.deepEqual(tables.slice(0, 3), ["payers", "records", "deliveries"]);
  assert.deepEqual(pages.flat().filter(({ table }) => table === "deliveries").map(({ event_id }) => event_id), [...ids, letter]);
  assert.equal(pages[0][2].event.records[0].plan.key, "pro");
  assert.deepEqual(await exported(`payer=user:${newUser()}`), [[]]);
});

test("the README's loop hands everything over", async (t) => {
  const user = newUser();
  for (let n = 0; n < 5; n++) await plangate.delivered(itemEvent(user, { at: Date.now() + n }));
  const loop = readFileSync(new URL("../../README.md", import.meta.url), "utf8").match(/^next=.*?^done$/ms)[0];
  const folder = mkdtempSync(join(tmpdir(), "plangate-export-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const env = { ...process.env, ADMIN_TOKEN, PLANGATE: plangate.url.origin };
  const shell = spawn("sh", ["-euc", loop.replace("payer=user:user_1", `payer=user:${user}&limit=2`)], { cwd: folder, env, stdio: "inherit" });
  assert.deepEqual(await once(shell, "exit"), [0, null]);
  assert.deepEqual(lines(readFileSync(join(folder, "user_1.ndjson"), "utf8")), (await exported(`payer=user:${user}`)).flat());
});

test("pages of the whole make up the ledger", async () => {
  const expected = await all("SELECT event_id FROM deliveries ORDER BY seq");
  for (const limit of [7, 500]) {
    const pages = await exported(`limit=${limit}`);
    assert.ok(pages.every((page) => page.length <= limit));
    assert.deepEqual(pages.flat().map(({ event_id }) => ({ event_id })), expected);
  }
});

test("a scheduled run prunes what is old and what no state rests on, and no answer changes", async (t) => {
  const own = await Plangate.start({ bindings: { ADMIN_TOKEN, RETENTION_DAYS: "30" } });
  t.after(() => own.stop());
  const user = newUser();
  const at = Date.now();
  const kept = [];
  for (let n = 0; n < 5; n++) kept.push((await own.delivered(itemEvent(user, { at: at + n }))).event_id);
  await own.delivered(event("session.created", { id: "sess_1" }), "ignored");
  await own.delivered({ ...itemEvent(user), data: {} }, "dead_letter");
  const d1 = await own.d1();
  const ids = async () => (await d1.prepare("SELECT event_id FROM deliveries ORDER BY seq").all()).results.map(({ event_id }) => event_id);
  const run = async () => assert.equal((await (await own.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
  const entitlements = async () => {
    const { body } = await own.request("GET", `/v1/entitlements?user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}` } });
    return { ...body, as_of: null };
  };
  const before = [await ids(), await entitlements()];
  await run();
  assert.deepEqual(await ids(), before[0], "nothing is old yet");

  await d1.prepare("UPDATE deliveries SET received_at = received_at - ?").bind(31 * DAY_MS).run();
  await own.delivered(event("session.created", { id: "sess_2" }), "ignored");
  await run();
  assert.equal((await ids()).length, 8, "the sweep that came to its end rests for a day");
  await d1.prepare("UPDATE kept SET updated_at = updated_at - ? WHERE name = 'prune'").bind(2 * DAY_MS).run();
  await run();
  const left = await ids();
  assert.deepEqual([left.length, left[0]], [2, kept[4]], "the newest state, and what is young");
  await own.restart();
  assert.deepEqual({ ...(await entitlements()), source: null }, { ...before[1], source: null });
  const rebuilt = await own.request("POST", "/admin/rebuild", { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, body: JSON.stringify({ replace: false, by: "ada" }) });
  assert.deepEqual(rebuilt.body.differences, []);
});

test("a rebuild finds what was damaged, and mends it where it is told to", async () => {
  const [user, other] = [newUser(), newUser()];
  await plangate.delivered(itemEvent(user));
  await plangate.delivered(itemEvent(other));
  const clean = await admin("POST", "rebuild", { replace: false, by: "ada" });
  assert.equal(clean.status, 200, clean.text);
  assert.deepEqual([clean.body.differences, clean.body.replaced, clean.body.changed_payers], [[], false, 0]);
  assert.ok(clean.body.records.live > 1 && clean.body.records.live === clean.body.records.rebuilt);

  const d1 = await plangate.d1();
  await d1.prepare("UPDATE records SET status = 'ended' WHERE payer = ?").bind(`user:${user}`).run();
  await (await plangate.kv()).delete(`s1:user:${user}`);
  await plangate.restart();
  assert.equal((await ask(user)).allowed, false);
  const found = (await admin("POST", "rebuild", { replace: false, by: "ada" })).body;
  const difference = { table: "records", key: `clerk/csub_item_pro_${user}`, columns: ["status"], live: { status: "ended" }, rebuilt: { status: "active" } };
  assert.deepEqual([found.differences, found.copies_deleted], [[difference], 0]);
  assert.equal((await ask(user)).allowed, false, "looking changes nothing");

  const mended = (await admin("POST", "rebuild", { replace: true, by: "ada" })).body;
  assert.deepEqual([mended.differences, mended.replaced, mended.changed_payers, mended.copies_deleted], [[difference], true, 1, 1]);
  assert.equal((await ask(user)).allowed, true);
  assert.deepEqual((await admin("POST", "rebuild", { replace: true, by: "ada" })).body.differences, []);
  assert.deepEqual((await notes("admin.rebuild")).slice(0, 2).map(({ detail }) => JSON.parse(detail)), [{ by: "ada", replace: true }, { by: "ada", replace: true }]);
});

test("one payer is shown as the database has it now", async () => {
  const user = newUser();
  for (let n = 0; n < 22; n++) await plangate.delivered(itemEvent(user, { at: Date.now() + n }));
  const answer = await admin("GET", `payers/user:${user}`);
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.body.payer, { payer: `user:${user}`, version: 22, deleted_at: null, erased_at: null });
  assert.equal(answer.body.events.length, 20);
  const { body } = await plangate.request("GET", `/v1/entitlements?user_id=${user}`, { headers: { authorization: `Bearer ${API_KEY}` } });
  assert.deepEqual(Object.keys(answer.body.entitlements), Object.keys(body));
  assert.deepEqual([answer.body.entitlements.plans, answer.body.entitlements.source], [["pro"], "d1"]);
  assert.equal((await admin("GET", `payers/${encodeURIComponent(`user:${user}`)}`)).body.payer.payer, `user:${user}`);

  await admin("POST", "erase", { user_id: user, by: "ada", why: "asked" });
  const erased = (await admin("GET", `payers/user:${user}`)).body;
  assert.ok(erased.payer.deleted_at && erased.payer.erased_at === erased.payer.deleted_at);
  assert.deepEqual([erased.events, erased.entitlements.payers[0].deleted], [[], true]);
  for (const nobody of [`user:${newUser()}`, "nobody", "user:", "", `user:${newUser()}/events`]) {
    const unknown = await admin("GET", `payers/${nobody}`);
    assert.deepEqual([unknown.status, unknown.body.code], [404, "unknown_payer"], nobody);
  }
});

test("what makes no sense is refused, and needs the token like the rest", async () => {
  const user_id = newUser();
  const cases = [
    ["erase", {}], ["erase", { user_id }], ["erase", { user_id, by: "ada" }], ["erase", { user_id, by: "", why: "x" }],
    ["erase", { user_id, org_id: "org_1", by: "ada", why: "x" }], ["erase", { user_id: "", by: "ada", why: "x" }],
    ["erase", { user_id: "x".repeat(256), by: "ada", why: "x" }], ["erase", { user_id, by: "ada", why: `it is ${user_id}` }],
    ["erase", { user_id, by: "ada", why: "x", plan: "pro" }], ["erase", { user_id: 1, by: "ada", why: "x" }],
    ["rebuild", {}], ["rebuild", { replace: true }], ["rebuild", { by: "ada" }], ["rebuild", { replace: "yes", by: "ada" }],
    ["rebuild", { replace: true, by: " " }], ["rebuild", undefined], ["erase", undefined],
  ];
  for (const [path, body] of cases) {
    const answer = await admin("POST", path, body);
    assert.deepEqual([answer.status, answer.body.code], [400, "invalid_request"], JSON.stringify(body));
  }
  assert.equal((await admin("POST", "erase", { user_id, by: "ada", why: "x".repeat(20_000) })).body.code, "payload_too_large");
  for (const query of ["payer=nobody", "payr=user:x", "limit=0", "limit=501", "cursor=x", "cursor=-1", "cursor=99999999999999999999"]) {
    assert.deepEqual((await admin("GET", `export?${query}`)).body.code, "invalid_request", query);
  }
  for (const [method, path] of [["GET", "erase"], ["GET", "rebuild"], ["POST", "export"], ["POST", "payers/user:x"], ["DELETE", "payers/user:x"]]) {
    assert.equal((await admin(method, path)).status, 405, path);
    assert.equal((await plangate.request(method, `/admin/${path}`)).status, 401, path);
  }
  assert.deepEqual(await all("SELECT * FROM payers WHERE payer = ?", `user:${user_id}`), []);
});

test("while D1 is away upkeep answers 503, and a scheduled run goes by", async (t) => {
  const without = await Plangate.start({ bindings: { ADMIN_TOKEN }, without: ["DB"], migrations: false });
  t.after(() => without.stop());
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const cases = [
    ["POST", "erase", { user_id: "user_1", by: "ada", why: "x" }], ["POST", "rebuild", { replace: true, by: "ada" }],
    ["GET", "export"], ["GET", "export?payer=user:x"], ["GET", "payers/user:x"],
  ];
  for (const [method, path, body] of cases) {
    const answer = await without.request(method, `/admin/${path}`, { headers, body: body && JSON.stringify(body) });
    assert.deepEqual([answer.status, answer.body.code], [503, "store_unavailable"], path);
  }
  assert.equal((await (await without.mf.getWorker()).scheduled({ cron: "*/5 * * * *" })).outcome, "ok");
});
