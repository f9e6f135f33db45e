// Runs the built worker in the real workerd with real D1 and KV, and speaks to it as Clerk, a browser and a server would.
// Signatures and tokens are made with Node's own crypto, so nothing here shares code with the worker.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHmac, createPublicKey, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { migratedState } from "./migrated.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const WRAPPED = fileURLToPath(new URL("wrapped.js", import.meta.url));
const WRANGLER_TOML = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
const setting = (name) => WRANGLER_TOML.match(new RegExp(`^${name} = "(.*)"`, "m"))[1];

export const DAY_MS = 86_400_000;

function keyPair() {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }),
    publicKey: publicKey.export({ type: "spki", format: "pem" }),
  };
}
export const KEYS = keyPair();
export const OTHER_KEYS = keyPair();
export const SECRET = `whsec_${randomBytes(24).toString("base64")}`;
export const OTHER_SECRET = `whsec_${randomBytes(24).toString("base64")}`;
export const API_KEY = `pgk_${randomBytes(24).toString("hex")}`;
export const ISSUER = "https://clerk.plangate.test";

export const BINDINGS = {
  CLERK_WEBHOOK_SIGNING_SECRET: SECRET,
  CLERK_JWT_KEY: KEYS.publicKey,
  CLERK_ISSUER: ISSUER,
  API_KEYS: API_KEY,
};

/** The JSON Web Key of a PEM, as a key server lists it. */
export const jwk = (pem, kid) => ({ ...createPublicKey(pem).export({ format: "jwk" }), kid, alg: "RS256", use: "sig" });

/** A running worker. */
export class Plangate {
  /**
   * `bindings` are merged into the usual ones (undefined takes one away); `without` names bindings to leave out ("DB",
   * "ENTITLEMENTS"); `outbound` answers the worker's own requests, or "network" lets them out; `build` is the folder of the
   * build; `wrapped` puts wrapped.js in front; `isolates` is how many isolates serve the same data, each with a memory of its
   * own; `more` are other options of miniflare's for the worker, such as buckets.
   */
  static async start({ bindings = {}, without = [], outbound, build = "build", migrations = true, wrapped = false, isolates = 1, more = {} } = {}) {
    const self = new Plangate();
    self.state = mkdtempSync(join(tmpdir(), "plangate-e2e-"));
    if (migrations) cpSync(migratedState(), self.state, { recursive: true });
    self.logs = [];
    self.options = { bindings: { ...BINDINGS, ...bindings }, without, outbound, build, wrapped, isolates, more };
    await self.#run();
    return self;
  }

  async #run() {
    const { bindings, without, outbound, build, wrapped, isolates, more } = this.options;
    const folder = join(ROOT, build);
    assert.ok(existsSync(join(folder, "index.js")), `${build}/ is missing: run npm run build`);
    const worker = {
      modulesRoot: folder,
      modules: [
        // The first module is the worker. Its path places it beside the build, which it imports.
        ...(wrapped ? [{ type: "ESModule", path: join(folder, "wrapped.js"), contents: readFileSync(WRAPPED, "utf8") }] : []),
        { type: "ESModule", path: join(folder, "index.js") },
        { type: "CompiledWasm", path: join(folder, "index_bg.wasm") },
      ],
      compatibilityDate: setting("compatibility_date"),
      bindings: Object.fromEntries(Object.entries(bindings).filter(([, value]) => value !== undefined)),
      d1Databases: without.includes("DB") ? {} : { DB: "DB" },
      kvNamespaces: without.includes("ENTITLEMENTS") ? {} : { ENTITLEMENTS: "ENTITLEMENTS" },
      ...(outbound !== "network" && { outboundService: outbound ?? (() => new Response("the worker asked for something", { status: 599 })) }),
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      ...more,
    };
    const options = {
      host: "127.0.0.1",
      port: 0,
      resourcePersistencePath: join(this.state, "v3"),
      handleStructuredLogs: ({ level, message }) => this.logs.push({ level, message }),
      workers: Array.from({ length: isolates }, (_, n) => ({ ...worker, name: `isolate-${n}` })),
    };
    this.mf = new Miniflare(convertV4MiniflareOptions(options));
    this.url = await this.mf.ready;
    this.urls = await Promise.all(options.workers.map(({ name }) => this.mf.unsafeGetDirectURL(name)));
  }

  /** Stops workerd and starts it again over the same data: every isolate's memory is gone. */
  async restart(bindings = {}) {
    await this.mf.dispose();
    Object.assign(this.options.bindings, bindings);
    await this.#run();
  }

  /** Kills workerd outright, in the middle of whatever it is doing, and starts it again over the same data. */
  async killAndRestart() {
    const processes = execFileSync("ps", ["-A", "-o", "pid=,ppid=,comm="], { encoding: "utf8" }).trim().split("\n");
    const workers = processes.map((line) => line.trim().split(/\s+/)).filter(([, parent, name]) => Number(parent) === process.pid && name.endsWith("workerd"));
    assert.equal(workers.length, 1, "one workerd is ours");
    process.kill(Number(workers[0][0]), "SIGKILL");
    await this.restart();
  }

  async stop() {
    await this.mf.dispose();
    rmSync(this.state, { recursive: true, force: true });
    this.#assertQuietAboutSecrets();
  }

  /** Whatever it was asked to do, its log holds no secret of ours, no session token and nothing of a payload's own. */
  #assertQuietAboutSecrets() {
    const secrets = Object.entries(this.options.bindings)
      .filter(([name, value]) => /SECRET|TOKEN|API_KEY|_HEADER/.test(name) && typeof value === "string")
      .flatMap(([, value]) => value.split(","))
      .map((secret) => secret.trim().replace(/^whsec_/, ""))
      .filter(({ length }) => length >= 16);
    for (const { message } of this.logs) {
      for (const secret of secrets) assert.ok(!message.includes(secret), `a secret is in the log: ${message}`);
      assert.doesNotMatch(message, /eyJ[\w-]+\.eyJ|ada@example\.test|4242 4242/);
    }
  }

  d1 = () => this.mf.getD1Database("DB");
  kv = () => this.mf.getKVNamespace("ENTITLEMENTS");

  /** One request over HTTP. The answer's JSON, if it has one, is in `body`. `isolate` is who answers, where there are several. */
  async request(method, path, { headers = {}, body, isolate } = {}) {
    const url = isolate === undefined ? this.url : this.urls[isolate];
    const response = await fetch(new URL(path, url), { method, headers, body, redirect: "manual" });
    const text = await response.text();
    const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, headers: response.headers, text, body: isJson && text ? JSON.parse(text) : undefined };
  }

  /** Delivers an event as Svix does. Answers the response; `event` may be an object or raw bytes. */
  deliver(event, options = {}) {
    const { headers, body } = sign(event, options);
    return this.request("POST", "/webhooks/clerk", { headers, body });
  }

  /** Delivers and expects an outcome. */
  async delivered(event, outcome = "stored", options = {}) {
    const answer = await this.deliver(event, options);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.body.outcome, outcome, answer.text);
    return answer.body;
  }

  /** Asks with a session token. */
  check(user, query = "plan=pro", { org, ...claims } = {}) {
    return this.request("GET", `/v1/check?${query}`, { headers: { authorization: `Bearer ${token(user, { org, ...claims })}` } });
  }

  /** Asks as a server. */
  serverCheck(query) {
    return this.request("GET", `/v1/check?${query}`, { headers: { authorization: `Bearer ${API_KEY}` } });
  }
}

let deliveries = 0;
const RUN = randomBytes(6).toString("hex");
export const eventId = () => `msg_${RUN}${String(deliveries++).padStart(8, "0")}`;
/** Letters alone: thirteen digits in a row may be a card number by chance, which is masked in what could not be read. */
const letters = () => randomBytes(9).toString("hex").replace(/\d/g, (digit) => "ghijklmnop"[digit]);
export const newUser = () => `user_${letters()}`;
export const newOrg = () => `org_${letters()}`;

/** The headers and body of a delivery. */
export function sign(event, { id = eventId(), secret = SECRET, at = Math.floor(Date.now() / 1000), family = "svix" } = {}) {
  const body = typeof event === "string" || Buffer.isBuffer(event) ? Buffer.from(event) : Buffer.from(JSON.stringify(event));
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const mac = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest("base64");
  return {
    headers: {
      "content-type": "application/json",
      [`${family}-id`]: id,
      [`${family}-timestamp`]: String(at),
      [`${family}-signature`]: `v1,${mac}`,
    },
    body,
  };
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A session token, version 2 unless `v1`. Undefined claims are left out. */
export function token(user, { org, v1 = false, keys = KEYS, header = {}, sub = user, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const organization = org === undefined ? {} : v1 ? { org_id: org, org_role: "org:admin" } : { o: { id: org, slg: "example", rol: "admin" } };
  const head = part({ alg: "RS256", cat: "cl_B7d4PD111AAA", kid: "ins_test", typ: "JWT", ...header });
  const body = part({
    ...(v1 ? {} : { v: 2, sts: "active" }),
    iss: ISSUER, sub, sid: "sess_1", iat: now, nbf: now - 10, exp: now + 60, jti: randomBytes(6).toString("hex"),
    ...organization, ...claims,
  });
  const signature = createSign("RSA-SHA256").update(`${head}.${body}`).sign(keys.privateKey, "base64url");
  return `${head}.${body}.${signature}`;
}

/** When every item of this run began. */
const BEGUN = Date.now() - DAY_MS;

/** A subscription item as Clerk sends it. The newest unless `at` says otherwise. */
export function item(payer, { id, plan = "pro", status = "active", at = Date.now(), start = BEGUN, end = start + 30 * DAY_MS, ...more } = {}) {
  const free = plan.startsWith("free_");
  return {
    object: "subscription_item", id: id ?? `csub_item_${plan}_${payer}`, status, is_free_trial: false, created_at: start, updated_at: at,
    period_start: start, period_end: free ? null : end, interval: "month", plan_id: `cplan_${plan}`,
    plan: { id: `cplan_${plan}`, slug: plan, name: plan, is_recurring: !free, amount: free ? 0 : 2000, currency: "USD" },
    subscription_id: `csub_${payer}`,
    payer: clerkPayer(payer),
    ...more,
  };
}

export function clerkPayer(payer) {
  const isOrg = payer.startsWith("org_");
  return {
    object: "commerce_payer", id: `cpayer_${payer}`, user_id: isOrg ? "" : payer, first_name: "Ada", last_name: "Example",
    email: "ada@example.test", organization_id: isOrg ? payer : "", organization_name: "", image_url: "https://img.example.test/a.png",
    created_at: 1764547200000, updated_at: 1764547200000,
  };
}

export const event = (type, data, more = {}) => ({
  object: "event", type, instance_id: "ins_2abcINSTANCE", timestamp: Date.now(),
  event_attributes: { http_request: { client_ip: "203.0.113.9", user_agent: "ExampleBrowser/1.0" } }, data, ...more,
});

/** `subscriptionItem.<status>` for an item in that status. */
export function itemEvent(payer, options = {}) {
  const data = item(payer, options);
  const name = { past_due: "pastDue" }[data.status] ?? data.status;
  return event(`subscriptionItem.${name}`, data, { timestamp: data.updated_at + 10 });
}

/** `subscription.updated` with these items. */
export function subscriptionEvent(payer, items, { at = Date.now(), type = "subscription.updated", ...more } = {}) {
  const inside = items.map((one) => ({ ...one, object: "commerce_subscription_item", payer: null, subscription_id: null }));
  return event(type, {
    object: "commerce_subscription", id: `csub_${payer}`, status: "active", active_at: at, canceled_at: null, ended_at: null,
    past_due_at: null, created_at: at, updated_at: at, latest_payment_id: "cpa_1", payment_source_id: "cps_1",
    payer_id: `cpayer_${payer}`, payer: clerkPayer(payer), items: inside, ...more,
  }, { timestamp: at + 10 });
}

/** The flat form. */
export const flatEvent = (type, data, more = {}) => ({ type, data, timestamp: Date.now(), ...more });

/** A seeded random source (mulberry32), so that a failing run can be repeated. */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { next, below: (limit) => Math.floor(next() * limit) };
}
