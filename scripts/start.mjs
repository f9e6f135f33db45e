// npm start: builds what needs building and serves it with the local workerd, D1 and KV, and beside it the demo's page.
//
// PORT             the port to serve on (8787)
// DEMO_PORT        the port of the demo's page (8788)
// PLANGATE_STATE   the folder for the local database, instead of .wrangler/state: a test can throw its own away

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildWorker } from "./build-worker.mjs";
import { bringClientUpToDate } from "./client.mjs";
import { withLock } from "./lock.mjs";
import { END_SIGNALS, errorsOnly, Failure, main, root, run, say, step } from "./run.mjs";
import { devVar } from "./setup/dev-vars.mjs";
import { setUp } from "./setup/set-up.mjs";

/** How long workerd gets to end by itself after Ctrl-C. */
const PATIENCE_MS = 5_000;

const QUIET = {
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  // Placeholder values do for `Request.cf`; fetching real ones fails noisily without a network.
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
};

await main(async () => {
  const port = portFrom("PORT", 8787);
  const demoPort = portFrom("DEMO_PORT", 8788);
  if (port === demoPort) throw new Failure("PORT and DEMO_PORT are the same; set one of them to another port.");
  await refuseTakenPorts(port, demoPort);
  const rust = await setUp();
  await buildWorker(rust);
  await bringClientUpToDate();
  const plangate = await buildTool();

  const state = process.env.PLANGATE_STATE ? ["--persist-to", process.env.PLANGATE_STATE] : [];
  say("▸ Bringing the local database up to date");
  const migrate = () =>
    run("wrangler", ["d1", "migrations", "apply", "DB", "--local", ...state], {
      env: QUIET,
      stdio: errorsOnly,
      otherwise: "the migrations could not be applied to the local database; delete .wrangler/state to start with an empty one.",
    });
  // Of two that start at once over one database, the second would find tables there that no migration had made.
  await withLock("migration", migrate);

  await refuseTakenPorts(port, demoPort);
  await serve(port, demoPort, plangate, state);
});

function portFrom(name, otherwise) {
  const port = Number(process.env[name] || otherwise);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Failure(`${name} is not a number from 1 to 65535; set it to one or unset it.`);
  }
  return port;
}

async function refuseTakenPorts(port, demoPort) {
  for (const [name, one] of Object.entries({ PORT: port, DEMO_PORT: demoPort })) {
    // A browser looks for localhost on both.
    if ((await isTaken("127.0.0.1", one)) || (await isTaken("::1", one))) {
      throw new Failure(`port ${one} is in use; stop what listens there, or choose another: ${name}=8790 npm start.`);
    }
  }
}

/** Compiles the command line tool, which serves the demo, and gives its path. */
async function buildTool() {
  const tool = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target"), "debug", "plangate");
  const args = ["build", "--quiet", "--features", "cli", "--bin", "plangate"];
  const compile = () => run("cargo", args, { otherwise: "the plangate command could not be built; the compiler's messages are above." });
  await (existsSync(tool) ? compile() : step("Compiling the plangate command (about a minute, once)", compile));
  return tool;
}

/** `ALLOWED_ORIGINS` with the demo's page in it, for `wrangler dev`. A .dev.vars of the user's is not touched. */
function withDemo(demoPort) {
  const origins = (devVar("ALLOWED_ORIGINS") ?? "").split(",").map((origin) => origin.trim());
  const all = new Set([...origins, `http://localhost:${demoPort}`].filter((origin) => origin !== ""));
  return ["--var", `ALLOWED_ORIGINS:${[...all].join(",")}`];
}

function isTaken(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.on("error", () => resolve(false));
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

async function serve(port, demoPort, plangate, state) {
  // A process group of its own: whatever wrangler starts can be waited for and ended as one.
  const wrangler = spawn("wrangler", ["dev", "--ip", "127.0.0.1", "--port", String(port), ...withDemo(demoPort), ...state], {
    cwd: root,
    env: { ...process.env, ...QUIET },
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
  const ended = once(wrangler, "exit");
  // A group of its own, so that Ctrl-C reaches only this script, which ends both in order.
  const demo = spawn(plangate, ["demo-server", "--port", String(demoPort), "--worker", `http://localhost:${port}`], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
    detached: true,
  });
  const demoEnded = once(demo, "exit");

  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    signalGroup(wrangler.pid, "SIGINT");
    demo.kill();
  };
  for (const signal of END_SIGNALS) process.on(signal, stop);
  // An npm that is killed outright passes no signal on.
  const npm = process.env.npm_lifecycle_event && process.ppid;
  if (npm) setInterval(() => process.ppid === npm || stop(), 500).unref();

  const isReady = await firstAnswer(port, ended);
  const hasDemo = isReady && (await firstAnswer(demoPort, demoEnded));
  if (isReady && !stopping) say(welcome(port, hasDemo && demoPort));
  const sayGone = () => stopping || say("plangate: the demo ended by itself, for the reason above; the worker runs on without it.");
  void demoEnded.then(sayGone);
  const [code] = await ended;
  const wasStopped = stopping;
  stop();
  await demoEnded;
  await endGroup(wrangler.pid);
  if (!wasStopped) throw new Failure("wrangler dev ended by itself; its messages are above.", code || 1);
}

/**
 * Whether a server answers before it ends. wrangler listens before the worker behind it is there: only an HTTP answer, whatever
 * it is, means ready.
 */
async function firstAnswer(port, ended) {
  let isOver = false;
  void ended.then(() => (isOver = true));
  while (!isOver) {
    try {
      await fetch(`http://127.0.0.1:${port}/healthz`);
      return true;
    } catch {
      await sleep(100);
    }
  }
  return false;
}

/** Waits until nothing of the group is left, and sees to it. */
async function endGroup(group) {
  signalGroup(group, "SIGINT");
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(50)) {
    if (!signalGroup(group, 0)) return;
  }
  signalGroup(group, "SIGKILL");
}

/** Whether there was anyone to receive the signal. */
function signalGroup(group, signal) {
  try {
    process.kill(-group, signal);
    return true;
  } catch (error) {
    if (error.code === "ESRCH") return false;
    throw error;
  }
}

function welcome(port, demoPort) {
  const url = `http://localhost:${port}`;
  const elsewhere = port === 8787 ? "" : ` --url ${url}`;
  return `
${demoPort ? `The demo is on http://localhost:${demoPort}: open it in a browser, click subscribe.\n` : ""}plangate is ready on ${url} (Ctrl-C stops ${demoPort ? "both" : "it"}). In another terminal:

  npm run plangate -- trigger clerk subscriptionItem.active --user user_1 --plan pro${elsewhere}
  curl -H "authorization: Bearer $(sed -n 's/^API_KEYS=//p' .dev.vars)" '${url}/v1/check?user_id=user_1&plan=pro'
  curl ${url}/healthz
`;
}
