import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  // Every delivery once, under `provider:event_id`. A dead letter keeps its body, to be parsed again after an update.
  deliveries: defineTable({
    key: v.string(),
    outcome: v.string(),
    type: v.union(v.string(), v.null()),
    detail: v.optional(v.string()),
    body: v.optional(v.string()),
  }).index("by_key", ["key"]),

  // What the deliveries add up to: one payer's each, or several payers' whom a delivery joined.
  states: defineTable({ state: v.any(), looked_at: v.number(), next_at: v.union(v.number(), v.null()) }),
  // Which state holds what.
  keys: defineTable({ key: v.string(), state: v.id("states") }).index("by_key", ["key"]).index("by_state", ["state"]),

  // Facts that a plangate worker passed on, instead of the two tables above.
  snapshots: defineTable({
    payer: v.string(),
    sequence: v.number(),
    snapshot: v.any(),
    looked_at: v.number(),
    next_at: v.union(v.number(), v.null()),
  }).index("by_payer", ["payer"]),

  // The app's own.
  projects: defineTable({ owner: v.string(), name: v.string() }).index("by_owner", ["owner"]),
});
