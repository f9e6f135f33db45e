// The demo's page. Whether the reports may be shown is asked of the worker, by the npm package `plangate`, from this browser; the
// demo's own server stands in for Clerk (/dev/…) and for the product's back end (/report).
import { createPlangate } from "/client.js";

/** Either of the plans opens the reports. Asked in one moment, so the client asks in one request. */
const PLANS = ["pro", "team"];
/** Fields that are new with every answer and would always be marked as changed. */
const ALWAYS_NEW = [".as_of", ".source"];

const byId = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const svg = (tag, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

/** What stands where the proof will be. */
const NO_PROOF = [...byId("proof").children].map((part) => part.cloneNode(true));

let people = [];
let who = "ada";
/** The session token of whoever is signed in, as Clerk keeps one. */
let session = null;
/** The last answer and what was held, of whoever is shown. */
let last = null;
let plangate;
let busy = false;

const person = () => people.find(({ key }) => key === who);

// ---- the demo's own server ----

class Refused extends Error {}

async function post(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer.detail);
  return answer;
}

/** What Clerk's `getToken` does: the same token until shortly before its end. */
async function getToken({ skipCache = false } = {}) {
  if (skipCache || session?.who !== who || Date.now() > session.until) {
    const asked = who;
    const { token } = await post("/dev/token", { who: asked });
    session = { who: asked, token, until: Date.now() + 45_000 };
  }
  return session.token;
}

// ---- asking the worker ----

/** The answer to show for several plans: a yes, else the one that says most. */
function decisive(answers) {
  const says = ({ allowed, error, reason }) => (allowed ? 3 : error ? 2 : ["no_subscription", "plan_mismatch", "unknown_plan"].includes(reason) ? 0 : 1);
  return answers.reduce((best, answer) => (says(answer) > says(best) ? answer : best));
}

async function ask(client) {
  await getToken().catch(() => {});
  const started = performance.now();
  const answers = await Promise.all(PLANS.map((plan) => client.check({ plan })));
  const ms = performance.now() - started;
  const { entitlements } = await client.entitlements();
  return { answer: decisive(answers), ms, entitlements };
}

/** Counts the looks. Only the newest may show anything: an older one may be somebody else's. */
let looks = 0;

async function look() {
  const mine = ++looks;
  const isNewest = () => mine === looks;
  const result = await ask(plangate);
  if (!isNewest()) return;
  const before = last;
  last = result;
  showAnswer(before, result);
  await showGate(result.answer, isNewest);
}

// ---- showing ----

const wordOf = ({ allowed, error }) => (error ? "No answer" : allowed ? "Allowed" : "Denied");
const verdictOf = (answer) => (!answer ? "none" : answer.error ? "error" : answer.allowed ? "yes" : "no");

function setVerdict(place, answer, text = answer ? wordOf(answer) : "not asked") {
  place.dataset.verdict = verdictOf(answer);
  place.textContent = text;
}

function showAnswer(before, { answer, ms, entitlements }) {
  setVerdict(byId("before"), before?.answer);
  setVerdict(byId("now"), answer);
  byId("now").dataset.for = who;
  byId("fact-reason").textContent = answer.error?.code ?? answer.reason;
  byId("fact-until").textContent = answer.valid_until ? dateOf(answer.valid_until) : "–";
  byId("fact-source").textContent = answer.source ?? "–";
  byId("fact-ms").textContent = `${Math.max(1, Math.round(ms))} ms`;
  showJson(before?.entitlements ?? null, entitlements);
  if (answer.error) alarm(answer.error);
  else byId("alarm").hidden = true;
}

const dateOf = (text) => new Date(text).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** The lines of a value as indented JSON, each with the path of what it says. */
function linesOf(value, indent = "", path = "", prefix = "", comma = "") {
  if (value === null || typeof value !== "object") return [{ path, text: `${indent}${prefix}${JSON.stringify(value)}${comma}` }];
  const isArray = Array.isArray(value);
  const [open, close] = isArray ? "[]" : "{}";
  const entries = Object.entries(value);
  if (entries.length === 0) return [{ path, text: `${indent}${prefix}${open}${close}${comma}` }];
  const inside = entries.flatMap(([key, one], index) =>
    linesOf(one, `${indent}  `, `${path}.${key}`, isArray ? "" : `${JSON.stringify(key)}: `, index < entries.length - 1 ? "," : ""));
  return [{ path: `${path}(`, text: `${indent}${prefix}${open}` }, ...inside, { path: `${path})`, text: `${indent}${close}${comma}` }];
}

function showJson(before, now) {
  const place = byId("entitlements");
  const bare = (text) => text.replace(/,$/, "");
  const old = new Map(before ? linesOf(before).map(({ path, text }) => [path, bare(text)]) : []);
  let changes = 0;
  const lines = now ? linesOf(now) : [{ path: "", text: "no answer" }];
  place.replaceChildren(...lines.map(({ path, text }) => {
    const changed = before !== null && now !== null && old.get(path) !== bare(text) && !ALWAYS_NEW.includes(path);
    if (changed) changes += 1;
    return element("span", { className: changed ? "line changed" : "line", textContent: text });
  }));
  byId("changed-count").textContent = changes ? `● ${changes} ${changes === 1 ? "line" : "lines"} changed` : "";
  place.scrollTop = 0;
}

const WHY = {
  no_subscription: ["Reports are part of Pro and Team", "Subscribe above, and they open here without a reload."],
  expired: ["The subscription is over", "What was paid for has ended. Subscribe again to open the reports."],
  past_due: ["A payment failed", "The period that was paid for is over. “Payment clears” opens the reports again."],
  payer_deleted: ["This account is deleted", "Nothing that arrives late brings it back. “Start over” makes new accounts."],
};

async function showGate({ allowed, error, reason }, isNewest) {
  if (allowed) {
    // The product's own back end asks the worker once more, with the token. Only then is there anything to show.
    const response = await fetch("/report", { headers: { authorization: `Bearer ${await getToken()}` } });
    const report = await response.json();
    if (!isNewest()) return;
    if (response.ok) {
      byId("report").replaceChildren(...drawn(report));
      byId("report").hidden = false;
      byId("gate").dataset.state = "open";
      return;
    }
  }
  closeGate(...(error ? ["We cannot tell right now", "Without an answer the reports stay closed."] : (WHY[reason] ?? WHY.no_subscription)));
}

function closeGate(title, why) {
  byId("report").replaceChildren();
  byId("report").hidden = true;
  byId("gate").dataset.state = "locked";
  byId("locked-title").textContent = title;
  byId("locked-why").textContent = why;
}

function drawn({ title, total, change, rows, note }) {
  const top = Math.max(...rows.map(({ revenue }) => revenue));
  const [width, height, gap] = [480, 150, 14];
  const each = (width + gap) / rows.length;
  const bars = rows.flatMap(({ week, revenue }, index) => {
    const tall = Math.round((revenue / top) * (height - 24));
    const x = index * each;
    return [
      svg("rect", { x, y: height - 20 - tall, width: each - gap, height: tall, rx: 4 }),
      svg("text", { x: x + (each - gap) / 2, y: height - 4 }, week),
    ];
  });
  const label = `Revenue by week: ${rows.map(({ week, revenue }) => `${week} $${revenue.toLocaleString("en-US")}`).join(", ")}`;
  return [
    element("h3", { textContent: title }),
    element("p", { className: "total" }, total, " ", element("small", { textContent: change })),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...bars),
    element("figcaption", { textContent: note }),
  ];
}

const HOLDS = { none: "Free plan", active: "active", canceled: "canceled", past_due: "past due", deleted: "account deleted" };
const HINTS = {
  none: "No subscription now. Choose a plan.",
  active: "Paid for. Cancel, or let the next payment fail.",
  canceled: "Canceled, and still open: it is paid for until the period ends. “Period ends” brings that day forward.",
  past_due: "The renewal was declined. The gate is closed until a payment gets through.",
  deleted: "Deleted for good. Send everything again below: no late event brings the account back.",
};

function showPeople() {
  const { name, plan, state, acts, plans } = person();
  byId("holds").textContent = `${name}: ${plan ? `${plan === "pro" ? "Pro" : "Team"}, ` : ""}${HOLDS[state]}`;
  byId("hint").textContent = HINTS[state];
  for (const card of document.querySelectorAll(".card")) {
    card.dataset.current = String(state !== "deleted" && (plan ?? "free") === card.dataset.plan);
  }
  for (const button of document.querySelectorAll("[data-act]")) {
    const { act, plan: of } = button.dataset;
    const isPossible = act === "subscribe" ? plans.includes(of) : acts.includes(act);
    button.setAttribute("aria-disabled", String(!isPossible));
    if (act === "subscribe") {
      const label = plan === of && state === "active" ? "Current plan" : plan && plan !== of ? "Switch" : plan ? "Renew" : "Subscribe";
      const to = element("span", { className: "unseen", textContent: label === "Current plan" ? `: ${of === "pro" ? "Pro" : "Team"}` : ` to ${of === "pro" ? "Pro" : "Team"}` });
      button.replaceChildren(label, to);
    }
  }
}

const nameOf = (key) => people.find((one) => one.key === key)?.name ?? key;

function entryOf({ n, who: of, type, at, ms, url, headers, body, status, outcome, answer, error }) {
  const isGood = status === 200;
  const badge = element("span", { className: "badge", textContent: outcome ?? status ?? "no answer" });
  badge.dataset.outcome = isGood ? outcome : "failed";
  const time = new Date(at).toLocaleTimeString("en-GB");
  const summary = element("summary", {},
    element("span", { className: "type", textContent: type }), badge,
    element("span", { className: "meta", textContent: `${n} · ${time} · about ${nameOf(of)} · ${ms} ms` }));
  const shown = (text, className = "") => element("pre", { textContent: text, className });
  const bodyPlace = shown(JSON.stringify(body, null, 2), "body");
  bodyPlace.tabIndex = 0;
  bodyPlace.setAttribute("role", "region");
  bodyPlace.setAttribute("aria-label", `Body of delivery ${n}`);
  return element("li", {}, element("details", {}, summary, element("div", { className: "exchange" },
    element("h3", { textContent: `POST ${url}` }), shown(headers.map(([name, value]) => `${name}: ${value}`).join("\n")),
    element("h3", { textContent: "Body, signed as it stands" }), bodyPlace,
    element("h3", { textContent: "The worker’s answer" }), shown(error ?? `${status} ${JSON.stringify(answer)}`))));
}

function addToLog(entries) {
  byId("entries").append(...entries.map(entryOf));
  const count = byId("entries").childElementCount;
  byId("empty").hidden = count > 0;
  byId("count").textContent = count || "";
  byId("shuffle").setAttribute("aria-disabled", String(count === 0));
  byId("log").scrollTop = byId("log").scrollHeight;
}

// ---- everything again ----

const tally = (entries) => {
  const counts = new Map();
  for (const { outcome } of entries) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  return [...counts].map(([outcome, count]) => `${count} ${outcome ?? "unanswered"}`).join(", ");
};

/** What must be alike: everything but whose it is and when it was asked. */
function alike({ answer, entitlements }, ids) {
  const text = JSON.stringify([
    answer.allowed, answer.reason, answer.plan, answer.status, answer.valid_until,
    { ...entitlements, as_of: null, source: null, version: null, payers: null },
  ], (key, value) => (["id", "subscription_id", "customer_id", "payer", "event_id", "updated_at"].includes(key) ? null : value));
  return ids.reduce((all, id) => all.replaceAll(id, ""), text);
}

/** What was shown held for another moment, or for somebody else. */
const forgetProof = () => byId("proof").replaceChildren(...NO_PROOF.map((part) => part.cloneNode(true)));

async function shuffle() {
  const { key, name, user, org } = person();
  if (last === null) await look();
  const before = last;
  const { again, twin, twin_token } = await post("/dev/shuffle", { who: key });
  if (who !== key) return;
  await look();
  const newcomer = await ask(createPlangate({ url: plangate.worker, getToken: async () => twin_token }));
  // Somebody else was signed in meanwhile, and this is no longer what is looked at.
  if (who !== key || last === null) return;
  const own = [user, org].filter(Boolean);
  const isAlike = alike(before, own) === alike(last, own) && alike(last, own) === alike(newcomer, own);
  const third = (title, { answer }, text) => {
    const verdict = element("p", { className: "verdict" });
    setVerdict(verdict, answer, `${wordOf(answer)} · ${answer.error?.code ?? answer.reason}`);
    return element("div", {}, element("h3", { textContent: title }), verdict, element("p", { textContent: text }));
  };
  const result = element("p", { className: "result", textContent: isAlike
    ? "✓ Answered alike, down to every plan, date and status held."
    : "✗ Not answered alike. That should not be: please report it." });
  result.dataset.verdict = isAlike ? "yes" : "no";
  byId("proof").replaceChildren(
    element("div", { className: "thirds" },
      third(`${name}, before`, before, "In order, as it happened."),
      third(`${name}, after`, last, `${again.length} deliveries again, shuffled: ${tally(again)}.`),
      third("Somebody new", newcomer, twin.length ? `${twin.length} deliveries of ${name}’s history, shuffled: ${tally(twin)}.` : `${name} has no history yet, and neither has the newcomer.`)),
    result);
}

// ---- alarms ----

function alarm({ code, detail }) {
  byId("alarm-title").textContent = code === "network" || code === "timeout" ? "The worker does not answer." : `The worker refuses: ${code}.`;
  byId("alarm-what").textContent = code === "network" || code === "timeout"
    ? "Look at the terminal of npm start, and start it again if it ended."
    : detail;
  byId("alarm").hidden = false;
}

function demoGone(error) {
  byId("alarm-title").textContent = error instanceof Refused ? "That did not work." : "The demo’s own server does not answer.";
  byId("alarm-what").textContent = error instanceof Refused ? error.message : "Look at the terminal of npm start, and start it again if it ended.";
  byId("alarm").hidden = false;
}

// ---- what is clicked ----

/** One thing at a time; `data-busy` tells when it is done. */
async function doing(work) {
  if (busy) return;
  busy = true;
  document.body.dataset.busy = "true";
  try {
    await work();
  } catch (error) {
    demoGone(error);
  } finally {
    busy = false;
    delete document.body.dataset.busy;
  }
}

async function act({ act: name, plan = "" }) {
  const { people: now, log } = await post("/dev/act", { who, act: name, plan });
  people = now;
  showPeople();
  addToLog(log);
  forgetProof();
  await look();
}

async function start() {
  const response = await fetch("/dev/state");
  const { worker, people: now, log } = await response.json();
  people = now;
  plangate = Object.assign(createPlangate({ url: worker, getToken }), { worker });
  byId("entries").replaceChildren();
  showPeople();
  addToLog(log);
  last = null;
  await look();
}

const clicked = (id, work) => byId(id).addEventListener("click", ({ currentTarget }) => {
  if (currentTarget.getAttribute("aria-disabled") !== "true") doing(work);
});

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") doing(() => act(button.dataset));
  });
}
clicked("again", look);
clicked("retry", start);
clicked("shuffle", shuffle);
clicked("fresh", async () => {
  await post("/dev/fresh", {});
  session = null;
  forgetProof();
  await start();
});
byId("people").addEventListener("change", ({ target }) => {
  who = target.value;
  last = null;
  forgetProof();
  showPeople();
  closeGate("One moment …", "The worker is asked.");
  // Not `doing`: whoever is signed in now must not wait for what the other one did.
  look().catch(demoGone);
});

await doing(async () => {
  const chosen = document.querySelector("#people input:checked");
  who = chosen?.value ?? who;
  await start();
});
