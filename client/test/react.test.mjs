// What React shows: on a server, at the first rendering in a browser, and after that.
import assert from "node:assert/strict";
import { after, afterEach, beforeEach, mock, test } from "node:test";
import { Window } from "happy-dom";
import { createElement as h, StrictMode } from "react";
import { createPlangate, prefetch } from "plangate";
import { HELD, NO, YES, problem, tokenOf } from "./worker.mjs";

// A server has no document, and what is rendered there must not come to need one.
const { renderToString } = await import("react-dom/server");
const { Gate, PlangateProvider, useCheckoutReturn, useEntitlement, useEntitlements } = await import("plangate/react");

const page = new Window({ url: "https://app.plangate.test/" });
const BROWSER = ["window", "document", "navigator", "HTMLElement", "HTMLIFrameElement", "Node", "Event"];
const onServer = Object.fromEntries(BROWSER.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
function becomeBrowser() {
  for (const name of BROWSER) Object.defineProperty(globalThis, name, { value: name === "window" ? page : page[name], configurable: true, writable: true });
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
}
function becomeServer() {
  for (const name of BROWSER) {
    if (onServer[name]) Object.defineProperty(globalThis, name, onServer[name]);
    else delete globalThis[name];
  }
}
becomeBrowser();
const { createRoot, hydrateRoot } = await import("react-dom/client");
const { act } = await import("react");

/** Nothing here waits for real: neither does a timer outlive its test. */
function clock(now) {
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date", "setTimeout"], now });
}

let root;
let container;
beforeEach(() => {
  becomeBrowser();
  clock(1_000_000);
  container = page.document.createElement("div");
  page.document.body.append(container);
});
afterEach(async () => {
  await act(() => root?.unmount());
  root = undefined;
  container.remove();
  mock.timers.reset();
});
after(() => page.happyDOM.close());

/** A client whose requests wait for `reply`, or are answered by `answers` where that is given. */
function asking({ answers, token = () => tokenOf("user_1"), ...options } = {}) {
  const pending = [];
  const requests = [];
  const respond = ({ path, body }, how) => {
    if (how instanceof Error) return Promise.reject(how);
    if (how?.status) return new Response(JSON.stringify(how.body), { status: how.status, headers: how.headers });
    if (path === "/v1/check") return Response.json({ results: body.checks.map((check) => how?.(check) ?? NO) });
    return Response.json(path === "/v1/sync" ? { synced: [], entitlements: HELD } : HELD);
  };
  const client = createPlangate({
    url: "https://plangate.test", getToken: async () => token(), ...options,
    fetch: async (url, { body }) => {
      const request = { path: new URL(url).pathname, body: body && JSON.parse(body) };
      requests.push(request);
      if (client.answers) return respond(request, client.answers);
      return new Promise((resolve) => pending.push((how) => resolve(respond(request, how))));
    },
  });
  client.answers = answers;
  client.requests = requests;
  /** Answers the oldest request that waits, or another. */
  client.reply = (how, index = 0) => act(async () => pending.splice(index, 1)[0](how));
  client.waiting = () => pending.length;
  return client;
}

const render = (element) => act(async () => (root ??= createRoot(container)).render(element));
const text = () => container.innerHTML;
const yes = () => YES;
const event = (target, name) => act(async () => target.dispatchEvent(new page.Event(name)));

const pro = h(Gate, { plan: "pro", fallback: "upgrade", loading: "wait" }, "secret");
const at = (client, children, props) => h(PlangateProvider, { client, ...props }, children);

test("gated children are not shown until it is known that they may be", async () => {
  const client = asking();
  await render(at(client, pro));
  assert.equal(text(), "wait");
  await client.reply(yes);
  assert.equal(text(), "secret");
});

test("who may not sees the fallback, and so does whom it is not known of", async () => {
  for (const how of [() => NO, problem(503, "store_unavailable"), problem(401, "token_invalid"), new Error("offline")]) {
    const client = asking();
    await render(at(client, pro));
    assert.equal(text(), "wait");
    await client.reply(how);
    assert.equal(text(), "upgrade");
  }
});

test("a fallback may tell a no from an error, and nothing shown is nothing", async () => {
  const client = asking();
  const fallback = ({ reason, error }) => error?.code ?? reason;
  await render(at(client, [h(Gate, { key: 1, plan: "pro", fallback }, "secret"), h(Gate, { key: 2, feature: "export" }, "secret")]));
  assert.equal(text(), "");
  await client.reply(() => NO);
  assert.equal(text(), "no_subscription");
  await event(page, "focus");
  await client.reply(problem(503, "store_unavailable"));
  assert.equal(text(), "store_unavailable");
});

test("plan and feature of a gate must both be held, and the gates of a page are one request", async () => {
  const client = asking({ answers: ({ plan, feature }) => (plan && feature ? NO : YES) });
  const both = h(Gate, { key: 2, plan: "pro", feature: "export", fallback: "no" }, "secret");
  await render(at(client, [h(Gate, { key: 1, plan: "pro" }, "yes"), both, h(Gate, { key: 3, plan: "pro" }, "again")]));
  assert.equal(text(), "yesnoagain");
  assert.deepEqual(client.requests.map(({ body }) => body.checks), [[{ plan: "pro" }, { plan: "pro", feature: "export" }]]);
});

test("what a hook tells", async () => {
  const client = asking({ onError: "last-known" });
  const seen = [];
  const Watch = () => (seen.push(useEntitlement({ plan: "pro" })), null);
  await render(at(client, h(Watch)));
  const told = () => {
    const { refresh, result, ...rest } = seen.at(-1);
    assert.equal(typeof refresh, "function");
    return { ...rest, valid_until: result?.valid_until };
  };
  assert.deepEqual(told(), { allowed: false, isLoaded: false, reason: null, stale: false, error: null, valid_until: undefined });
  await client.reply(yes);
  assert.deepEqual(told(), { allowed: true, isLoaded: true, reason: "active", stale: false, error: null, valid_until: YES.valid_until });
  let refreshed;
  await act(async () => void (refreshed = seen.at(-1).refresh()));
  assert.deepEqual(told().allowed, true, "it stays while it is asked about again");
  await client.reply(problem(503, "store_unavailable"));
  assert.deepEqual([told().allowed, told().stale, told().error.code], [true, true, "store_unavailable"]);
  assert.equal((await refreshed).stale, true);
});

test("an answer that is the same causes no loop, and a condition written in place is no new question", async () => {
  const client = asking({ answers: yes });
  let renderings = 0;
  const Watch = () => (renderings++, useEntitlement({ plan: "pro" }).allowed ? "yes" : "no");
  await render(at(client, h(Watch)));
  await render(at(client, h(Watch)));
  assert.equal(text(), "yes");
  assert.ok(renderings <= 4, `${renderings} renderings`);
  assert.equal(client.requests.length, 1);
});

test("strict mode asks once more and shows the same", async () => {
  const client = asking({ answers: yes });
  await render(h(StrictMode, null, at(client, pro)));
  assert.equal(text(), "secret");
  assert.ok(client.requests.length <= 2);
});

/** Renders as a server does, and takes the page up as a browser does. */
async function serve(element, { errors = [] } = {}) {
  becomeServer();
  const html = renderToString(element);
  becomeBrowser();
  container.innerHTML = html;
  const before = container.innerHTML;
  root = await act(async () => hydrateRoot(container, element, { onRecoverableError: (error) => errors.push(error) }));
  return { before, errors };
}

test("with the server's answers the first rendering is the server's, and nothing is asked", async () => {
  const initial = JSON.parse(JSON.stringify(await prefetch(asking({ answers: ({ plan }) => (plan === "pro" ? YES : NO) }), [{ plan: "pro" }, { feature: "export" }])));
  const client = asking();
  const gates = [h("p", { key: 1 }, pro), h("p", { key: 2 }, h(Gate, { feature: "export", fallback: "upgrade", loading: "wait" }, "secret"))];
  const { before, errors } = await serve(at(client, gates, { initial }));
  assert.equal(before, "<p>secret</p><p>upgrade</p>");
  assert.equal(text(), before);
  assert.deepEqual(errors, []);
  assert.deepEqual(client.requests, []);
});

test("without the server's answers both show that it is not known", async () => {
  const client = asking();
  const { before, errors } = await serve(at(client, h("p", null, pro)));
  assert.equal(before, "<p>wait</p>");
  assert.equal(text(), before);
  assert.deepEqual(errors, []);
  await client.reply(yes);
  assert.equal(text(), "<p>secret</p>");
});

test("the server's answers are asked for again when they are old, have ended, or come from another clock", async () => {
  const start = Date.parse("2026-11-21T10:00:00Z");
  for (const [age, valid_until, asks] of [[9_999, null, 0], [10_000, null, 1], [-1, null, 1], [1000, "2026-11-21T09:59:59Z", 1]]) {
    clock(start - age);
    const initial = await prefetch(asking({ answers: () => ({ ...YES, valid_until }) }), [{ plan: "pro" }]);
    mock.timers.setTime(start);
    const client = asking();
    const { before, errors } = await serve(at(client, h("p", null, pro), { initial }));
    assert.equal(before, "<p>secret</p>");
    assert.deepEqual(errors, []);
    assert.equal(client.requests.length, asks, `${age} ${valid_until}`);
    if (asks) {
      await client.reply(() => NO);
      assert.equal(text(), "<p>upgrade</p>");
    }
    await act(() => root.unmount());
    root = undefined;
  }
});

test("a yes of the server's that has ended is not shown while it is asked about", async () => {
  const start = Date.parse("2026-11-21T10:00:00Z");
  clock(start);
  const initial = await prefetch(asking({ answers: () => ({ ...YES, valid_until: "2026-11-21T10:00:02Z" }) }), [{ plan: "pro" }]);
  mock.timers.setTime(start + 2000);
  const client = asking();
  const { before, errors } = await serve(at(client, h("p", null, pro), { initial }));
  assert.deepEqual([before, errors], ["<p>secret</p>", []]);
  assert.equal(text(), "<p>wait</p>");
  await client.reply(() => NO);
  assert.equal(text(), "<p>upgrade</p>");
});

test("what the server told of and nothing shows is forgotten too, and a yes with its end", async () => {
  const start = Date.parse("2026-11-21T10:00:00Z");
  const conditions = [{ plan: "pro" }, { feature: "export" }];
  for (const strict of [false, true]) {
    for (const [valid_until, kept, shown] of [[null, 29_999, "secret"], [null, 30_000, "wait"], ["2026-11-21T10:00:10Z", 9_999, "secret"], ["2026-11-21T10:00:10Z", 10_000, "wait"]]) {
      clock(start);
      const initial = await prefetch(asking({ answers: () => ({ ...YES, valid_until }) }), conditions);
      const client = asking();
      const page = (children) => (strict ? h(StrictMode, null, at(client, children, { initial })) : at(client, children, { initial }));
      await render(page("elsewhere"));
      await act(async () => mock.timers.tick(kept));
      await render(page(pro));
      assert.equal(text(), shown, `${valid_until} ${kept}`);
      while (client.waiting()) await client.reply(() => NO);
      await act(() => root.unmount());
      root = undefined;
    }
  }
});

test("the first request asks about what the server told as well, for somebody else may be signed in by now", async () => {
  const initial = await prefetch(asking({ answers: yes }), [{ plan: "pro" }, { plan: "unused" }]);
  const client = asking({ token: () => tokenOf("user_2") });
  const team = (key) => h(Gate, { key, plan: "team", fallback: "no", loading: "…" }, "team");
  await render(at(client, [h("p", { key: 1 }, pro)], { initial }));
  mock.timers.tick(60_000);
  assert.deepEqual([text(), client.requests.length], ["<p>secret</p>", 0]);
  await render(at(client, [h("p", { key: 1 }, pro), team(2)], { initial }));
  assert.deepEqual(client.requests.map(({ body }) => body.checks), [[{ plan: "team" }, { plan: "pro" }]]);
  await client.reply(() => NO);
  assert.equal(text(), "<p>upgrade</p>no");
  await render(at(client, [h("p", { key: 1 }, pro), team(2), team(3), h(Gate, { key: 4, plan: "business" })], { initial }));
  assert.deepEqual(client.requests.at(-1).body.checks, [{ plan: "business" }], "once");
});

test("a server asks nothing, and keeps nothing from one request to the next", async () => {
  becomeServer();
  const client = asking({ answers: yes });
  const initial = await prefetch(asking({ answers: yes }), [{ plan: "pro" }]);
  assert.equal(renderToString(at(client, pro, { initial })), "secret");
  assert.equal(renderToString(at(client, pro)), "wait");
  assert.equal(renderToString(at(client, h(() => JSON.stringify(useEntitlements().isLoaded)))), "false");
  assert.deepEqual(client.requests, []);
});

test("a page that comes to the front asks again, once", async () => {
  const client = asking({ answers: () => NO });
  await render(at(client, [h("p", { key: 1 }, pro), h(() => useEntitlements().entitlements?.plan ?? "?", { key: 2 })]));
  assert.equal(text(), "<p>upgrade</p>pro");
  assert.equal(client.requests.length, 2);
  client.answers = yes;
  await event(page, "focus");
  assert.equal(text(), "<p>secret</p>pro");
  await event(page.document, "visibilitychange");
  await event(page, "focus");
  assert.equal(client.requests.length, 4, "several events are one return");
  mock.timers.tick(5000);
  client.answers = () => NO;
  await event(page.document, "visibilitychange");
  assert.equal(text(), "<p>upgrade</p>pro");
  mock.timers.tick(5000);
  await event(page, "online");
  assert.equal(client.requests.length, 8);

  mock.timers.tick(5000);
  Object.defineProperty(page.document, "visibilityState", { value: "hidden", configurable: true });
  await event(page.document, "visibilitychange");
  delete page.document.visibilityState;
  assert.equal(client.requests.length, 8, "a page that goes to the back does not");

  await render(at(client, pro, { refreshOnFocus: false }));
  const before = client.requests.length;
  await event(page, "focus");
  assert.equal(client.requests.length, before);
});

test("a computer that wakes before its network does asks once it is online", async () => {
  const client = asking({ answers: yes });
  await render(at(client, pro));
  mock.timers.tick(60_000);
  client.answers = new TypeError("Failed to fetch");
  await event(page, "focus");
  assert.equal(text(), "upgrade");
  mock.timers.tick(2000);
  client.answers = yes;
  await event(page, "online");
  assert.equal(text(), "secret");
  const { length } = client.requests;
  await event(page, "focus");
  assert.equal(client.requests.length, length, "which was the refresh of the next five seconds");
});

test("a yes is unknown from its end on, until it was asked about again", async () => {
  clock(Date.parse("2026-11-21T10:00:00Z"));
  const client = asking();
  await render(at(client, pro));
  // Further away than a timer reaches.
  await client.reply(() => ({ ...YES, valid_until: "2026-12-31T10:30:00Z" }));
  const forty = 40 * 86_400_000 + 1_800_000;
  await act(async () => mock.timers.tick(forty - 1));
  assert.deepEqual([text(), client.requests.length], ["secret", 1]);
  await act(async () => mock.timers.tick(1));
  assert.deepEqual([text(), client.requests.length], ["wait", 2]);
  await client.reply(() => ({ ...YES, valid_until: null }));
  assert.equal(text(), "secret");
  await act(async () => mock.timers.tick(10_000_000));
  assert.equal(client.requests.length, 2, "what has no end is not asked about");
});

test("a timer is an hour long at most", async () => {
  const client = asking({ answers: () => ({ ...YES, valid_until: "2999-01-01T00:00:00Z" }) });
  const { setTimeout: mocked } = globalThis;
  const delays = [];
  globalThis.setTimeout = (run, delay) => (delays.push(delay), mocked(run, delay));
  await render(at(client, pro));
  globalThis.setTimeout = mocked;
  assert.equal(Math.max(...delays), 3_600_000);
});

test("a page that slept past the end of a yes does not show it when it comes to the front", async () => {
  const client = asking();
  await render(at(client, pro));
  await client.reply(() => ({ ...YES, valid_until: new Date(1_060_000).toISOString() }));
  // Timers stand still meanwhile.
  mock.method(Date, "now", () => 1_060_000);
  await event(page, "focus");
  assert.equal(text(), "wait");
  Date.now.mock.restore();
  await client.reply(() => NO);
});

test("a clock that is wrong asks once a minute and not more", async () => {
  clock(Date.parse("2026-11-21T10:00:00Z"));
  const client = asking();
  const ended = () => ({ ...YES, valid_until: "2026-11-21T09:00:00Z" });
  await render(at(client, pro));
  await client.reply(ended);
  assert.equal(text(), "secret");
  for (let n = 1; n <= 3; n++) {
    await act(async () => mock.timers.tick(59_999));
    assert.equal(client.requests.length, n);
    await act(async () => mock.timers.tick(1));
    assert.deepEqual([text(), client.requests.length], ["secret", n + 1]);
    await client.reply(ended);
  }
});

test("another identity makes everything unknown at once", async () => {
  const client = asking({ token: () => tokenOf("user_1") });
  await render(at(client, pro, { identity: undefined }));
  await client.reply(yes);
  await render(at(client, pro, { identity: "user_1" }));
  assert.equal(text(), "secret", "to be told who it is is no change");
  await render(at(client, pro, { identity: undefined }));
  assert.equal(text(), "secret", "and neither is not to know it");
  await render(at(client, pro, { identity: "user_2" }));
  assert.equal(text(), "wait");
  await client.reply(() => NO);
  assert.equal(text(), "upgrade");
  await render(at(asking(), pro, { identity: "user_2" }));
  assert.equal(text(), "wait", "another client");
});

test("a provider that is gone listens no more", async () => {
  const client = asking({ answers: yes });
  const { onIdentityChange } = client;
  let listening = 0;
  client.onIdentityChange = (listener) => {
    const stop = onIdentityChange(listener);
    listening++;
    return () => (listening--, stop());
  };
  await render(at(client, pro));
  assert.equal(listening, 1);
  await render("elsewhere");
  assert.equal(listening, 0);
  const { length } = client.requests;
  await event(page, "focus");
  assert.equal(client.requests.length, length);
});

test("another's token makes everything unknown, and no answer of the former's comes through", async () => {
  let user = "user_1";
  const client = asking({ token: () => tokenOf(user) });
  let entitlement;
  const Watch = () => ((entitlement = useEntitlement({ plan: "pro" })), entitlement.isLoaded ? String(entitlement.allowed) : "wait");
  await render(at(client, h(Watch)));
  await client.reply(yes);
  assert.equal(text(), "true");
  await act(async () => void entitlement.refresh());
  user = "user_2";
  await act(async () => void entitlement.refresh());
  assert.equal(text(), "wait", "as soon as the other's token is seen");
  await client.reply(yes);
  assert.equal(text(), "wait", "what came for the former user is not shown");
  await client.reply(() => NO);
  while (client.waiting()) await client.reply(() => NO);
  assert.equal(text(), "false");
});

test("a late answer does not replace a newer one", async () => {
  const client = asking();
  let entitlement;
  const Watch = () => String((entitlement = useEntitlement({ plan: "pro" })).allowed);
  await render(at(client, h(Watch)));
  await act(async () => void entitlement.refresh());
  assert.equal(client.waiting(), 2);
  await client.reply(yes, 1);
  assert.equal(text(), "true");
  await client.reply(() => NO);
  assert.equal(text(), "true");
});

test("what is shown again after a short while does not flicker, and is asked about", async () => {
  const client = asking({ timeoutMs: 2 ** 31 - 1 });
  await render(at(client, pro));
  await client.reply(() => ({ ...YES, valid_until: null }));
  await render(at(client, "elsewhere"));
  await act(async () => mock.timers.tick(20_000));
  await render(at(client, pro));
  assert.deepEqual([text(), client.waiting()], ["secret", 1]);
  await act(async () => mock.timers.tick(20_000));
  assert.equal(text(), "secret", "it is shown again, so it is not forgotten");
  await client.reply(() => NO);
  assert.equal(text(), "upgrade");
});

test("what was not shown for a while is forgotten, and a yes with its end", async () => {
  const now = Date.parse("2026-11-21T10:00:00Z");
  for (const [valid_until, gone] of [[null, 30_000], ["2026-11-21T10:00:10Z", 10_000]]) {
    clock(now);
    const client = asking();
    await render(at(client, pro));
    await client.reply(() => ({ ...YES, valid_until }));
    await render(at(client, "elsewhere"));
    await act(async () => mock.timers.tick(gone));
    await render(at(client, pro));
    assert.equal(text(), "wait", String(valid_until));
    await client.reply(() => NO);
    await act(() => root.unmount());
    root = undefined;
  }
});

test("what one of two still shows is not forgotten, and what nobody waits for is not kept", async () => {
  const client = asking({ timeoutMs: 2 ** 31 - 1 });
  const other = h("p", { key: 2 }, h(Gate, { plan: "pro" }, "secret"));
  await render(at(client, [h("p", { key: 1 }, pro), other]));
  await client.reply(() => ({ ...YES, valid_until: null }));
  await render(at(client, [other]));
  await act(async () => mock.timers.tick(60_000));
  assert.equal(text(), "<p>secret</p>");

  await render(at(client, h(Gate, { key: 3, plan: "team", loading: "wait" }, "secret")));
  await render(at(client, "elsewhere"));
  await act(async () => mock.timers.tick(60_000));
  await client.reply(yes);
  await render(at(client, h(Gate, { plan: "team", loading: "wait" }, "secret")));
  assert.equal(text(), "wait", "an answer that came too late");
  await client.reply(() => NO);
});

test("the return from checkout waits until the grant shows, and takes the page along", async () => {
  const client = asking({ answers: () => NO, timeoutMs: 2 ** 31 - 1 });
  const Return = () => {
    const { allowed, isWaiting, syncError } = useCheckoutReturn({ plan: "pro" }, { delaysMs: [2000, 3000] });
    return `${allowed} ${isWaiting} ${syncError?.code}`;
  };
  await render(at(client, [h("p", { key: 1 }, h(Return)), h(Gate, { key: 2, feature: "export", fallback: "no" }, "export")]));
  assert.equal(text(), "<p>false true undefined</p>no");
  // What is asked after the check that says yes has to wait.
  client.answers = ({ plan }) => ((client.answers = undefined), YES);
  await act(async () => mock.timers.tick(2000));
  assert.equal(text(), "<p>true false undefined</p>no", "the yes is shown before anything else is asked");
  await client.reply(yes);
  assert.equal(text(), "<p>true false undefined</p>export");
  const asked = client.requests.map(({ path }) => path).filter((path) => path === "/v1/sync").length;
  assert.equal(asked, 2);
});

test("the return from checkout gives up after a few looks, and says so", async () => {
  const client = asking({ answers: () => NO, timeoutMs: 2 ** 31 - 1 });
  const Return = () => String(useCheckoutReturn({ plan: "pro" }, { delaysMs: [2000] }).isWaiting);
  await render(h(StrictMode, null, at(client, h(Return))));
  assert.equal(text(), "true");
  await act(async () => mock.timers.tick(2000));
  assert.equal(text(), "false");
  const { length } = client.requests;
  await act(async () => mock.timers.tick(60_000));
  assert.equal(client.requests.length, length);
});

test("after the return from checkout nothing keeps the no that the server told before, or another page", async () => {
  const initial = await prefetch(asking({ answers: () => NO }), [{ feature: "export" }]);
  const client = asking({ answers: () => NO });
  const gates = ["export", "api"].map((feature) => h(Gate, { key: feature, feature, fallback: "upgrade ", loading: "wait " }, "secret "));
  const Return = () => String(useCheckoutReturn({ plan: "pro" }, { delaysMs: [2000] }).allowed);
  await render(at(client, gates[1], { initial }));
  client.answers = undefined;
  // One that is still on its way when the page is left counts as little.
  await event(page, "focus");
  await render(at(client, h(Return), { initial }));
  client.answers = yes;
  await client.reply(() => NO);
  while (client.waiting()) await client.reply(yes);
  await act(async () => mock.timers.tick(2000));
  assert.equal(text(), "true");
  client.answers = undefined;
  await render(at(client, gates, { initial }));
  assert.equal(text(), "wait wait ");
  await client.reply(yes);
  assert.equal(text(), "secret secret ");
});

test("who leaves the return from checkout early is not shown the no of before", async () => {
  const initial = await prefetch(asking({ answers: () => NO }), [{ plan: "pro" }, { plan: "team" }]);
  const client = asking();
  await render(at(client, h(() => String(useCheckoutReturn({ plan: "team" }).allowed)), { initial }));
  assert.equal(text(), "false");
  await render(at(client, pro, { initial }));
  assert.equal(text(), "wait");
  while (client.waiting()) await client.reply(yes);
  assert.equal(text(), "secret");
});

test("after a sync the no of a page that was left is not shown again, and a late one does not come", async () => {
  const client = asking();
  let held;
  const Held = () => ((held = useEntitlements()), "held ");
  await render(at(client, [h(Held, { key: 1 }), h("p", { key: 2 }, pro)]));
  await render(at(client, [h(Held, { key: 1 })]));
  client.answers = yes;
  await act(async () => assert.equal((await held.sync()).error, null));
  while (client.waiting()) await client.reply(() => NO);
  client.answers = undefined;
  await render(at(client, [h(Held, { key: 1 }), h("p", { key: 2 }, pro)]));
  assert.equal(text(), "held <p>wait</p>");
  await client.reply(yes);
  assert.equal(text(), "held <p>secret</p>");
});

test("a page that is left breaks the return from checkout off", async () => {
  const client = asking({ answers: () => NO, timeoutMs: 2 ** 31 - 1 });
  await render(at(client, h(() => String(useCheckoutReturn({ plan: "pro" }).isWaiting))));
  await render(at(client, "elsewhere"));
  const { length } = client.requests;
  await act(async () => mock.timers.tick(20_000));
  assert.equal(client.requests.length, length);
});

test("a sync asks everything again that is shown", async () => {
  const client = asking({ answers: () => NO });
  let held;
  const Held = () => ((held = useEntitlements()), held.entitlements?.plans.join() ?? "?");
  await render(at(client, [h(Held, { key: 1 }), h("p", { key: 2 }, pro)]));
  assert.equal(text(), "pro<p>upgrade</p>");
  client.answers = yes;
  await act(async () => assert.equal((await held.sync()).error, null));
  assert.equal(text(), "pro<p>secret</p>");
  client.answers = problem(503, "store_unavailable");
  await act(async () => assert.equal((await held.refresh()).error.code, "store_unavailable"));
  assert.deepEqual([held.entitlements, held.isLoaded, held.error.code], [null, true, "store_unavailable"]);
});

test("misuse says what is wrong", async () => {
  becomeServer();
  assert.throws(() => renderToString(pro), /needs a <PlangateProvider>/);
  assert.throws(() => renderToString(at(asking(), h(Gate, {}, "secret"))), TypeError);
});
