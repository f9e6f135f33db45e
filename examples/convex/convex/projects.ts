// Something of the app's own that a plan decides about.
import { ConvexError, v } from "convex/values";
import { requirePlan } from "./plangate";
import { mutation, query } from "./server";

export const create = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }): Promise<string> => {
    await requirePlan(ctx, "basic");
    const identity = await ctx.auth.getUserIdentity();
    return ctx.db.insert("projects", { owner: identity!.subject, name });
  },
});

export const list = query({
  args: {},
  handler: async (ctx): Promise<string[]> => {
    const identity = await ctx.auth.getUserIdentity();
    if (identity === null) throw new ConvexError({ code: "unauthenticated" });
    const rows = await ctx.db.query("projects").withIndex("by_owner", (row) => row.eq("owner", identity.subject)).collect();
    return rows.map(({ name }) => name);
  },
});
