// Content behind rules: in an origin, in a bucket of R2 and in static assets, all of them real.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { condition, fold, part } from "../../src/edge/content.js";
import { API_KEY, Plangate, itemEvent, newUser, token } from "./harness.mjs";

const GATES = [
  { path: "/", public: true },
  { path: "/open/*", public: true },
  { path: "/reports/*", plan: "pro", upgrade_url: "/pricing" },
  { path: "/résumés/*", plan: "pro" },
  { path: "/members.html", plan: "pro" },
  { path: "/σύλλογος.html", plan: "pro" },
  { path: "/files/*.pdf", feature: "export" },
  { path: "/*", public: true },
];
const ADMIN_TOKEN = "pga_0123456789abcdef";
const BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8";
const BINDINGS = { GATES, ADMIN_TOKEN, PLANS: { pro: { features: ["export"] } } };
const [paid, free] = [newUser(), newUser()];
const bearer = (user) => ({ authorization: `Bearer ${token(user)}` });

/** A request with a path that `fetch` would change first. */
async function raw(plangate, target, headers = {}, method = "GET", body = "") {
  const { hostname, port } = plangate.url;
  const socket = connect(Number(port), hostname);
  const lines = Object.entries({ host: `${hostname}:${port}`, connection: "close", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body}`, "latin1"));
  let answer = "";
  socket.setEncoding("latin1").on("data", (text) => (answer += text));
  await once(socket, "close");
  return { status: Number(answer.split(" ")[1]), text: answer.slice(answer.indexOf("\r\n\r\n") + 4), head: answer.slice(0, answer.indexOf("\r\n\r\n")).toLowerCase() };
}

const uncached = (answer) => {
  assert.equal(answer.headers.get("cache-control"), "private, no-store");
  for (const name of ["Authorization", "Cookie"]) assert.ok(answer.headers.get("vary").includes(name), answer.headers.get("vary"));
  for (const name of ["age", "expires", "pragma", "cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "x-accel-expires"]) {
    assert.equal(answer.headers.get(name), null, name);
  }
};

describe("an origin", () => {
  let [plangate, origin, seen] = [];
  before(async () => {
    seen = [];
    origin = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk)).on("end", () => {
        seen.push({ url: request.url, method: request.method, headers: request.headers, body: Buffer.concat(chunks).toString() });
        for (const [name, value] of Object.entries({
          "cache-control": "public, max-age=31536000, immutable", expires: "Thu, 01 Jan 2037 00:00:00 GMT", age: "5", pragma: "cache", vary: "Accept-Encoding",
          "cdn-cache-control": "max-age=9", "cloudflare-cdn-cache-control": "max-age=9", "surrogate-control": "max-age=9", "x-accel-expires": "9",
          etag: '"v1"', "set-cookie": ["a=1", "b=2"], "x-own": "yes",
        })) response.setHeader(name, value);
        if (request.headers["if-none-match"] === '"v1"') return response.writeHead(304).end();
        if (request.url.endsWith("/moved")) return response.writeHead(302, { location: "https://elsewhere.example/" }).end();
        if (request.method === "HEAD") return response.writeHead(200, { "content-length": "7" }).end();
        if (request.headers.range === "bytes=2-4") return response.writeHead(206, { "content-range": "bytes 2-4/7" }).end("NTE");
        if (request.url.endsWith("/stream")) {
          response.write("first");
          return request.socket.once("close", () => {});
        }
        response.writeHead(request.url.endsWith("/broken") ? 500 : 200).end("CONTENT");
      });
    });
    await once(origin.listen(0, "127.0.0.1"), "listening");
    plangate = await Plangate.start({ bindings: { ...BINDINGS, ORIGIN: `http://127.0.0.1:${origin.address().port}` }, outbound: "network" });
    await plangate.delivered(itemEvent(paid));
  });
  after(async () => {
    origin?.closeAllConnections();
    origin?.close();
    await plangate?.stop();
  });
  const get = (path, headers = {}, method = "GET", body) => plangate.request(method, path, { headers, body });
  const last = () => seen.at(-1);

  test("the entitled get the content and no cache may keep it; the origin learns who they are, from nobody else", async () => {
    const claimed = { "x-plangate-user": free, "X-Plangate-Org": "org_1", "x_plangate_plan": "x", "X-PlanGate_Anything": "y", "X.Plangate.Status": "z", "x~plangate!reason": "z" };
    const yes = await get("/reports/a%20b?x=%2F..%2f&y=1", { ...bearer(paid), ...claimed });
    assert.deepEqual([yes.status, yes.text], [200, "CONTENT"]);
    uncached(yes);
    assert.deepEqual(yes.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.deepEqual([yes.headers.get("x-own"), yes.headers.get("etag")], ["yes", '"v1"']);
    assert.match(yes.headers.get("vary"), /Accept-Encoding/);
    assert.match(yes.headers.get("x-request-id"), /./);
    assert.equal(last().url, "/reports/a%20b?x=%2F..%2f&y=1");
    const told = Object.entries(last().headers).filter(([name]) => name.includes("plangate")).map(([name]) => name).sort();
    assert.deepEqual(told, ["x-plangate-payer", "x-plangate-plan", "x-plangate-reason", "x-plangate-status", "x-plangate-user", "x-plangate-valid-until"]);
    assert.equal(last().headers["x-plangate-user"], paid);
    assert.equal(last().headers["x-forwarded-host"], plangate.url.host);
    assert.match(last().headers["cache-control"] ?? "", /no-cache|no-store/);
  });

  test("others get nothing of it: a program a problem, a person a page, a stranger a question", async () => {
    const before = seen.length;
    const no = await get("/reports/1", bearer(free));
    assert.deepEqual([no.status, no.body.code, no.body.reason, no.body.upgrade_url], [403, "not_entitled", "no_subscription", "/pricing"]);
    const page = await get("/reports/1", { accept: BROWSER, cookie: `__session=${token(free)}` });
    assert.deepEqual([page.status, page.headers.get("content-type")], [403, "text/html; charset=utf-8"]);
    assert.ok(page.text.includes('<a href="/pricing">'), page.text);
    for (const answer of [no, page]) uncached(answer);
    for (const headers of [{}, { accept: BROWSER }, { authorization: "Bearer nonsense" }, { "x-plangate-user": paid }]) {
      const who = await get("/reports/1", headers);
      assert.equal(who.status, 401);
      uncached(who);
    }
    const server = await get(`/reports/1?user_id=${paid}`, { authorization: `Bearer ${API_KEY}` });
    assert.deepEqual([server.status, server.body.code], [401, "session_required"]);
    assert.equal((await get("/files/a.pdf", bearer(free))).status, 403);
    assert.equal((await get("/files/a.pdf", bearer(paid))).status, 200);
    assert.equal(seen.length, before + 1, "the origin was asked once, by the entitled");
  });

  test("nobody says by a header that another path was meant", async () => {
    const names = ["X-Original-URL", "x_original_url", "X.Rewrite.URL", "X-Rewrite-Url", "X-Original-URI", "X-Forwarded-Uri", "x-forwarded-path", "X-Script-Name"];
    const others = ["x-forwarded-prefix-of-mine", "x-original-urls", "x-script", "my-x-original-url"];
    await get("/open/1", Object.fromEntries([...names, ...others].map((name) => [name, "/reports/1"])));
    const told = Object.entries(last().headers).filter(([, value]) => value === "/reports/1").map(([name]) => name);
    assert.deepEqual(told.sort(), others.sort());
  });

  test("what is open stays as the origin has it, and our keys never get there", async () => {
    const open = await get("/open/1", { authorization: `Bearer ${API_KEY}`, "x-plangate-user": paid });
    assert.deepEqual([open.status, open.headers.get("cache-control")], [200, "public, max-age=31536000, immutable"]);
    assert.deepEqual([last().headers.authorization, last().headers["x-plangate-user"]], [undefined, undefined]);
    await get("/open/1", { authorization: ADMIN_TOKEN });
    assert.equal(last().headers.authorization, undefined);
    await get("/open/1", { authorization: "Basic eDp5", cookie: "theirs=1" });
    assert.deepEqual([last().headers.authorization, last().headers.cookie], ["Basic eDp5", "theirs=1"]);
  });

  test("HEAD, ranges, conditions, bodies, redirects and failures pass as they are", async () => {
    const head = await get("/reports/1", bearer(paid), "HEAD");
    assert.deepEqual([head.status, head.text, head.headers.get("content-length"), last().method], [200, "", "7", "HEAD"]);
    uncached(head);
    const part = await get("/reports/1", { ...bearer(paid), range: "bytes=2-4" });
    assert.deepEqual([part.status, part.text, part.headers.get("content-range")], [206, "NTE", "bytes 2-4/7"]);
    uncached(part);
    const same = await get("/reports/1", { ...bearer(paid), "if-none-match": '"v1"' });
    assert.deepEqual([same.status, same.text], [304, ""]);
    uncached(same);
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      assert.equal((await get("/reports/1", bearer(paid), method, "a body")).status, 200);
      assert.deepEqual([last().method, last().body], [method, "a body"]);
      assert.equal((await get("/reports/1", bearer(free), method, "a body")).status, 403);
    }
    // A body that means nothing is left out, however it is sent.
    for (const method of ["GET", "HEAD"]) for (const [framing, body] of [[{ "content-length": "2" }, "hi"], [{ "transfer-encoding": "chunked" }, "2\r\nhi\r\n0\r\n\r\n"]]) {
      const { status } = await raw(plangate, "/reports/1", { ...bearer(paid), ...framing }, method, body);
      const { "content-length": length, "transfer-encoding": coding } = last().headers;
      assert.deepEqual([status, last().method, last().body, length ?? "0", coding], [200, method, "", "0", undefined], JSON.stringify(framing));
    }
    const moved = await get("/reports/moved", bearer(paid));
    assert.deepEqual([moved.status, moved.headers.get("location")], [302, "https://elsewhere.example/"]);
    assert.equal((await get("/reports/broken", bearer(paid))).status, 500);
    assert.equal((await get("/reports/1", bearer(paid), "PROPFIND")).status, 405);
  });

  test("a body is passed on as it comes, before it ends", async () => {
    const response = await fetch(new URL("/reports/stream", plangate.urls[0]), { headers: { ...bearer(paid), "accept-encoding": "identity" }, signal: AbortSignal.timeout(10_000) });
    const reader = response.body.getReader();
    assert.equal(Buffer.from((await reader.read()).value).toString(), "first");
    await reader.cancel();
  });

  test("no spelling of a path gets around its rule, and what was judged is what is asked for", async () => {
    const closed = [
      "/reports", "/reports/", "/reports/1", "/REPORTS/1", "/Reports/1", "/%72eports/1", "/reports/../reports/1", "/open/../reports/1", "/open/%2e%2e/reports/1",
      "/open/.%2e/reports/1", "/open/..%2freports/1", "/open%2f..%2freports/1", "/open/..%5creports/1", "/open/..\\reports/1", "//reports/1", "/./reports/1",
      "/open//reports/1", "/reports;x=1/1", "/reports%3bx/1", "/open/..;/reports/1", "/reports./1", "/reports%20/1", "/reports%00/1", "/reports%0a/1",
      "/reports%2f1", "/reports%252f1", "/%2572eports/1", "/reports%3f/1", "/reports%23/1", "/reports\\1", "/%ef%bd%92eports/1", "/r%C3%A9sum%C3%A9s/1",
      "/re%CC%81sume%CC%81s/1", "/R%C3%89SUM%C3%89S/1", "/members.html", "/members", "/members/", "/MEMBERS.HTML", "/members/index.html", "/files/a.pdf", "/files/A.PDF",
      "/files/a.pdf.", "/files/a.pdf;x", "/files/a.pdf::$DATA", "/reports#", "/reports/1#/open", "/reports?/open", "/open/%c0%ae%c0%ae/reports/1", "/open/\xe9", "/reports/%ff",
      "/members.html/x", "/files/a.pdf/x", "/index.php/reports/1", "/%E2%84%AAreports/..%E2%80%A5/reports", "http://127.0.0.1/reports/1", "http://127.0.0.1/open/../reports/1",
    ];
    for (const path of closed) {
      const before = seen.length;
      const { status, text } = await raw(plangate, path);
      assert.ok([400, 401, 404].includes(status), `${path}: ${status} ${text}`);
      assert.equal(seen.length, before, `${path} reached the origin`);
    }
    for (const [path, there] of [["/open/a%2Db?x", "/open/a%2Db?x"], ["/open/A", "/open/A"], ["/open//../reports/1", "/open/reports/1"], ["/", "/"], ["/open/%C3%A9", "/open/%C3%A9"], ["/open/[x]|y", "/open/[x]|y"], ["/open/a?/../reports", "/open/a?/../reports"]]) {
      const { status, text } = await raw(plangate, path);
      assert.deepEqual([status, text.includes("CONTENT"), last().url], [200, true, there], path);
    }
    const gated = await raw(plangate, "/REPORTS/1", bearer(paid));
    assert.deepEqual([gated.status, last().url], [200, "/REPORTS/1"]);
    assert.match(gated.head, /cache-control: private, no-store/);
  });

  test("plangate's own paths are never content", async () => {
    const before = seen.length;
    for (const path of ["/v1/nothing", "/admin/nothing", "/webhooks/nobody", "/v1", "/admin"]) assert.ok([401, 404, 405].includes((await get(path)).status), path);
    assert.equal((await get("/healthz")).status, 200);
    assert.equal((await get("/openapi.json")).status, 200);
    assert.equal(seen.length, before);
  });

  test("an origin that is away is 502, a store that is away closes the gate, and what is open stays open", async (t) => {
    const away = await Plangate.start({ bindings: { ...BINDINGS, ORIGIN: "http://127.0.0.1:1" }, outbound: "network", without: ["DB", "ENTITLEMENTS"] });
    t.after(() => away.stop());
    const open = await away.request("GET", "/open/1");
    assert.deepEqual([open.status, open.body.code], [502, "content_unavailable"]);
    assert.equal((await away.request("GET", "/reports/1", { headers: bearer(paid) })).status, 503);
  });
});

describe("a bucket", () => {
  const TEXT = "0123456789";
  let [plangate, bucket] = [];
  before(async () => {
    plangate = await Plangate.start({ bindings: { ...BINDINGS, GATES: GATES.slice(0, -1) }, more: { r2Buckets: { CONTENT: "CONTENT" } } });
    await plangate.delivered(itemEvent(paid));
    bucket = await plangate.mf.getR2Bucket("CONTENT");
    await bucket.put("reports/a b.txt", TEXT, { httpMetadata: { contentType: "text/plain", cacheControl: "public, max-age=9" } });
    await bucket.put("reports/index.html", "<p>index");
    await bucket.put("open/x", TEXT, { httpMetadata: { cacheControl: "public, max-age=9" } });
    await bucket.put("elsewhere/x", TEXT);
    await bucket.put("reports/empty", "");
  });
  after(() => plangate?.stop());
  const get = (path, headers = {}, method = "GET") => plangate.request(method, path, { headers });

  test("the entitled get objects, whole, in part, or only when they changed", async () => {
    const path = "/reports/a%20b.txt";
    const yes = await get(path, bearer(paid));
    assert.deepEqual([yes.status, yes.text, yes.headers.get("content-type"), yes.headers.get("accept-ranges")], [200, TEXT, "text/plain", "bytes"]);
    uncached(yes);
    const [etag, modified] = [yes.headers.get("etag"), yes.headers.get("last-modified")];
    const head = await get(path, bearer(paid), "HEAD");
    assert.deepEqual([head.status, head.text, head.headers.get("content-length"), head.headers.get("etag")], [200, "", "10", etag]);
    for (const [headers, status, text, contentRange] of [
      [{ range: "bytes=2-4" }, 206, "234", "bytes 2-4/10"],
      [{ range: "bytes=-3" }, 206, "789", "bytes 7-9/10"],
      [{ range: "bytes=8-" }, 206, "89", "bytes 8-9/10"],
      [{ range: "bytes=10-" }, 416, "", "bytes */10"],
      [{ range: "bytes=0-1,3-4" }, 200, TEXT, null],
      [{ range: "lines=1-2" }, 200, TEXT, null],
      [{ range: "bytes=2-4", "if-range": etag }, 206, "234", "bytes 2-4/10"],
      [{ range: "bytes=2-4", "if-range": '"another"' }, 200, TEXT, null],
      [{ "if-none-match": etag }, 304, "", null],
      [{ "if-none-match": `"x", W/${etag}` }, 304, "", null],
      [{ "if-none-match": '"x"' }, 200, TEXT, null],
      [{ "if-modified-since": modified }, 304, "", null],
      [{ "if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT" }, 200, TEXT, null],
      [{ "if-match": '"x"' }, 412, "", null],
      [{ "if-match": etag, range: "bytes=0-0" }, 206, "0", "bytes 0-0/10"],
      [{ "if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT" }, 412, "", null],
    ]) {
      const answer = await get(path, { ...bearer(paid), ...headers });
      assert.deepEqual([answer.status, answer.text, answer.headers.get("content-range")], [status, text, contentRange], JSON.stringify(headers));
      uncached(answer);
    }
    assert.equal((await get(path, { ...bearer(paid), "if-none-match": etag }, "HEAD")).status, 304);
    assert.equal((await get(path, { ...bearer(paid), range: "bytes=2-4" }, "HEAD")).status, 200);
    assert.deepEqual([(await get("/reports/", bearer(paid))).text, (await get("/reports/empty", bearer(paid))).text], ["<p>index", ""]);
    assert.equal((await get("/reports/empty", { ...bearer(paid), range: "bytes=0-" })).status, 416);
  });

  test("others do not, nobody learns what there is, and what no rule names is not there", async () => {
    for (const path of ["/reports/a%20b.txt", "/reports/nothing"]) {
      assert.equal((await get(path)).status, 401);
      assert.equal((await get(path, { ...bearer(free), range: "bytes=0-1" })).status, 403);
      assert.equal((await get(path, bearer(free), "HEAD")).status, 403);
    }
    assert.equal((await get("/reports/nothing", bearer(paid))).status, 404);
    assert.equal((await get("/elsewhere/x", bearer(paid))).body.code, "not_found");
    // R2 names nothing by more than 1,024 bytes, and throws when it is asked for it.
    for (const name of ["a".repeat(1019), "a".repeat(1020), "é".repeat(510), `${"a".repeat(1010)}/`, "a".repeat(5000)]) {
      for (const headers of [{}, { range: "bytes=0-1" }]) {
        const answer = await get(encodeURI(`/open/${name}`), headers);
        assert.deepEqual([answer.status, answer.body.code], [404, "not_found"], name);
      }
    }
    const open = await get("/open/x");
    assert.deepEqual([open.status, open.text, open.headers.get("cache-control")], [200, TEXT, "public, max-age=9"]);
    assert.equal((await get("/open/x", {}, "POST")).headers.get("allow"), "GET, HEAD");
  });

  test("ranges and conditions are those of the RFC, for every size", () => {
    for (const [header, size, expected] of [
      ["bytes=0-0", 10, [0, 0]], ["bytes=2-50", 10, [2, 9]], ["bytes=-30", 10, [0, 9]], ["Bytes = 1 - 2", 10, [1, 2]], ["bytes=-0", 10, "none"], ["bytes=0-0", 0, "none"],
      ["bytes=-1", 0, "none"], ["bytes=5-2", 10, undefined], ["bytes=-", 10, undefined], ["bytes=+1-2", 10, undefined], ["bytes=a-b", 10, undefined], [null, 10, undefined],
      ["bytes=99999999999999999999-", 10, "none"],
    ]) assert.deepEqual(part(header, size), expected, `${header} of ${size}`);
    // A server may always answer the whole. What is long is not even looked at, as looking would take time.
    for (const spaces of [" ", "\t"]) {
      assert.deepEqual(part(`bytes=2${spaces.repeat(90)}-3`, 10), [2, 3]);
      assert.deepEqual(part(`bytes=2-3${spaces.repeat(91)}`, 10), [2, 3]);
      assert.equal(part(`bytes=2-3${spaces.repeat(92)}`, 10), undefined);
    }
    for (let size = 0; size < 8; size += 1) {
      for (let a = 0; a < 10; a += 1) for (let b = 0; b < 10; b += 1) for (const header of [`bytes=${a}-${b}`, `bytes=${a}-`, `bytes=-${b}`]) {
        const found = part(header, size);
        if (!Array.isArray(found)) continue;
        assert.ok(0 <= found[0] && found[0] <= found[1] && found[1] < size, `${header} of ${size}`);
      }
    }
    const [at, past, future] = ["Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"];
    for (const [headers, expected] of [
      [{}, 200], [{ "if-modified-since": at }, 304], [{ "if-modified-since": future }, 304], [{ "if-modified-since": past }, 200], [{ "if-modified-since": "soon" }, 200],
      [{ "if-none-match": '"x"', "if-modified-since": at }, 200], [{ "if-none-match": "*" }, 304], [{ "if-match": "*" }, 200], [{ "if-match": 'W/"a"' }, 412],
      [{ "if-match": '"x"', "if-none-match": '"a"' }, 412], [{ "if-unmodified-since": at }, 200], [{ "if-unmodified-since": past }, 412],
      [{ "if-match": '"a"', "if-unmodified-since": past }, 200],
    ]) assert.equal(condition(new Headers(headers), '"a"', 1_700_000_000_500), expected, JSON.stringify(headers));
  });
});

describe("static assets", () => {
  let [plangate, folder] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "plangate-assets-"));
    for (const name of ["reports", "open"]) mkdirSync(join(folder, name));
    for (const [name, text] of Object.entries({ "index.html": "<p>home", "members.html": "<p>members", "σύλλογος.html": "<p>club", "reports/index.html": "<p>reports", "reports/a.txt": "0123456789", "open/a.txt": "open" })) {
      writeFileSync(join(folder, name), text);
    }
    plangate = await Plangate.start({ bindings: BINDINGS, more: { assets: assets() } });
    await plangate.delivered(itemEvent(paid));
  });
  const assets = (assetConfig) => ({ directory: folder, binding: "ASSETS", assetConfig, routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true } });
  after(async () => {
    await plangate?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const get = (path, headers = {}, method = "GET") => plangate.request(method, path, { headers });

  test("are served to those entitled, and kept by no cache", async () => {
    for (const [path, text] of [["/reports/a.txt", "0123456789"], ["/reports/", "<p>reports"], ["/members", "<p>members"], ["/%CF%83%CF%8D%CE%BB%CE%BB%CE%BF%CE%B3%CE%BF%CF%82", "<p>club"]]) {
      const yes = await get(path, bearer(paid));
      assert.deepEqual([yes.status, yes.text], [200, text], path);
      uncached(yes);
      assert.equal((await get(path, bearer(free))).status, 403, path);
      assert.equal((await get(path)).status, 401, path);
    }
    const { headers } = await get("/reports/a.txt", bearer(paid));
    const same = await get("/reports/a.txt", { ...bearer(paid), "if-none-match": headers.get("etag") });
    assert.deepEqual([same.status, same.text], [304, ""]);
    const head = await get("/reports/a.txt", bearer(paid), "HEAD");
    assert.deepEqual([head.status, head.text], [200, ""]);
    uncached(head);
    const some = await get("/reports/a.txt", { ...bearer(paid), range: "bytes=2-4" });
    // The runtime's assets know neither ranges nor, before they are read, sizes: the whole is what may be answered to any range.
    assert.deepEqual([some.status, some.text, some.headers.get("content-range")], [200, "0123456789", null]);
    uncached(some);
  });

  test("what is open is open, and what is not there is the assets' own answer", async () => {
    assert.deepEqual([(await get("/")).text, (await get("/open/a.txt")).text], ["<p>home", "open"]);
    assert.equal((await get("/open/nothing")).status, 404);
    assert.equal((await get("/members.html/x")).status, 404, "they run no files, so this is no spelling of one");
    assert.equal((await get("/open/a.txt", {}, "DELETE")).status, 405);
  });

  test("an index is its folder, however the assets spell it", async (t) => {
    for (const html_handling of ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"]) {
      const one = await Plangate.start({ bindings: { GATES: [{ path: "/reports", plan: "pro" }, { path: "/*", public: true }] }, more: { assets: assets({ html_handling }) } });
      t.after(() => one.stop());
      await one.delivered(itemEvent(paid));
      const spellings = ["", "/", "/index", "/index/", "/index.html", "/index.html/", "/INDEX/"].map((ending) => `/reports${ending}`);
      const answers = await Promise.all(spellings.map(async (path) => [path, (await one.request("GET", path)).status]));
      assert.deepEqual(answers, spellings.map((path) => [path, 401]), html_handling);
      const served = await Promise.all(spellings.map(async (path) => (await one.request("GET", path, { headers: bearer(paid) })).text));
      assert.ok(served.includes("<p>reports"), html_handling);
    }
  });
});

test("every letter is one in all its cases and forms, whatever stands beside it", () => {
  for (let code = 1; code < 0x11_0000; code += 1) {
    const letter = String.fromCodePoint(code);
    // What is assigned to nothing has neither cases nor forms.
    if (/[\p{Cn}\p{Co}\p{Cs}]/u.test(letter)) continue;
    for (const text of [letter, `Σ${letter}Σ`]) {
      const folded = fold(text);
      for (const other of [folded, text.toLowerCase(), text.toUpperCase(), text.normalize("NFC"), text.normalize("NFD"), text.normalize("NFKD")]) {
        if (fold(other) !== folded) assert.fail(`U+${code.toString(16)}: ${other}`);
      }
      for (const [before, after] of [["/", ""], ["/σ/", ".html"], ["/a/", "/index.html"], ["/", "*"]]) {
        if (fold(before + text + after) !== before + folded + after) assert.fail(`U+${code.toString(16)} in ${before}…${after}`);
      }
    }
  }
});

test("rules that cannot be used serve nothing, and say so", async (t) => {
  const wrong = await Plangate.start({ bindings: { GATES: [{ path: "/reports/*" }], ORIGIN: "https://origin.example" } });
  t.after(() => wrong.stop());
  const answer = await wrong.request("GET", "/open/1");
  assert.deepEqual([answer.status, answer.body.code], [503, "gateway_unusable"]);
  assert.match(answer.body.detail, /GATES rule 1: it takes `plan`/);
  const health = await wrong.request("GET", "/healthz");
  assert.deepEqual([health.status, health.body.settings.unusable[0].setting], [503, "GATES"]);
});
