// The page's judgement on made-up candidates: what a browser may say, and what that must mean.
// See page.sh. Argument: the
// tree.

import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const [tree] = process.argv.slice(2);
const source = readFileSync(new URL("relay/stats/page/ice.js", pathToFileURL(`${tree}/`)), "utf8");
const { judge, parseCandidate } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const KNOWN = { relay: ["203.0.113.5"], own: ["10.1.2.3", "fd01::3"], isProof: true };
const host = (address) => `candidate:1 1 udp 2122260223 ${address} 40000 typ host generation 0`;
const srflx = (address, related) =>
  `candidate:2 1 UDP 1686052607 ${address} 40000 typ srflx raddr ${related} rport 0 generation 0`;
const relayed = (address, related) =>
  `candidate:3 1 udp 41885439 ${address} 50000 typ relay raddr ${related} rport 0`;
const name = "df0dd324-a70d-4fb4-846f-9027000db613.local";

const cases = [
  ["nothing but the relay is private", [relayed("203.0.113.5", "0.0.0.0")], {}, "private"],
  ["nothing at all is private only when it was put to the test", [], {}, "private"],
  ["nothing at all proves nothing otherwise", [], { isProof: false }, "unsure"],
  ["an own address leaks", [host("10.1.2.3")], {}, "leaks"],
  ["one of IPv6 as well", [host("fd01::3")], {}, "leaks"],
  ["an address that nobody knows leaks", [host("172.16.9.9")], {}, "leaks"],
  ["what a server saw leaks", [srflx("198.51.100.7", "0.0.0.0")], {}, "leaks"],
  ["an address told along with the relay's leaks", [relayed("203.0.113.5", "198.51.100.7")], {}, "leaks"],
  ["the relay's own told along does not", [relayed("203.0.113.5", "203.0.113.5")], {}, "private"],
  ["a relayed address of another relay is no secret kept", [relayed("203.0.113.99", "0.0.0.0")], {}, "leaks"],
  ["a name leaks when nothing was put to the test", [host(name)], { isProof: false }, "leaks"],
  ["a name and what stands behind it leak", [host(name), srflx("10.1.2.3", "0.0.0.0")], {}, "leaks"],
  ["a name alone is not called private", [host(name)], {}, "unsure"],
  ["the addresses of a sealed namespace say nothing", [host("192.0.2.2"), host("fd63:616c:6c76::2"),
    srflx("203.0.113.5", "192.0.2.2"), relayed("203.0.113.5", "192.0.2.2")], {}, "private"],
  ["where the relay was the test, its answer is a leak", [host(name), srflx("203.0.113.5", "0.0.0.0")],
    { isRelayAsked: true }, "leaks"],
  ["and no answer is none", [], { isRelayAsked: true }, "private"],
  ["a name in a seal stands for one of its addresses", [host(name), srflx("203.0.113.5", "0.0.0.0")],
    { own: undefined, isSealed: true }, "private"],
  ["an address in a seal that is not the relay's leaks all the same", [host(name), host("10.1.2.3")],
    { own: undefined, isSealed: true }, "leaks"],
  ["loopback says nothing", [host("127.0.0.1")], {}, "private"],
];

let failed = false;
for (const [promise, lines, change, wanted] of cases) {
  const { verdict } = judge(lines.map(parseCandidate), { ...KNOWN, ...change });
  failed ||= verdict !== wanted;
  console.log(`${verdict === wanted ? "ok" : "not ok"} - ${promise}`);
  if (verdict !== wanted) console.log(verdict);
}
const { rows } = judge([host("172.16.9.9")].map(parseCandidate), KNOWN);
const named = rows.map(({ address }) => address);
const good = ["172.16.9.9", "10.1.2.3", "fd01::3"].every((one) => named.includes(one));
failed ||= !good;
console.log(`${good ? "ok" : "not ok"} - a browser that sends directly names every own address`);
process.exit(failed ? 1 : 0);
