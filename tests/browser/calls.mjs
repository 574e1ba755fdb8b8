// What the suites of calls out of the laptop share: the peer beyond the relay, and what the wire
// and that peer may get to see. The names of lib.sh's network come by the environment.

import { execFileSync } from "node:child_process";
import { N_MESSAGES, check, launchChromium } from "./checks.mjs";
import { finishCall } from "./page.mjs";
import { packets, payloadBytes, startCapture } from "./capture.mjs";

const {
  RELAY_ADDRESS: relay, FAR_ADDRESS: far, ROUTER_ADDRESS: router, LAPTOP_ADDRESS: laptop,
  ROUTER, FAR, LAPTOP, WORK, MEDIA_PORT,
} = process.env;
// Camera and messages of one call are some hundred kilobytes.
const MIN_MEDIA_BYTES = 60000;

// --- the peer ------------------------------------------------------------------------------

export async function chromiumPage(browser, url) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, permissions: ["camera", "microphone"],
  });
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

export const openPeer = (browser) => chromiumPage(browser, `https://${far}/`);

export async function withPeer(body) {
  const peerBrowser = await launchChromium([], `${WORK}/far-chromium`);
  try {
    await body(peerBrowser);
  } finally {
    await peerBrowser.close();
  }
}

// --- what the wire and the peer saw ---------------------------------------------------------

// Neighbour discovery and multicast membership stay on the link: no router passes them on.
const NOT_OF_THE_LINK = "((ip and not igmp) or (ip6 and not icmp6 and ip6[6] != 0))";

async function startCaptures(name) {
  const file = (side) => `${WORK}/${side}-${name.replace(/\W+/g, "-")}.pcap`;
  const [uplink, peer] = await Promise.all([
    startCapture(ROUTER, "to-laptop", file("laptop")),
    startCapture(FAR, "uplink", file("peer")),
  ]);
  return { uplink, peer, stop: () => Promise.all([uplink.stop(), peer.stop()]) };
}

function checkWire(name, { uplink, peer }) {
  const strays = packets(uplink, `${NOT_OF_THE_LINK} and not dst host ${relay}`);
  check(`${name}: nothing leaves the laptop for any address but the relay's`,
    strays.length === 0, strays.slice(0, 10));
  // The peer's own look-ups are answered by the router.
  const seen = packets(peer,
    `${NOT_OF_THE_LINK} and not src host ${relay} and not (src host ${router} and src port 53)`);
  check(`${name}: nothing reaches the peer's network but from the relay's address`,
    seen.length === 0, seen.slice(0, 10));
}

// `transport` is what carries the media to the relay: by TCP go only pages, and what browsers
// want beside them, where it is UDP.
export function checkMediaOnWire(name, { uplink, peer }, transport = "udp") {
  const udp = payloadBytes(uplink, `udp and dst host ${relay}`);
  const tcp = payloadBytes(uplink, `tcp and dst host ${relay}`);
  const carried = transport === "udp" ? udp > MIN_MEDIA_BYTES && tcp < udp / 2
    : tcp > MIN_MEDIA_BYTES;
  // A browser may send a hello of more than 1400 bytes, as fragments: only the first has a port.
  const other = packets(uplink, `udp and ip[6:2] & 0x1fff = 0 and not dst port ${MEDIA_PORT}`);
  check(`${name}: the media leaves the laptop by ${transport.toUpperCase()}, ` +
    `UDP to the relay's port ${MEDIA_PORT} only`,
    carried && other.length === 0, { udp, tcp, other: other.slice(0, 10) });
  if (peer) {
    const bytes = payloadBytes(peer, `${transport} and src host ${relay}`);
    check(`${name}: and reaches the peer's network by ${transport.toUpperCase()}`,
      bytes > MIN_MEDIA_BYTES, { bytes });
  }
}

export function checkView(name, side, result) {
  check(`${name}: ${side} knows and uses no address for the other but the relay's`,
    result.remoteAddress === relay &&
    result.remoteAddresses.every((address) => address === relay), result);
}

// --- another network ------------------------------------------------------------------------

const elsewhere = "10.99.0.3";

// What a network does to a laptop that comes to it: another address, and the old one gone.
function readdress(from, to) {
  execFileSync("nsenter", ["--target", LAPTOP, "--net", "sh", "-ec",
    `ip addr del ${from}/24 dev uplink; ip addr add ${to}/24 dev uplink
    ip route add default via ${router}`]);
}

// The laptop changes networks in the middle of a call, which nobody restarts. `before` is what the
// page and its peer have seen of it so far. Return: what the peer has seen in the end.
export async function moveInCall(name, page, peerPage, before) {
  readdress(laptop, elsewhere);
  const after = await Promise.all([page, peerPage].map((side, i) => side.evaluate(finishCall, {
    answer: null, minFrames: before[i].framesDecoded + 100, nMessages: N_MESSAGES, timeoutMs: 25000,
  })));
  for (const [i, side] of ["the protected page", "the peer"].entries())
    check(`${name}: the call goes on: ${side} decodes 100 more frames`,
      after[i].framesDecoded > before[i].framesDecoded + 100 && after[i].state === "connected",
      [before[i], after[i]]);
  check(`${name}: the peer has the other at the address and port that it had before`,
    after[1].remotePort > 0 && after[1].remotePort === before[1].remotePort, [before[1], after[1]]);
  return after[1];
}

export function moveBack(name, { uplink }) {
  const bytes = payloadBytes(uplink, `udp and src host ${elsewhere} and dst host ${relay}`);
  check(`${name}: its media leaves by the new address`, bytes > 30000, { bytes });
  readdress(elsewhere, laptop);
}

export async function captured(name, body) {
  const captures = await startCaptures(name);
  try {
    await body();
  } catch (error) {
    check(`${name}: the call works`, false, error.message);
  } finally {
    await captures.stop();
  }
  checkWire(name, captures);
  return captures;
}
