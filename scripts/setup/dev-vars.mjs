// .dev.vars: the local worker's settings. Written once, with fresh random secrets, and never changed again.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import util from "node:util";
import { root, say } from "../run.mjs";

export function writeDevVars() {
  const file = path.join(root, ".dev.vars");
  if (existsSync(file)) return;

  let text = readFileSync(path.join(root, ".dev.vars.example"), "utf8");
  for (const [name, value] of Object.entries(freshSecrets())) {
    text = text.replace(new RegExp(`^${name}=.*$`, "m"), () => `${name}=${value}`);
  }
  // Renamed into place, so that it is there whole or not at all.
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
  say("▸ Wrote .dev.vars with fresh local secrets (git ignores it)");
}

/** A local setting as wrangler finds it: in .dev.vars alone. */
export function devVar(name) {
  return util.parseEnv(readFileSync(path.join(root, ".dev.vars"), "utf8"))[name];
}

function freshSecrets() {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return {
    CLERK_WEBHOOK_SIGNING_SECRET: `whsec_${randomBytes(24).toString("base64")}`,
    CLERK_JWT_KEY: onOneLine(publicKey),
    DEV_SESSION_PRIVATE_KEY: onOneLine(privateKey),
    API_KEYS: `pgk_${randomBytes(24).toString("hex")}`,
    ADMIN_TOKEN: `pga_${randomBytes(24).toString("hex")}`,
  };
}

/** Between double quotes wrangler reads `\n` as a newline. */
function onOneLine(pem) {
  return JSON.stringify(pem);
}
