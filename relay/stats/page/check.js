// The leak check: what this browser tells any page, how to stop it, and a call over the relay.

import {
  $, bitRate, byteCount, element, hasToken, millis, percent, setList, setMood, setText, showBanner,
  showFrame, watch,
} from "/base.js";
import { browserName, gather, judge, relayUrls, serversOf, termsOf, testCall } from "/ice.js";

const CALL_S = 10;

let data;

// --- step 1: what a page can find out -----------------------------------------------------

const VERDICTS = {
  private: ["good", "Nothing of this machine: what a page is told here, and would pass on to a peer, is " +
    "the relay's address at most."],
  sealed: ["good", "This browser is sealed: whatever it sends goes through the relay. What a page is " +
    "told here, and would pass on to a peer, is the relay's address at most."],
  leaks: ["bad", "In a call that does not insist on the relay, a peer would learn what stands below and, " +
    "where a router is in between, the router's public address."],
  unsure: ["warn"],
};

const MISSING = {
  names: () => "This browser sends nothing to this machine's own addresses, but keeps its addresses " +
    "behind names. Allow the microphone below to see what they stand for.",
  proof: () => (data.role === "relay"
    ? "This browser lists no address, but that alone proves nothing: open this page by an address " +
      "of the relay's that is not loopback, or check on the machine that runs the proxy."
    : "This browser lists no address, but that alone proves nothing: without the token, or without " +
      "a network, there is no server here that could show whether it goes around the relay."),
};

// What a setting is called, how to get there, and "code" in backticks.
const CURES = {
  Chromium: (data) => [
    `Start it with \`--proxy-server=socks5://${data.socks5 ?? "127.0.0.1:1080"}\` and ` +
      "`--webrtc-ip-handling-policy=disable_non_proxied_udp`. (The spelling with `--force-` in " +
      "front is ignored.)",
    "Or, for good, as an enterprise policy: a file in `/etc/chromium/policies/managed/` that says " +
      '`{"WebRtcIPHandling": "disable_non_proxied_udp"}`. A policy `WebRtcIPHandlingUrl` would ' +
      "override it for some pages: there should be none.",
    "Or by an extension, which sets `chrome.privacy.network.webRTCIPHandlingPolicy` to " +
      "`disable_non_proxied_udp`.",
    "Or change nothing in it and seal it: `callveil run -- chromium`.",
  ],
  Firefox: (data) => [
    "Open `about:config` and set `media.peerconnection.ice.relay_only` to `true`, " +
      "`media.peerconnection.use_document_iceservers` to `false`, " +
      "`media.peerconnection.ice.loopback` to `true`, and " +
      "`media.peerconnection.default_iceservers` to this machine's TURN server " +
      `(${data.turn?.urls?.[1] ? `\`${data.turn.urls[1]}\`` : "see local.conf"}, with the user and ` +
      "credential that callveil prints at its start).",
    "For pages: a manual SOCKS v5 proxy " +
      `\`${data.socks5 ?? "127.0.0.1:1080"}\` with “proxy DNS”, and \`network.proxy.allow_bypass\` ` +
      "set to `false`.",
    "Or no calls at all: `media.peerconnection.ice.proxy_only` set to `true`.",
    "Or change nothing in it and seal it: `callveil run -- firefox-esr`.",
  ],
};
CURES.Edge = CURES.Chromium;
const OTHER_CURES = () => ["This browser has no setting known to stop it. Seal it: " +
  "`callveil run -- ` and its name."];

// "Set `a` to `b`" with <code> for what stands in backticks.
function withCode(parent, text) {
  parent.append(...text.split("`").map((part, i) => (i % 2 ? element("code", { text: part }) : part)));
  return parent;
}

function showCure() {
  const name = browserName();
  setText($("cure-title"), name === "this browser" ? "How to stop it" : `How to stop it in ${name}`);
  $("cure-list").replaceChildren(...(CURES[name] ?? OTHER_CURES)(data)
    .map((text) => withCode(element("li"), text)));
}

function showVerdict({ verdict, rows, why }) {
  const [mood, text] = VERDICTS[data.sealed && verdict === "private" ? "sealed" : verdict];
  setText($("verdict-word"), verdict);
  setText($("verdict-more"), why ? MISSING[why]() : text);
  setMood($("verdict"), mood);
  $("learned").hidden = rows.length === 0;
  $("learned").tBodies[0].replaceChildren(...rows.map(({ address, what, leaks }) =>
    element("tr", { className: leaks ? "bad" : "good" },
      element("td", { text: address }), element("td", { text: what }))));
  $("cure").hidden = verdict === "private";
  if (verdict !== "private") showCure();
}

async function look() {
  $("again").disabled = $("microphone").disabled = true;
  setText($("verdict-word"), "looking…");
  setText($("verdict-more"), "");
  setMood($("verdict"), "");
  try {
    const servers = serversOf(data);
    const { found, complete } = await gather([...servers.stun, ...servers.turn]);
    showVerdict(judge(found, termsOf(data, servers, complete)));
  } catch (error) {
    setText($("verdict-word"), "unsure");
    setText($("verdict-more"), `This browser cannot be asked: ${error.message}`);
    setMood($("verdict"), "warn");
  }
  $("again").disabled = $("microphone").disabled = false;
}

// As look(), while a microphone is open: that is when Firefox and Chromium list everything.
async function lookWithMicrophone() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    setText($("microphone-note"), error.name === "NotFoundError"
      ? "There is no microphone here that could be allowed."
      : "It was not allowed. What stands above is what a page is told without it.");
    return;
  }
  await look();
  stream.getTracks().forEach((track) => track.stop());
}

// --- step 2: a call -----------------------------------------------------------------------

function callServers() {
  if (data.role === "local") return serversOf(data).turn;
  const username = $("login-user").value;
  const credential = $("login-password").value;
  return username && credential ? [{ urls: relayUrls(data), username, credential }] : [];
}

// Why there can be no call, if so.
function whyNoCall() {
  if (data.role === "relay") return undefined;
  if (data.upstream.state !== "ready") return "The relay is not reached now, so no call gets out.";
  if (!data.turn) return "The loopback TURN server is off (turn = off in local.conf).";
  if (!data.turn.credential)
    return "The call needs the loopback TURN server's credential, which is shown to this machine's " +
      "owner only: open the address that callveil printed when it started " +
      `(http://${location.host}/# and a token)${hasToken() ? "; the one in use is another's" : ""}.`;
  return undefined;
}

function showNumbers(r) {
  setList($("call-numbers"), [
    ["The other end sees", r.saw.join(", ") || "–", { id: "call-saw" }],
    ["Path", r.transport ? `relay, from here over ${r.transport.toUpperCase()}` : "relay"],
    ["There and back", r.echo === undefined ? "–" : `${millis(r.echo)}, through the relay both ways`, { id: "call-rtt", value: r.echo ?? "" }],
    ["Bit rate", `${bitRate(r.bits)} (${byteCount(r.bytes)} so far)`,
      { id: "call-bits", value: Math.round(r.averageBits) }],
    ["Lost", `${percent(r.loss)} of ${r.packets} packets`, { id: "call-loss", value: r.loss }],
    ["Jitter", r.jitter === undefined ? "–" : millis(1000 * r.jitter), { id: "call-jitter" }],
    ["Pictures shown", String(r.frames), { id: "call-frames", value: r.frames }],
    ["Messages", `${r.messages.back} of ${r.messages.sent} came back`],
  ]);
}

function callResult(word, mood, more) {
  setText($("call-word"), word);
  setText($("call-more"), more);
  setMood($("call-verdict"), mood);
}

const FAILED = {
  "no-candidate": () => (browserName() === "Firefox"
    ? "The relay gave no address. Firefox refuses a TURN server on this machine unless " +
      "media.peerconnection.ice.loopback is true (about:config)."
    : "The relay gave no address: it refused, or this browser could not reach it."),
  unconnected: () => "Both ends got a relayed address, but did not meet: does the relay carry " +
    "between addresses of its own?",
};

function showResult(r) {
  const strangers = r.saw.filter((one) => !data.peers_see.includes(one) && !/^127\.|^::1$/.test(one));
  const poor = r.loss > 0.03 || r.echo > 800 || r.frames < 10;
  const fair = r.loss > 0.005 || r.echo > 400;
  const feel = poor ? "poor" : fair ? "fair" : "good";
  if (strangers.length > 0) {
    callResult("leaks", "bad", `The other end was told ${strangers.join(", ")}.`);
    return;
  }
  callResult(feel, poor ? "bad" : fair ? "warn" : "good",
    `Your calls will look like this. The other end saw ${r.saw.join(", ") || "nobody"} and nothing else.`);
}

async function call() {
  const servers = callServers();
  if (servers.length === 0) {
    $("login-user").reportValidity() && $("login-password").reportValidity();
    return;
  }
  $("call").disabled = true;
  $("call-view").hidden = false;
  $("call-progress").value = 0;
  callResult("calling…", "", "");
  try {
    const result = await testCall({
      servers,
      seconds: CALL_S,
      video: $("call-video"),
      onTick: (r) => {
        $("call-progress").value = Math.min(CALL_S, r.passed);
        callResult("connected", "", "");
        showNumbers(r);
      },
    });
    showResult(result);
  } catch (error) {
    callResult("no call", "bad", FAILED[error.message]?.() ?? error.message);
  }
  $("call").disabled = false;
}

function showCall() {
  const why = whyNoCall();
  $("login").hidden = data.role !== "relay";
  $("call-needs").hidden = !why;
  setText($("call-needs"), why ?? "");
  $("call").hidden = Boolean(why);
}

// --- both ---------------------------------------------------------------------------------

let looked = "";

watch({
  onData: (fresh) => {
    data = fresh;
    showFrame(data);
    if (data.sealed) {
      setText($("microphone-note"), "A page that may use the microphone is told the seal's own " +
        "addresses too, which are the same for everybody.");
    }
    showBanner(data.role === "local" && data.upstream.state !== "ready"
      ? "No relay is reached now. The check below still tells what this browser gives away." : null, "warn");
    showCall();
    // Once by itself, and again when it knows better what to compare with.
    const key = `${data.peers_see} ${Boolean(data.own_addresses)}`;
    if (looked !== key) look();
    looked = key;
  },
  onLost: (error, wait) =>
    showBanner(`callveil does not answer. Asking again in ${Math.ceil(wait / 1000)} s.`),
});
$("again").addEventListener("click", look);
$("microphone").addEventListener("click", lookWithMicrophone);
$("call").addEventListener("click", call);
$("login").addEventListener("submit", (event) => event.preventDefault());
if (!navigator.mediaDevices?.getUserMedia) {
  $("microphone").hidden = true;
  setText($("microphone-note"), "Over plain http a page may not ask for the microphone. A page that has " +
    "one may be told more.");
}
