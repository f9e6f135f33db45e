// Running other programs, and telling the reader what is going on.
//
// Everything here is written to stderr: stdout belongs to the programs, so that their output can be piped.

import { spawn, spawnSync } from "node:child_process";
import { constants } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The root of the repository. Every program is run from here. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** The signals of Ctrl-C, of `kill`, and of a terminal that was closed. */
export const END_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/** A failure the reader can act on. Its message is one plain sentence that says what to do. */
export class Failure extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** Runs a script's body; a `Failure`, or an option it does not have, ends it with a sentence instead of a stack trace. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Failure) && !error.code?.startsWith("ERR_PARSE_ARGS")) throw error;
    say(`\nplangate: ${error.message}`);
    process.exitCode = error.exitCode ?? 2;
  }
}

/** Announces a piece of work that takes a while in silence, and shows that it is still alive. */
export async function step(title, work) {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  say(`▸ ${title}`);
  const heartbeat = setInterval(() => say(`  … ${seconds()} s`), 20_000);
  try {
    const result = await work();
    say(`  done in ${seconds()} s`);
    return result;
  } finally {
    clearInterval(heartbeat);
  }
}

/**
 * Runs a program and gives its exit code.
 *
 * A signal to end is passed on first and obeyed after that, so that no program outlives its script.
 */
export function exitCodeOf(command, args, { cwd = root, env = {}, stdio = "inherit", timeout } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio, timeout });
    let received;
    const passOn = (signal) => {
      received = signal;
      child.kill(signal);
    };
    for (const signal of END_SIGNALS) process.on(signal, passOn);
    const finish = (settle, value) => {
      if (received) process.exit(128 + constants.signals[received]);
      for (const signal of END_SIGNALS) process.off(signal, passOn);
      settle(value);
    };
    child.on("error", (error) => {
      const missing = new Failure(`\`${command}\` was not found; install it and run this again.`);
      finish(reject, error.code === "ENOENT" ? missing : error);
    });
    child.on("close", (code, signal) => finish(resolve, code ?? 128 + constants.signals[signal]));
  });
}

/** Runs a program whose failure ends the script. `otherwise` is the sentence to end it with. */
export async function run(command, args, { otherwise, ...options } = {}) {
  const code = await exitCodeOf(command, args, options);
  if (code !== 0) throw new Failure(otherwise ?? `\`${[command, ...args].join(" ")}\` failed; its output is above.`, code);
}

/** What a program prints, trimmed, or `null` if it is missing or fails. */
export function outputOf(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, env: { ...process.env, ...env }, encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim() : null;
}

/** `stdio` for a program that talks too much: only its errors are shown. */
export const errorsOnly = ["ignore", "ignore", "inherit"];
