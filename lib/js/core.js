// The functions of the package: arguments become texts of JSON, and a failure is thrown. What they do is in ../src.
import { compiled } from "plangate:wasm";
import * as glue from "plangate:glue";

/** What was asked cannot be done. `code` says why, to programs. */
export class PlangateError extends Error {
  constructor({ code, detail }) {
    super(detail);
    this.name = "PlangateError";
    this.code = code;
  }
}

let isStarted = false;
let isBroken = false;

/** Calls the core. A panic, which would be a defect, leaves its memory in any state: the next call begins with a fresh one. */
function call(name, ...args) {
  if (!isStarted) {
    glue.initSync({ module: compiled() });
    isStarted = true;
  }
  if (isBroken) {
    glue.__wbg_reset_state();
    isBroken = false;
  }
  let text;
  try {
    text = glue[name](...args);
  } catch (thrown) {
    isBroken = thrown instanceof WebAssembly.RuntimeError;
    throw thrown;
  }
  const answer = JSON.parse(text);
  if (answer.error) throw new PlangateError(answer.error);
  return answer;
}

const refuse = (detail) => {
  throw new PlangateError({ code: "invalid_request", detail });
};

function bytes(body) {
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  // Another realm's (a test's, an edge runtime's) is none of ours, but a view all the same.
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  if (Object.prototype.toString.call(body) === "[object ArrayBuffer]") return new Uint8Array(body);
  return refuse("the body is neither a text nor bytes: give it as it came, before anything parsed it");
}

const millis = (now) => (typeof now === "number" ? now : Number(now ?? Number.NaN));

/** Headers as pairs. Node gives a header that came several times as a list. */
function pairs(headers) {
  const entries = typeof headers?.[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers ?? {});
  return entries.flatMap(([name, value]) => (value == null ? [] : [value].flat().map((one) => [name, String(one)])));
}

/** Secrets as pairs of a setting's name, empty for the provider's first one, and a text. */
function named(secrets) {
  if (typeof secrets === "string" || Array.isArray(secrets)) return [secrets].flat().map((text) => ["", String(text)]);
  return pairs(secrets);
}

/** The bodies of what was verified. Nothing else can be parsed. */
const bodies = new WeakMap();

function proven(provider, { event_id, sent_at }, body) {
  const verified = Object.freeze({ provider, event_id, sent_at });
  bodies.set(verified, body);
  return verified;
}

export function verify(provider, secrets, headers, body, now, ours) {
  const raw = bytes(body);
  const ask = JSON.stringify({ secrets: named(secrets), headers: pairs(headers), ours });
  return proven(provider, call("verify", String(provider), ask, raw, millis(now)), raw);
}

export function recorded(provider, { event_id, sent_at = null }, body) {
  return proven(provider, { event_id, sent_at: sent_at === null ? null : millis(sent_at) }, bytes(body));
}

export function parse(provider, verified, ours) {
  const body = bodies.get(verified) ?? refuse("only what `verify` or `recorded` answered can be parsed");
  if (verified.provider !== provider) refuse(`the delivery is of ${verified.provider}, not of ${provider}`);
  const { event_id, sent_at } = verified;
  return call("parse", String(provider), JSON.stringify({ event_id, sent_at, ours }), body);
}

export function sign(provider, secrets, event_id, body, now) {
  const ask = JSON.stringify({ secrets: named(secrets), event_id });
  return call("sign", String(provider), ask, bytes(body), millis(now));
}

const list = (states) => JSON.stringify([states ?? []].flat().filter((state) => state != null));

export function apply(state, delivery) {
  return call("apply", list(state), JSON.stringify(delivery));
}

export function keys(delivery) {
  return call("keys", JSON.stringify(delivery));
}

const answer = (name, state, catalog, question, now, policy) =>
  call(name, list(state), JSON.stringify(catalog ?? {}), JSON.stringify(policy ?? {}), JSON.stringify(question ?? {}), millis(now));

export function decide(state, catalog, question, now, policy) {
  return answer("decide", state, catalog, question, now, policy);
}

export function entitlements(state, catalog, question, now, policy) {
  return answer("entitlements", state, catalog, question, now, policy);
}
