// A plangate worker's answers, in browsers, Node, Workers and Deno. In scope: who asks, one request for the questions of one
// tick, and what to answer when the worker cannot. Not in scope: deciding anything. Only `fetch`, timers and `atob` are needed.

import type { components, paths } from "./contract.js";
import { isShort, keyOf, questionOf, type Condition, type Question } from "./question.js";

export type { Condition, Name } from "./question.js";

type Schemas = components["schemas"];

/** Why a check was answered as it was. */
export type Reason = Schemas["Reason"];
/** A payer: a user or an organization. */
export type Payer = Schemas["Payer"];
/** What the worker answers to one check. */
export type Answer = Schemas["CheckAnswer"];
/** Everything a payer holds. */
export type Entitlements = Schemas["Entitlements"];
/** What came of asking the provider's API about each payer. */
export type Synced = paths["/v1/sync"]["post"]["responses"][200]["content"]["application/json"]["synced"];

/** Why there is no answer from the worker. `docs/client.md` lists the codes. */
export interface PlangateError {
  /** The worker's code, or the client's own: `signed_out`, `token_unavailable`, `network`, `timeout`, `invalid_response`, `http_error`. */
  readonly code: string;
  /** The HTTP status; null when there was no response. */
  readonly status: number | null;
  /** The id of the request in the worker's log. */
  readonly request_id: string | null;
  /** A sentence for developers. */
  readonly detail: string;
  /** When to come back, where the worker said so. Nothing here waits for it. */
  readonly retry_after_seconds: number | null;
}

type Unanswered = { [Field in keyof Answer]: Field extends "allowed" ? false : null };

/**
 * The answer to a check: the worker's (`error` is null), its last one (`stale`), or none (`reason` is null and `allowed` false).
 * `age_seconds` is how long ago the worker gave it.
 */
export type CheckResult =
  | Readonly<Answer & { stale: false; age_seconds: 0; error: null }>
  | Readonly<Answer & { stale: true; age_seconds: number; error: PlangateError }>
  | Readonly<Unanswered & { stale: false; age_seconds: 0; error: PlangateError }>;

/** What is held, or why that is not known. */
export type EntitlementsResult =
  | { readonly entitlements: Entitlements; readonly error: null }
  | { readonly entitlements: null; readonly error: PlangateError };

/** What came of a sync and what is held after it, or why that is not known. */
export type SyncResult =
  | { readonly synced: Synced; readonly entitlements: Entitlements; readonly error: null }
  | { readonly synced: null; readonly entitlements: null; readonly error: PlangateError };

/** Gives the session token, or null when nobody is signed in: Clerk's `getToken`. With `skipCache` it must be a new one. */
export type GetToken = (options?: { skipCache?: boolean; template?: string }) => Promise<string | null>;

/** What both kinds of client can be told. */
export interface CommonOptions {
  /** Where the worker is. */
  url: string | URL;
  /** Instead of the global `fetch`; of a service binding: `env.PLANGATE.fetch.bind(env.PLANGATE)`. */
  fetch?: typeof fetch;
  /**
   * What a check is answered while the worker cannot be reached or answers 429 or 5xx. `deny` (the default) is no.
   * `last-known` repeats the last yes to the same caller, marked `stale`, within `maxStaleSeconds` and its `valid_until`.
   */
  onError?: "deny" | "last-known";
  /** 0 to 3600; 300 unless told otherwise. */
  maxStaleSeconds?: number;
  /** How long a request may take, with getting the token; 10,000 unless told otherwise. */
  timeoutMs?: number;
}

/** A client that asks for whoever is signed in. */
export interface SessionOptions extends CommonOptions {
  getToken: GetToken;
  apiKey?: undefined;
}

/** A client that asks for anybody. Only on a server. */
export interface ServerOptions extends CommonOptions {
  /** One of the worker's `API_KEYS`. */
  apiKey: string;
  getToken?: undefined;
}

/** How one call may be broken off. It then rejects with the signal's reason. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

/** How `syncUntil` goes about it. */
export interface SyncUntilOptions extends CallOptions {
  /** The pauses between looks, at most ten. `[2000, 3000, 5000, 8000]` unless told otherwise: five looks within 18 s. */
  delaysMs?: readonly number[];
}

/** What Clerk's `has()` is asked. Roles, permissions and reverification are Clerk's to answer. */
export type HasParams = Condition & { role?: never; permission?: never; reverification?: never };

/** Asks for one caller. Only misuse throws (`TypeError`), and only an aborted signal rejects, or Next.js that stops rendering. */
export interface Plangate {
  /** May this payer have this? The questions of one tick go out as one request. */
  check(condition: Condition, options?: CallOptions): Promise<CheckResult>;
  /** Whether `check` says yes, in the shape of Clerk's `has()`. */
  has(params: HasParams, options?: CallOptions): Promise<boolean>;
  /** Everything the payer holds. Never answered without the worker. */
  entitlements(options?: CallOptions): Promise<EntitlementsResult>;
  /** Has the worker ask the provider's API, now: for the page that checkout returns to. */
  sync(options?: CallOptions): Promise<SyncResult>;
  /** Syncs and checks until the answer is yes, a few times at most. Answers the last check, and why the last sync failed if it did. */
  syncUntil(condition: Condition, options?: SyncUntilOptions): Promise<CheckResult & { readonly sync_error: PlangateError | null }>;
  /** Tells when the token is another user's or organization's than before. Answers how to stop that. */
  onIdentityChange(listener: () => void): () => void;
}

/** Asks for anybody. */
export interface PlangateServer {
  /** A client for this user, this organization, or both together. With neither, as when nobody is signed in, the answer is no. */
  for(payer: { userId?: string | null | undefined; orgId?: string | null | undefined }): Plangate;
}

/** The most questions of one request (`MAX_QUESTIONS` of the worker). */
const MAX_QUESTIONS = 100;
/** The longest that a last yes is repeated, whatever `maxStaleSeconds` says. */
const MAX_STALE_SECONDS = 3600;
/** The most answers remembered for `last-known`; about half a megabyte. */
const MAX_REMEMBERED = 1000;
const MAX_DELAYS = 10;
/** The worker's reasons for a 401 that a new token can do away with. */
const CURED_BY_A_NEW_TOKEN = ["token_expired", "token_invalid_signature", "jwk_kid_mismatch", "session_pending"];

const UNANSWERED: Unanswered = {
  allowed: false, reason: null, plan: null, status: null, payer: null, valid_until: null, as_of: null, source: null, version: null,
};

/** A client that asks for whoever is signed in, or with an API key for anybody. Throws a `TypeError` for options it cannot work with. */
export function createPlangate(options: SessionOptions): Plangate;
export function createPlangate(options: ServerOptions): PlangateServer;
export function createPlangate(options: SessionOptions | ServerOptions): Plangate | PlangateServer {
  const { url, getToken, apiKey, onError = "deny", maxStaleSeconds = 300, timeoutMs = 10_000 } = options;
  const { protocol, origin, pathname } = parse(url);
  const demand = (holds: unknown, problem: string) => {
    if (!holds) throw new TypeError(`plangate: ${problem}`);
  };
  demand(/^https?:$/.test(protocol), "`url` must be http or https");
  demand((typeof getToken === "function") !== (typeof apiKey === "string" && apiKey !== ""), "give either `getToken` or `apiKey`");
  demand(apiKey === undefined || typeof document === "undefined", "an `apiKey` does not belong in a browser; use `getToken`");
  demand(onError === "deny" || onError === "last-known", "`onError` is `deny` or `last-known`");
  demand(maxStaleSeconds >= 0 && maxStaleSeconds <= MAX_STALE_SECONDS, `\`maxStaleSeconds\` is 0 to ${MAX_STALE_SECONDS}`);
  demand(timeoutMs > 0 && timeoutMs < 2 ** 31, "`timeoutMs` must be more than 0");
  const settings: Settings = {
    base: origin + pathname.replace(/\/+$/, ""),
    fetch: options.fetch ?? ((...request) => fetch(...request)),
    timeoutMs,
    memory: new Memory(onError === "last-known" ? maxStaleSeconds * 1000 : 0),
  };
  if (getToken) return clientFor(settings, { getToken });
  return {
    for(payer) {
      const { userId, orgId, ...rest } = payer;
      demand(Object.keys(rest).length === 0, "a payer is `userId`, `orgId`, or both");
      for (const id of [userId, orgId]) demand(id == null || (typeof id === "string" && id && isShort(id)), "an id has 1 to 255 bytes");
      const named = { ...(userId != null && { user_id: userId }), ...(orgId != null && { org_id: orgId }) };
      const isNobody = userId == null && orgId == null;
      return clientFor(settings, { getToken: async () => (isNobody ? null : apiKey!), payer: named });
    },
  };
}

/** Answers for the first render in a browser: what `initial` of `PlangateProvider` takes. Can be serialized. */
export interface Initial {
  /** When it was asked for, in milliseconds since 1970. */
  readonly at: number;
  readonly answers: { readonly [question: string]: CheckResult };
}

/** Asks on a server for what a page is about to show. What could not be answered is left out, and asked again by the browser. */
export async function prefetch(client: Plangate, conditions: readonly Condition[], options?: CallOptions): Promise<Initial> {
  const at = Date.now();
  const asked = conditions.map(async (condition) => [keyOf(questionOf(condition)), await client.check(condition, options)] as const);
  return { at, answers: Object.fromEntries((await Promise.all(asked)).filter(([, result]) => result.error === null)) };
}

interface Settings {
  base: string;
  fetch: typeof fetch;
  timeoutMs: number;
  memory: Memory;
}

interface Caller {
  getToken: GetToken;
  /** Whom a server asks about. */
  payer?: { user_id?: string; org_id?: string };
}

/** What came of a request. `identity` is who asked, as far as that is known. */
type Outcome<Data> = { identity: string | null } & ({ data: Data; error: null } | { data: null; error: PlangateError });

/** One question that waits for its answer, and everyone who asked it. */
interface Waiting {
  key: string;
  question: Question;
  callers: Set<(result: CheckResult | Promise<never>) => void>;
  /** Breaks off the request when nobody waits for any of its answers any more. */
  left(): void;
}

function clientFor({ base, fetch: send, timeoutMs, memory }: Settings, { getToken, payer }: Caller): Plangate {
  const listeners = new Set<() => void>();
  let identity: string | null | undefined;
  let queue: Map<string, Waiting> | undefined;

  /** Notes whose token it is. What is remembered of anybody else is forgotten. */
  function identify(token: string | null): string | null {
    if (payer) return JSON.stringify(payer);
    const now = token && subjectOf(token);
    if (now !== identity) {
      const isFirst = identity === undefined;
      identity = now;
      memory.clear();
      if (!isFirst) for (const listener of [...listeners]) listener();
    }
    return now;
  }

  /** One request; with a new token once more, where that may help. Never rejects, unless it is aborted or rendering stops. */
  async function ask<Data>(method: string, path: string, body: object | null, isData: (data: any) => boolean, signal?: AbortSignal): Promise<Outcome<Data>> {
    signal?.throwIfAborted();
    const deadline = new AbortController();
    const abort = () => deadline.abort(signal?.reason);
    const timer = setTimeout(() => deadline.abort(), timeoutMs);
    signal?.addEventListener("abort", abort);
    let who: string | null = null;
    const attempt = async (skipCache: boolean, refused?: Outcome<Data> & { token: string }): Promise<Outcome<Data>> => {
      let token: string | null;
      try {
        token = await getToken(skipCache ? { skipCache } : undefined);
      } catch (error) {
        if (isOfRendering(error)) throw error;
        return refused ?? { identity: null, data: null, error: own("token_unavailable", String(error)) };
      }
      // A server's key has no newer one.
      if (refused && token === refused.token) return refused;
      who = identify(token);
      if (!token) return { identity: null, data: null, error: own("signed_out", "nobody is signed in") };
      const headers: Record<string, string> = { authorization: `Bearer ${token}` };
      if (body) headers["content-type"] = "application/json";
      const response = await send(base + path, { method, headers, body: body && JSON.stringify(body), signal: deadline.signal, ...uncached() });
      const text = await response.text();
      const data = parseJson(text);
      if (response.status === 200) {
        if (isData(data)) return { identity: who, data, error: null };
        return { identity: who, data: null, error: problem("invalid_response", "this is not an answer of plangate", response) };
      }
      const error = problem(data?.code ?? "http_error", data?.detail ?? `the answer is ${response.status}`, response, data?.request_id);
      const outcome = { identity: who, data: null, error };
      const isCurable = response.status === 401 && CURED_BY_A_NEW_TOKEN.includes(error.code);
      return isCurable && !refused ? attempt(true, { ...outcome, token }) : outcome;
    };
    try {
      return await Promise.race([attempt(false), rejection(deadline.signal)]);
    } catch (error) {
      signal?.throwIfAborted();
      if (isOfRendering(error)) throw error;
      const failure = deadline.signal.aborted ? own("timeout", `no answer within ${timeoutMs} ms`) : own("network", reasonOf(error));
      return { identity: who, data: null, error: failure };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  function flush() {
    const waiting = [...queue!.values()].filter(({ callers }) => callers.size > 0);
    queue = undefined;
    for (let start = 0; start < waiting.length; start += MAX_QUESTIONS) void askAll(waiting.slice(start, start + MAX_QUESTIONS));
  }

  async function askAll(batch: Waiting[]) {
    const controller = new AbortController();
    for (const one of batch) {
      one.left = () => {
        if (batch.every(({ callers }) => callers.size === 0)) controller.abort();
      };
    }
    const isData = (data: any) =>
      Array.isArray(data?.results) && data.results.length === batch.length && data.results.every((answer: any) => typeof answer?.allowed === "boolean");
    const asked = memory.ask();
    const body = { checks: batch.map(({ question }) => question), ...payer };
    const answered = ask<Schemas["CheckAnswers"]>("POST", "/v1/check", body, isData, controller.signal);
    const outcome = await answered.catch(() => null);
    if (outcome === null) {
      // Aborted only when there is nobody left to tell.
      for (const { callers } of batch) for (const settle of callers) settle(answered as Promise<never>);
      return;
    }
    batch.forEach(({ key, callers }, index) => {
      const { identity, data, error } = outcome;
      let result: CheckResult;
      if (error) {
        result = memory.recall(identity, key, error) ?? { ...UNANSWERED, stale: false, age_seconds: 0, error };
      } else {
        const answer = data.results[index]!;
        memory.keep(identity, key, answer, asked);
        result = { ...answer, stale: false, age_seconds: 0, error: null };
      }
      for (const settle of callers) settle(result);
    });
  }

  const client: Plangate = {
    check(condition, { signal } = {}) {
      const question = questionOf(condition);
      if (signal?.aborted) return Promise.reject(signal.reason);
      if (!queue) {
        queue = new Map();
        queueMicrotask(flush);
      }
      const key = keyOf(question);
      const waiting = queue.get(key) ?? { key, question, callers: new Set(), left() {} };
      queue.set(key, waiting);
      return new Promise((resolve, reject) => {
        const leave = () => {
          waiting.callers.delete(settle);
          waiting.left();
          reject(signal!.reason);
        };
        const settle = (result: CheckResult | Promise<never>) => {
          signal?.removeEventListener("abort", leave);
          resolve(result);
        };
        waiting.callers.add(settle);
        signal?.addEventListener("abort", leave, { once: true });
      });
    },

    has: (params, options) => client.check(params, options).then(({ allowed }) => allowed),

    async entitlements({ signal } = {}) {
      const path = payer ? `/v1/entitlements?${new URLSearchParams(payer)}` : "/v1/entitlements";
      const { data, error } = await ask<Entitlements>("GET", path, null, isEntitlements, signal);
      return error ? { entitlements: null, error } : { entitlements: data, error };
    },

    async sync({ signal } = {}) {
      const isData = (data: any) => Array.isArray(data?.synced) && isEntitlements(data.entitlements);
      const outcome = await ask<{ synced: Synced; entitlements: Entitlements }>("POST", "/v1/sync", payer ?? null, isData, signal);
      if (outcome.error) return { synced: null, entitlements: null, error: outcome.error };
      // What was said before may be what the sync has put right.
      memory.revoke(outcome.identity);
      return { synced: outcome.data.synced, entitlements: outcome.data.entitlements, error: null };
    },

    syncUntil(condition, { signal, delaysMs = [2000, 3000, 5000, 8000] } = {}) {
      questionOf(condition);
      if (delaysMs.length > MAX_DELAYS) throw new TypeError(`plangate: at most ${MAX_DELAYS} \`delaysMs\``);
      return (async () => {
        let sync_error: PlangateError | null = null;
        for (let look = 0; ; look++) {
          // Where there is no provider's API to ask, the webhook may still come. A request that was lost may be made again.
          if (!sync_error || sync_error.status === null) sync_error = (await client.sync({ signal })).error;
          const result = await client.check(condition, { signal });
          const delay = delaysMs[look];
          if (result.allowed || delay === undefined || isFinal(result.error)) return { ...result, sync_error };
          await pause(delay, signal);
        }
      })();
    },

    onIdentityChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  return client;
}

/** When something was asked, among all that was. */
interface Asked {
  number: number;
  at: number;
}

/** The last yes to each caller's questions, for when the worker cannot be asked. */
class Memory {
  #held = new Map<string, { owner: string | null; answer: Answer; number: number; at: number }>();
  #asked = 0;
  /** The question whose answer overruled what was asked before it: of a place by a no, of all a caller's by more than that. */
  #overruled = new Map<string, number>();
  /** What was asked before is not remembered at all: what may have overruled it is forgotten. */
  #first = 0;

  /** `maxAgeMs` of 0 remembers nothing. */
  constructor(readonly maxAgeMs: number) {}

  ask(): Asked {
    // Next.js refuses to prerender what looks at a clock without need.
    return { number: ++this.#asked, at: this.maxAgeMs && Date.now() };
  }

  /** Keeps the yes to the last question, from the time it was asked; a no takes it away, and one that is late and was asked for before. */
  keep(owner: string | null, key: string, answer: Answer, { number, at }: Asked) {
    const place = `${owner} ${key}`;
    const overruled = Math.max(this.#overruled.get(place) ?? 0, this.#overruled.get(`${owner}`) ?? 0);
    const since = Math.max(this.#first, overruled, this.#held.get(place)?.number ?? 0);
    if (answer.allowed && number <= since) return;
    this.#held.delete(place);
    if (!answer.allowed) return this.#overrule(place, number);
    if (this.maxAgeMs === 0) return;
    this.#held.set(place, { owner, answer, number, at });
    // The first of a map is what was kept longest ago.
    if (this.#held.size > MAX_REMEMBERED) this.#held.delete(this.#held.keys().next().value!);
  }

  recall(owner: string | null, key: string, error: PlangateError): CheckResult | null {
    const { status } = error;
    // A refusal is the worker's word, and what it said to this caller before counts no more.
    if (status !== null && status >= 400 && status < 500 && status !== 429) {
      this.revoke(owner);
      return null;
    }
    const held = this.#held.get(`${owner} ${key}`);
    if (!held) return null;
    const now = Date.now();
    const age = now - held.at;
    const { valid_until } = held.answer;
    // A clock that went back makes an age negative, and a time that cannot be read is not a number: neither may grant.
    const isGood = age >= 0 && age < this.maxAgeMs && (valid_until === null || now < Date.parse(valid_until));
    return isGood ? { ...held.answer, stale: true, age_seconds: Math.floor(age / 1000), error } : null;
  }

  /** Forgets all. */
  clear() {
    this.#held.clear();
  }

  /** Forgets one caller, with the answers that are on their way. */
  revoke(owner: string | null) {
    for (const [place, held] of this.#held) if (held.owner === owner) this.#held.delete(place);
    this.#overrule(`${owner}`, this.#asked);
  }

  #overrule(what: string, number: number) {
    if (this.maxAgeMs === 0) return;
    number = Math.max(number, this.#overruled.get(what) ?? 0);
    this.#overruled.delete(what);
    this.#overruled.set(what, number);
    if (this.#overruled.size <= MAX_REMEMBERED) return;
    const [oldest, last] = this.#overruled.entries().next().value!;
    this.#overruled.delete(oldest);
    this.#first = Math.max(this.#first, last);
  }
}

/** Whose a session token is: its user and organization. It is not verified: this only tells callers apart. */
function subjectOf(token: string): string {
  try {
    const { sub, o, org_id } = JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/")));
    if (typeof sub === "string") return JSON.stringify([sub, o?.id ?? org_id]);
  } catch {
    // Not a token that can be read: then every token is a caller of its own.
  }
  return token;
}

/**
 * Keeps a framework from caching in front of `fetch`: an answer is for now. Next.js would render a page with a server's key ahead of
 * time, and give everybody the answer of the build. A Worker with a compatibility date before 2024-11-11 does not have the field,
 * and throws where it is given.
 */
const uncached = (): RequestInit => (typeof Request === "function" && "cache" in Request.prototype ? { cache: "no-store" } : {});

const isEntitlements = (data: any) => Array.isArray(data?.plans) && Array.isArray(data.features);

/** Whether asking again soon would be answered the same, or was asked not to be done. */
function isFinal(error: PlangateError | null): boolean {
  return error !== null && (error.code === "signed_out" || error.retry_after_seconds !== null || (error.status !== null && error.status < 500));
}

/** An error that no response told of. */
const own = (code: string, detail: string): PlangateError => ({ code, status: null, request_id: null, detail, retry_after_seconds: null });

function problem(code: unknown, detail: unknown, { status, headers }: Response, requestId: unknown = headers.get("x-request-id")): PlangateError {
  return {
    code: String(code),
    status,
    request_id: requestId == null ? null : String(requestId),
    detail: String(detail),
    retry_after_seconds: retryAfter(headers.get("retry-after")),
  };
}

/**
 * Whether this is no failure, but how Next.js and React stop rendering ahead of time what is not static. It must get through. What
 * a server's failure leaves a browser to know has a digest too: a number.
 */
const isOfRendering = (error: unknown): boolean => /^[A-Z]/.test(String((error as { digest?: unknown } | null)?.digest ?? ""));

/** Node tells in the cause what went wrong; the message is always "fetch failed". */
function reasonOf(error: unknown): string {
  const cause = (error as { cause?: { message?: unknown } } | null)?.cause?.message;
  return cause ? `${error} (${cause})` : String(error);
}

/** Seconds, or a date. */
function retryAfter(text: string | null): number | null {
  if (text === null) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

function parse(url: string | URL): URL {
  try {
    return new URL(url);
  } catch {
    throw new TypeError("plangate: `url` must be the address of the worker");
  }
}

/** Null for what is not JSON. */
function parseJson(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Rejects when the signal is aborted. */
function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
