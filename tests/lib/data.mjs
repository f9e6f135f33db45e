// The payload files that the crate's own tests read, with what must be read out of each.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../data/", import.meta.url));

/** When an attempt was signed, as in the crate's tests. */
export const SENT_AT = 1_800_000_000_000;

/** Whose events they are, and what an event's id begins with in the expected files. */
export const PROVIDERS = {
  clerk: { prefix: "msg_", ours: { clerk_instance_id: "ins_2abcINSTANCE" }, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" },
  lemonsqueezy: { prefix: "sha256_", secret: "a secret of sixteen bytes" },
  paddle: { prefix: "evt_", secret: "pdl_ntfset_01hv8x29e7k2yr3n" },
  polar: { prefix: "evt_", secret: "polar_whs_c2VjcmV0IHRoYXQgaXMgbG9uZw" },
  revenuecat: { prefix: "evt_", secret: "Bearer of the header" },
  "standard-webhooks": { prefix: "evt_", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" },
  stripe: { prefix: "evt_", secret: "whsec_stripe_made_this_one" },
};

export function payloads(provider) {
  const folder = `${ROOT}${provider}/`;
  const names = readdirSync(folder).filter((file) => file.endsWith(".event.json")).map((file) => file.replace(/\.event\.json$/, ""));
  const { prefix } = PROVIDERS[provider];
  return names.map((name) => {
    const body = readFileSync(`${folder}${name}.json`);
    const expected = JSON.parse(readFileSync(`${folder}${name}.event.json`, "utf8"));
    const event_id = provider === "stripe" ? JSON.parse(body).id : `${prefix}${name}`;
    return { name, event_id, sent_at: SENT_AT, body, expected };
  });
}
