// Plan status on a plain server: Node's HTTP and SQLite, and plangate-core. A server asks, with API_KEY: GET /check?user_id=…&plan=….
import { timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { PlangateError, apply, decide, keys, parse, verify } from "plangate-core";

const { CLERK_WEBHOOK_SIGNING_SECRET = "", API_KEY = "", DATABASE = "plangate.db", PORT = "8790" } = process.env;
const db = new DatabaseSync(DATABASE);
db.exec(`PRAGMA journal_mode = WAL;
  CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, outcome TEXT NOT NULL, body TEXT);
  CREATE TABLE IF NOT EXISTS states (id INTEGER PRIMARY KEY, state TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, state INTEGER NOT NULL)`);
const statesOf = db.prepare("SELECT id, state FROM states WHERE id IN (SELECT state FROM keys WHERE key IN (SELECT value FROM json_each(?)))");
const read = (wanted) => statesOf.all(JSON.stringify(wanted)).map(({ id, state }) => ({ id, state: JSON.parse(state) }));
/** The delivery's id and the state that it changes, in one transaction. */
function store(id, parsed) {
  db.exec("BEGIN IMMEDIATE");
  try {
    const seen = db.prepare("SELECT outcome FROM deliveries WHERE id = ?").get(id)?.outcome;
    const isUsed = seen !== undefined && seen !== "dead_letter" && seen !== "ignored";
    let outcome = isUsed || (seen && parsed.outcome !== "event") ? "duplicate" : parsed.outcome;
    if (outcome === "event") {
      const found = read(keys(parsed.delivery));
      const applied = apply(found.map(({ state }) => state), parsed.delivery);
      for (const { id } of found) db.prepare("DELETE FROM states WHERE id = ?").run(id);
      const { lastInsertRowid } = db.prepare("INSERT INTO states (state) VALUES (?)").run(JSON.stringify(applied.state));
      const keep = db.prepare("INSERT INTO keys (key, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state");
      for (const key of applied.keys) keep.run(key, lastInsertRowid);
      outcome = applied.outcome;
    }
    if (outcome !== "duplicate") db.prepare("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)").run(id, outcome, parsed.body ?? null);
    return db.exec("COMMIT"), outcome;
  } finally {
    if (db.isTransaction) db.exec("ROLLBACK");
  }
}
async function answer(request) {
  const url = new URL(request.url, "http://server.invalid");
  if (request.method === "POST" && WEBHOOKS.includes(url.pathname)) {
    const parts = [];
    let size = 0;
    for await (const part of request) {
      if ((size += part.length) > MAX_BODY_BYTES) return [413, { code: "payload_too_large" }];
      parts.push(part);
    }
    const body = Buffer.concat(parts);
    const verified = verify("clerk", CLERK_WEBHOOK_SIGNING_SECRET, request.headers, body, Date.now());
    return [200, { outcome: store(`clerk:${verified.event_id}`, parse("clerk", verified)), event_id: verified.event_id }];
  }
  if (request.method !== "GET" || url.pathname !== "/check") return [404, { code: "not_found" }];
  const [key, borne] = [`Bearer ${API_KEY}`, request.headers.authorization ?? ""].map((text) => Buffer.from(text));
  if (API_KEY === "" || key.length !== borne.length || !timingSafeEqual(key, borne)) return [401, { code: "unknown_api_key" }];
  const question = Object.fromEntries(url.searchParams);
  // Of what is said twice, only the last would count, where a worker asks for both.
  if (Object.keys(question).length < url.searchParams.size) return [400, { code: "invalid_request" }];
  const payers = ["user", "org"].flatMap((kind) => (question[`${kind}_id`] ? [`${kind}:${question[`${kind}_id`]}`] : []));
  return [200, decide(read(payers).map(({ state }) => state), null, question, Date.now())];
}
/** The second is a plangate worker's, so `plangate trigger` finds it here too. */
const WEBHOOKS = ["/clerk-webhook", "/webhooks/clerk"];
const MAX_BODY_BYTES = 524_288;
const THEIRS = ["missing_headers", "invalid_signature", "timestamp_out_of_tolerance", "invalid_request"];
export const server = createServer(async (request, response) => {
  const refuse = (thrown) => [thrown instanceof PlangateError && THEIRS.includes(thrown.code) ? 400 : 503, { code: thrown.code ?? "internal" }];
  const [status, body] = await answer(request).catch(refuse);
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" }).end(JSON.stringify(body));
});
server.on("error", (error) => {
  if (error.code !== "EADDRINUSE") throw error;
  console.error(`port ${PORT} is in use; stop what listens there, or choose another: PORT=8791 npm start`);
  process.exitCode = 1;
});
server.listen(Number(PORT), "127.0.0.1");
