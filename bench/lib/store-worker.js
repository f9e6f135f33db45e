// What is behind the bindings of the worker under test: hands each request to the real local D1 and KV, and counts it.
// Speaks the protocols of workerd's own bindings: of D1 a POST of one statement or a list, of KV a GET, PUT or DELETE of a key.
const none = () => ({ d1_call: 0, d1_statement: 0, rows_read: 0, rows_written: 0, kv_get: 0, kv_put: 0, kv_delete: 0, d1_ms: 0 });
let counts = none();

async function d1(request, env) {
  const body = await request.text();
  const answer = await env.DB.fetcher.fetch(new Request(request.url, { method: "POST", headers: request.headers, body }));
  const text = await answer.text();
  counts.d1_call += 1;
  const results = JSON.parse(text);
  for (const { meta } of Array.isArray(results) ? results : [results]) {
    counts.d1_statement += 1;
    counts.rows_read += meta?.rows_read ?? 0;
    counts.rows_written += meta?.rows_written ?? 0;
    counts.d1_ms += meta?.duration ?? 0;
  }
  return new Response(text, { status: answer.status, headers: answer.headers });
}

async function kv(request, env) {
  const url = new URL(request.url);
  const key = decodeURIComponent(url.pathname.slice(1));
  if (request.method === "GET") {
    counts.kv_get += 1;
    const value = await env.KV.get(key, "text");
    return value === null ? new Response(null, { status: 404 }) : new Response(value);
  }
  if (request.method === "PUT") {
    counts.kv_put += 1;
    const ttl = url.searchParams.get("expiration_ttl");
    await env.KV.put(key, await request.text(), ttl === null ? {} : { expirationTtl: Number(ttl) });
    return new Response(null);
  }
  counts.kv_delete += 1;
  await env.KV.delete(key);
  return new Response(null);
}

export default {
  fetch(request, env) {
    const what = request.headers.get("x-bench");
    if (what === "d1") return d1(request, env);
    if (what === "kv") return kv(request, env);
    const answer = Response.json(counts);
    counts = none();
    return answer;
  },
};
