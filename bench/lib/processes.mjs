// The two processes of a run, apart from each other so that each one's CPU is its own:
//
//   worker process   workerd, with the worker under test and nothing else
//   store process    workerd under Miniflare, with the real D1 and KV of local development, reached over 127.0.0.1
//
// The worker's bindings are the real ones as well: D1's client is the module of workerd itself, KV's is native. Only what is
// behind them is in another process, as it is at Cloudflare. The store counts what it is asked.

import { execFileSync, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { root } from "../../scripts/run.mjs";
import { migrate } from "../../tests/e2e/migrated.mjs";

const require = createRequire(import.meta.url);
const here = import.meta.dirname;
const wranglerToml = readFileSync(path.join(root, "wrangler.toml"), "utf8");
const COMPATIBILITY_DATE = wranglerToml.match(/^compatibility_date = "(.*)"/m)[1];

/** CPU of a process and all its threads, in nanoseconds, as the scheduler counts it; `null` where it does not tell us. */
export function cpuOf(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    let sum = 0n;
    for (const thread of threads) sum += BigInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    return Number(sum);
  } catch {
    return null;
  }
}

/** Resident memory of a process in MiB; `null` where it is not told. */
export function residentOf(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/^VmRSS:\s+(\d+) kB/m)[1]) / 1024;
  } catch {
    return null;
  }
}

/** The store process. */
export class Store {
  static async start() {
    const self = new Store();
    self.folder = mkdtempSync(path.join(tmpdir(), "plangate-bench-"));
    migrate(self.folder);
    const before = new Set(workerds());
    self.mf = new Miniflare(
      convertV4MiniflareOptions({
        host: "127.0.0.1",
        port: 0,
        resourcePersistencePath: path.join(self.folder, "v3"),
        workers: [
          {
            name: "store",
            modules: true,
            script: readFileSync(path.join(here, "store-worker.js"), "utf8"),
            compatibilityDate: COMPATIBILITY_DATE,
            d1Databases: { DB: "DB" },
            kvNamespaces: { KV: "KV" },
            unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
          },
        ],
      }),
    );
    await self.mf.ready;
    self.url = await self.mf.unsafeGetDirectURL("store");
    [self.pid] = workerds().filter((pid) => !before.has(pid));
    self.d1 = await self.mf.getD1Database("DB");
    self.kv = await self.mf.getKVNamespace("KV");
    return self;
  }

  /** What was asked of it since the last call, and how many rows that read and wrote. */
  async counts() {
    return (await fetch(new URL("/bench/counts", this.url), { method: "POST" })).json();
  }

  async stop() {
    await this.mf.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The workerd processes that are ours. */
function workerds() {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,comm="], { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => line.trim().split(/\s+/)).filter(([, parent, name]) => Number(parent) === process.pid && name.endsWith("workerd")).map(([pid]) => Number(pid));
}

const quoted = (text) => JSON.stringify(text).replaceAll("\\u", "\\\\u");

/**
 * The worker process. `modules` are `{name, file, type}`, the worker first; `bindings` are texts; `v8Flags` are V8's own;
 * `internet` is where its own requests go, which are refused otherwise.
 */
export class Worker {
  static async start({ name, modules, bindings, store, v8Flags = [], internet }) {
    const self = new Worker();
    self.name = name;
    self.folder = mkdtempSync(path.join(tmpdir(), "plangate-bench-worker-"));
    modules.forEach(({ file }, n) => cpSync(file, path.join(self.folder, `module-${n}`)));
    const port = await freePort();
    const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "kv", external = (address = "${store.url.host}", http = (injectRequestHeaders = [(name = "x-bench", value = "kv")]))),
    (name = "d1", external = (address = "${store.url.host}", http = (injectRequestHeaders = [(name = "x-bench", value = "d1")]))),
    (name = "internet", ${internet ? `external = (address = "${internet.host}", http = ())` : "network = (allow = [])"}),
  ],
  v8Flags = [${v8Flags.map(quoted).join(", ")}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  compatibilityDate = "${COMPATIBILITY_DATE}",
  modules = [${modules.map((one, n) => `(name = ${quoted(one.name)}, ${one.type} = embed "module-${n}")`).join(", ")}],
  bindings = [
    (name = "ENTITLEMENTS", kvNamespace = "kv"),
    (name = "DB", wrapped = (moduleName = "cloudflare-internal:d1-api", innerBindings = [(name = "fetcher", service = "d1")])),
    ${Object.entries(bindings).map(([key, value]) => `(name = ${quoted(key)}, text = ${quoted(value)})`).join(",\n    ")}
  ],
);
`;
    const file = path.join(self.folder, "config.capnp");
    writeFileSync(file, config);
    const binary = path.join(path.dirname(require.resolve("workerd/package.json")), "bin/workerd");
    self.process = spawn(binary, ["serve", "--experimental", file], { stdio: ["ignore", "ignore", "pipe"] });
    // However this process ends, that one does too.
    const kill = () => self.process.kill("SIGKILL");
    process.once("exit", kill);
    self.process.once("exit", () => process.off("exit", kill));
    self.process.stderr.setEncoding("utf8");
    self.log = "";
    // The newest of it; under load there may be much.
    self.process.stderr.on("data", (text) => (self.log = (self.log + text).slice(-20_000)));
    self.pid = self.process.pid;
    self.url = new URL(`http://127.0.0.1:${port}`);
    await answering(self, port);
    return self;
  }

  cpu = () => cpuOf(this.pid);
  resident = () => residentOf(this.pid);

  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    if (this.process.exitCode === null) {
      this.process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/**
 * A port that nothing listens on. It is none of those that the system gives to whoever asks for any, or somebody beside would be
 * given it before it is used.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 32_768);
    const server = createServer();
    const isFree = await new Promise((resolve) => server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true)));
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

async function answering(worker, port) {
  const until = Date.now() + 20_000;
  while (Date.now() < until) {
    if (worker.process.exitCode !== null) throw new Error(`workerd ended at once:\n${worker.log}`);
    const is = await new Promise((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
      socket.on("error", () => resolve(false));
    });
    if (is) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`workerd does not listen:\n${worker.log}`);
}

/** The built worker; `watched` tells the size of its memory. */
export const plangate = (store, bindings, { watched = false } = {}) =>
  Worker.start({
    name: "plangate",
    modules: [
      ...(watched ? ["watched.js", "instances.js"].map((name) => ({ name, file: path.join(here, name), type: "esModule" })) : []),
      { name: "index.js", file: path.join(root, "build/index.js"), type: "esModule" },
      { name: "index_bg.wasm", file: path.join(root, "build/index_bg.wasm"), type: "wasm" },
    ],
    bindings,
    store,
  });

/** The yardstick: a plain worker in JavaScript. */
export const yardstick = (store, bindings) =>
  Worker.start({ name: "yardstick", modules: [{ name: "worker.js", file: path.join(here, "../yardstick/worker.js"), type: "esModule" }], bindings, store });
