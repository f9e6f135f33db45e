// Written by hand, and held against the code by tests/lib/types.ts and tests/lib.

/** Who may send webhooks. */
export type Provider =
  | "clerk" | "lemonsqueezy" | "paddle" | "polar" | "revenuecat" | "standard-webhooks" | "stripe";

/** A provider, or what a grant by hand is stored under. */
export type Source = Provider | "operator" | (string & {});

/** Milliseconds since 1970, or a `Date`. The package never reads a clock. */
export type Now = number | Date;

/** A body as it came, before anything parsed it. */
export type Body = string | Uint8Array | ArrayBuffer;

/** Headers: a `Headers`, Node's `request.headers`, a plain object, or pairs. Names are compared without regard to case. */
export type HeadersLike =
  | Iterable<readonly [string, string]>
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Signing secrets, any of which may fit. A text may be a comma list. By the name of its setting (`STRIPE_WEBHOOK_SECRET`),
 * where a provider has several kinds.
 */
export type Secrets = string | readonly string[] | Readonly<Record<string, string | readonly string[]>>;

/** What tells our events from those of a neighboring instance or environment. */
export interface Ours {
  clerk_instance_id?: string;
  /** `production` unless said otherwise. */
  environment?: "production" | "sandbox";
  /** 60 unless said otherwise. */
  paddle_tolerance_seconds?: number;
}

/** Why something was refused. The first three are answers to a forged, damaged or late delivery: 400. */
export type ErrorCode =
  | "missing_headers"
  | "invalid_signature"
  | "timestamp_out_of_tolerance"
  | "unknown_provider"
  | "provider_not_configured"
  | "unusable_secret"
  | "unusable_catalog"
  | "unreadable_state"
  | "invalid_request";

/** What every function throws. `message` never holds a secret. */
export class PlangateError extends Error {
  readonly name: "PlangateError";
  readonly code: ErrorCode;
}

declare const verified: unique symbol;

/** A delivery that is believed. Only `verify` and `recorded` make one, and `parse` takes nothing else. */
export interface Verified {
  readonly provider: Provider;
  /** The idempotency key: the same for every attempt to deliver one event. */
  readonly event_id: string;
  /** The signed time of this attempt, in milliseconds, where the scheme has one. */
  readonly sent_at: number | null;
  readonly [verified]: true;
}

/** Whom it is about: `user:<id>` or `org:<id>`. */
export type PayerKey = `user:${string}` | `org:${string}`;

/** One thing that happened, in normal form. Times are milliseconds since 1970. */
export interface Event {
  readonly type: string;
  readonly occurred_at: number;
  readonly payer: PayerKey | null;
  readonly deleted_at?: number | null;
  readonly records?: readonly EventRecord[];
  readonly payments?: readonly EventPayment[];
  readonly links?: readonly { readonly customer: string; readonly payer: PayerKey; readonly version: string }[];
  readonly signed?: { readonly by: string; readonly why: string };
}

/** A subscription, or an item of one. */
export interface EventRecord {
  readonly id: string;
  /** Compares as text: the newer of two versions wins. */
  readonly version: string;
  readonly occurred_at: number;
  readonly payer: PayerKey | null;
  readonly customer: string | null;
  readonly subscription: string | null;
  readonly plan: { readonly key: string; readonly id: string | null; readonly free: boolean } | null;
  readonly state: {
    readonly status: string;
    readonly period_start: number | null;
    readonly period_end: number | null;
    readonly interval: string | null;
    readonly cancel_at: number | null;
    readonly canceled_at: number | null;
    readonly ended_at: number | null;
    readonly past_due_since: number | null;
    /** -1 is unlimited. */
    readonly seats: number | null;
    readonly failed_attempts: number;
    readonly last_failure_at: number | null;
  } | null;
  readonly trial: boolean;
  readonly started_at: number | null;
}

/** One attempt to charge. */
export interface EventPayment {
  readonly id: string;
  readonly version: string;
  readonly occurred_at: number;
  readonly payer: PayerKey | null;
  readonly customer?: string | null;
  readonly record?: string | null;
  readonly attempt?: number | null;
  readonly payment: string | null;
  readonly status: string;
  readonly amount: number | null;
  readonly currency: string | null;
  readonly charge_type: string | null;
  readonly created_at: number;
  readonly failure_code: string | null;
}

/** What is applied: an event, and under which id which provider sent it. */
export interface Delivery {
  readonly provider: Source;
  readonly event_id: string;
  readonly event: Event;
}

/** What a verified delivery says. All three are answered with 200: a provider switches off an endpoint that refuses. */
export type Parsed =
  | { readonly outcome: "event"; readonly type: string; readonly delivery: Delivery }
  | {
      readonly outcome: "ignored";
      readonly type: string;
      readonly reason: "unused_type" | "other_environment" | "other_instance" | "no_subject";
    }
  /** Genuine and not to be read: keep `body`, in which card numbers are masked, and parse it again after an update. */
  | { readonly outcome: "dead_letter"; readonly type: string | null; readonly cause: string; readonly body: string };

declare const state: unique symbol;

/**
 * What the events so far add up to: JSON, to be kept as it is. Nothing in it is to be read or changed by others.
 */
export interface State {
  readonly known: unknown;
  /** The last deliveries, so that a repeated one is known again. */
  readonly seen: readonly string[];
  readonly [state]?: true;
}

/** A payer's facts as a worker's sink sends them. */
export interface Snapshot {
  readonly payer: PayerKey;
  readonly version: number;
  readonly as_of: number;
}

export interface Applied {
  readonly outcome: "stored" | "stale" | "duplicate";
  readonly state: State;
  /** What this state holds: keep it under each of these, and load the states that hold any of `keys(delivery)`. */
  readonly keys: readonly string[];
  /** Whom the delivery is about, where that is known. */
  readonly payer: Payer | null;
}

export interface Payer {
  readonly type: "user" | "org";
  readonly id: string;
}

/** What is sold, as `PLANS` of the worker. */
export type Catalog = Readonly<Record<string, Plan>>;

export interface Plan {
  readonly free?: boolean;
  readonly payer?: "user" | "org";
  readonly features?: readonly string[];
  readonly limits?: Readonly<Record<string, number | "unlimited">>;
  readonly includes?: readonly string[];
  readonly ids?: Readonly<Partial<Record<Provider, readonly string[]>>>;
}

export interface Policy {
  /** 24 unless said otherwise. */
  renewal_slack_hours?: number;
  /** 0 unless said otherwise. */
  past_due_grace_days?: number;
  refunds_revoke?: boolean;
}

/** A user's records and those of the organization count together; one of the two must be there. */
export type Who =
  | { readonly user_id: string; readonly org_id?: string | null }
  | { readonly org_id: string; readonly user_id?: string | null };

/** `user:pro` and `org:team` ask about one kind of payer. Without a condition it is asked for any paid plan. */
export interface Condition {
  readonly plan?: string | null;
  readonly feature?: string | null;
}

export type Question = Who & Condition & { readonly checks?: never };
export type Questions = Who & { readonly checks: readonly Condition[] };

export type Reason =
  | "active" | "trialing" | "canceled_until_period_end" | "past_due_grace" | "granted_manually"
  | "expired" | "past_due" | "paused" | "unpaid" | "incomplete" | "not_started" | "unknown_status"
  | "no_subscription" | "plan_mismatch" | "feature_not_in_plan" | "unknown_plan" | "unknown_feature"
  | "payer_deleted" | "quota_exceeded";

/** As `/v1/check` answers. Times are RFC 3339. */
export interface CheckAnswer {
  readonly allowed: boolean;
  readonly reason: Reason;
  readonly plan: string | null;
  readonly status: string | null;
  readonly payer: Payer | null;
  readonly valid_until: string | null;
  readonly as_of: string | null;
  readonly source: "memory";
  readonly version: number;
}

export interface CheckAnswers {
  readonly results: readonly CheckAnswer[];
}

/** As `/v1/entitlements` answers. */
export interface Entitlements {
  readonly plan: string | null;
  readonly status: string | null;
  readonly valid_until: string | null;
  readonly cancel_at: string | null;
  readonly plans: readonly string[];
  readonly features: readonly string[];
  /** Null is unlimited. */
  readonly limits: Readonly<Record<string, number | null>>;
  readonly trial: { readonly active: boolean; readonly ends_at: string | null; readonly used: boolean };
  readonly payers: readonly PayerEntitlements[];
  readonly as_of: string | null;
  readonly source: "memory";
  readonly version: number;
}

export interface PayerEntitlements {
  readonly payer: Payer;
  readonly plan: string | null;
  readonly status: string | null;
  readonly deleted: boolean;
  readonly failed_attempts: number;
  readonly last_failure_at: string | null;
  readonly last_failure_code: string | null;
  readonly subscriptions: readonly Subscription[];
}

export interface Subscription {
  readonly provider: Source;
  readonly id: string;
  readonly subscription_id: string | null;
  readonly customer_id: string | null;
  readonly plan: string | null;
  readonly status: string;
  readonly allowed: boolean;
  readonly reason: Reason;
  readonly valid_until: string | null;
  readonly started_at: string | null;
  readonly period_start: string | null;
  readonly period_end: string | null;
  readonly interval: string | null;
  readonly cancel_at: string | null;
  readonly canceled_at: string | null;
  readonly ended_at: string | null;
  readonly past_due_since: string | null;
  readonly seats: { readonly quantity: number | null } | null;
}

/** One state, several that hold different payers' facts, or none yet. */
export type States = State | Snapshot | readonly (State | Snapshot)[] | null | undefined;

/**
 * Checks who sent a delivery.
 * @throws {PlangateError} `missing_headers`, `invalid_signature`, `timestamp_out_of_tolerance`; `unknown_provider`,
 * `provider_not_configured`, `unusable_secret`, `invalid_request`.
 */
export function verify(provider: Provider, secrets: Secrets, headers: HeadersLike, body: Body, now: Now, ours?: Ours): Verified;

/** A delivery that is trusted because of where it was kept: a recorded history that is played again. */
export function recorded(provider: Provider, delivery: { event_id: string; sent_at?: Now | null }, body: Body): Verified;

/**
 * Reads what a delivery says.
 * @throws {PlangateError} `unknown_provider`, `invalid_request`.
 */
export function parse(provider: Provider, verified: Verified, ours?: Ours): Parsed;

/** The headers with which the provider would send this body: for tests. */
export function sign(provider: Provider, secrets: Secrets, event_id: string, body: Body, now: Now): Record<string, string>;

/**
 * Adds a delivery to a state, or to several that it joins. The order does not matter, and a repeated delivery changes nothing.
 * @throws {PlangateError} `unreadable_state`, `invalid_request`.
 */
export function apply(state: State | readonly State[] | null | undefined, delivery: Delivery): Applied;

/** Which states a delivery needs: those that hold one of these keys. */
export function keys(delivery: Delivery): readonly string[];

/**
 * Answers a check at `now`.
 * @throws {PlangateError} `unreadable_state`, `unusable_catalog`, `invalid_request`.
 */
export function decide(state: States, catalog: Catalog | null | undefined, question: Question, now: Now, policy?: Policy): CheckAnswer;
export function decide(state: States, catalog: Catalog | null | undefined, question: Questions, now: Now, policy?: Policy): CheckAnswers;

/**
 * Lists all that is held at `now`.
 * @throws {PlangateError} `unreadable_state`, `unusable_catalog`, `invalid_request`.
 */
export function entitlements(state: States, catalog: Catalog | null | undefined, who: Who, now: Now, policy?: Policy): Entitlements;
