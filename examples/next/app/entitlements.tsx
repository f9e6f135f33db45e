"use client";
import { getToken, useAuth } from "@clerk/nextjs";
import { createPlangate, type Initial } from "plangate";
import { PlangateProvider } from "plangate/react";
import type { ReactNode } from "react";

const client = createPlangate({ url: process.env.NEXT_PUBLIC_PLANGATE_URL ?? "", getToken, onError: "last-known" });

export function Entitlements({ initial, children }: { initial: Initial; children: ReactNode }) {
  const { isLoaded, userId, orgId } = useAuth();
  return (
    <PlangateProvider client={client} initial={initial} identity={isLoaded ? `${userId}/${orgId}` : undefined}>
      {children}
    </PlangateProvider>
  );
}
