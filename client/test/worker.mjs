// A server that plays a plangate worker: it answers each request as the test says, and remembers what it was asked.
import { createServer } from "node:http";

export const YES = {
  allowed: true, reason: "active", plan: "pro", status: "active", payer: { type: "user", id: "user_1" }, valid_until: "2999-01-01T00:00:00Z",
  as_of: "2026-11-21T00:00:00Z", source: "d1", version: 3,
};
export const NO = {
  allowed: false, reason: "no_subscription", plan: "free_user", status: null, payer: { type: "user", id: "user_1" }, valid_until: null,
  as_of: "2026-11-21T00:00:00Z", source: "d1", version: 0,
};
export const HELD = {
  plan: "pro", status: "active", valid_until: null, cancel_at: null, plans: ["pro"], features: [], limits: {}, trial: { active: false, ends_at: null, used: false },
  payers: [], as_of: null, source: "d1", version: 1,
};

export const problem = (status, code, headers = {}) => ({
  status,
  headers: { "content-type": "application/problem+json", ...headers },
  body: { type: `urn:plangate:problem:${code}`, title: "No", status, code, detail: `because of ${code}`, request_id: "req_1" },
});

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
let tokens = 0;
/** What a session token looks like from outside. */
export const tokenOf = (sub, org) => `${part({ alg: "RS256" })}.${part({ sub, jti: tokens++, ...(org && { o: { id: org } }) })}.c2ln`;

export class FakeWorker {
  static async start() {
    const self = new FakeWorker();
    self.reset();
    self.server = createServer(async (request, response) => {
      let text = "";
      for await (const chunk of request) text += chunk;
      const asked = {
        method: request.method, path: request.url, token: request.headers.authorization?.replace("Bearer ", ""), body: text && JSON.parse(text),
        broken: new Promise((resolve) => response.once("close", () => resolve(!response.writableFinished))),
      };
      self.requests.push(asked);
      self.arrived();
      const answer = (await (self.script.shift() ?? self.usual)(asked)) ?? {};
      if (answer === "reset") return request.socket.destroy();
      const { status = 200, headers = { "content-type": "application/json" }, body } = answer;
      response.writeHead(status, headers);
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    });
    await new Promise((resolve) => self.server.listen(0, "127.0.0.1", resolve));
    self.url = `http://127.0.0.1:${self.server.address().port}`;
    return self;
  }

  reset() {
    this.requests = [];
    this.script = [];
    this.arrival();
    this.answers = () => NO;
    /** What is answered when nothing else is said: each check by `answers`. */
    this.usual = ({ path, body }) => {
      if (path.startsWith("/v1/check")) return { body: { results: body.checks.map((check) => this.answers(check)) } };
      if (path.startsWith("/v1/sync")) return { body: { synced: [], entitlements: HELD } };
      return { body: HELD };
    };
  }

  /** `nextRequest` resolves when a request arrives after this. */
  arrival() {
    this.nextRequest = new Promise((resolve) => (this.arrived = resolve));
  }

  /** The next requests are answered so, in order: `{status, headers, body}`, "reset", or a function. */
  next(...answers) {
    this.script.push(...answers.map((answer) => (typeof answer === "function" ? answer : () => answer)));
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
