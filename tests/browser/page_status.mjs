// The status page of both roles, while a call starts, runs and ends. See page.sh.

import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { check, checkMedia, exitStatus, launchChromium, N_MESSAGES, WANTED } from "./checks.mjs";
import { finishCall, openCall } from "./page.mjs";
import {
  LOCAL, PORT, RELAY, SECRET, WORK, checkText, checkTrouble, far, openPage, relay, takePictures,
  textBecomes, textOf, token,
} from "./page_lib.mjs";
import { openEcho } from "./socks_udp.mjs";
import { readFileSync } from "node:fs";

const stats = async (origin) => (await fetch(`${origin}/stats.json`,
  { headers: { Authorization: `Bearer ${token}` } })).json();

// --- the token ----------------------------------------------------------------------------

async function checkToken(browser) {
  const page = await openPage(browser, `${LOCAL}/`, { expected: /401/ });
  await checkText("without the token the page asks for it", page, "#token", /asks for a token/);
  check("and shows nothing else", !await page.locator("#view").isVisible());
  await page.keyboard.type("not the token");
  await page.keyboard.press("Enter");
  await checkText("a wrong one is refused in words", page, "#token-why", /not.*the right one/);
  await page.locator("#token-text").fill(token);
  await page.keyboard.press("Enter");
  await checkText("with the right one the page shows, by keyboard alone", page, "#peers-see",
    new RegExp(`^${relay}`));
  await page.reload();
  await checkText("the tab remembers it", page, "#peers-see", new RegExp(`^${relay}`));
  await page.context().close();
}

async function checkPrintedAddress(browser) {
  const [, printed] = /stats page at (http\S+)/.exec(readFileSync(`${WORK}/local.err`, "utf8")) ?? [];
  const page = await openPage(browser, printed);
  await checkText("the address printed at the start opens the page", page, "#peers-see",
    new RegExp(`^${relay}`));
  check("and the token leaves the address bar", page.url() === `${LOCAL}/`, page.url());
  await page.context().close();
}

// --- a call -------------------------------------------------------------------------------

async function callPage(browser) {
  const context = await browser.newContext({ permissions: ["camera", "microphone"] });
  const page = await context.newPage();
  await page.route("https://call.test/*", (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>call</title>" }));
  await page.goto("https://call.test/");
  return page;
}

async function checkCall(browser, page) {
  await checkText("before the call there is none", page, "#good-word", /^No call now$/);
  const lines = await textOf(page, "#n-flows");
  check("and no line", lines === "0", lines);
  const { turn } = await stats(LOCAL);
  const servers = [{ urls: turn.urls[0], username: turn.username, credential: turn.credential }];
  const [a, b] = [await callPage(browser), await callPage(browser)];
  const offer = await a.evaluate(openCall, { servers, nMessages: N_MESSAGES, offer: null });
  const answer = await b.evaluate(openCall, { servers, nMessages: N_MESSAGES, offer });
  const results = await Promise.all([
    a.evaluate(finishCall, { answer, ...WANTED }), b.evaluate(finishCall, { answer: null, ...WANTED }),
  ]);
  results.forEach((result, i) => checkMedia("during it", `page ${i}`, result));
  await checkText("a call that starts shows up", page, "#good-word", /^(Good|Fair|Poor)$/);
  await checkText("with its lines", page, "#flows tbody", /TURN over UDP/);
  await checkText("how fast it goes", page, "#charts figure", /to peers [\d.]+ [kM]bit\/s/);
  check("as many as the relay counts",
    Number(await textOf(page, "#n-flows")) === (await stats(LOCAL)).counters.allocations);
  const path = await page.locator("#charts path.line").first().getAttribute("d");
  check("and a line is drawn", /^M[\d.]+ [\d.]+L/.test(path), path);
  await sleep(4000); // of a call in the pictures
  await takePictures(page, "status-call");
  // As pages end a call; one that is merely killed leaves its allocation to expire.
  await Promise.all([a, b].map((one) => one.evaluate(() => window.call.pc.close())));
  await checkText("and when it ends, it is gone", page, "#n-flows", /^0$/);
  await checkText("and said to be", page, "#flows-empty", /No call at the moment/);
  await Promise.all([a.context().close(), b.context().close()]);
}

// --- numbers ------------------------------------------------------------------------------

const NUMBERS = ["up-packets", "up-bytes", "down-packets", "down-bytes"];

const numbersOn = (page) => page.evaluate((ids) => Object.fromEntries(ids.map((id) =>
  [id, Number(document.getElementById(id).dataset.value)])), NUMBERS);

async function numbersBecome(page, wanted) {
  let seen;
  for (const end = Date.now() + 5000; Date.now() < end;) {
    seen = await numbersOn(page);
    if (NUMBERS.every((id) => seen[id] === wanted[id])) break;
    await sleep(200);
  }
  return seen;
}

async function checkNumbers(page, relayPage) {
  const pages = { "local": page, "relay": relayPage };
  await sleep(1500);
  const before = {};
  for (const [name, one] of Object.entries(pages)) before[name] = await numbersOn(one);
  const echo = await openEcho(far, 7);
  await echo.burst(400, 300);
  await checkText("an association of SOCKS5 is a line as well", page, "#flows tbody", /SOCKS5 over UDP/);
  const { sent, sentBytes, received, receivedBytes } = echo.count;
  check("the echoes came back", received === sent && sent === 401, echo.count);
  for (const [name, one] of Object.entries(pages)) {
    const wanted = {
      "up-packets": before[name]["up-packets"] + sent,
      "up-bytes": before[name]["up-bytes"] + sentBytes,
      "down-packets": before[name]["down-packets"] + received,
      "down-bytes": before[name]["down-bytes"] + receivedBytes,
    };
    const seen = await numbersBecome(one, wanted);
    check(`the ${name} page's numbers are those that were counted outside`,
      NUMBERS.every((id) => seen[id] === wanted[id]), { seen, wanted });
  }
  const row = (await stats(LOCAL)).flows.find(({ front }) => front === "socks5");
  check("and so are those of the association itself",
    row?.up_packets === sent && row?.down_bytes === receivedBytes, row);
  echo.close();
}

// --- the relay's page, and names that are markup --------------------------------------------

async function checkNames(browser, relayPage) {
  const name = "<script>alert(1)</script><img src=x onerror=alert(2)>\"\n'&";
  const username = `${Math.floor(Date.now() / 1000) + 600}:${name}`;
  const credential = createHmac("sha1", SECRET).update(username).digest("base64");
  const page = await callPage(browser);
  await page.evaluate(async (server) => {
    const pc = (window.pc = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" }));
    pc.createDataChannel("x");
    await pc.setLocalDescription(await pc.createOffer());
  }, { urls: `turn:${relay}:${PORT}?transport=udp`, username, credential });
  const text = await textBecomes(relayPage, "#flows tbody", /alert/);
  check("a user's name that is markup is shown as text", text.includes("<script>alert(1)</script>"), text);
  check("and makes no element", await relayPage.locator("#flows script, #flows img").count() === 0);
  await page.context().close();
}

async function checkRelayPage(relayPage) {
  await checkText("the relay's page says what peers see", relayPage, "#peers-see", new RegExp(`^${relay}`));
  await checkText("until when its certificate is valid", relayPage, "#state", /valid until .* \(\d+ days?\)/);
  await checkText("and warns when that is soon", relayPage, "#banner",
    /^The certificate: valid until .* Clients that do not pin its key do not connect after that\.$/);
  await checkText("how many ports are left", relayPage, "#state", /[\d\u202f]+ free, \d+ in use/);
}

// --- the suite ----------------------------------------------------------------------------

const browser = await launchChromium(["--hide-scrollbars"]);
try {
  await checkToken(browser);
  await checkPrintedAddress(browser);
  const page = await openPage(browser, `${LOCAL}/#${token}`);
  const relayPage = await openPage(browser, `${RELAY}/#${token}`);
  await checkText("the page says how the relay is reached", page, "#state-calls", /reached by DTLS/);
  await checkText("a certificate that is pinned is known by that", page, "#state-certificate",
    /^known by its pin, whatever its date: valid until .* \(\d+ days?\)$/);
  check("and nobody is warned of its end", !await page.locator("#banner").isVisible());
  await checkRelayPage(relayPage);
  await checkCall(browser, page);
  await checkNames(browser, relayPage);
  await takePictures(relayPage, "status-relay");
  await checkNumbers(page, relayPage);
  checkTrouble();
} finally {
  await browser.close();
}
process.exit(exitStatus());
