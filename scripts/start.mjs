// npm start: builds what needs building and serves it with the local workerd, D1 and KV.
//
// PORT             the port to serve on (8787)
// PLANGATE_STATE   the folder for the local database, instead of .wrangler/state: a test can throw its own away

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { buildWorker } from "./build-worker.mjs";
import { END_SIGNALS, errorsOnly, Failure, main, root, run, say } from "./run.mjs";
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
  const port = portFrom(process.env.PORT || "8787");
  await refuseTakenPort(port);
  const rust = await setUp();
  await buildWorker(rust);

  const state = process.env.PLANGATE_STATE ? ["--persist-to", process.env.PLANGATE_STATE] : [];
  say("▸ Bringing the local database up to date");
  await run("wrangler", ["d1", "migrations", "apply", "DB", "--local", ...state], {
    env: QUIET,
    stdio: errorsOnly,
    otherwise: "the migrations could not be applied to the local database; delete .wrangler/state to start with an empty one.",
  });

  await refuseTakenPort(port);
  await serve(port, state);
});

function portFrom(text) {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Failure("PORT is not a number from 1 to 65535; set it to one or unset it.");
  }
  return port;
}

async function refuseTakenPort(port) {
  // A browser looks for localhost on both.
  if ((await isTaken("127.0.0.1", port)) || (await isTaken("::1", port))) {
    throw new Failure(`port ${port} is in use; stop what listens there, or choose another: PORT=8788 npm start.`);
  }
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

async function serve(port, state) {
  // A process group of its own: whatever wrangler starts can be waited for and ended as one.
  const wrangler = spawn("wrangler", ["dev", "--ip", "127.0.0.1", "--port", String(port), ...state], {
    cwd: root,
    env: { ...process.env, ...QUIET },
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
  const ended = once(wrangler, "exit");

  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    signalGroup(wrangler.pid, "SIGINT");
  };
  for (const signal of END_SIGNALS) process.on(signal, stop);
  // An npm that is killed outright passes no signal on.
  const npm = process.env.npm_lifecycle_event && process.ppid;
  if (npm) setInterval(() => process.ppid === npm || stop(), 500).unref();

  const ready = await Promise.race([firstAnswer(port), ended]);
  if (ready === true && !stopping) say(welcome(port));
  const [code] = await ended;
  await endGroup(wrangler.pid);
  if (!stopping) throw new Failure("wrangler dev ended by itself; its messages are above.", code || 1);
}

/** wrangler listens before the worker behind it is there: only an HTTP answer, whatever it is, means ready. */
async function firstAnswer(port) {
  for (;;) {
    try {
      await fetch(`http://127.0.0.1:${port}/healthz`);
      return true;
    } catch {
      await sleep(100);
    }
  }
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

function welcome(port) {
  const url = `http://localhost:${port}`;
  const elsewhere = port === 8787 ? "" : ` --url ${url}`;
  return `
plangate is ready on ${url} (Ctrl-C stops it). In another terminal:

  npm run plangate -- trigger clerk subscriptionItem.active --user user_1 --plan pro${elsewhere}
  curl -H "authorization: Bearer $(sed -n 's/^API_KEYS=//p' .dev.vars)" '${url}/v1/check?user_id=user_1&plan=pro'
  curl ${url}/healthz
`;
}
