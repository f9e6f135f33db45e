// A Chromium for the tests of pages. Only these need one, so a machine that has none and can install none does without them.

import { existsSync } from "node:fs";
import { say } from "../run.mjs";
import { aptInstall, canUseApt } from "./apt.mjs";

/** Where browsers of this family are: Debian, Google's packages, Ubuntu's, macOS. */
const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/google-chrome",
  "/usr/bin/chromium-browser",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/** The browser, or `null`. `PLANGATE_CHROMIUM` names another. */
export function browser() {
  const named = process.env.PLANGATE_CHROMIUM;
  return (named ? [named] : PLACES).find((place) => existsSync(place)) ?? null;
}

/** How it is started. A sandbox of its own is not to be had as root or in a container. */
export const BROWSER_OPTIONS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Installs one where there is none and there may be. */
export async function installBrowser() {
  if (browser() !== null || !canUseApt()) return;
  const otherwise = "chromium could not be installed, so pages are not tested here.";
  await aptInstall(["chromium"], otherwise).catch(({ message }) => say(`  ${message}`));
}
