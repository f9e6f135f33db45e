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

/** One letter case and one form of Unicode. By way of capitals, which more letters share. */
export const fold = (text) => text.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");

/**
 * Asks a binding, or else the network, for what the request asks for, at the address `url`. `told` is the JSON of headers that
 * say who was let through.
 */
export async function passOn(fetcher, request, url, told, hasOurKey, isGated) {
  const headers = new Headers(request.headers);
  // Nobody but us tells who was let through. Some servers take `_` for `-`.
  for (const name of [...headers.keys()]) if (/^x[-_]plangate[-_]/i.test(name)) headers.delete(name);
  for (const [name, value] of Object.entries(JSON.parse(told))) headers.set(name, value);
  if (hasOurKey) headers.delete("authorization");
  const { protocol, host } = new URL(request.url);
  headers.set("x-forwarded-proto", protocol.slice(0, -1));
  headers.set("x-forwarded-host", host);
  const options = { method: request.method, headers, body: request.body, redirect: "manual" };
  // Cloudflare would keep a copy under the origin's own address, where nobody is asked for a plan.
  if (isGated) options.cache = "no-store";
  const response = await (fetcher ? fetcher.fetch(url, options) : fetch(url, options));
  return kept(new Response(response.body, response), isGated);
}

/** An object of a bucket, with its body unless what is sent depends on the object. */
export const look = (bucket, key, method, isPlain) => (method === "GET" && isPlain ? bucket.get(key) : bucket.head(key));

/** The answer with an object that was looked at; `first` and `last` are the bytes of a part. */
export async function serve(bucket, key, method, object, status, first, last, isGated) {
  const headers = new Headers({ "content-type": "application/octet-stream" });
  object.writeHttpMetadata(headers);
  headers.set("etag", object.httpEtag);
  headers.set("last-modified", object.uploaded.toUTCString());
  headers.set("accept-ranges", "bytes");
  headers.set("x-content-type-options", "nosniff");
  if (status === 206) headers.set("content-range", `bytes ${first}-${last}/${object.size}`);
  if (status === 416) headers.set("content-range", `bytes */${object.size}`);
  let body = null;
  if (status === 200 && method === "HEAD") headers.set("content-length", String(object.size));
  else if (status === 200 || status === 206) {
    body = object.body;
    if (body === undefined) {
      const range = status === 206 ? { offset: first, length: last - first + 1 } : undefined;
      // The very object that was looked at, not one that came in between.
      body = (await bucket.get(key, { range, onlyIf: { etagMatches: object.etag } }))?.body;
    }
    if (!body) throw new Error("the object was replaced while it was looked at");
  }
  // What is stored compressed stays as it is.
  return kept(new Response(body, { status, headers, encodeBody: "manual" }), isGated);
}
