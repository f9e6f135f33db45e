// Content on its way through: streams and headers of others, of which the core decides everything and touches nothing. Each
// header that crosses into the core and back would cost more than all of this.

/** What tells a cache to keep an answer, in the dialects of Cloudflare, Fastly, Akamai, Varnish and nginx. */
const CACHED_BY = [
  "age", "cdn-cache-control", "cloudflare-cdn-cache-control", "edge-control", "expires", "pragma", "surrogate-control",
  "vercel-cdn-cache-control", "x-accel-expires",
];

/** What only some may have is kept by the caller alone, and not even there. */
function kept(response, isGated) {
  if (isGated) {
    for (const name of CACHED_BY) response.headers.delete(name);
    response.headers.set("cache-control", "private, no-store");
    response.headers.append("vary", "Authorization, Cookie");
  }
  return response;
}

/**
 * One letter case and one form of Unicode. By way of capitals, which more letters share, and to these from small letters: a large
 * ẞ is no capital of ß. A small σ is written by what follows it, so it is made one, or `a.html` would not begin as `a` does.
 */
export const fold = (text) =>
  text.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC").replaceAll("ς", "σ");

/** Whether whoever `key` is did not ask too often. */
export const mayGoOn = async (limiter, key) => (await limiter.limit({ key })).success;

/**
 * What no client may say: who was let through, and another path than was judged, as some frameworks route by. Many servers take
 * other characters for `-`.
 */
const NOT_THEIRS = /^x[^a-z0-9](plangate[^a-z0-9]|(original|rewrite|forwarded)[^a-z0-9](ur[il]|path)$|script[^a-z0-9]name$)/i;

/**
 * Asks a binding, or else the network, for what the request asks for, at the address `url`. `told` is the JSON of headers that
 * say who was let through.
 */
export async function passOn(fetcher, request, url, told, hasOurKey, isGated) {
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (NOT_THEIRS.test(name)) headers.delete(name);
  for (const [name, value] of Object.entries(JSON.parse(told))) if (value) headers.set(name, value);
  if (hasOurKey) headers.delete("authorization");
  const { protocol, host } = new URL(request.url);
  headers.set("x-forwarded-proto", protocol.slice(0, -1));
  headers.set("x-forwarded-host", host);
  const { method } = request;
  // A body means nothing with these (RFC 9110, section 9.3.1), and the runtime refuses to send one.
  const body = ["GET", "HEAD"].includes(method) ? undefined : request.body;
  const options = { method, headers, body, redirect: "manual" };
  // Cloudflare would keep a copy under the origin's own address, where nobody is asked for a plan.
  if (isGated) options.cache = "no-store";
  const response = await (fetcher ? fetcher.fetch(url, options) : fetch(url, options));
  return kept(new Response(response.body, response), isGated);
}

/** Which part of an object `Range` asks for (RFC 9110, section 14): bytes, or "none" where there is no such part; nothing where it is the whole. */
export function part(header, size) {
  // Nobody needs that much for two numbers, and between spaces the pattern would try each way to divide them.
  if (header?.length > 100) return undefined;
  const [, first, last] = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(header ?? "") ?? [];
  if (!first && !last) return undefined;
  if (first && last && Number(last) < Number(first)) return undefined;
  const from = first ? Number(first) : last === "0" ? size : Math.max(size - Number(last), 0);
  return from < size ? [from, first && last ? Math.min(Number(last), size - 1) : size - 1] : "none";
}

/** The status of an answer with a whole object, by what the request says of the copy it has (RFC 9110, section 13.2.2). */
export function condition(headers, etag, modified) {
  const tags = (name) => headers.get(name)?.split(",").map((tag) => tag.trim());
  const changedSince = (name) => Math.floor(modified / 1000) * 1000 > Date.parse(headers.get(name) ?? "");
  const unchangedSince = (name) => Math.floor(modified / 1000) * 1000 <= Date.parse(headers.get(name) ?? "");
  const [match, noneMatch] = [tags("if-match"), tags("if-none-match")];
  if (match ? !match.includes("*") && !match.includes(etag) : changedSince("if-unmodified-since")) return 412;
  const isKnown = noneMatch ? noneMatch.some((tag) => tag === "*" || tag.replace(/^W\//, "") === etag) : unchangedSince("if-modified-since");
  return isKnown ? 304 : 200;
}

const DEPENDENT = ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/** An object of a bucket, or the part of it that is asked for; nothing where there is none. */
export async function fromBucket(bucket, request, key, isGated) {
  const { method, headers: asked } = request;
  // What to answer may depend on what is there, so that is looked at first.
  const isPlain = method === "GET" && !DEPENDENT.some((name) => asked.has(name));
  const object = await (isPlain ? bucket.get(key) : bucket.head(key));
  if (!object) return undefined;
  const { size, httpEtag } = object;
  const headers = new Headers({ "content-type": "application/octet-stream" });
  object.writeHttpMetadata(headers);
  headers.set("etag", httpEtag);
  headers.set("last-modified", object.uploaded.toUTCString());
  headers.set("accept-ranges", "bytes");
  headers.set("x-content-type-options", "nosniff");

  let status = condition(asked, httpEtag, object.uploaded.getTime());
  let range;
  // A part of another object than the caller has the rest of is of no use. A range means nothing to HEAD.
  if (status === 200 && method === "GET" && [null, httpEtag].includes(asked.get("if-range"))) {
    const wanted = part(asked.get("range"), size);
    if (wanted === "none") {
      status = 416;
      headers.set("content-range", `bytes */${size}`);
    } else if (wanted) {
      const [first, last] = wanted;
      status = 206;
      headers.set("content-range", `bytes ${first}-${last}/${size}`);
      range = { offset: first, length: last - first + 1 };
    }
  }
  let body = null;
  if (status === 200 && method === "HEAD") headers.set("content-length", String(size));
  else if (status < 300) {
    // The very object that was looked at, not one that came in between.
    body = isPlain ? object.body : (await bucket.get(key, { range, onlyIf: { etagMatches: object.etag } }))?.body;
    if (!body) throw new Error("the object was replaced while it was looked at");
  }
  // What is stored compressed stays as it is.
  return kept(new Response(body, { status, headers, encodeBody: "manual" }), isGated);
}
