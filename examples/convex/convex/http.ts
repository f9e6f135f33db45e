import { httpRouter } from "convex/server";
import { PlangateError, parse, verify } from "plangate-core";
import { httpAction, internal } from "./server";

const http = httpRouter();

const answer = (status: number, body: unknown) => Response.json(body, { status, headers: { "cache-control": "no-store" } });

/** A forged or damaged delivery is 400; what is missing here is 503, so that the sender tries again. */
const refuse = (thrown: unknown) => {
  if (!(thrown instanceof PlangateError)) throw thrown;
  const isTheirs = ["missing_headers", "invalid_signature", "timestamp_out_of_tolerance"].includes(thrown.code);
  return answer(isTheirs ? 400 : 503, { code: thrown.code, detail: thrown.message });
};

http.route({
  path: "/clerk-webhook",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const body = await request.arrayBuffer();
    try {
      const verified = verify("clerk", process.env.CLERK_WEBHOOK_SIGNING_SECRET ?? "", request.headers, body, Date.now());
      const parsed = parse("clerk", verified);
      const { event_id } = verified;
      const outcome = await ctx.runMutation(internal.plangate.receive, { provider: "clerk", event_id, parsed });
      return answer(200, { outcome, event_id });
    } catch (thrown) {
      return refuse(thrown);
    }
  }),
});

// What a plangate worker passes on (SINK_URL=https://…convex.site/plangate-sink): the same signatures, its own events.
http.route({
  path: "/plangate-sink",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    const body = await request.text();
    try {
      verify("standard-webhooks", process.env.SINK_SECRET ?? "", request.headers, body, Date.now());
    } catch (thrown) {
      return refuse(thrown);
    }
    const { payer, sequence, snapshot } = JSON.parse(body).data;
    const outcome = await ctx.runMutation(internal.plangate.receiveFacts, { payer, sequence, snapshot });
    return answer(200, { outcome });
  }),
});

export default http;
