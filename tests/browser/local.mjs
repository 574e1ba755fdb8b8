// Calls of stock browsers through `callveil local`: what the page is told, what leaves the
// laptop, and what an unprotected peer gets to see. Runs on the laptop (see local.sh, whose
// exported names it uses).
//
// Arguments: the part of the suite: chromium, firefox, moved, killed or restarted.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { openCall, finishCall, gatherOnly } from "./page.mjs";
import {
  N_MESSAGES, WANTED, check, checkDescriptions, checkMedia, exitStatus, launchChromium,
} from "./checks.mjs";
import {
  captured, checkMediaOnWire, checkView, chromiumPage, moveBack, moveInCall, openPeer, withPeer,
} from "./calls.mjs";
import { launchFirefox } from "./firefox.mjs";

const {
  RELAY_ADDRESS: relay, SITE_NAME: siteName, WORK, STATS_TOKEN, RELAY_PID,
} = process.env;
const SITE = `https://${siteName}/`;
const STATS = "http://127.0.0.1:9642/stats.json";
const PROXY = "--proxy-server=socks5://127.0.0.1:1080";
const STRICT = "--webrtc-ip-handling-policy=disable_non_proxied_udp";
const NO_BYPASS = "--proxy-bypass-list=<-loopback>"; // else loopback never meets the proxy
const FIREFOX_PREFS = {
  "media.peerconnection.ice.loopback": true,
  "network.proxy.type": 1,
  "network.proxy.socks": "127.0.0.1",
  "network.proxy.socks_port": 1080,
  "network.proxy.socks_version": 5,
  "network.proxy.socks_remote_dns": true,
  "network.proxy.socks5_remote_dns": true,
  // Else what Firefox wants for itself goes out directly, name and all, once the proxy fails it.
  "network.proxy.allow_bypass": false,
};

// --- the loopback TURN server's credential ------------------------------------------------

async function askForCredential() {
  const closed = await fetch(STATS);
  const hidden = await closed.text();
  const open = await fetch(STATS, { headers: { Authorization: `Bearer ${STATS_TOKEN}` } });
  return { closed, hidden, turn: open.ok ? (await open.json()).turn : undefined };
}

function checkCredential({ closed, hidden, turn }) {
  check("without the token the statistics are refused with 401, and say no credential",
    closed.status === 401 && !hidden.includes(turn?.credential ?? "credential"), hidden);
  check("with the token they hold the loopback TURN server's credential",
    Boolean(turn?.username) && turn?.credential?.length >= 16 &&
    turn.urls?.length > 0 && turn.urls.every((url) => url.startsWith("turn:127.0.0.1:3478")),
    turn ? { ...turn, credential: "..." } : "no member \"turn\"");
  check("the same is printed at the start", readFileSync(`${WORK}/local.err`, "utf8").includes(
    "loopback TURN at 127.0.0.1:3478: " +
    `username ${turn?.username} credential ${turn?.credential}`));
}

// --- pages --------------------------------------------------------------------------------

async function checkBrowsing(name, page) {
  const seen = await page.evaluate(() => [document.documentElement.dataset.script, location.host]);
  check(`${name}: a page by name loads through SOCKS5, and its script from another name runs`,
    seen[0] === "ran" && seen[1] === siteName, seen);
}

// --- calls --------------------------------------------------------------------------------

const turnServers = ({ username, credential }, transport) =>
  [{ urls: `turn:127.0.0.1:3478?transport=${transport}`, username, credential }];

// The programs on the laptop that hold a TCP connection to the loopback TURN port.
function programsAtTurnPort() {
  const lines = execFileSync("ss", ["-Htnp", "dst", "127.0.0.1", "and", "dport", "=", ":3478"],
    { encoding: "utf8" });
  return [...lines.matchAll(/users:\(\("([^"]+)"/g)].map(([, program]) => program);
}

function checkPath(name, direct) {
  const programs = programsAtTurnPort();
  check(`${name}: the TURN connection comes ${direct ? "directly" : "by SOCKS5 CONNECT"}`,
    programs.some((program) => program.startsWith("chrom")) === direct, programs);
}

// Page `a` calls page `b`; `duringCall` runs between the descriptions and the results.
// `b` may be a peer without any ICE server, that hides nothing.
async function call(name, a, b, { servers, peer }, duringCall) {
  const offer = await a.evaluate(openCall, { servers, nMessages: N_MESSAGES, offer: null });
  const answer = await b.evaluate(openCall, peer
    ? { servers: [], policy: "all", nMessages: N_MESSAGES, offer }
    : { servers, nMessages: N_MESSAGES, offer });
  checkDescriptions(name, peer ? [offer.sdp] : [offer.sdp, answer.sdp], relay);
  const results = await Promise.all([
    a.evaluate(finishCall, { answer, ...WANTED }),
    b.evaluate(finishCall, { answer: null, ...WANTED }),
  ]);
  await duringCall?.();
  return results;
}

// A call between a page of the protected browser and the unprotected peer.
async function callToPeer(name, openPage, peerBrowser, { turn, transport, picture, direct }) {
  const captures = await captured(name, async () => {
    const [page, peerPage] = await Promise.all([openPage(), openPeer(peerBrowser)]);
    const [ours, theirs] = await call(name, page, peerPage,
      { servers: turnServers(turn, transport), peer: true }, async () => {
        if (direct !== undefined) checkPath(name, direct);
        if (picture) await page.screenshot({ path: `${WORK}/${picture}.png` });
      });
    checkMedia(name, "the protected page", ours);
    checkMedia(name, "the peer", theirs);
    check(`${name}: the protected page's media goes over ${transport} to the loopback TURN server`,
      ours.localType === "relay" && ours.relayProtocol === transport, ours);
    checkView(name, "the peer", theirs);
    await peerPage.context().close();
  });
  checkMediaOnWire(name, captures);
}

async function bothProtected(name, browser, turn) {
  const captures = await captured(name, async () => {
    const pages = await Promise.all([chromiumPage(browser, SITE), chromiumPage(browser, SITE)]);
    await checkBrowsing(name, pages[0]);
    const results = await call(name, ...pages, { servers: turnServers(turn, "tcp") });
    for (const [i, side] of ["the caller", "the callee"].entries()) {
      checkMedia(name, side, results[i]);
      checkView(name, side, results[i]);
    }
    await Promise.all(pages.map((page) => page.context().close()));
  });
  checkMediaOnWire(name, { uplink: captures.uplink });
}

// --- parts --------------------------------------------------------------------------------

async function inChromium(args, body) {
  const browser = await launchChromium([PROXY, ...args]);
  try {
    await body(browser);
  } finally {
    await browser.close();
  }
}

async function chromiumPart() {
  const answer = await askForCredential();
  checkCredential(answer);
  const { turn } = answer;
  const kinds = [
    ["TCP, strict policy", [STRICT], { transport: "tcp", direct: true, picture: "chromium" }],
    ["UDP, default policy", [], { transport: "udp" }],
    ["TCP through SOCKS5", [STRICT, NO_BYPASS], { transport: "tcp", direct: false }],
  ];
  await inChromium([STRICT], (browser) => bothProtected("both protected", browser, turn));
  await withPeer(async (peerBrowser) => {
    for (const [name, args, options] of kinds) {
      await inChromium(args, (browser) => callToPeer(name, () => chromiumPage(browser, SITE),
        peerBrowser, { turn, ...options }));
    }
  });
}

async function inFirefox(body) {
  const page = await launchFirefox(`${WORK}/firefox`, FIREFOX_PREFS);
  try {
    await body(page);
  } finally {
    await page.close();
  }
}

// Firefox is captured from its start to its end: it has business of its own.
async function firefoxPart() {
  const { turn } = await askForCredential();
  const reload = async (page) => {
    await page.goto(SITE);
    return page;
  };
  await withPeer((peerBrowser) => captured("as a whole", () => inFirefox(async (page) => {
    await checkBrowsing("browsing", await reload(page));
    for (const transport of ["tcp", "udp"])
      await callToPeer(transport.toUpperCase(), () => reload(page), peerBrowser,
        { turn, transport, picture: "firefox" });
  })));
}

// Over UDP to the loopback TURN server a browser gives the call up by itself: its own port was the old
// address's.
async function movedPart() {
  const { turn } = await askForCredential();
  const inCall = async (name, page, peerBrowser) => {
    const peerPage = await openPeer(peerBrowser);
    const before = await call(name, page, peerPage,
      { servers: turnServers(turn, "tcp"), peer: true });
    checkView(name, "the peer", await moveInCall(name, page, peerPage, before));
    await peerPage.context().close();
  };
  const move = async (name, inBrowser, peerBrowser) => moveBack(name, await captured(name,
    () => inBrowser((page) => inCall(name, page, peerBrowser))));
  await withPeer(async (peerBrowser) => {
    await move("Chromium", (body) => inChromium([STRICT],
      async (browser) => body(await chromiumPage(browser, SITE))), peerBrowser);
    await move("Firefox", (body) => inFirefox(async (page) => {
      await page.goto(SITE);
      await body(page);
    }), peerBrowser);
  });
}

async function loads(page) {
  try {
    await page.goto(SITE);
    return true;
  } catch {
    return false;
  }
}

// The relay dies in the middle of a call.
async function killedPart() {
  const { turn } = await askForCredential();
  const servers = turnServers(turn, "tcp");
  const gather = (page, policy) => page.evaluate(gatherOnly, { servers, policy, timeoutMs: 4000 });
  const inCall = async (browser, peerBrowser) => {
    const [page, peerPage] = await Promise.all(
      [chromiumPage(browser, SITE), openPeer(peerBrowser)]);
    const [ours, theirs] = await call("before", page, peerPage, { servers, peer: true });
    checkMedia("before", "the protected page", ours);
    checkMedia("before", "the peer", theirs);
    process.kill(Number(RELAY_PID), "SIGKILL");
    const after = await page.evaluate(finishCall,
      { answer: null, until: ["disconnected", "failed", "closed"], timeoutMs: 20000 });
    check("Chromium: the page sees its call fail", after.state !== "connected", after);
    const { candidates } = await gather(page, "all");
    check("Chromium: a page that asks now, whatever its policy, gets no candidate",
      candidates.length === 0, candidates);
    check("Chromium: no page loads now", !await loads(page));
    checkView("Chromium", "the peer",
      await peerPage.evaluate(finishCall, { answer: null, until: [], timeoutMs: 0 }));
  };
  await withPeer((peerBrowser) => inChromium([STRICT],
    (browser) => captured("Chromium", () => inCall(browser, peerBrowser))));
  await captured("Firefox", () => inFirefox(async (page) => {
    check("Firefox: no page loads now", !await loads(page));
    await page.goto("about:blank");
    const { candidates } = await gather(page, "relay");
    check("Firefox: a page gets no candidate", candidates.length === 0, candidates);
  }));
}

// The relay is back; the local proxy never went away.
async function restartedPart() {
  const { turn } = await askForCredential();
  await inChromium([STRICT], async (browser) => {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    let candidates = [];
    for (const end = performance.now() + 40000; performance.now() < end;) {
      ({ candidates } = await page.evaluate(gatherOnly,
        { servers: turnServers(turn, "tcp"), policy: "relay", timeoutMs: 4000 }));
      if (candidates.length > 0) break;
    }
    check("a page gets a relayed candidate again", candidates.length > 0 &&
      candidates.every((line) => line.includes(` ${relay} `)), candidates);
    await page.goto(SITE);
    await checkBrowsing("after that", page);
  });
}

const parts = {
  chromium: chromiumPart, firefox: firefoxPart, moved: movedPart, killed: killedPart,
  restarted: restartedPart,
};
await parts[process.argv[2]]();
process.exit(exitStatus());
