// What the browser suites share: TAP lines, what a description or a call's statistics must
// say, and how Debian's Chromium is started.
//
// Prints "ok - name" and "not ok - name" lines; the suite's shell part numbers them.

import { chromium } from "playwright-core";

export const N_MESSAGES = 600;
export const MIN_FRAMES = 30;
export const WANTED = { minFrames: MIN_FRAMES, nMessages: N_MESSAGES, timeoutMs: 30000 };

let failed = false;

export function check(name, good, why) {
  failed ||= !good;
  console.log(`${good ? "ok" : "not ok"} - ${name}`);
  if (!good && why !== undefined) console.log(typeof why === "string" ? why : JSON.stringify(why));
}

export function exitStatus() {
  return failed ? 1 : 0;
}

// The addresses a description gives away. "o=" holds a constant, "0.0.0.0" says nothing.
export function addressesIn(sdp) {
  const lines = sdp.split(/\r?\n/).filter((line) => /^(a=candidate:|a=rtcp:|c=)/.test(line));
  const words = lines.flatMap((line) => line.split(/\s+/));
  const isAddress = (word) => /^(\d+\.){3}\d+$|^[0-9a-f]*:[0-9a-f:]*:|\.local$/i.test(word);
  return [...new Set(words.filter(isAddress))].filter((word) => word !== "0.0.0.0");
}

export function checkDescriptions(name, sdps, relay) {
  const candidates = sdps.flatMap((sdp) => sdp.split(/\r?\n/))
    .filter((line) => line.startsWith("a=candidate:"));
  check(`${name}: each page offers candidates, relayed ones only`,
    sdps.every((sdp) => sdp.includes("a=candidate:")) &&
    candidates.every((line) => / typ relay /.test(line)), candidates);
  const addresses = [...new Set(sdps.flatMap(addressesIn))];
  check(`${name}: what the pages tell each other holds the relay's address only`,
    addresses.length === 1 && addresses[0] === relay, addresses);
}

export function checkMedia(name, side, result) {
  check(`${name}: ${side} decoded more than ${MIN_FRAMES} frames of the other's camera`,
    result.framesDecoded > MIN_FRAMES, result);
  check(`${name}: ${side} received ${N_MESSAGES} messages, in order, none lost`,
    result.received === N_MESSAGES && result.inOrder, result);
}

// `program` may be a wrapper that starts /usr/bin/chromium somewhere else. Root's has no sandbox.
export function launchChromium(args = [], program = "/usr/bin/chromium") {
  const isRoot = process.getuid() === 0;
  return chromium.launch({
    executablePath: program,
    headless: false, // playwright's own headless flag means its own build; Debian's takes this one:
    chromiumSandbox: !isRoot,
    args: [
      "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
      // The suite's certificate is self-signed; TURN over TLS asks the same verifier as https.
      "--ignore-certificate-errors",
      ...args,
    ],
  });
}
