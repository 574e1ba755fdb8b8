// Two pages of Debian's Chromium call each other through the relay: camera both ways and a
// data channel, once per transport. What each page would tell the other (its SDP) may hold
// the relay's address and nothing else.
//
// Prints "ok - name" and "not ok - name" lines; tests/browser/browser.sh numbers them.
// Arguments: relay address, port, TLS port, user, password, and the browser's own address
// (left out for a relay that does not hide it).

import { openCall, finishCall, gatherOnly } from "./page.mjs";
import {
  N_MESSAGES, WANTED, check, checkDescriptions, checkMedia, exitStatus, launchChromium,
} from "./checks.mjs";

const [relay, port, tlsPort, username, credential, ownAddress] = process.argv.slice(2);

async function newPage(browser, permissions = ["camera", "microphone"]) {
  const context = await browser.newContext({ permissions });
  const page = await context.newPage();
  // The camera needs a secure origin. This one is answered here: no server, no DNS.
  await page.route("https://call.test/*", (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>call</title>" }));
  await page.goto("https://call.test/");
  return page;
}

function checkResult(name, protocol, side, result) {
  checkMedia(name, side, result);
  check(`${name}: ${side}'s media goes over ${protocol} to the relay, and on to a relayed address`,
    result.localType === "relay" && result.remoteType === "relay" &&
    result.relayProtocol === protocol, result);
}

async function call(browser, name, protocol, url) {
  const servers = [{ urls: url, username, credential }];
  const a = await newPage(browser);
  const b = await newPage(browser);
  try {
    const offer = await a.evaluate(openCall, { servers, nMessages: N_MESSAGES, offer: null });
    const answer = await b.evaluate(openCall, { servers, nMessages: N_MESSAGES, offer });
    checkDescriptions(name, [offer.sdp, answer.sdp], relay);
    const [resultA, resultB] = await Promise.all([
      a.evaluate(finishCall, { answer, ...WANTED }),
      b.evaluate(finishCall, { answer: null, ...WANTED }),
    ]);
    checkResult(name, protocol, "the caller", resultA);
    checkResult(name, protocol, "the callee", resultB);
  } catch (error) {
    check(`${name}: the call works`, false, error.message);
  } finally {
    await Promise.all([a.context().close(), b.context().close()]);
  }
}

async function wrongPassword(browser) {
  const page = await newPage(browser);
  const servers = [{ urls: `turn:${relay}:${port}`, username, credential: "wrong" }];
  const { candidates, errors } = await page.evaluate(gatherOnly,
    { servers, policy: "relay", timeoutMs: 15000 });
  check("a wrong password yields no candidate", candidates.length === 0, candidates);
  check("a wrong password is reported to the page as error 401", errors.includes(401), errors);
  await page.context().close();
}

// A page that forgot to ask for relayed candidates only, and may not use the camera: Chromium
// hides the addresses of the machine itself behind .local names then, but passes on what the
// relay says it saw (srflx candidates, and raddr of the relayed ones).
async function forgetfulPage(browser) {
  const page = await newPage(browser, []);
  const urls = [`turn:${relay}:${port}`, `turn:${relay}:${port}?transport=tcp`, `stun:${relay}:${port}`];
  const servers = [{ urls, username, credential }];
  const { candidates } = await page.evaluate(gatherOnly, { servers, policy: "all", timeoutMs: 15000 });
  check("without the relay-only policy there are relayed candidates too",
    candidates.some((line) => / typ relay /.test(line)), candidates);
  check("no candidate holds the browser's address, whatever the policy",
    candidates.every((line) => !line.includes(ownAddress)), candidates);
  await page.context().close();
}

const browser = await launchChromium();
try {
  await call(browser, "UDP", "udp", `turn:${relay}:${port}?transport=udp`);
  await call(browser, "TCP", "tcp", `turn:${relay}:${port}?transport=tcp`);
  await call(browser, "TLS", "tls", `turns:${relay}:${tlsPort}?transport=tcp`);
  await wrongPassword(browser);
  if (ownAddress) await forgetfulPage(browser);
} finally {
  await browser.close();
}
process.exit(exitStatus());
