// The yardstick: what a careful afternoon in plain JavaScript gives. No packages: WebCrypto, one D1 batch, a copy in KV.
//
// It takes Clerk's subscription items only, asks no API, keeps no customers, payments or organizations, cannot be rebuilt, and
// reads a denial from D1 each time. So it does less than plangate, and is what plangate's cost is measured against.

const encoder = new TextEncoder();
const bytesOf = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const fromUrl = (text) => bytesOf(text.replaceAll("-", "+").replaceAll("_", "/"));
const TOLERANCE_S = 300;
const json = (value, status = 200) => Response.json(value, { status });

let hmacKey;
let rsaKey;
const signingKey = (env) =>
  (hmacKey ??= crypto.subtle.importKey("raw", bytesOf(env.CLERK_WEBHOOK_SIGNING_SECRET.slice(6)), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]));
const tokenKey = (env) =>
  (rsaKey ??= crypto.subtle.importKey("spki", bytesOf(env.CLERK_JWT_KEY.replace(/-----[^-]+-----|\s/g, "")), { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, false, ["verify"]));

async function isSigned(headers, body, env) {
  const [id, at, signatures] = ["svix-id", "svix-timestamp", "svix-signature"].map((name) => headers.get(name));
  if (!id || !at || !signatures || Math.abs(Date.now() / 1000 - Number(at)) > TOLERANCE_S) return false;
  const signed = encoder.encode(`${id}.${at}.${body}`);
  for (const one of signatures.split(" ")) {
    const [version, mac] = one.split(",");
    if (version !== "v1" || !mac) continue;
    if (await crypto.subtle.verify("HMAC", await signingKey(env), bytesOf(mac), signed)) return true;
  }
  return false;
}

async function webhook(request, env) {
  const body = await request.text();
  if (!(await isSigned(request.headers, body, env))) return json({ error: "invalid_signature" }, 400);
  const event = JSON.parse(body);
  const id = request.headers.get("svix-id");
  const items = event.type.startsWith("subscriptionItem.") ? [event.data] : event.type.startsWith("subscription.") ? event.data.items : [];
  if (items.length === 0) return json({ outcome: "ignored", event_id: id });
  const owner = event.data.payer;
  const payer = owner.user_id ? `user:${owner.user_id}` : `org:${owner.organization_id}`;
  const rows = items.map((item) => ({ id: item.id, plan: item.plan?.slug, status: item.status, end: item.period_end, at: item.updated_at }));
  const [inserted, , read] = await env.DB.batch([
    env.DB.prepare("INSERT INTO yardstick_events VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING").bind(id, event.type, payer, Date.now(), JSON.stringify(rows)),
    env.DB.prepare(
      `INSERT INTO yardstick_items SELECT value ->> 'id', ?2, value ->> 'plan', value ->> 'status', value ->> 'end', value ->> 'at' FROM json_each(?1) WHERE true
       ON CONFLICT (id) DO UPDATE SET payer = excluded.payer, plan = excluded.plan, status = excluded.status,
         period_end = excluded.period_end, updated_at = excluded.updated_at WHERE excluded.updated_at > updated_at`,
    ).bind(JSON.stringify(rows), payer),
    env.DB.prepare("SELECT plan, status, period_end FROM yardstick_items WHERE payer = ?1").bind(payer),
  ]);
  const isNew = inserted.meta.changes > 0;
  if (isNew) await env.ENTITLEMENTS.put(payer, JSON.stringify(read.results), { expirationTtl: 300 });
  return json({ outcome: isNew ? "stored" : "duplicate", event_id: id });
}

async function userOf(request, env) {
  const [head, claims, signature] = (request.headers.get("authorization") ?? "").slice(7).split(".");
  if (!signature) return null;
  const header = JSON.parse(new TextDecoder().decode(fromUrl(head)));
  if (header.alg !== "RS256") return null;
  const fits = await crypto.subtle.verify("RSASSA-PKCS1-v1_5", await tokenKey(env), fromUrl(signature), encoder.encode(`${head}.${claims}`));
  if (!fits) return null;
  const { sub, exp, nbf, iss } = JSON.parse(new TextDecoder().decode(fromUrl(claims)));
  const now = Date.now() / 1000;
  return iss === env.CLERK_ISSUER && now < exp + 5 && now > nbf - 5 ? sub : null;
}

const grants = ({ plan, status, period_end }, wanted) =>
  plan === wanted && ["active", "trialing", "canceled"].includes(status) && (period_end === null || Date.now() < period_end);

async function check(request, url, env) {
  const user = await userOf(request, env);
  if (user === null) return json({ error: "invalid_token" }, 401);
  const payer = `user:${user}`;
  const wanted = url.searchParams.get("plan");
  const copy = await env.ENTITLEMENTS.get(payer, "json");
  if (copy?.some((item) => grants(item, wanted))) return json({ allowed: true, plan: wanted, source: "kv" });
  const { results } = await env.DB.prepare("SELECT plan, status, period_end FROM yardstick_items WHERE payer = ?1").bind(payer).all();
  return json({ allowed: results.some((item) => grants(item, wanted)), plan: wanted, source: "d1" });
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (request.method === "POST" && url.pathname === "/webhooks/clerk") return webhook(request, env);
    if (url.pathname === "/v1/check") return check(request, url, env);
    return json({ error: "not_found" }, 404);
  },
};
