import { ClerkProvider, Show, SignInButton, UserButton } from "@clerk/nextjs";
import Link from "next/link";
import { prefetch } from "plangate";
import type { ReactNode } from "react";
import { plangate } from "../lib/plangate";
import { Entitlements } from "./entitlements";

export default async function Layout({ children }: { children: ReactNode }) {
  // What the pages show at once: the browser renders the same as the server, and asks again later.
  const initial = await prefetch(await plangate(), [{ feature: "export" }]);
  return (
    <ClerkProvider>
      <html lang="en">
        <body>
          <nav>
            <Link href="/">Home</Link> <Link href="/pro">Pro</Link> <Link href="/pricing">Pricing</Link>{" "}
            <Show when="signed-in" fallback={<SignInButton />}>
              <UserButton />
            </Show>
          </nav>
          <Entitlements initial={initial}>{children}</Entitlements>
        </body>
      </html>
    </ClerkProvider>
  );
}
