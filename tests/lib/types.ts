// The types of plangate-core, held by the compiler: what must be accepted is written plainly, what must not be under
// `@ts-expect-error`, which is an error where there is none.
import {
  type CheckAnswer, type CheckAnswers, type Entitlements, type ErrorCode, type Parsed, type State, type Verified,
  PlangateError, apply, decide, entitlements, keys, parse, recorded, sign, verify,
} from "plangate-core";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

export function route(request: Request, body: ArrayBuffer, state: State | null): State | null {
  const proof = verify("clerk", ["whsec_a", "whsec_b"], request.headers, body, Date.now());
  same<typeof proof, Verified>(true);
  verify("stripe", "whsec_a", { "stripe-signature": "t=1", other: ["a", "b"], missing: undefined }, "{}", new Date());
  verify("revenuecat", { REVENUECAT_WEBHOOK_SECRET: "a" }, [["authorization", "a"]], new Uint8Array(), 0, { environment: "sandbox" });
  // @ts-expect-error no such provider
  verify("nobody", "a", {}, "", 0);
  // @ts-expect-error a parsed body proves nothing
  verify("clerk", "a", {}, { type: "x" }, 0);
  // @ts-expect-error the clock is the caller's
  verify("clerk", "a", {}, "");
  // @ts-expect-error no such environment
  verify("clerk", "a", {}, "", 0, { environment: "test" });

  const parsed = parse("clerk", proof);
  same<typeof parsed, Parsed>(true);
  // @ts-expect-error only what was verified can be parsed
  parse("clerk", { provider: "clerk", event_id: "msg_1", sent_at: 0 });
  parse("paddle", recorded("paddle", { event_id: "evt_1" }, "{}"));
  if (parsed.outcome === "dead_letter") return (parsed.body satisfies string, state);
  // @ts-expect-error what is ignored has no event
  if (parsed.outcome === "ignored") return (parsed.delivery, state);
  const wanted: readonly string[] = keys(parsed.delivery);
  const applied = apply([state].filter((one) => one !== null), parsed.delivery);
  same<typeof applied.outcome, "stored" | "stale" | "duplicate">(true);
  // @ts-expect-error any other JSON is no state
  apply({ plan: "pro" }, parsed.delivery);
  return wanted.length > 0 ? applied.state : null;
}

export function questions(state: State) {
  const catalog = { pro: { includes: ["basic"], limits: { seats: "unlimited", projects: 3 }, ids: { stripe: ["price_1"] } }, basic: {} } as const;
  const one = decide(state, catalog, { user_id: "u", org_id: null, plan: "org:pro", feature: "api" }, 0, { past_due_grace_days: 3 });
  same<typeof one, CheckAnswer>(true);
  const many = decide([state, { payer: "user:u", version: 1, as_of: 0 }], null, { org_id: "o", checks: [{}, { plan: "pro" }] }, 0);
  same<typeof many, CheckAnswers>(true);
  const all = entitlements(undefined, catalog, { user_id: "u" }, 0);
  same<typeof all, Entitlements>(true);
  const limit: number | null | undefined = all.limits.projects;
  // @ts-expect-error somebody must be asked about
  decide(state, catalog, { plan: "pro" }, 0);
  // @ts-expect-error a list and one beside it
  decide(state, catalog, { user_id: "u", plan: "pro", checks: [{}] }, 0);
  // @ts-expect-error entitlements list everything
  entitlements(state, catalog, { user_id: "u", plan: "pro" }, 0);
  // @ts-expect-error the core refuses what a plan does not have
  decide(state, { pro: { name: "Pro" } }, { user_id: "u" }, 0);
  // @ts-expect-error no such provider in a catalog
  decide(state, { pro: { ids: { nobody: ["x"] } } }, { user_id: "u" }, 0);
  // @ts-expect-error answers are not for changing
  one.allowed = true;
  return [limit, sign("clerk", "whsec_a", "msg_1", "{}", 0)["svix-id"]];
}

export function code(thrown: unknown): ErrorCode | undefined {
  return thrown instanceof PlangateError ? thrown.code : undefined;
}
