// Calls of stock browsers inside `callveil run` with a peer outside: what the page is told, what
// leaves the laptop, and what the peer gets to see. Runs on the router (see sealed.sh, whose
// exported names it uses); in the seal is sealed_driver.mjs.
//
// Arguments: the part of the suite: chromium or firefox.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { openCall, finishCall, gatherOnly } from "./page.mjs";
import { N_MESSAGES, WANTED, addressesIn, check, checkMedia, exitStatus } from "./checks.mjs";
import {
  captured, checkMediaOnWire, moveBack, moveInCall, openPeer, withPeer,
} from "./calls.mjs";
import { packets, startCapture } from "./capture.mjs";
import { checkCall as checkTestCall, checkPrivate, testCall, verdict } from "./leak_check.mjs";

const {
  RELAY_ADDRESS: relay, LAPTOP_ADDRESS: laptop, SITE_NAME: siteName, ROUTER, WORK, PERSON,
  TURN_SERVER: turnServer, TURN_SERVER_USER: username, TURN_SERVER_PASSWORD: credential, LOCAL_PID,
} = process.env;
const SITE = `https://${siteName}/`;
// The same in every seal, of every machine.
const INSIDE = ["192.0.2.2", "fd63:616c:6c76::2"];
const isInside = (address) => INSIDE.includes(address) || address.endsWith(".local");
const OF_THE_LAPTOP = new RegExp(`${laptop.replaceAll(".", "\\.")}|fd99::`, "i");
const AT_ONCE_MS = 5000; // with all that a browser tries again
const AGAINST_THE_RULES = /^--(no-sandbox$|disable-setuid-sandbox|proxy|webrtc|force-webrtc)/;

// --- a browser in the seal ------------------------------------------------------------------

// A page as playwright's, as far as the calls here need it.
class SealedPage {
  #child;
  #lines;
  said = "";

  constructor(options, args) {
    this.#child = spawn(`${WORK}/sealed`,
      [...options, "--", `${WORK}/tests/${args[0]}-driver`, ...args],
      { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.on("data", (text) => { this.said += text; });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async answer() {
    const { value: line, done } = await this.#lines.next();
    if (done) throw new Error(`nothing from the seal any more: ${this.said.slice(-1000)}`);
    const { value, error } = JSON.parse(line);
    if (error !== undefined) throw new Error(error);
    return value;
  }

  ask(what, more = {}) {
    this.#child.stdin.write(`${JSON.stringify({ do: what, ...more })}\n`);
    return this.answer();
  }

  goto(url) { return this.ask("goto", { url }); }
  evaluate(callee, argument) { return this.ask("evaluate", { text: String(callee), argument }); }
  screenshot({ path }) { return this.ask("screenshot", { path }); }

  // Return: the exit status of `callveil run`.
  async close() {
    const ended = this.#child.exitCode === null ? once(this.#child, "exit")
      : [this.#child.exitCode];
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill("SIGTERM"), 15000);
    const [status] = await ended;
    clearTimeout(late);
    return status;
  }
}

// What a body takes is worth a line: that programs run this well in the seal is what we promise.
async function timed(name, body) {
  const started = performance.now();
  const result = await body();
  console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return result;
}

async function inSeal(options, args, body) {
  const page = new SealedPage(options, args);
  try {
    await timed("the browser's start", () => page.answer());
    await body(page);
  } finally {
    const status = await page.close();
    check("the driver and `callveil run` end with status 0", status === 0, [status, page.said]);
  }
}

// --- checks -------------------------------------------------------------------------------

async function checkBrowser(page) {
  const processes = await page.ask("processes");
  const flags = processes.flatMap(({ args }) => args).filter((x) => AGAINST_THE_RULES.test(x));
  check("the browser runs without a flag for sandbox, proxy or WebRTC",
    processes.length > 1 && flags.length === 0, flags);
  const filters = processes.map(({ nFilters }) => nFilters);
  check("and its own sandbox is on: it filters its children's system calls once more",
    filters.some((n) => n > Math.min(...filters)), filters);
}

async function checkBrowsing(page) {
  await page.goto(SITE);
  const seen = await page.evaluate(() => [document.documentElement.dataset.script, location.host]);
  check("a page by name loads, and its script from another name runs",
    seen[0] === "ran" && seen[1] === siteName, seen);
}

const candidatesOf = (sdp) => sdp.split(/\r?\n/).filter((line) => line.startsWith("a=candidate:"));

function checkSaid(name, text, allowed) {
  const addresses = addressesIn(text);
  check(`${name}: what the page is told holds no address of the laptop`,
    addresses.length > 0 && !OF_THE_LAPTOP.test(text) &&
    addresses.every((address) => isInside(address) || allowed.includes(address)), addresses);
}

const knowsOnly = (result, allowed) => result.remoteAddresses
  .every((address) => isInside(address) || address === allowed);

function checkView(name, result, used) {
  check(`${name}: the peer reaches the page by ${used}, and knows no address of the laptop`,
    result.remoteAddress === used && knowsOnly(result, used), result);
}

// --- calls --------------------------------------------------------------------------------

async function call(page, peerPage, { servers, policy }) {
  await page.goto(SITE);
  const offer = await page.evaluate(openCall, { servers, policy, nMessages: N_MESSAGES, offer: null });
  const answer = await peerPage.evaluate(openCall,
    { servers: [], policy: "all", nMessages: N_MESSAGES, offer });
  const [ours, theirs] = await Promise.all([
    page.evaluate(finishCall, { answer, ...WANTED }),
    peerPage.evaluate(finishCall, { answer: null, ...WANTED }),
  ]);
  return { offer, ours, theirs };
}

function checkCall(name, { ours, theirs }) {
  checkMedia(name, "the sealed page", ours);
  checkMedia(name, "the peer", theirs);
}

const STUN = { servers: [{ urls: `stun:${turnServer}:3478` }], policy: "all" };

// The page knows the relay's address as its own, the peer calls it there.
async function plainCall(name, page, peerPage) {
  const result = await call(page, peerPage, STUN);
  const candidates = candidatesOf(result.offer.sdp);
  check(`${name}: the page's STUN server shows it the relay's address`,
    candidates.some((line) => line.includes(` ${relay} `) && / typ srflx /.test(line)), candidates);
  checkSaid(name, result.offer.sdp, [relay]);
  checkCall(name, result);
  check(`${name}: the media goes from the page to the peer without a server of the page's`,
    ["host", "srflx", "prflx"].includes(result.ours.localType) &&
    result.ours.remoteType !== "relay", result.ours);
  checkView(name, result.theirs, relay);
}

async function movedCall(name, page, peerPage) {
  const { ours, theirs } = await call(page, peerPage, STUN);
  checkView(name, await moveInCall(name, page, peerPage, [ours, theirs]), relay);
}

async function turnCall(name, page, peerPage, transport) {
  const servers = [{ urls: `turn:${turnServer}:3478?transport=${transport}`, username, credential }];
  const result = await call(page, peerPage, { servers, policy: "relay" });
  checkSaid(name, result.offer.sdp, [turnServer]);
  checkCall(name, result);
  check(`${name}: the media goes over ${transport} to the page's own TURN server`,
    result.ours.localType === "relay" && result.ours.relayProtocol === transport, result.ours);
  checkView(name, result.theirs, turnServer);
  const { candidates } = await page.evaluate(gatherOnly, { servers, policy: "all", timeoutMs: 5000 });
  checkSaid(`${name}, policy "all"`, candidates.map((line) => `a=${line}`).join("\n"),
    [relay, turnServer]);
}

const CALLS = [
  ["peer to peer", "udp", plainCall],
  ["TURN/UDP", "udp", turnCall],
  ["TURN/TCP", "tcp", turnCall],
];

async function everyCall(page, peerBrowser, picture) {
  for (const [name, transport, body] of CALLS) {
    const captures = await captured(name, async () => {
      const peerPage = await openPeer(peerBrowser);
      await timed(name, () => body(name, page, peerPage, transport));
      await peerPage.context().close();
    });
    checkMediaOnWire(name, captures, transport);
  }
  await page.screenshot({ path: `${PERSON}/${picture}.png` });
  moveBack("another network", await captured("another network", async () => {
    const peerPage = await openPeer(peerBrowser);
    await timed("another network", () => movedCall("another network", page, peerPage));
    await peerPage.context().close();
  }));
}

// `run` has said where: the page that the seal has of its own, as a person would open it.
async function leakCheck(page, picture) {
  const [url] = /http:\/\/192\.0\.2\.1:9642\/check#[0-9a-f]{32}/.exec(page.said) ?? [];
  check("`callveil run` says where the browser's own leak check is", url, page.said);
  await page.goto(url);
  checkPrivate("the leak check", await page.evaluate(verdict));
  checkTestCall("the leak check", await page.evaluate(testCall));
  await page.screenshot({ path: `${PERSON}/${picture}-check.png` });
}

// --- parts --------------------------------------------------------------------------------

async function loads(page) {
  try {
    await page.goto(SITE);
    return true;
  } catch {
    return false;
  }
}

// `local` dies in the middle of a call: no byte leaves from then on.
async function darkCall(page, peerPage) {
  checkCall("before", await call(page, peerPage, STUN));
  process.kill(Number(LOCAL_PID), "SIGKILL");
  await sleep(500); // the kernel closes what it held
  const silence = await startCapture(ROUTER, "to-laptop", `${WORK}/laptop-silence.pcap`);
  const after = await timed("until the page sees it", () => page.evaluate(finishCall,
    { answer: null, until: ["disconnected", "failed", "closed"], timeoutMs: 20000 }));
  check("the page sees its call fail", after.state !== "connected", after);
  const { candidates } = await page.evaluate(gatherOnly, { ...STUN, timeoutMs: 2000 });
  check("a page that asks now learns no address but those of the seal",
    addressesIn(candidates.map((line) => `a=${line}`).join("\n"))
      .every(isInside), candidates);
  const asked = performance.now();
  check("no page loads now", !await loads(page));
  const waited = performance.now() - asked;
  check("and the browser is told so, rather than left to wait", waited < AT_ONCE_MS, waited);
  check("`callveil run` says that the app has no network",
    /the app has no network$/m.test(page.said), page.said);
  await silence.stop();
  // The kernel tells the relay that nobody is there any more.
  const leaked = packets(silence,
    `(ip and not (dst host ${relay} and icmp)) or (ip6 and not icmp6)`);
  check("not one packet leaves the laptop after local's death", leaked.length === 0,
    leaked.slice(0, 10));
  const theirs = await peerPage.evaluate(finishCall, { answer: null, until: [], timeoutMs: 0 });
  check("the peer knows no address of the laptop after that", knowsOnly(theirs, relay), theirs);
}

// The command as a person gives it: nothing drives this one, it says what the page became.
function checkByName() {
  const { status, stdout, stderr } = spawnSync(`${WORK}/sealed`, ["--", "chromium",
    "--headless=new", "--disable-gpu", "--ignore-certificate-errors", "--dump-dom", SITE],
  { encoding: "utf8", timeout: 30000 });
  check("`callveil run -- chromium` loads the page, script and all",
    status === 0 && stdout.includes('data-script="ran"'), [status, stdout, stderr]);
  const left = readdirSync(PERSON).filter((name) => name.startsWith("callveil-profile"));
  check("the profile that it was given goes with it", left.length === 0, left);
}

// Uses the `callveil local` that runs, and loses it.
async function chromiumPart() {
  await captured("by its name", () => timed("loads a page", checkByName));
  await withPeer((peerBrowser) => captured("as a whole",
    () => inSeal([], ["chromium"], async (page) => {
      await checkBrowser(page);
      await checkBrowsing(page);
      await everyCall(page, peerBrowser, "chromium");
      await captured("leak check", () => timed("leak check", () => leakCheck(page, "chromium")));
      await captured("local killed", async () => darkCall(page, await openPeer(peerBrowser)));
    })));
}

// There is none any more: `run` has its own.
async function firefoxPart() {
  await withPeer((peerBrowser) => captured("as a whole",
    () => inSeal(["-c", `${WORK}/local.conf`], ["firefox", `${PERSON}/firefox`], async (page) => {
      await checkBrowsing(page);
      await checkBrowser(page);
      await everyCall(page, peerBrowser, "firefox");
      await captured("leak check", () => timed("leak check", () => leakCheck(page, "firefox")));
    })));
}

const parts = { chromium: chromiumPart, firefox: firefoxPart };
await parts[process.argv[2]]();
process.exit(exitStatus());
