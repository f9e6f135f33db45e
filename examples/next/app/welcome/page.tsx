"use client";
import Link from "next/link";
import { useCheckoutReturn } from "plangate/react";

/** Where checkout returns to, perhaps before the webhook came. */
export default function Welcome() {
  const { allowed, isWaiting, error } = useCheckoutReturn({ plan: "pro" });
  return (
    <main>
      {allowed ? (
        <p>
          Thank you! <Link href="/pro">Go on to Pro</Link>
        </p>
      ) : isWaiting ? (
        <p>One moment: your payment is being confirmed …</p>
      ) : (
        <p>
          {error ? "We cannot tell right now what your plan is." : "Your payment is not confirmed yet."} This can take a few minutes; nothing is
          lost, and there is no need to pay again.
        </p>
      )}
    </main>
  );
}
