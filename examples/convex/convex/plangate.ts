// Plan status in this app's own tables: written by one mutation for each delivery, read by any query or mutation.
import { ConvexError, v } from "convex/values";
import type { CheckAnswer, Condition, Delivery, Entitlements, Snapshot, State, Who } from "plangate-core";
import { apply, decide, entitlements as entitled, keys } from "plangate-core";
import { PLANS, POLICY } from "./catalog";
import { type MutationCtx, type QueryCtx, internal, internalMutation, query } from "./server";

/**
 * Takes a verified delivery: its id and the state that it changes are committed in one transaction, or neither is. Convex
 * runs a mutation that conflicts with another one again, so two deliveries at once are two deliveries one after another.
 */
export const receive = internalMutation({
  args: {
    provider: v.string(),
    event_id: v.string(),
    parsed: v.object({
      outcome: v.union(v.literal("event"), v.literal("ignored"), v.literal("dead_letter")),
      type: v.union(v.string(), v.null()),
      delivery: v.optional(v.any()),
      reason: v.optional(v.string()),
      cause: v.optional(v.string()),
      body: v.optional(v.string()),
    }),
  },
  handler: async (ctx, { provider, event_id, parsed }): Promise<string> => {
    const key = `${provider}:${event_id}`;
    const seen = await ctx.db.query("deliveries").withIndex("by_key", (row) => row.eq("key", key)).unique();
    // One that could not be used then and can be now (it was sent again after an update) counts as new.
    const isUsed = seen !== null && seen.outcome !== "dead_letter" && seen.outcome !== "ignored";
    if (seen !== null && (isUsed || parsed.outcome !== "event")) return "duplicate";
    if (seen !== null) await ctx.db.delete(seen._id);

    const { type } = parsed;
    if (parsed.outcome !== "event") {
      const detail = parsed.reason ?? parsed.cause;
      await ctx.db.insert("deliveries", {
        key, type, outcome: parsed.outcome, ...(detail !== undefined && { detail }), ...(parsed.body !== undefined && { body: parsed.body }),
      });
      return parsed.outcome;
    }
    const outcome = await add(ctx, parsed.delivery as Delivery);
    await ctx.db.insert("deliveries", { key, type, outcome });
    return outcome;
  },
});

/** Adds a delivery to the states that it is about, which become one. */
async function add(ctx: MutationCtx, delivery: Delivery): Promise<string> {
  const found = await statesOf(ctx, keys(delivery));
  const applied = apply(found.map(({ state }) => state as State), delivery);
  const id = found[0]?._id ?? (await ctx.db.insert("states", { state: null, looked_at: 0, next_at: null }));
  for (const { _id } of found.slice(1)) await ctx.db.delete(_id);

  const held = new Set(applied.keys);
  for (const { _id: from } of found) {
    for (const row of await ctx.db.query("keys").withIndex("by_state", (row) => row.eq("state", from)).collect()) {
      if (row.state !== id) await ctx.db.patch(row._id, { state: id });
      held.delete(row.key);
    }
  }
  for (const key of held) await ctx.db.insert("keys", { key, state: id });
  const payers = applied.keys.filter((key) => /^(user|org):/.test(key));
  await ctx.db.patch(id, { state: applied.state, ...(await schedule(ctx, "states", id, applied.state, payers)) });
  return applied.outcome;
}

async function statesOf(ctx: QueryCtx, wanted: readonly string[]) {
  const rows = await Promise.all(wanted.map((key) => ctx.db.query("keys").withIndex("by_key", (row) => row.eq("key", key)).unique()));
  const ids = [...new Set(rows.flatMap((row) => (row === null ? [] : [row.state])))];
  const states = await Promise.all(ids.map((id) => ctx.db.get(id)));
  return states.flatMap((state) => (state === null ? [] : [state]));
}

/**
 * Takes what a plangate worker's sink sends: a payer's facts, newer with a higher sequence. What is as old as what is held,
 * or older, changes nothing.
 */
export const receiveFacts = internalMutation({
  args: { payer: v.string(), sequence: v.number(), snapshot: v.any() },
  handler: async (ctx, { payer, sequence, snapshot }): Promise<string> => {
    const held = await ctx.db.query("snapshots").withIndex("by_payer", (row) => row.eq("payer", payer)).unique();
    if (held !== null && held.sequence >= sequence) return held.sequence === sequence ? "duplicate" : "stale";
    const id = held?._id ?? (await ctx.db.insert("snapshots", { payer, sequence, snapshot, looked_at: 0, next_at: null }));
    await ctx.db.patch(id, { sequence, snapshot, ...(await schedule(ctx, "snapshots", id, snapshot as Snapshot, [payer])) });
    return "stored";
  },
});

const who = (payer: string): Who => (payer.startsWith("org:") ? { org_id: payer.slice(4) } : { user_id: payer.slice(5) });

/** Convex schedules nothing that is more than five years away: it would refuse the whole mutation, and the delivery with it. */
const LONGEST_MS = 4 * 365 * 86_400_000;

/**
 * A query runs again when a document that it read changes, and not because time goes by. What is held ends at times that are
 * known beforehand, so at the next of them the document is touched. On the way to a distant one it is looked at as well.
 */
async function schedule(ctx: MutationCtx, table: "states" | "snapshots", id: string, state: State | Snapshot, payers: readonly string[]) {
  const now = Date.now();
  const ends = payers
    .flatMap((payer) => entitled(state, PLANS, who(payer), now, POLICY).payers)
    .flatMap(({ subscriptions }) => subscriptions.map(({ valid_until }) => (valid_until === null ? Number.NaN : Date.parse(valid_until))))
    .filter((end) => end > now);
  const next_at = ends.length > 0 ? Math.min(...ends, now + LONGEST_MS) : null;
  if (next_at !== null) await ctx.scheduler.runAt(next_at, internal.plangate.look, { table, id, next_at });
  return { looked_at: now, next_at };
}

/** Touches a document whose time has come, unless another change made that needless. */
export const look = internalMutation({
  args: { table: v.union(v.literal("states"), v.literal("snapshots")), id: v.string(), next_at: v.number() },
  handler: async (ctx, { table, id, next_at }): Promise<null> => {
    if (table === "states") {
      const known = ctx.db.normalizeId("states", id);
      const row = known && (await ctx.db.get(known));
      if (!row || row.next_at !== next_at) return null;
      const held = await ctx.db.query("keys").withIndex("by_state", (key) => key.eq("state", row._id)).collect();
      const payers = held.map(({ key }) => key).filter((key) => /^(user|org):/.test(key));
      await ctx.db.patch(row._id, await schedule(ctx, table, row._id, row.state, payers));
    } else {
      const known = ctx.db.normalizeId("snapshots", id);
      const row = known && (await ctx.db.get(known));
      if (!row || row.next_at !== next_at) return null;
      await ctx.db.patch(row._id, await schedule(ctx, table, row._id, row.snapshot, [row.payer]));
    }
    return null;
  },
});

/** Who asks: Clerk's user, and the organization where the JWT template has its id (`"org_id": "{{org.id}}"`). */
async function caller(ctx: QueryCtx): Promise<Who> {
  const identity = await ctx.auth.getUserIdentity();
  if (identity === null) throw new ConvexError({ code: "unauthenticated" });
  const org = identity.org_id;
  return { user_id: identity.subject, ...(typeof org === "string" && org !== "" && { org_id: org }) };
}

/** All that is known of them: by deliveries of their own, or by a worker's. */
async function facts(ctx: QueryCtx, asked: Who): Promise<(State | Snapshot)[]> {
  const payers = [...(asked.user_id ? [`user:${asked.user_id}`] : []), ...(asked.org_id ? [`org:${asked.org_id}`] : [])];
  const states = await statesOf(ctx, payers);
  const sent = await Promise.all(payers.map((payer) => ctx.db.query("snapshots").withIndex("by_payer", (row) => row.eq("payer", payer)).unique()));
  return [...states.map(({ state }) => state), ...sent.flatMap((row) => (row === null ? [] : [row.snapshot]))];
}

export async function checkPlan(ctx: QueryCtx, condition: Condition): Promise<CheckAnswer> {
  const asked = await caller(ctx);
  return decide(await facts(ctx, asked), PLANS, { ...asked, ...condition }, Date.now(), POLICY);
}

/** For use inside any query or mutation: goes on, or throws. A plan may be `user:pro` or `org:team`. */
export async function requirePlan(ctx: QueryCtx, plan: string): Promise<CheckAnswer> {
  const answer = await checkPlan(ctx, { plan });
  if (!answer.allowed) throw new ConvexError({ code: "plan_required", plan, reason: answer.reason });
  return answer;
}

/** `useQuery(api.plangate.check, { plan: "pro" })` changes by itself when the plan does. */
export const check = query({
  args: { plan: v.optional(v.string()), feature: v.optional(v.string()) },
  handler: async (ctx, condition): Promise<CheckAnswer> => checkPlan(ctx, condition),
});

export const entitlements = query({
  args: {},
  handler: async (ctx): Promise<Entitlements> => {
    const asked = await caller(ctx);
    return entitled(await facts(ctx, asked), PLANS, asked, Date.now(), POLICY);
  },
});
