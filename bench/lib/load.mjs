// What is sent, and how: signed before the clock starts, a bounded number at once over connections that stay open.
import { Agent, request as httpRequest } from "node:http";
import { itemEvent, item, newUser, sign, subscriptionEvent, token, event, OTHER_SECRET, API_KEY } from "../../tests/e2e/harness.mjs";

export const CONCURRENCY = 16;

/**
 * One request over a kept connection: its status and its text. Where the connection was kept so long that workerd closed it just
 * then, which it does after some seconds, the request goes out again, as Node's manual says of `reusedSocket`.
 */
export async function send(agent, url, request) {
  try {
    return await sendOnce(agent, url, request);
  } catch (error) {
    if (!error.wasKept || error.code !== "ECONNRESET") throw error;
    return sendOnce(agent, url, request);
  }
}

function sendOnce(agent, url, { method = "GET", path, headers = {}, body }) {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const call = httpRequest({ agent, host: url.hostname, port: url.port, method, path, headers: { ...headers, ...length } }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolve({ status: answer.statusCode, text: Buffer.concat(chunks).toString() }));
      answer.on("error", reject);
    });
    call.on("error", (error) => reject(Object.assign(error, { wasKept: call.reusedSocket })));
    call.end(body);
  });
}

/** Sends all of it, so many at once. Each answer is given to `expect`, which throws for a wrong one. */
export async function sendAll(url, requests, expect, { concurrency = CONCURRENCY } = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const times = [];
  let next = 0;
  const sender = async () => {
    while (next < requests.length) {
      const request = requests[next++];
      const begun = performance.now();
      expect(await send(agent, url, request), request);
      times.push(performance.now() - begun);
    }
  };
  try {
    await Promise.all(Array.from({ length: concurrency }, sender));
  } finally {
    agent.destroy();
  }
  return times.sort((a, b) => a - b);
}

const is = (status, text) => (answer) => {
  if (answer.status !== status || !answer.text.includes(text)) throw new Error(`expected ${status} with ${text}, got ${answer.status} ${answer.text.slice(0, 300)}`);
};
/** A session token that outlasts a run on a busy machine. */
export const longToken = (user) => token(user, { exp: Math.floor(Date.now() / 1000) + 7_200 });
const hook = (delivery) => ({ method: "POST", path: "/webhooks/clerk", headers: delivery.headers, body: delivery.body });
const bearer = (text) => ({ authorization: `Bearer ${text}` });
const check = (user, plan = "pro") => ({ path: `/v1/check?plan=${plan}`, headers: bearer(longToken(user)) });
const times = (count, make) => Array.from({ length: count }, (_, n) => make(n));

/** Two items, as Clerk sends them when a plan changes: 2.5 kB. */
const change = (user) => sign(subscriptionEvent(user, [item(user, { plan: "free_user", status: "ended" }), item(user)]));

/**
 * The phases. `before` are deliveries that are stored first and not measured, `between` is done after them; `requests` are
 * measured. With `cold` a process measures that remembers nobody of `before`. `only` names the worker that has the route.
 */
export const PHASES = [
  {
    name: "check-warm",
    make(count) {
      const user = newUser();
      const one = check(user);
      return { before: [hook(change(user))], requests: times(count, () => one), expect: is(200, '"allowed":true') };
    },
  },
  {
    name: "check-distinct",
    make(count) {
      const users = times(Math.min(count, 500), newUser);
      return { before: users.map((user) => hook(change(user))), requests: times(count, (n) => check(users[n % users.length])), expect: is(200, '"allowed":true'), cold: true };
    },
  },
  {
    // The copy is gone, or older than its time allows: D1 answers, and plangate writes the copy anew.
    name: "check-stale",
    make(count) {
      const users = times(Math.min(count, 500), newUser);
      return {
        before: users.map((user) => hook(change(user))),
        between: async (kv) => {
          for (const user of users) for (const key of [`s1:user:${user}`, `user:${user}`]) await kv.delete(key);
        },
        requests: users.map((user) => check(user)),
        expect: is(200, '"allowed":true'),
        cold: true,
      };
    },
  },
  {
    name: "check-denied",
    make(count) {
      const users = times(Math.min(count, 500), newUser);
      return { before: users.map((user) => hook(change(user))), requests: times(count, (n) => check(users[n % users.length], "enterprise")), expect: is(200, '"allowed":false'), cold: true };
    },
  },
  {
    name: "check-unknown",
    make: (count) => ({ before: [], requests: times(count, () => check(newUser())), expect: is(200, '"allowed":false') }),
  },
  {
    name: "check-forged",
    make(count) {
      const genuine = longToken(newUser());
      const [head, claims, signature] = genuine.split(".");
      const forged = (n) => `${head}.${claims}.${signature.slice(0, n % 300)}${signature[n % 300] === "A" ? "B" : "A"}${signature.slice((n % 300) + 1)}`;
      return { before: [], requests: times(count, (n) => ({ path: "/v1/check?plan=pro", headers: bearer(forged(n)) })), expect: is(401, "") };
    },
  },
  {
    name: "hook-new",
    make: (count) => ({ before: [], requests: times(count, () => hook(change(newUser()))), expect: is(200, '"stored"') }),
  },
  {
    name: "hook-duplicate",
    make(count) {
      const one = hook(change(newUser()));
      return { before: [one], requests: times(count, () => one), expect: is(200, '"duplicate"') };
    },
  },
  {
    name: "hook-forged",
    make: (count) => ({ before: [], requests: times(count, () => hook(sign(itemEvent(newUser()), { secret: OTHER_SECRET }))), expect: is(400, "") }),
  },
  {
    name: "hook-ignored",
    make: (count) => ({ before: [], requests: times(count, (n) => hook(sign(event("session.created", { id: `sess_${n}` })))), expect: is(200, '"ignored"') }),
  },
  {
    name: "entitlements",
    only: "plangate",
    make(count) {
      const users = times(Math.min(count, 500), newUser);
      return {
        before: users.map((user) => hook(change(user))),
        requests: times(count, (n) => ({ path: `/v1/entitlements?user_id=${users[n % users.length]}`, headers: bearer(API_KEY) })),
        expect: is(200, '"plans"'),
        cold: true,
      };
    },
  },
];
