// Shows a button to those who may export, and the prices to the others. Checkout returns to `?paid`.
import { createPlangate } from "plangate";

/** @param {string} id */
const element = (id) => /** @type {HTMLDivElement} */ (document.getElementById(id));

// What the back button brings back as it was left may no longer be so.
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

const { Clerk } = window;
await Clerk.load({ ui: { ClerkUI: window.__internal_ClerkUICtor } });

const plangate = createPlangate({
  url: document.body.dataset.plangate ?? "",
  getToken: async (options) => (await Clerk.session?.getToken(options)) ?? null,
});

async function show() {
  const isBack = new URLSearchParams(location.search).has("paid");
  const condition = { feature: "export" };
  const { allowed, error } = isBack ? await plangate.syncUntil(condition) : await plangate.check(condition);
  element("export").hidden = !allowed;
  element("status").textContent = allowed ? "" : error ? "We cannot tell right now whether you may export." : "Exporting is part of Pro.";
  if (!allowed && !error) Clerk.mountPricingTable(element("pricing"), { newSubscriptionRedirectUrl: "?paid" });
}

if (Clerk.isSignedIn) {
  Clerk.mountUserButton(element("user"));
  plangate.onIdentityChange(() => location.reload());
  await show();
} else {
  element("status").textContent = "";
  Clerk.mountSignIn(element("user"));
}
