// Turns away who has not paid before a page of theirs is rendered. (Before Next.js 16 this file was called middleware.ts.)
import { clerkMiddleware } from "@clerk/nextjs/server";
import { NextResponse } from "next/server";
import { createPlangate } from "plangate";

const isPro = (path: string) => path === "/pro" || path.startsWith("/pro/");

export default clerkMiddleware(async (auth, request) => {
  if (!isPro(request.nextUrl.pathname)) return;
  const { userId, getToken, redirectToSignIn } = await auth();
  if (!userId) return redirectToSignIn();
  const plangate = createPlangate({ url: process.env.PLANGATE_URL ?? "", getToken });
  const { allowed, error } = await plangate.check({ plan: "pro" });
  if (allowed) return;
  // Somebody who paid should not be sold the same thing again because of our trouble.
  if (error) return new NextResponse("We cannot tell right now what your plan is. Please try again.", { status: 503 });
  return NextResponse.redirect(new URL("/pricing", request.url));
});

export const config = {
  // Everything but files: Clerk has to see each page.
  matcher: ["/((?!_next|.*\\..*).*)", "/(api|trpc)(.*)"],
};
