// The demo's page and the npm package's React part in a real Chromium, against the worker in the real workerd. Without a Chromium
// only the demo's server is tested.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { freePort } from "../../bench/lib/processes.mjs";
import { BROWSER_OPTIONS, browser as findBrowser } from "../../scripts/setup/browser.mjs";
import { API_KEY, ISSUER, KEYS, OTHER_KEYS, Plangate, SECRET, itemEvent, newUser, token } from "./harness.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CLIENT = join(ROOT, "client", "dist");
const TOOL = join(resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target"), "debug", "plangate");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const EXECUTABLE = findBrowser();
const skip = EXECUTABLE === null && "there is no Chromium here";
/** A folder to leave pictures in, to be looked at. */
const PICTURES = process.env.PLANGATE_SCREENSHOTS;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

let plangate, demo, origin, empty, gatePage, browser;

const environment = () => ({ PATH: process.env.PATH, CLERK_WEBHOOK_SIGNING_SECRET: SECRET, DEV_SESSION_PRIVATE_KEY: KEYS.privateKey, CLERK_ISSUER: ISSUER });
/** What the demo's server says to options that it cannot start with. */
const refusal = (...args) => spawnSync(TOOL, ["demo-server", ...args], { cwd: empty, env: environment(), encoding: "utf8" });

before(async () => {
  execFileSync("cargo", ["build", "--quiet", "--features", "cli", "--bin", "plangate"], { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] });
  // A folder without .dev.vars: the secrets are this test's own.
  empty = mkdtempSync(join(tmpdir(), "plangate-demo-"));
  gatePage = await serveGatePage();
  const port = await freePort();
  origin = `http://localhost:${port}`;
  plangate = await Plangate.start({ bindings: { ALLOWED_ORIGINS: `${origin},${gatePage.origin}` } });
  const worker = String(plangate.url).replace(/\/$/, "");
  demo = spawn(TOOL, ["demo-server", "--port", String(port), "--worker", worker, "--client", CLIENT], {
    cwd: empty,
    env: environment(),
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(demo.stdout, "data");
  if (EXECUTABLE !== null) {
    browser = await chromium.launch({ executablePath: EXECUTABLE, args: BROWSER_OPTIONS });
  }
});
after(async () => {
  await browser?.close();
  gatePage?.close();
  if (demo) {
    demo.kill();
    if (demo.exitCode === null && demo.signalCode === null) await once(demo, "exit");
  }
  await plangate?.stop();
  if (empty) rmSync(empty, { recursive: true, force: true });
});

// ---- the demo's server ----

/** One request as no browser would make it: any header, also `Host`. */
const raw = (method, path, headers = {}, body = "") =>
  new Promise((done, failed) => {
    const sent = httpRequest(origin + path, { method, headers }, async (response) => {
      let text = "";
      for await (const chunk of response) text += chunk;
      done({ status: response.statusCode, headers: response.headers, text });
    });
    sent.on("error", failed).end(body);
  });
const post = (path, body, headers = {}) => raw("POST", path, { origin, "content-type": "application/json", ...headers }, JSON.stringify(body));
const people = async () => JSON.parse((await raw("GET", "/dev/state")).text).people;

describe("the demo's server", () => {
  test("another name that points here is refused, whatever it asks for", async () => {
    const { port } = new URL(origin);
    for (const host of ["attacker.example", `attacker.example:${port}`, "localhost", `127.0.0.1:${port}`, `localhost:${port}.attacker.example`]) {
      for (const path of ["/", "/dev/state", "/client.js"]) assert.equal((await raw("GET", path, { host })).status, 421, `${host}${path}`);
      assert.equal((await raw("POST", "/dev/token", { host, origin }, '{"who":"ada"}')).status, 421, host);
    }
  });

  test("what changes something, or signs in, is for its own page only", async () => {
    const before = (await raw("GET", "/dev/state")).text;
    const bodies = { "/dev/token": { who: "ada" }, "/dev/act": { who: "ada", act: "delete" }, "/dev/shuffle": { who: "ada" }, "/dev/fresh": {} };
    for (const [path, body] of Object.entries(bodies)) {
      for (const other of ["http://attacker.example", "null", origin.replace("localhost", "127.0.0.1"), `${origin}.attacker.example`, "http://localhost:1"]) {
        assert.equal((await post(path, body, { origin: other })).status, 403, `${path} from ${other}`);
      }
      assert.equal((await raw("POST", path, {}, JSON.stringify(body))).status, 403, `${path} without an origin`);
      assert.equal((await raw("GET", path)).status, 405, path);
    }
    assert.equal((await raw("GET", "/dev/state")).text, before);
  });

  test("what makes no sense is refused and changes nothing", async () => {
    for (const [body, status] of [[{ who: "eve", act: "delete" }, 400], [{ who: "ben", act: "cancel" }, 409], [{ who: "ben", act: "subscribe", plan: "gold" }, 409], [7, 400]]) {
      assert.equal((await post("/dev/act", body)).status, status, JSON.stringify(body));
    }
    assert.equal((await raw("GET", "/nothing")).status, 404);
    assert.equal((await raw("GET", "/../.dev.vars")).status, 404);
    assert.deepEqual((await people()).map(({ state }) => state), ["none", "none", "none"]);
  });

  test("the report is handed out after the worker was asked, and no secret ever is", async () => {
    const asked = async (authorization) => raw("GET", "/report", authorization === undefined ? {} : { authorization });
    const { token: held } = JSON.parse((await post("/dev/token", { who: "ben" })).text);
    assert.equal((await asked()).status, 401);
    assert.equal((await asked("Bearer nonsense")).status, 502);
    assert.equal((await asked(`Bearer ${token("user_x", { keys: OTHER_KEYS })}`)).status, 502);
    const denied = await asked(`Bearer ${held}`);
    assert.deepEqual([denied.status, JSON.parse(denied.text).reason], [403, "no_subscription"]);
    const told = await post("/dev/act", { who: "ben", act: "subscribe", plan: "team" });
    assert.deepEqual(JSON.parse(told.text).log.map(({ outcome }) => outcome), ["stored", "stored"]);
    const report = await asked(`Bearer ${held}`);
    assert.deepEqual([report.status, JSON.parse(report.text).total], [200, "$48,210"]);
    const everything = [told, denied, report];
    for (const path of ["/", "/app.js", "/client.js", "/question.js", "/style.css", "/icon.svg", "/dev/state"]) {
      const answer = await raw("GET", path);
      assert.equal(answer.status, 200, path);
      assert.match(answer.headers["content-security-policy"], /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'$/);
      if (path !== "/dev/state") assert.ok(!answer.text.includes("48,210"), `${path} has a copy of the report`);
      everything.push(answer);
    }
    const key = KEYS.privateKey.split("\n")[5];
    for (const { text } of everything) {
      for (const secret of [SECRET, SECRET.slice("whsec_".length), key, API_KEY]) assert.ok(!text.includes(secret));
    }
    await post("/dev/fresh", {});
  });

  test("it does not start where it cannot serve, and says why in a sentence", () => {
    const { port } = new URL(origin);
    const cases = [
      [["--port", port, "--client", CLIENT], 2, `port ${port} is in use`],
      [["--port", "0", "--worker", "https://plangate.example.com", "--client", CLIENT], 2, "--worker is not on this machine"],
      [["--port", "0"], 2, "npm run build:client"],
    ];
    for (const [args, status, words] of cases) {
      const ran = refusal(...args);
      assert.deepEqual([ran.status, ran.stdout], [status, ""], ran.stderr);
      assert.ok(ran.stderr.includes(words) && ran.stderr.trim().split("\n").length === 1, ran.stderr);
    }
  });
});

// ---- its page ----

const SUBSCRIBE = '[data-act="subscribe"][data-plan="pro"]';
const act = (name) => `.acts [data-act="${name}"]`;

/** Waits for the page to be done with what it does. */
const settled = (page) => page.waitForFunction(() => !document.body.dataset.busy && document.querySelector("#fact-reason").textContent !== "–");
const click = async (page, selector) => {
  await page.click(selector);
  await settled(page);
};
const gate = (page) => page.getAttribute("#gate", "data-state");
const reason = (page) => page.innerText("#fact-reason");
const picture = async (page, name) => {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.mouse.move(0, 0);
  await page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)));
  const shifted = await page.evaluate(() => window.shifted);
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
  // For a picture of the whole page the window is made as high as that for a moment.
  await page.evaluate((before) => new Promise((drawn) => setTimeout(() => drawn((window.shifted = before)), 100)), shifted);
};

/** Does something with the page, freshly opened with fresh accounts. Any error in its console, or any shift of its layout, is a failure. */
async function withPage(options, work) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  await page.addInitScript(() => {
    window.shifted = 0;
    window.shifts = [];
    // Those soon after a click too, which browsers forgive.
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        window.shifted += entry.value;
        window.shifts.push(...entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName));
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  try {
    await page.goto(origin);
    await settled(page);
    await click(page, "#fresh");
    await work(page, errors);
    const { shifted, shifts } = await page.evaluate(() => ({ shifted: window.shifted, shifts: window.shifts }));
    assert.ok(shifted < 0.02, `the layout shifted by ${shifted}: ${shifts}`);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
}

describe("the demo's page", { skip }, () => {
  test("subscribe opens the gate without a reload, and everything that may follow does what it says", () =>
    withPage({ viewport: DESKTOP }, async (page) => {
      await page.evaluate(() => (window.sameDocument = true));
      assert.deepEqual([await gate(page), await reason(page)], ["locked", "no_subscription"]);
      assert.match(await page.innerText("#log"), /Nothing was sent yet/);
      const steps = [
        [SUBSCRIBE, "open", "active", 2],
        [act("cancel"), "open", "canceled_until_period_end", 1],
        [act("resume"), "open", "active", 1],
        [act("fail"), "locked", "past_due", 2],
        [act("recover"), "open", "active", 2],
        [act("end"), "locked", "expired", 1],
        // A no is never kept: the first look after the payment is a yes.
        [SUBSCRIBE, "open", "active", 2],
        ['[data-act="subscribe"][data-plan="team"]', "open", "active", 3],
        [act("refund"), "locked", "expired", 1],
      ];
      let sent = 0;
      for (const [selector, state, why, deliveries] of steps) {
        const was = await page.innerText("#now");
        await click(page, selector);
        sent += deliveries;
        assert.deepEqual([await gate(page), await reason(page)], [state, why], selector);
        assert.deepEqual([await page.innerText("#before"), await page.innerText("#now")], [was, state === "open" ? "Allowed" : "Denied"]);
        assert.equal(await page.locator("#entries > li").count(), sent, selector);
        assert.equal(await page.locator("#report svg").count(), state === "open" ? 1 : 0, "the content is there exactly while it may be");
        assert.match(await page.innerText("#changed-count"), /[1-9]\d* lines? changed/);
        assert.match(await page.innerText("#fact-source"), /^(memory|kv|d1)$/);
        assert.match(await page.innerText("#fact-ms"), /^\d+ ms$/);
      }
      // What cannot be done now does nothing.
      await page.click(act("recover"), { force: true });
      assert.equal(await page.locator("#entries > li").count(), sent);
      const first = page.locator("#entries details").first();
      await first.locator("summary").click();
      const text = await first.innerText();
      assert.match(text, /svix-id: msg_[0-9a-f]+\n/);
      assert.match(text, /svix-signature: v1,.{6}….{9}\n/);
      assert.match(text, /"slug": "pro"/);
      assert.match(text, /200 {"event_id":"msg_[0-9a-f]+","outcome":"stored"}/);
      await click(page, "#shuffle");
      assert.match(await page.innerText("#proof"), /30 deliveries again, shuffled: 30 duplicate/);
      assert.match(await page.innerText("#proof"), /✓ Answered alike/);
      await click(page, act("delete"));
      assert.deepEqual([await gate(page), await reason(page)], ["locked", "payer_deleted"]);
      await click(page, "#shuffle");
      assert.match(await page.innerText("#proof"), /✓ Answered alike/);
      assert.equal(await reason(page), "payer_deleted");
      assert.equal(await page.evaluate(() => window.sameDocument), true, "never reloaded");
    }));

  test("everybody has a gate of their own, and a reload changes nothing", () =>
    withPage({ viewport: DESKTOP }, async (page) => {
      const become = async (key) => {
        await page.check(`#people input[value="${key}"]`, { force: true });
        await page.waitForFunction(() => document.querySelector("#before").textContent === "not asked" && document.querySelector("#now").dataset.for === document.querySelector("#people input:checked").value);
      };
      await become("acme");
      await click(page, '[data-act="subscribe"][data-plan="team"]');
      assert.deepEqual([await gate(page), await page.innerText("#holds")], ["open", "Acme: Team, active"]);
      assert.match(await page.innerText("#entitlements"), /"type": "org"/);
      await become("ada");
      assert.deepEqual([await gate(page), await reason(page)], ["locked", "no_subscription"]);
      assert.equal(await page.locator("#report svg").count(), 0);
      // A report that was on its way to Acme is not shown to Ada.
      await become("acme");
      await page.waitForFunction(() => document.querySelector("#gate").dataset.state === "open");
      let release;
      await page.route("**/report", (route) => {
        release = () => route.continue();
      });
      const asked = page.waitForRequest("**/report");
      await page.click("#again");
      await asked;
      await become("ada");
      const arrived = page.waitForResponse("**/report");
      await release();
      await arrived;
      await settled(page);
      assert.deepEqual([await gate(page), await page.locator("#report svg").count()], ["locked", 0]);
      await page.unroute("**/report");
      await become("acme");
      await page.waitForFunction(() => document.querySelector("#gate").dataset.state === "open");
      await page.reload();
      await settled(page);
      await become("acme");
      await page.waitForFunction(() => document.querySelector("#gate").dataset.state === "open");
      assert.equal(await page.locator("#entries > li").count(), 2);
    }));

  for (const colorScheme of ["light", "dark"]) {
    for (const [name, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      test(`nothing keeps anybody out, and nothing jumps: ${colorScheme}, ${name}`, () =>
        withPage({ viewport, colorScheme, reducedMotion: "reduce" }, async (page) => {
          const check = async (state) => {
            await picture(page, `${colorScheme}-${name}-${state}`);
            await page.evaluate(AXE);
            const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "passes"] }));
            const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
            assert.deepEqual(found, [], state);
            assert.ok(passes.some(({ id }) => id === "color-contrast"), "axe looked at the contrast");
          };
          await check("1-first-visit");
          await click(page, SUBSCRIBE);
          await check("2-subscribed");
          await click(page, act("cancel"));
          await page.locator("#entries summary").last().click();
          await click(page, "#shuffle");
          await check("3-canceled");
          await click(page, act("end"));
          await check("4-ended");
        }));
    }
  }

  test("subscribe by keyboard alone", () =>
    withPage({ viewport: DESKTOP }, async (page) => {
      await page.evaluate(() => document.activeElement.blur());
      const focused = () => page.evaluate(() => document.activeElement.dataset.act ?? document.activeElement.value ?? document.activeElement.className);
      await page.keyboard.press("Tab");
      const seen = [];
      for (let presses = 0; presses < 12; presses += 1) {
        seen.push(await focused());
        if (seen.at(-1) === "subscribe") break;
        await page.keyboard.press("Tab");
      }
      assert.equal(seen.at(-1), "subscribe", `Tab goes over ${seen}`);
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.equal(outline, "solid", "the focus shows");
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.querySelector("#gate").dataset.state === "open");
      await settled(page);
      assert.equal(await focused(), "subscribe", "the focus is where it was, though the button can do nothing now");
      for (let presses = 0; presses < 6 && (await focused()) !== "cancel"; presses += 1) await page.keyboard.press("Tab");
      await page.keyboard.press("Space");
      await page.waitForFunction(() => document.querySelector("#fact-reason").textContent === "canceled_until_period_end");
    }));

  test("nothing is wider than the narrowest phone", () =>
    withPage({ viewport: { width: 320, height: 640 } }, async (page) => {
      /** What sticks out on the right. */
      const wide = () => page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        if (scrollWidth === clientWidth) return [];
        return [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > clientWidth).map(({ id, className, nodeName }) => `${nodeName} ${id} ${className}`);
      });
      assert.deepEqual(await wide(), []);
      await click(page, SUBSCRIBE);
      await click(page, act("cancel"));
      await page.locator("#entries summary").last().click();
      await click(page, "#shuffle");
      await picture(page, "narrow");
      assert.deepEqual(await wide(), []);
    }));

  test("the gate opens with a movement, unless movements are not wanted", async () => {
    const moves = () =>
      [...document.querySelectorAll("body *")].some((one) => getComputedStyle(one).animationName === "open");
    await withPage({ viewport: DESKTOP, reducedMotion: "no-preference" }, async (page) => {
      await page.evaluate(() => document.addEventListener("animationstart", () => (window.moved = true)));
      await click(page, SUBSCRIBE);
      assert.ok(await page.evaluate(moves));
      // The browser begins it when it has drawn the first of it.
      await page.waitForFunction(() => window.moved);
    });
    await withPage({ viewport: DESKTOP, reducedMotion: "reduce" }, async (page) => {
      await click(page, SUBSCRIBE);
      assert.equal(await gate(page), "open");
      assert.ok(!(await page.evaluate(moves)));
    });
  });

  test("a worker that cannot be reached keeps the gate closed and is said with what to do", () =>
    withPage({ viewport: PHONE }, async (page, errors) => {
      await click(page, SUBSCRIBE);
      const toWorker = (url) => url.href.startsWith(plangate.url.href);
      await page.route(toWorker, (route) => route.abort());
      await click(page, "#again");
      assert.match(await page.innerText("#alarm"), /The worker does not answer\.[^]*npm start/);
      assert.deepEqual([await gate(page), await page.innerText("#now")], ["locked", "No answer"]);
      await picture(page, "worker-away");
      await page.unroute(toWorker);
      await click(page, "#retry");
      assert.equal(await page.isVisible("#alarm"), false);
      assert.equal(await gate(page), "open");
      assert.ok(errors.length > 0 && errors.every((text) => text.includes("ERR_FAILED")), String(errors));
      errors.length = 0;
    }));
});

// ---- React ----

/** A page with a `Gate` of the npm package, and a button for each way to look again. */
async function serveGatePage() {
  const source = `
    import { createRoot } from "react-dom/client";
    import { useState } from "react";
    import { createPlangate } from "plangate";
    import { Gate, PlangateProvider, useCheckoutReturn, useEntitlement } from "plangate/react";
    const { worker } = document.body.dataset;
    const getToken = async () => (await fetch("/token" + location.search)).text();
    const client = createPlangate({ url: worker, getToken });
    const Return = () => <p id="return">{useCheckoutReturn({ plan: "pro" }, { delaysMs: Array(10).fill(2_000) }).isWaiting ? "waiting" : "done"}</p>;
    function Page() {
      const [isBack, setBack] = useState(false);
      const [looks, setLooks] = useState(0);
      const { reason, refresh } = useEntitlement({ plan: "pro" });
      return <>
        <Gate plan="pro" loading={<p id="gate">loading</p>} fallback={<p id="gate">closed</p>}><p id="gate">open</p></Gate>
        <p id="reason">{reason}</p><p id="looks">{looks}</p>
        <button id="back" onClick={() => setBack(true)}>Back from checkout</button>
        <button id="look" onClick={async () => { await refresh(); setLooks(looks + 1); }}>Look again</button>
        {isBack && <Return />}
      </>;
    }
    createRoot(document.getElementById("root")).render(<PlangateProvider client={client}><Page /></PlangateProvider>);`;
  const bundled = await build({
    stdin: { contents: source, loader: "jsx", resolveDir: ROOT },
    jsx: "automatic",
    alias: { "plangate/react": join(CLIENT, "react.js"), plangate: join(CLIENT, "index.js") },
    define: { "process.env.NODE_ENV": '"production"' },
    bundle: true,
    format: "esm",
    write: false,
  });
  const script = bundled.outputFiles[0].text;
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    const [type, body] = {
      "/token": ["text/plain", () => token(searchParams.get("user"))],
      "/page.js": ["text/javascript", () => script],
      "/": ["text/html", () => `<!doctype html><html lang="en"><title>gate</title><link rel="icon" href="data:,"><body data-worker="${plangate.url}"><div id="root"></div><script type="module" src="/page.js"></script>`],
    }[pathname] ?? ["text/plain", () => ""];
    response.setHeader("content-type", `${type}; charset=utf-8`).end(body());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { origin: `http://localhost:${server.address().port}`, close: () => server.close() };
}

describe("the React part in a browser", { skip }, () => {
  test("a Gate opens on the return from checkout without a reload, stays until the period ends, and keeps no no", async () => {
    const page = await (await browser.newContext()).newPage();
    const user = newUser();
    const shows = async (selector, text) => page.waitForFunction(([where, what]) => document.querySelector(where)?.textContent === what, [selector, text]);
    let looks = 0;
    const look = async () => {
      await page.click("#look");
      looks += 1;
      await shows("#looks", String(looks));
      return [await page.innerText("#gate"), await page.innerText("#reason")];
    };
    await page.goto(`${gatePage.origin}/?user=${user}`);
    await shows("#gate", "closed");
    await page.evaluate(() => (window.sameDocument = true));
    assert.equal(await page.innerText("#reason"), "no_subscription");
    await page.click("#back");
    await shows("#return", "waiting");
    await plangate.delivered(itemEvent(user));
    await shows("#gate", "open");
    await shows("#return", "done");
    assert.equal(await page.evaluate(() => window.sameDocument), true, "never reloaded");
    await plangate.delivered(itemEvent(user, { status: "canceled" }));
    assert.deepEqual(await look(), ["open", "canceled_until_period_end"]);
    await plangate.delivered(itemEvent(user, { status: "ended", end: Date.now() }));
    assert.deepEqual(await look(), ["closed", "expired"]);
    assert.deepEqual(await look(), ["closed", "expired"]);
    await plangate.delivered(itemEvent(user, { id: "csub_item_again" }));
    assert.deepEqual(await look(), ["open", "active"]);
    await page.context().close();
  });
});
