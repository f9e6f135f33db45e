// A page is its own guard too: whoever changes the matcher in proxy.ts should not open it by accident.
import { redirect } from "next/navigation";
import { plangate } from "../../lib/plangate";

export default async function Pro() {
  const { allowed, error, plan, valid_until } = await (await plangate()).check({ plan: "pro" });
  if (error) throw new Error(`plangate: ${error.code} (${error.request_id ?? "no request id"})`);
  if (!allowed) redirect("/pricing");
  return (
    <main>
      <h1>Pro</h1>
      <p>
        Your plan is {plan}
        {valid_until && `, paid for until ${new Date(valid_until).toUTCString()}`}.
      </p>
    </main>
  );
}
