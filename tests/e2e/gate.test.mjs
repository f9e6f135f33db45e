// /v1/gate, alone and behind real proxies with the configuration files of docs/gate.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "../../bench/lib/processes.mjs";
import { program, whyNoProgram } from "../../scripts/setup/proxies.mjs";
import { API_KEY, OTHER_KEYS, Plangate, itemEvent, newOrg, newUser, token } from "./harness.mjs";

const DOCS = fileURLToPath(new URL("../../docs/gate/", import.meta.url));
const UPGRADE_URL = "https://app.example.com/pricing?from=gate&x=1";
const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

let plangate;
let [paid, free, org] = [newUser(), newUser(), newOrg()];
before(async () => {
  plangate = await Plangate.start({
    bindings: { UPGRADE_URL, SIGN_IN_URL: "/sign-in", PLANS: { pro: { features: ["export"] }, "équipe pro": {} } },
  });
  await plangate.delivered(itemEvent(paid));
});
after(() => plangate.stop());

const bearer = (user, claims) => ({ authorization: `Bearer ${token(user, claims)}` });
const gate = (query, headers = {}, method = "GET") => plangate.request(method, `/v1/gate${query}`, { headers });
const uncached = (answer) => {
  assert.match(answer.headers.get("cache-control"), /no-store/);
  for (const name of ["Authorization", "Cookie"]) assert.ok(answer.headers.get("vary").includes(name), answer.headers.get("vary"));
};

describe("the route", () => {
  test("204 says who was let through and why, 403 where to buy, 401 who is asked for", async () => {
    const yes = await gate("?plan=pro", bearer(paid, { org }));
    assert.deepEqual([yes.status, yes.text], [204, ""]);
    const told = Object.fromEntries([...yes.headers].filter(([name]) => name.startsWith("x-plangate-")));
    assert.match(told["x-plangate-valid-until"], /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    delete told["x-plangate-valid-until"];
    assert.deepEqual(told, {
      "x-plangate-user": paid, "x-plangate-org": org, "x-plangate-payer": `user:${paid}`, "x-plangate-plan": "pro",
      "x-plangate-status": "active", "x-plangate-reason": "active",
    });
    uncached(yes);

    const no = await gate("?plan=pro", bearer(free));
    assert.deepEqual([no.status, no.body.code, no.body.reason, no.body.upgrade_url], [403, "not_entitled", "no_subscription", UPGRADE_URL]);
    assert.equal(no.headers.get("content-type"), "application/problem+json");
    assert.equal(no.headers.get("x-plangate-upgrade-url"), UPGRADE_URL);
    assert.equal(no.headers.get("link"), `<${UPGRADE_URL}>; rel="payment"`);
    assert.equal(no.headers.get("x-plangate-user"), null);
    uncached(no);

    const who = await gate("?plan=pro");
    assert.deepEqual([who.status, who.body.code, who.headers.get("www-authenticate")], [401, "session_token_missing", "Bearer"]);
    uncached(who);
    assert.equal((await gate("?plan=pro", { authorization: `Bearer ${token(paid, { keys: OTHER_KEYS })}` })).status, 401);
    assert.equal((await gate("?plna=pro", bearer(paid))).body.code, "invalid_request");
  });

  test("every method asks, a preflight too: nothing passes because of how it asks", async () => {
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
      assert.equal((await gate("?plan=pro", bearer(paid), method)).status, 204, method);
      assert.equal((await gate("?plan=pro", bearer(free), method)).status, 403, method);
      const preflight = { origin: "https://app.example.com", "access-control-request-method": "GET", "access-control-request-headers": "authorization" };
      assert.equal((await gate("?plan=pro", preflight, method)).status, 401, method);
    }
  });

  test("several conditions must all hold, cookies count, and a server says for whom it asks", async () => {
    assert.equal((await gate("?plan=pro&feature=export", bearer(paid))).status, 204);
    const both = await gate("?plan=pro&feature=sso", bearer(paid));
    assert.deepEqual([both.status, both.body.reason], [403, "unknown_feature"]);
    assert.equal((await gate("", bearer(paid))).status, 204);
    assert.equal((await gate("", bearer(free))).status, 403);
    assert.equal((await gate("?plan=pro", { cookie: `a=b; __session=${token(paid)}` })).status, 204);
    assert.equal((await gate("?plan=pro", { cookie: `__session=${token(paid)}; __client_uat=0` })).status, 401);
    const server = { authorization: `Bearer ${API_KEY}` };
    assert.equal((await gate(`?plan=pro&user_id=${paid}`, server)).headers.get("x-plangate-user"), paid);
    assert.equal((await gate("?plan=pro", server)).status, 400);
    assert.equal((await gate(`?plan=pro&user_id=${paid}`, bearer(free))).status, 400);
  });

  test("nothing that a proxy or its client adds says who asks or for what", async () => {
    const forged = {
      "x-plangate-user": paid, "x-plangate-plan": "pro", "x-forwarded-user": paid, "remote-user": paid, "x-original-url": `/v1/gate?user_id=${paid}`,
      "x-original-uri": "/?plan=free_user", "x-forwarded-uri": "/?plan=free_user", "x-forwarded-method": "OPTIONS", "x-original-method": "OPTIONS",
      "x-http-method-override": "OPTIONS", "x-forwarded-for": "127.0.0.1", "x-forwarded-authorization": `Bearer ${token(paid)}`, "x-forwarded-host": "x",
    };
    assert.equal((await gate("?plan=pro", forged)).status, 401);
    const no = await gate("?plan=pro", { ...forged, ...bearer(free) });
    assert.deepEqual([no.status, no.body.reason], [403, "no_subscription"]);
    assert.equal((await gate("?plan=pro", { ...forged, ...bearer(paid) })).headers.get("x-plangate-user"), paid);
  });

  test("names are safe in headers, whatever they are", async () => {
    const [odd, plan] = ["ü\r\nx-evil: 1", "équipe pro"];
    await plangate.delivered(itemEvent(odd, { plan }));
    const yes = await gate(`?plan=${encodeURIComponent(plan)}&user_id=${encodeURIComponent(odd)}`, { authorization: `Bearer ${API_KEY}` });
    assert.deepEqual([yes.status, yes.headers.get("x-evil")], [204, null], yes.text);
    assert.equal(yes.headers.get("x-plangate-user"), "%C3%BC%0D%0Ax-evil:%201");
    assert.equal(yes.headers.get("x-plangate-plan"), "%C3%A9quipe%20pro");
  });

  test("a person is shown a page, with the way to buy or to sign in", async () => {
    const no = await gate("?plan=pro", { accept: BROWSER, ...bearer(free) });
    assert.deepEqual([no.status, no.headers.get("content-type")], [403, "text/html; charset=utf-8"]);
    assert.ok(no.text.includes(`<a href="${UPGRADE_URL.replace("&", "&amp;")}">`), no.text);
    assert.match(no.headers.get("content-security-policy"), /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(no.headers.get("x-plangate-upgrade-url"), UPGRADE_URL);
    uncached(no);
    const who = await gate("?plan=pro", { accept: BROWSER });
    assert.equal(who.status, 401);
    assert.ok(who.text.includes('<a href="/sign-in">'), who.text);
    assert.ok(who.text.includes("<h1>Please sign in</h1>"), who.text);
    assert.equal((await gate("?plan=pro", { accept: BROWSER, ...bearer(paid) })).status, 204);
  });

  test("the contract says what is a page and what is a problem, by method", async (t) => {
    const { paths, components } = JSON.parse(readFileSync(new URL("../../openapi.json", import.meta.url), "utf8"));
    const unset = await Plangate.start({ bindings: { API_KEYS: undefined, CLERK_JWT_KEY: undefined } });
    t.after(() => unset.stop());
    for (const [worker, status, query, headers] of [
      [plangate, 400, "?plan=", bearer(paid)], [plangate, 401, "?plan=pro", {}], [plangate, 403, "?plan=pro", bearer(free)], [unset, 503, "?plan=pro", bearer(paid)],
    ]) {
      for (const method of ["GET", "POST"]) {
        const answer = await worker.request(method, `/v1/gate${query}`, { headers: { accept: BROWSER, ...headers } });
        const told = paths["/v1/gate"][method.toLowerCase()].responses[status];
        const { content } = told.$ref ? components.responses[told.$ref.split("/").pop()] : told;
        const kinds = method === "GET" ? ["application/problem+json", "text/html"] : ["application/problem+json"];
        assert.deepEqual([method, answer.status, Object.keys(content)], [method, status, kinds]);
        assert.equal(answer.headers.get("content-type").split(";")[0], kinds.at(-1), `${method} ${status}`);
      }
    }
  });

  test("when nothing can be known the gate is closed", async (t) => {
    const without = await Plangate.start({ without: ["DB", "ENTITLEMENTS"] });
    t.after(() => without.stop());
    const answer = await without.request("GET", "/v1/gate?plan=pro", { headers: bearer(paid) });
    assert.deepEqual([answer.status, answer.body.code], [503, "store_unavailable"]);
  });
});

/** What many servers read as `x-plangate-…`. */
const MISSPELLED = { X_Plangate_User: "user_1", "X-Plangate_Org": "org_1", "x_plangate-plan": "pro", "X.Plangate.Status": "active", "x~plangate~payer": "user:user_1" };

/** What is behind the proxies: it tells what it was sent. */
async function backend() {
  const server = createServer((request, response) => {
    const { url, method, headers } = request;
    const body = [];
    request.on("data", (chunk) => body.push(chunk)).on("end", () => {
      response.setHeader("content-type", "application/json");
      response.setHeader("cache-control", "public, max-age=3600");
      response.end(JSON.stringify({ url, method, headers, body: Buffer.concat(body).toString() }));
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

/** Runs until something listens on the port. */
async function listening(child, port) {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  for (;;) {
    assert.equal(child.exitCode, null, output);
    const isOpen = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => (socket.destroy(), resolve(true))).on("error", () => resolve(false));
    });
    if (isOpen) return;
    await new Promise((resolve) => child.stderr.once("data", resolve) && setTimeout(resolve, 50));
  }
}

/** One line of a documented file for another, which must be there. */
function changed(text, changes) {
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), `${from} is not in the file`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const PROXIES = {
  nginx: {
    start(folder, port, origins) {
      const file = changed(readFileSync(join(DOCS, "nginx.conf"), "utf8"), [
        ["https://plangate.example.com", origins.plangate], ["plangate.example.com", "127.0.0.1"], ["http://127.0.0.1:3000", origins.backend],
        ["listen 80;", `listen 127.0.0.1:${port};`],
      ]);
      for (const name of ["body", "proxy", "fastcgi", "uwsgi", "scgi"]) mkdirSync(join(folder, name));
      writeFileSync(join(folder, "site.conf"), file);
      const paths = ["client_body_temp_path body", "proxy_temp_path proxy", "fastcgi_temp_path fastcgi", "uwsgi_temp_path uwsgi", "scgi_temp_path scgi"];
      writeFileSync(join(folder, "nginx.conf"), `daemon off; master_process off; pid nginx.pid; error_log stderr notice; events {}
        http { access_log off; ${paths.map((line) => `${line};`).join(" ")} include site.conf; }`);
      return [program("nginx"), ["-p", folder, "-c", "nginx.conf"]];
    },
    // nginx knows three answers of a gate: yes, 401 and 403.
    failed: 500,
    refused: (answer) => assert.deepEqual([answer.status, answer.headers.get("location")], [302, UPGRADE_URL]),
  },
  caddy: {
    start(folder, port, origins) {
      const file = changed(readFileSync(join(DOCS, "Caddyfile"), "utf8"), [
        ["https://plangate.example.com", origins.plangate], ["127.0.0.1:3000", origins.backend.replace("http://", "")], ["app.example.com {", `http://127.0.0.1:${port} {`],
      ]);
      writeFileSync(join(folder, "Caddyfile"), `{\n\tadmin off\n}\n${file}`);
      return [program("caddy"), ["run", "--adapter", "caddyfile", "--config", join(folder, "Caddyfile")]];
    },
    failed: 503,
    refused: (answer) => {
      assert.deepEqual([answer.status, answer.headers.get("content-type")], [403, "text/html; charset=utf-8"]);
      assert.ok(answer.text.includes("See the plans"), answer.text);
    },
  },
};

for (const [name, proxy] of Object.entries(PROXIES)) {
  const why = whyNoProgram(name);
  if (why !== null) console.error(`gate.test.mjs does not run ${name}: ${why}`);
  describe(name, { skip: why !== null && `not run: ${why}` }, () => {
    let [origin, child, folder, url] = [];
    before(async () => {
      assert.ok(existsSync(program(name)), `${name} is not installed; \`npm test -- --only e2e\` does it`);
      origin = await backend();
      folder = mkdtempSync(join(tmpdir(), `plangate-${name}-`));
      const port = await freePort();
      const [command, args] = proxy.start(folder, port, { plangate: plangate.url.origin, backend: `http://127.0.0.1:${origin.address().port}` });
      child = spawn(command, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }, stdio: ["ignore", "pipe", "pipe"] });
      await listening(child, port);
      url = `http://127.0.0.1:${port}`;
    });
    after(async () => {
      if (child?.exitCode === null) {
        child.kill("SIGKILL");
        await once(child, "close");
      }
      origin?.close();
      rmSync(folder, { recursive: true, force: true });
    });
    const get = async (path, { headers = {}, ...options } = {}) => {
      const response = await fetch(url + path, { headers, redirect: "manual", ...options });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, body: text && /json/.test(response.headers.get("content-type") ?? "") ? JSON.parse(text) : undefined };
    };

    test("what is not gated is served to everybody, without a word of who they are", async () => {
      const { status, body } = await get("/public", { headers: { "x-plangate-user": paid, "X-PlanGate-Plan": "pro", ...MISSPELLED } });
      assert.deepEqual([status, body.url], [200, "/public"]);
      for (const header of Object.keys(body.headers)) assert.doesNotMatch(header, /plangate/);
    });

    test("the entitled get through, with their body, and the server behind learns who they are", async () => {
      const claimed = { "x-plangate-user": free, "x-plangate-org": org, "X-Plangate-Status": "trialing", ...MISSPELLED };
      const { status, headers, body } = await get("/reports/1?x=%20y", { method: "POST", body: "hello", headers: { ...bearer(paid), ...claimed } });
      assert.deepEqual([status, body.url, body.method, body.body], [200, "/reports/1?x=%20y", "POST", "hello"]);
      assert.deepEqual([body.headers["x-plangate-user"], body.headers["x-plangate-plan"], body.headers["x-plangate-status"]], [paid, "pro", "active"]);
      assert.equal(body.headers["x-plangate-org"] ?? "", "", "there is no organization, whatever the client says");
      for (const header of Object.keys(body.headers)) assert.ok(!header.includes("plangate") || header.startsWith("x-plangate-"), header);
      assert.match(headers.get("cache-control"), /no-store/);
    });

    test("others do not: a program gets the reason, a person the way on, and neither the content", async () => {
      const no = await get("/reports/1", { headers: { ...bearer(free), "x-plangate-user": paid } });
      assert.deepEqual([no.status, no.body.code, no.body.upgrade_url ?? no.headers.get("x-plangate-upgrade-url")], [403, "not_entitled", UPGRADE_URL]);
      proxy.refused(await get("/reports/1", { headers: { ...bearer(free), accept: BROWSER } }));
      const who = await get("/reports/1");
      assert.deepEqual([who.status, who.headers.get("www-authenticate")], [401, "Bearer"]);
      for (const method of ["OPTIONS", "DELETE", "HEAD"]) assert.equal((await get("/reports/1", { method })).status, 401, method);
    });

    test("a gate that cannot answer is closed", async () => {
      const rename = async (sql) => (await plangate.d1()).exec(sql);
      await rename("ALTER TABLE payers RENAME TO away");
      try {
        assert.equal((await get("/reports/1", { headers: bearer(newUser()) })).status, proxy.failed);
      } finally {
        await rename("ALTER TABLE away RENAME TO payers");
      }
    });
  });
}

test("Traefik's labels ask the same question, and let nobody say who they are", () => {
  // Traefik cannot be had here, so what can be held is that the file says what its manual wants.
  const labels = Object.fromEntries([...readFileSync(join(DOCS, "traefik.yml"), "utf8").matchAll(/- "?traefik\.([^=]+)=(.*?)"?$/gm)].map(([, name, value]) => [name, value]));
  const middleware = "http.middlewares.plangate-pro.forwardauth";
  assert.equal(labels[`${middleware}.address`], "https://plangate.example.com/v1/gate?plan=pro");
  assert.equal(labels[`${middleware}.trustForwardHeader`], "false");
  const removed = new RegExp(labels[`${middleware}.authResponseHeadersRegex`]);
  for (const name of ["X-Plangate-User", "X_plangate_user", ...Object.keys(MISSPELLED)]) assert.match(name, removed);
  for (const name of ["X-Plan", "X-Plangates", "My-X-Plangate-User"]) assert.doesNotMatch(name, removed);
  assert.ok(labels["http.routers.reports.middlewares"].split(",").includes("plangate-pro"));
});
