"use client";
// plangate's answers in React. In scope: which questions are on the screen, and when to ask them again. Rendering never asks:
// requests are made by effects, which a server does not run, so that a server keeps nothing from one request to the next.

import { createContext, useCallback, useContext, useEffect, useMemo, useState, useSyncExternalStore, type ReactNode } from "react";
import type { CheckResult, Condition, Entitlements, EntitlementsResult, Initial, Plangate, PlangateError, Reason, SyncResult } from "./index.js";
import { keyOf, questionOf } from "./question.js";

/** An answer younger than this is not asked for again when something begins to show it. */
const FRESH_MS = 10_000;
/** How long an answer is kept that nothing shows any more, so that going back and forth does not flicker. */
const KEPT_MS = 30_000;
/** The shortest time between two refreshes because the page came to the front, which several events tell of. */
const BETWEEN_REFRESHES_MS = 5_000;
/** The longest timer: browsers overflow after 24 days, and clocks are set. */
const LONGEST_TIMER_MS = 3_600_000;
/** How soon a yes is asked about again whose end has passed by this clock and not by the worker's. */
const PAST_ITS_END_MS = 60_000;
/** The place of the entitlements among the answers; no question's key looks like it. */
const ENTITLEMENTS = "entitlements";

type Value = CheckResult | EntitlementsResult;

/** What is known about one question. A new object with every answer. */
interface Entry {
  readonly value: Value | null;
  /** When it was asked for. */
  readonly at: number;
}

interface Watched {
  count: number;
  ask(): Promise<Value>;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

const UNKNOWN: Entry = { value: null, at: -Infinity };

class Store {
  readonly initial: ReadonlyMap<string, Entry>;
  #entries: Map<string, Entry>;
  #watched = new Map<string, Watched>();
  #listeners = new Set<() => void>();
  /** Numbers the questions asked, so that a late answer never replaces one to a later question. */
  #asked = 0;
  #hasAsked = false;
  #answered = new Map<string, number>();
  #refreshedAt = -Infinity;

  constructor(
    readonly client: Plangate,
    initial: Initial | undefined,
  ) {
    this.initial = new Map(Object.entries(initial?.answers ?? {}).map(([key, value]) => [key, { value, at: initial!.at }]));
    this.#entries = new Map(this.initial);
  }

  subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  get = (key: string): Entry => this.#entries.get(key) ?? UNKNOWN;

  /** Begins to listen to the page and the client. */
  start(refreshesOnFocus: boolean) {
    const stop = this.client.onIdentityChange(() => this.#forgetAll());
    // What the server told of and nothing shows yet.
    for (const key of this.#entries.keys()) {
      if (this.#watched.has(key)) continue;
      const watched: Watched = { count: 0, ask: () => this.client.check(conditionOf(key)) };
      this.#watched.set(key, watched);
      this.#leave(key, watched);
    }
    if (!refreshesOnFocus) return stop;
    const shown = ({ type }: Event) => {
      // A computer that wakes up shows the page before it has a network, and what was asked then has no answer.
      const isEarly = type !== "online" && Date.now() - this.#refreshedAt < BETWEEN_REFRESHES_MS;
      if (document.visibilityState !== "visible" || isEarly) return;
      this.#refreshedAt = Date.now();
      void this.refreshAll();
    };
    const events = [[window, "focus"], [window, "online"], [document, "visibilitychange"]] as const;
    for (const [target, event] of events) target.addEventListener(event, shown);
    return () => {
      stop();
      for (const [target, event] of events) target.removeEventListener(event, shown);
    };
  }

  /** Keeps the answer to a question up to date while something shows it. */
  watch(key: string, ask: () => Promise<Value>) {
    const watched = this.#watched.get(key) ?? { count: 0, ask };
    this.#watched.set(key, watched);
    watched.count++;
    const leave = () => {
      if (--watched.count === 0) this.#leave(key, watched);
    };
    if (watched.count === 1) {
      clearTimeout(watched.timer);
      const { value, at } = this.get(key);
      const age = Date.now() - at;
      const isOver = hasEnded(value);
      if (isOver) this.#set(key, null);
      if (!isOver && age >= 0 && age < FRESH_MS) this.#schedule(key);
      else void this.refresh(key, ask);
    }
    return leave;
  }

  /** What nothing shows is kept for a while, but not past its end. */
  #leave(key: string, watched: Watched) {
    clearTimeout(watched.timer);
    const left = (endOf(this.get(key).value) ?? Infinity) - Date.now();
    watched.timer = setTimeout(() => {
      this.#watched.delete(key);
      this.#set(key, null);
    }, Math.min(left, KEPT_MS));
  }

  async refresh<Result extends Value>(key: string, ask: () => Promise<Result>): Promise<Result> {
    const number = ++this.#asked;
    const at = Date.now();
    const answered = ask();
    if (!this.#hasAsked) {
      this.#hasAsked = true;
      // Whether the server's answers are this caller's is not known, so they are asked about in the same request.
      for (const [other, { count, ask }] of this.#watched) {
        if (count > 0 && other !== key && this.get(other) === this.initial.get(other)) void this.refresh(other, ask);
      }
    }
    const value = await answered;
    this.put(key, value, at, number);
    return value;
  }

  async refreshAll(): Promise<void> {
    for (const [key, { value }] of this.#entries) if (hasEnded(value)) this.#set(key, null);
    await Promise.all([...this.#watched].filter(([, { count }]) => count > 0).map(([key, { ask }]) => this.refresh(key, ask)));
  }

  /** Forgets what nothing shows, when it may have changed: it is asked about when it is shown. */
  forgetUnseen() {
    this.#forget((key) => !this.#watched.get(key)?.count);
  }

  put(key: string, value: Value, at: number, number = ++this.#asked) {
    // What nothing watches has no end, and would be shown again whenever it is watched next.
    if (!this.#watched.has(key) || number < (this.#answered.get(key) ?? 0)) return;
    this.#answered.set(key, number);
    this.#set(key, { value, at });
    this.#schedule(key);
  }

  /** What was known is somebody else's. */
  #forgetAll() {
    this.#forget(() => true);
    // The client is in the middle of a request of the new caller's, and what is asked now must not be part of it.
    queueMicrotask(() => void this.refreshAll());
  }

  /** Forgets answers, and those that are on their way. */
  #forget(isMeant: (key: string) => boolean) {
    const number = ++this.#asked;
    for (const key of new Set([...this.#entries.keys(), ...this.#watched.keys()].filter(isMeant))) {
      this.#answered.set(key, number);
      this.#set(key, null);
    }
  }

  /** A yes is not known to hold after its end, so it is unknown until it was asked about again. */
  #schedule(key: string) {
    const watched = this.#watched.get(key);
    const end = endOf(this.get(key).value);
    if (!watched || watched.count === 0) return;
    clearTimeout(watched.timer);
    if (end === null) return;
    const left = end - Date.now();
    const delay = left > 0 ? Math.min(left, LONGEST_TIMER_MS) : PAST_ITS_END_MS;
    watched.timer = setTimeout(() => {
      if (Date.now() < end) return this.#schedule(key);
      if (left > 0) this.#set(key, null);
      void this.refresh(key, watched.ask);
    }, delay);
  }

  #set(key: string, entry: Entry | null) {
    if (entry) this.#entries.set(key, entry);
    else if (!this.#entries.delete(key)) return;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** When a yes ends, in milliseconds since 1970; null for what does not. */
function endOf(value: Value | null): number | null {
  return value && "allowed" in value && value.allowed && value.valid_until ? Date.parse(value.valid_until) : null;
}

function hasEnded(value: Value | null): boolean {
  const end = endOf(value);
  return end !== null && Date.now() >= end;
}

const Context = createContext<Store | null>(null);

function useStore(): Store {
  const store = useContext(Context);
  if (!store) throw new Error("plangate: this needs a <PlangateProvider> around it");
  return store;
}

/** What a `PlangateProvider` is given. */
export interface PlangateProviderProps {
  /** Made once, not while rendering: what is known of one client's answers is forgotten with it. */
  client: Plangate;
  /** The server's answers, from `prefetch`. */
  initial?: Initial | undefined;
  /**
   * Who is signed in, in any form: when it changes, everything known is forgotten at once. Without it that happens with
   * the first request made with another's token. Undefined is not known yet.
   */
  identity?: string | null | undefined;
  /** Whether to ask again when the page comes to the front. True unless told otherwise. */
  refreshOnFocus?: boolean;
  children?: ReactNode;
}

/** Gives what is below it a client. */
export function PlangateProvider({ client, initial, identity, refreshOnFocus = true, children }: PlangateProviderProps) {
  const [held, hold] = useState(() => ({ client, identity, store: new Store(client, initial) }));
  let current = held;
  const isOther = identity !== undefined && held.identity !== undefined && identity !== held.identity;
  if (client !== held.client || isOther) current = { client, identity, store: new Store(client, undefined) };
  else if (identity !== undefined && held.identity === undefined) current = { ...held, identity };
  if (current !== held) hold(current);
  const { store } = current;
  useEffect(() => store.start(refreshOnFocus), [store, refreshOnFocus]);
  return <Context.Provider value={store}>{children}</Context.Provider>;
}

/** The answer to a question, as it stands. */
export interface Entitlement {
  /** False until it is known otherwise. */
  readonly allowed: boolean;
  /** Whether there is an answer, be it an error's. */
  readonly isLoaded: boolean;
  readonly reason: Reason | null;
  /** Whether it is the last answer of a worker that cannot be asked now. */
  readonly stale: boolean;
  readonly error: PlangateError | null;
  /** All of it; null until it is loaded. */
  readonly result: CheckResult | null;
  /** Asks again, now. */
  readonly refresh: () => Promise<CheckResult>;
}

/** Whether the signed-in payer may have this, kept up to date. */
export function useEntitlement(condition: Condition): Entitlement {
  const store = useStore();
  // The question as a text, so that a condition written in place is the same one at each rendering.
  const key = keyOf(questionOf(condition));
  const ask = useCallback(() => store.client.check(conditionOf(key)), [store, key]);
  const { value } = useEntry(store, key, ask);
  const refresh = useCallback(() => store.refresh(key, ask), [store, key, ask]);
  return useMemo(() => {
    const result = value as CheckResult | null;
    return {
      allowed: result?.allowed === true, isLoaded: result !== null, reason: result?.reason ?? null, stale: result?.stale === true,
      error: result?.error ?? null, result, refresh,
    };
  }, [value, refresh]);
}

/** The condition that a key was made of. */
function conditionOf(key: string): Condition {
  const [plan, feature] = JSON.parse(key) as (string | null)[];
  return { plan: plan ?? undefined, feature: feature ?? undefined } as Condition;
}

/** Everything the signed-in payer holds, kept up to date. */
export interface HeldEntitlements {
  /** Null until they are loaded, and when they cannot be. */
  readonly entitlements: Entitlements | null;
  readonly isLoaded: boolean;
  readonly error: PlangateError | null;
  /** Asks again, now. */
  readonly refresh: () => Promise<EntitlementsResult>;
  /** Has the worker ask the provider's API, and then asks everything again that is shown. */
  readonly sync: () => Promise<SyncResult>;
}

export function useEntitlements(): HeldEntitlements {
  const store = useStore();
  const ask = useCallback(() => store.client.entitlements(), [store]);
  const { value } = useEntry(store, ENTITLEMENTS, ask);
  const refresh = useCallback(() => store.refresh(ENTITLEMENTS, ask), [store, ask]);
  const sync = useCallback(async () => {
    const result = await store.client.sync();
    store.forgetUnseen();
    await store.refreshAll();
    return result;
  }, [store]);
  return useMemo(() => {
    const result = value as EntitlementsResult | null;
    return { entitlements: result?.entitlements ?? null, isLoaded: result !== null, error: result?.error ?? null, refresh, sync };
  }, [value, refresh, sync]);
}

/** An entitlement on the page that checkout returns to. */
export interface CheckoutReturn extends Entitlement {
  /** Whether what was bought may still show up. */
  readonly isWaiting: boolean;
  /** Why the provider's API could not be asked. The webhook may bring the same. */
  readonly syncError: PlangateError | null;
}

/** For the page that checkout returns to: syncs and asks a few times until what was bought shows. */
export function useCheckoutReturn(condition: Condition, options: { delaysMs?: readonly number[] } = {}): CheckoutReturn {
  const store = useStore();
  const entitlement = useEntitlement(condition);
  const key = keyOf(questionOf(condition));
  const delays = JSON.stringify(options.delaysMs ?? null);
  const [state, setState] = useState<{ isWaiting: boolean; syncError: PlangateError | null }>({ isWaiting: true, syncError: null });
  useEffect(() => {
    const controller = new AbortController();
    // Who leaves before the end finds no answer of before the payment either.
    store.forgetUnseen();
    setState({ isWaiting: true, syncError: null });
    const finish = async () => {
      const { sync_error, ...result } = await store.client.syncUntil(conditionOf(key), {
        delaysMs: JSON.parse(delays) ?? undefined,
        signal: controller.signal,
      });
      store.put(key, result as CheckResult, Date.now());
      setState({ isWaiting: false, syncError: sync_error });
      // Anything else may have been bought with it.
      store.forgetUnseen();
      await store.refreshAll();
    };
    // It rejects only when it is aborted, and then nobody is left to be told.
    finish().catch(() => {});
    return () => controller.abort();
  }, [store, key, delays]);
  return useMemo(() => ({ ...entitlement, ...state }), [entitlement, state]);
}

/** What a `Gate` asks and shows. */
export type GateProps = Condition & {
  /** Shown to those who may. */
  children?: ReactNode;
  /** Shown to those who may not, and when it cannot be known. */
  fallback?: ReactNode | ((entitlement: Entitlement) => ReactNode);
  /** Shown until it is known. */
  loading?: ReactNode;
};

/** Shows its children to those who may have the plan and the feature, as Clerk's `<Show>` does. It hides, and protects nothing. */
export function Gate({ plan, feature, children, fallback = null, loading = null }: GateProps) {
  const entitlement = useEntitlement({ plan, feature } as Condition);
  if (!entitlement.isLoaded) return <>{loading}</>;
  if (entitlement.allowed) return <>{children}</>;
  return <>{typeof fallback === "function" ? fallback(entitlement) : fallback}</>;
}

/** An entry, watched while it is shown. The first rendering in a browser sees what the server saw. */
function useEntry(store: Store, key: string, ask: () => Promise<Value>): Entry {
  const entry = useSyncExternalStore(
    store.subscribe,
    () => store.get(key),
    () => store.initial.get(key) ?? UNKNOWN,
  );
  useEffect(() => store.watch(key, ask), [store, key, ask]);
  return entry;
}
