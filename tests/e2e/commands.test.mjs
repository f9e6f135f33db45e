// The README's commands, as a user runs them: the worker by `npm start`, the story by `npm run demo`.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "../../bench/lib/processes.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const state = mkdtempSync(join(tmpdir(), "plangate-start-"));
let port, url, demoPort, server;

const npm = (args, env = {}) => spawn("npm", args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
const text = async (stream) => {
  let all = "";
  for await (const chunk of stream) all += chunk;
  return all;
};
const run = async (args, env) => {
  const child = npm(args, env);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { code, stdout, stderr };
};
const ports = (worker, demo) => ({ PORT: String(worker), DEMO_PORT: String(demo), PLANGATE_STATE: state });

const isReady = (start) => {
  start.stdout.resume();
  return new Promise((resolve, reject) => {
    let said = "";
    start.stderr.on("data", (chunk) => (said += chunk) && said.includes("plangate is ready on") && resolve());
    start.on("exit", () => reject(new Error(`npm start ended:\n${said}`)));
  });
};

before(async () => {
  port = await freePort();
  demoPort = await freePort();
  url = `http://localhost:${port}`;
  server = npm(["start"], ports(port, demoPort));
  await isReady(server);
});
after(async () => {
  // The last test ends it, if it comes so far.
  if (server.exitCode === null && server.signalCode === null) {
    server.kill("SIGINT");
    await once(server, "exit");
  }
  rmSync(state, { recursive: true, force: true });
});

test("every command begins where no package is installed yet", () => {
  const commands = Object.values(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).scripts);
  const files = commands.map((command) => join(ROOT, /^exec node (\S+)/.exec(command)[1]));
  // More are added while it goes through them.
  const loaded = new Set(files);
  for (const file of loaded) {
    for (const [, name] of readFileSync(file, "utf8").matchAll(/^(?:import|export)\b[^"=();]*"([^"]+)";$/gm)) {
      assert.match(name, /^(?:node:|\.)/, `${file} needs a package to be loaded, before anything could install it`);
      if (name.startsWith(".")) loaded.add(join(dirname(file), name));
    }
  }
  assert.ok(loaded.has(join(ROOT, "scripts", "setup", "packages.mjs")));
});

test("a build knows its sources by their place in the clone, so that a copy of it looks at its own", async () => {
  const inputs = join(ROOT, "build", ".inputs.json");
  // A first build writes what it is to be compared with when it is asked for again.
  for (let n = 0; n < 2 && !existsSync(inputs); n++) assert.equal((await run(["run", "build"])).code, 0);
  const { sources } = JSON.parse(readFileSync(inputs, "utf8"));
  assert.ok(sources.includes(join("src", "lib.rs")));
  assert.deepEqual(sources.filter((file) => isAbsolute(file)), []);
});

test("an environment made as the README says leaves production its domain", async () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const [routes] = /routes = \[\{.*?\}\]/.exec(readme);
  const [, staging] = /```toml\n([^`]*\[\[env\.staging\.[^`]*)```/.exec(readme);
  const folder = mkdtempSync(join(tmpdir(), "plangate-config-"));
  const config = join(folder, "wrangler.toml");
  const own = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
  writeFileSync(config, `${own.replace(/^\[/m, `${routes}\n[`)}\n${staging.replaceAll(/^ {2}/gm, "")}`);
  const { unstable_readConfig: readConfig } = await import("wrangler");
  const [production, other] = [readConfig({ config }), readConfig({ config, env: "staging" }, { hideWarnings: true })];
  rmSync(folder, { recursive: true });
  assert.deepEqual(production.routes.map(({ pattern }) => pattern), ["plangate.example.com"]);
  assert.deepEqual(other.routes.map(({ pattern }) => pattern), []);
  assert.deepEqual([other.name, other.d1_databases[0].binding, other.kv_namespaces[0].binding], ["plangate-staging", "DB", "ENTITLEMENTS"]);
  assert.notEqual(other.d1_databases[0].database_name, production.d1_databases[0].database_name);
});

test("the demo's story goes as told", async () => {
  const { code, stdout, stderr } = await run(["run", "--silent", "demo"], { PLANGATE_URL: url });
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /All \d+ steps went as told/);
  for (const headline of ["denied", "allowed", "forged", "still allowed", "stale", "Ended"]) assert.ok(stdout.includes(headline), headline);
});

test("the demo's story says so where no plangate answers", async () => {
  const stranger = createServer((_, response) => response.end("hello")).listen(0, "127.0.0.1");
  await once(stranger, "listening");
  const address = `http://127.0.0.1:${stranger.address().port}`;
  const { code, stdout, stderr } = await run(["run", "--silent", "demo"], { PLANGATE_URL: address });
  stranger.close();
  assert.deepEqual([code, stdout], [1, ""]);
  assert.equal(stderr, `what answers at ${address} is no plangate worker; set PLANGATE_URL to the address of one\n`);
});

test("the command line's event and token are understood by the worker", async () => {
  const cli = (...args) => run(["run", "--silent", "plangate", "--", ...args]);
  const trigger = await cli("trigger", "clerk", "subscriptionItem.active", "--user", "user_1", "--plan", "pro", "--url", url, "--json");
  assert.equal(trigger.code, 0, trigger.stderr);
  assert.equal(JSON.parse(trigger.stdout).response.body.outcome, "stored");
  const token = await cli("token", "--user", "user_1");
  const answer = await fetch(`${url}/v1/check?plan=pro`, { headers: { authorization: `Bearer ${token.stdout.trim()}` } });
  assert.equal((await answer.json()).allowed, true);
  // With the server key that the first start made up.
  const explained = await cli("explain", "--user", "user_1", "--plan", "pro", "--url", url);
  assert.equal(explained.code, 0, explained.stderr + explained.stdout);
  assert.match(explained.stdout, /^yes now: active, holding pro\nrule: active grants until period_end \+ RENEWAL_SLACK_HOURS \(24\)/);
  assert.match(explained.stdout, /\n {2}\* .* subscriptionItem\.active clerk msg_/);
  assert.equal((await cli("explain", "--user", "user_1", "--plan", "pro", "--at", "2020-01-01T00:00:00Z", "--url", url)).code, 1);
  assert.equal((await cli("explain", "--user", "user_1", "--plan", "pro", "--url", url, "--api-key", "pgk_of_somebody_else")).code, 3);
});

test("the demo beside it is signed for, and its page may ask the worker", async () => {
  const origin = `http://localhost:${demoPort}`;
  const page = await fetch(origin);
  assert.deepEqual([page.status, (await page.text()).includes("plangate demo")], [200, true]);
  const post = async (path, body) => (await fetch(origin + path, { method: "POST", headers: { origin }, body: JSON.stringify(body) })).json();
  const { log } = await post("/dev/act", { who: "ada", act: "subscribe", plan: "pro" });
  assert.deepEqual(log.map(({ status, outcome }) => [status, outcome]), [[200, "stored"], [200, "stored"]]);
  const { token } = await post("/dev/token", { who: "ada" });
  const answer = await fetch(`${url}/v1/check?plan=pro`, { headers: { authorization: `Bearer ${token}`, origin } });
  assert.equal(answer.headers.get("access-control-allow-origin"), origin);
  assert.equal((await answer.json()).allowed, true);
});

test("settings that the demo cannot work with keep no worker from starting", async () => {
  const apart = mkdtempSync(join(tmpdir(), "plangate-start-"));
  const [own, other] = [await freePort(), await freePort()];
  const second = npm(["start"], { ...ports(own, other), PLANGATE_STATE: apart, DEV_SESSION_PRIVATE_KEY: "not a key" });
  second.stdout.resume();
  let said = "";
  await new Promise((resolve, reject) => {
    second.stderr.on("data", (chunk) => (said += chunk) && said.includes("plangate is ready on") && said.includes("the demo ended") && resolve());
    second.on("exit", () => reject(new Error(`npm start ended:\n${said}`)));
  });
  assert.match(said, /DEV_SESSION_PRIVATE_KEY is no PKCS8 PEM/);
  assert.ok(!said.includes("The demo is on"));
  assert.equal((await fetch(`http://localhost:${own}/v1/check`)).status, 401);
  await assert.rejects(fetch(`http://localhost:${other}/`));
  second.removeAllListeners("exit");
  second.kill("SIGINT");
  await once(second, "exit");
  rmSync(apart, { recursive: true, force: true });
});

test("two that start at once over one new database migrate it once", async (t) => {
  const shared = mkdtempSync(join(tmpdir(), "plangate-shared-"));
  t.after(() => rmSync(shared, { recursive: true, force: true }));
  const starts = [];
  for (let n = 0; n < 2; n++) starts.push(npm(["start"], { ...ports(await freePort(), await freePort()), PLANGATE_STATE: shared }));
  const ends = starts.map((start) => once(start, "exit"));
  try {
    await Promise.all(starts.map(isReady));
  } finally {
    for (const start of starts) start.kill("SIGINT");
    await Promise.all(ends);
  }
});

test("a second start on either port says what to do, and an end leaves nothing behind", async () => {
  const free = await freePort();
  for (const [env, taken, name] of [[ports(port, free), port, "PORT"], [ports(free, demoPort), demoPort, "DEMO_PORT"]]) {
    const second = await run(["start"], env);
    assert.notEqual(second.code, 0);
    assert.match(second.stderr, new RegExp(`port ${taken} is in use; .* ${name}=\\d+ npm start`));
  }
  const same = await run(["start"], ports(free, free));
  assert.notEqual(same.code, 0);
  assert.match(same.stderr, /PORT and DEMO_PORT are the same/);
  server.kill("SIGINT");
  await once(server, "exit");
  await assert.rejects(fetch(`${url}/healthz`));
  await assert.rejects(fetch(`http://localhost:${demoPort}/`));
});
