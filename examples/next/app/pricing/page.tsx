import { PricingTable } from "@clerk/nextjs";

export default function Pricing() {
  return (
    <main>
      <h1>Pricing</h1>
      <PricingTable newSubscriptionRedirectUrl="/welcome" />
    </main>
  );
}
