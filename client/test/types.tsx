// What the types allow and refuse. Compiled, never run.
import { createPlangate, prefetch, type CheckResult, type Condition, type Entitlements, type Reason } from "plangate";
import { Gate, PlangateProvider, useEntitlement } from "plangate/react";

const plangate = createPlangate({ url: "https://plangate.example", getToken: async (options) => (options?.skipCache ? null : "token") });
const server = createPlangate({ url: new URL("https://plangate.example"), apiKey: "key", onError: "last-known" });

export async function asks(): Promise<void> {
  const conditions: Condition[] = [{ plan: "pro" }, { feature: "org:export" }, { plan: "user:pro", feature: "export" }];
  for (const condition of conditions) await plangate.check(condition, { signal: AbortSignal.timeout(1) });
  const yes: boolean = (await plangate.has({ plan: "user:pro" })) && (await server.for({ userId: null, orgId: undefined }).has({ feature: "org:x" }));
  await prefetch(plangate, conditions);

  const result: CheckResult = await plangate.check({ plan: "pro" });
  if (result.error === null) {
    const reason: Reason = result.reason;
    const fresh: 0 = result.age_seconds;
    void [reason, fresh];
  } else if (result.stale) {
    const reason: Reason = result.reason;
    void reason;
  } else {
    const nothing: null = result.reason;
    const no: false = result.allowed;
    void [nothing, no];
  }
  const { entitlements, error } = await plangate.entitlements();
  if (error === null) {
    const held: Entitlements = entitlements;
    void held;
  }

  // @ts-expect-error Clerk's to answer
  await plangate.has({ role: "org:admin" });
  // @ts-expect-error Clerk's to answer
  await plangate.has({ plan: "pro", permission: "org:x:y" });
  // @ts-expect-error Clerk's to answer
  await plangate.has({ plan: "pro", reverification: "strict" });
  // @ts-expect-error nothing is asked
  await plangate.check({});
  // @ts-expect-error misspelled
  await plangate.check({ plan: "pro", featur: "x" });
  // @ts-expect-error a server says for whom it asks
  await server.check({ plan: "pro" });
  // @ts-expect-error neither a token nor a key
  createPlangate({ url: "https://plangate.example" });
  // @ts-expect-error both
  createPlangate({ url: "https://plangate.example", apiKey: "key", getToken: async () => null });
  // @ts-expect-error there is no such policy
  createPlangate({ url: "https://plangate.example", apiKey: "key", onError: "allow" });
  void yes;
}

export function Page() {
  const { allowed } = useEntitlement({ plan: "pro" });
  return (
    <PlangateProvider client={plangate} identity={null}>
      <Gate plan="pro" feature="export" fallback={({ error }) => error?.code} loading="…">
        {String(allowed)}
      </Gate>
      {/* @ts-expect-error nothing is asked */}
      <Gate>secret</Gate>
    </PlangateProvider>
  );
}
