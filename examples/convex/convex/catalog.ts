import type { Catalog, Policy } from "plangate-core";

/** What is sold, as `PLANS` of a plangate worker. Clerk's plan slugs work without it; features and limits need it. */
export const PLANS: Catalog = {
  basic: { features: ["export"], limits: { projects: 2 } },
  pro: { includes: ["basic"], features: ["api"], limits: { projects: "unlimited" } },
  free_user: { free: true, limits: { projects: 1 } },
};

export const POLICY: Policy = { renewal_slack_hours: 24, past_due_grace_days: 0 };
