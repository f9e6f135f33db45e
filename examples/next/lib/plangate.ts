import "server-only";
import { auth } from "@clerk/nextjs/server";
import { createPlangate, type Plangate } from "plangate";

/** Asks for whoever made this request. One for each request, so that nothing is carried over to the next. */
export async function plangate(): Promise<Plangate> {
  const { getToken } = await auth();
  return createPlangate({ url: process.env.PLANGATE_URL ?? "", getToken });
}
