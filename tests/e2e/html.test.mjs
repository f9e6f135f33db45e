// examples/html in a real Chromium, against the worker in the real workerd. Only Clerk's scripts are stood in for.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { BROWSER_OPTIONS, browser as findBrowser } from "../../scripts/setup/browser.mjs";
import { Plangate, itemEvent, newUser, token } from "./harness.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const EXECUTABLE = findBrowser();
/** Where a path's file is: the page's, and the package's beside it. */
const fileOf = (path) => path.startsWith("/plangate/") ? path.replace("/plangate", "client/dist") : `examples/html${path === "/" ? "/index.html" : path}`;

let plangate, pages, origin, browser;

/** Answers with a file, the worker's address put in. */
function serve(request, response) {
  const file = fileOf(new URL(request.url, origin).pathname);
  if (!existsSync(join(ROOT, file))) return response.writeHead(404).end();
  const body = readFileSync(join(ROOT, file), "utf8").replace("http://localhost:8787", plangate.url.origin);
  response.setHeader("content-type", file.endsWith(".html") ? "text/html" : "text/javascript");
  response.end(body);
}

describe("the plain HTML example", { skip: EXECUTABLE === null && "there is no Chromium here" }, () => {
  before(async () => {
    pages = createServer(serve).listen(0, "127.0.0.1");
    await once(pages, "listening");
    origin = `http://127.0.0.1:${pages.address().port}`;
    plangate = await Plangate.start({ bindings: { ALLOWED_ORIGINS: origin, PLANS: { pro: { features: ["export"] } } } });
    browser = await chromium.launch({ executablePath: EXECUTABLE, args: BROWSER_OPTIONS });
  });
  after(async () => {
    await browser?.close();
    pages?.close();
    await plangate?.stop();
  });

  /** Opens the page as this user, or as nobody, and does something with it. */
  async function withPage({ user, query = "" }, work) {
    const page = await browser.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    const session = user && { token: token(user) };
    await page.addInitScript((session) => {
      window.mounted = [];
      const mount = (name) => (_element, options) => window.mounted.push([name, options?.newSubscriptionRedirectUrl ?? null]);
      window.Clerk = {
        load: async () => {},
        isSignedIn: Boolean(session),
        session: session && { getToken: async () => session.token },
        mountUserButton: mount("user button"),
        mountPricingTable: mount("prices"),
        mountSignIn: mount("sign-in"),
      };
    }, session);
    await page.route("**/npm/@clerk/**", (route) =>
      route.fulfill({ contentType: "text/javascript", headers: { "access-control-allow-origin": "*" }, body: "" }));
    try {
      await work(page, () => page.goto(`${origin}/${query}`));
      assert.deepEqual(errors, []);
    } finally {
      await page.close();
    }
  }
  const says = (page, words) => page.waitForFunction((words) => document.getElementById("status").textContent === words, words);
  const mounted = (page) => page.evaluate(() => window.mounted);

  test("who is signed out is asked to sign in", () =>
    withPage({}, async (page, open) => {
      await open();
      await says(page, "");
      assert.deepEqual([await mounted(page), await page.isVisible("#export")], [[["sign-in", null]], false]);
    }));

  test("who has no plan sees the prices, and who has it the button", async () => {
    const user = newUser();
    await withPage({ user }, async (page, open) => {
      await open();
      await says(page, "Exporting is part of Pro.");
      assert.deepEqual([await mounted(page), await page.isVisible("#export")], [[["user button", null], ["prices", "?paid"]], false]);
    });
    await plangate.delivered(itemEvent(user));
    await withPage({ user }, async (page, open) => {
      await open();
      await page.waitForSelector("#export:visible");
      assert.deepEqual(await mounted(page), [["user button", null]]);
    });
  });

  test("who comes back from checkout before the webhook sees the button as soon as it came, and no prices", () => {
    const user = newUser();
    return withPage({ user, query: "?paid" }, async (page, open) => {
      const synced = page.waitForResponse((answer) => answer.url().endsWith("/v1/sync"));
      await open();
      await synced;
      assert.equal(await page.isVisible("#export"), false);
      await plangate.delivered(itemEvent(user));
      await page.waitForSelector("#export:visible");
      assert.deepEqual(await mounted(page), [["user button", null]]);
    });
  });

  test("a page that the back button brings back asks again", async () => {
    const user = newUser();
    const forward = browser;
    // Playwright's own default is a browser without the cache of whole pages.
    browser = await chromium.launch({ executablePath: EXECUTABLE, args: BROWSER_OPTIONS, ignoreDefaultArgs: ["--disable-back-forward-cache"] });
    try {
      await withPage({ user }, async (page, open) => {
        await open();
        await says(page, "Exporting is part of Pro.");
        await page.goto(`${origin}/app.js`);
        await plangate.delivered(itemEvent(user));
        await page.goBack({ waitUntil: "commit" });
        await page.waitForSelector("#export:visible");
        assert.deepEqual(await mounted(page), [["user button", null]]);
      });
    } finally {
      await browser.close();
      browser = forward;
    }
  });

  test("where nobody answers, nothing is sold and nothing is given", () =>
    withPage({ user: newUser() }, async (page, open) => {
      await page.route(`${plangate.url.origin}/**`, (route) => route.abort());
      await open();
      await says(page, "We cannot tell right now whether you may export.");
      assert.deepEqual([await mounted(page), await page.isVisible("#export")], [[["user button", null]], false]);
    }));
});
