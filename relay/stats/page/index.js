// The status page: three answers, what happened lately, and the numbers behind them.

import {
  $, bitRate, byteCount, clock, count, duration, element, millis, perSecond, percent, setList,
  setMood, setText, showBanner, showFrame, watch,
} from "/base.js";
import { Chart } from "/chart.js";
import { gather, judge, serversOf, termsOf } from "/ice.js";

const KEEP_S = 300;
const JUDGE_S = 10; // how far back "is the call good?" looks
const LOSS_S = 120; // the same for the way to the relay: a call asks it something every two seconds
const LOSS_LEAST = 12; // questions, before they say anything
const SOON_DAYS = 7; // a certificate that ends

// What a person calls a reason, by counter.
const DROPS = {
  drop_no_permission: "from strangers, whom no app had called",
  drop_no_channel: "on a channel that does not exist",
  drop_bandwidth: "over the bandwidth limit",
  drop_denied: "to addresses that may not be reached",
  drop_backlog: "an app that reads too slowly",
  drop_malformed: "malformed",
  drop_send: "the network would not take",
  drop_socks_source: "from a program that is not the app",
  drop_socks_fragment: "in fragments",
  drop_down: "while there was no relay",
};
// Those that a call would feel; the rest was rightly refused.
const FELT = ["drop_bandwidth", "drop_backlog", "drop_send", "drop_down"];

const TRANSPORTS = { udp: "UDP", tcp: "TCP", tls: "TLS", dtls: "DTLS", none: "nothing just now" };

const FLOWS_NOTE = "One line is one relayed address. A call takes one or several: browsers ask for " +
  "one per network path that they try, and a callveil on somebody's machine keeps a few ready.";

const samples = [];
let last; // { at, data } of the answer before
let charts;
let lastState = "";
let lost; // when callveil itself stopped answering
let browser = { state: "new" }; // what this browser gives away

// --- from counters to rates ---------------------------------------------------------------

const sum = (object, keys) => keys.reduce((total, key) => total + (object[key] ?? 0), 0);

function takeSample(data) {
  const at = performance.now() / 1000;
  const before = last;
  last = { at, data };
  while (samples.length && at - samples[0].t >= KEEP_S) samples.shift();
  // After a pause, or a restart of callveil, there is no rate to speak of.
  if (!before || at - before.at > 5 || data.uptime_s < before.data.uptime_s) return at;
  const more = (key) => Math.max(0, data.counters[key] - before.data.counters[key] || 0);
  const per = (key) => more(key) / (at - before.at);
  const felt = (object) => sum(object, FELT);
  samples.push({
    t: at,
    upBits: 8 * per("up_bytes"),
    downBits: 8 * per("down_bytes"),
    upPackets: per("up_packets"),
    downPackets: per("down_packets"),
    rtt: data.upstream?.rtt_ms,
    flows: data.n_flows,
    dropped: Math.max(0, felt(data.counters) - felt(before.data.counters)) / (at - before.at),
    answered: more("upstream_requests"),
    repeated: more("upstream_retransmissions"),
  });
  samples.at(-1).lost = lossOnTheWay().share;
  return at;
}

// callveil's own questions to the relay: each time that one had to be put again, it was lost, or
// its answer. What calls carry has no numbers that could tell.
function lossOnTheWay() {
  const recent = samples.filter(({ t }) => t > last.at - LOSS_S);
  const total = (key) => recent.reduce((all, sample) => all + sample[key], 0);
  const repeated = total("repeated");
  const asked = total("answered") + repeated;
  return { repeated, asked, share: asked >= LOSS_LEAST ? repeated / asked : undefined };
}

// Which flow carried how much since the last answer, by front and number.
// The busiest ones come first.
function flowRates(data, before) {
  const name = ({ front, id }) => `${front} ${id}`;
  const old = new Map((before?.data.flows ?? []).map((flow) => [name(flow), flow]));
  return data.flows.map((flow) => {
    const was = old.get(name(flow));
    const rate = (key) => (was ? 8 * (flow[key] - was[key]) / (last.at - before.at) : undefined);
    return { ...flow, up: rate("up_bytes"), down: rate("down_bytes") };
  }).sort((a, b) => (b.up + b.down || 0) - (a.up + a.down || 0));
}

// --- the three answers --------------------------------------------------------------------

function reasonOf(why) {
  return why ? `: ${why.replace(/^[A-Za-z]+: /, "")} (${why.split(":")[0]})` : "";
}

function answerSeen(data) {
  const down = data.role === "local" && data.upstream.state !== "ready";
  setMood($("seen"), down ? "bad" : "");
  if (down || data.peers_see.length === 0) {
    $("peers-see").replaceChildren(element("span", { text: "nothing" }));
    setText($("peers-see-more"), down
      ? "No relay is reached, and so no call gets out. Apps get errors, never a direct path."
      : "The relay knows no address of its own that peers could see.");
    return;
  }
  const shown = [...$("peers-see").children].map((one) => one.textContent).join();
  if (shown !== data.peers_see.join())
    $("peers-see").replaceChildren(...data.peers_see.map((text) => element("span", { text })));
  setText($("peers-see-more"), data.role === "local"
    ? "The relay's address, in place of this machine's: whoever you talk to learns no other from callveil."
    : "This relay's address, in place of its users': whoever they talk to learns no other from it.");
}

function answerPast(data) {
  let [word, mood, more] = ["…", "", "Asking this browser."];
  if (data.role === "relay") {
    const open = data.hide_client_address === false;
    [word, mood, more] = [open ? "It could" : "Not through here", open ? "warn" : "good", open
      ? "hide-client-address is off: clients are told their own address, and browsers pass it on."
      : "The relay tells nobody a user's address. Whether an app also goes around the relay, only " +
        "that app's machine can tell."];
  } else if (browser.verdict === "private") {
    [word, mood, more] = ["No", "good", "callveil has no other way out, and this browser tells a " +
      "page nothing but the relay's address."];
  } else if (browser.verdict === "leaks") {
    [word, mood, more] = ["This browser leaks", "bad", "callveil has no other way out, but this " +
      "browser would also go around it in a call."];
  } else if (browser.state !== "asking") {
    [word, mood, more] = ["Not by callveil", "warn", browser.why === "names"
      ? "It has no other way out. This browser keeps its addresses behind names: the check can tell " +
        "what they stand for."
      : browser.state === "done"
      ? "It has no other way out. To tell whether this browser goes around it, open the address " +
        "that callveil printed at its start (it ends in # and a token)."
      : "It has no other way out. This browser cannot be asked."];
  }
  setText($("past-word"), word);
  setText($("past-more"), more);
  setMood($("past"), mood);
}

function quality(data) {
  const recent = samples.filter(({ t }) => t > last.at - JUDGE_S);
  const total = (key) => recent.reduce((all, sample) => all + (sample[key] ?? 0), 0);
  const carried = total("upPackets") + total("downPackets");
  const loss = carried > 0 ? total("dropped") / (carried + total("dropped")) : 0;
  // One repeated question is an accident.
  const way = lossOnTheWay();
  return { rtt: data.upstream?.rtt_ms, loss, quiet: carried === 0, dropping: total("dropped") > 0,
    lost: way.repeated >= 2 ? way.share ?? 0 : 0 };
}

function answerGood(data) {
  const { rtt, loss, lost, quiet, dropping } = quality(data);
  const answers = rtt ? `The relay answers in ${millis(rtt)}. ` : "";
  let word, mood, more;
  if (data.role === "local" && data.upstream.state !== "ready") {
    [word, mood, more] = ["No call gets out", "bad", "The relay is not reached."];
  } else if (data.n_flows === 0 && quiet) {
    [word, mood, more] = ["No call now", "", `${answers}Nothing to complain about.`];
  } else if (quiet && !dropping) {
    [word, mood, more] = ["Quiet", "", `${answers}Open, but nothing is being said.`];
  } else {
    // `lost` has both ways to the relay and back, of which a datagram goes one.
    const poor = loss > 0.03 || lost > 0.06 || rtt > 400;
    const fair = loss > 0.005 || lost > 0.01 || rtt > 200;
    [word, mood] = poor ? ["Poor", "bad"] : fair ? ["Fair", "warn"] : ["Good", "good"];
    more = `${answers}${loss > 0 ? `${percent(loss)} dropped` : "Nothing dropped"} here in the ` +
      `last ${JUDGE_S} seconds.${lost > 0 ? ` ${percent(lost)} lost on the way to the relay and back.` : ""}`;
  }
  setText($("good-word"), word);
  setText($("good-more"), more);
  setMood($("good"), mood);
}

// --- the rest -----------------------------------------------------------------------------

function stateText(up) {
  if (up.state === "ready") return `reached by ${TRANSPORTS[up.transport]}, for ${duration(up.for_s)}`;
  if (up.state === "off") return "off: no url has a transport that could carry them";
  const since = clock(Date.now() - 1000 * (up.unreachable_for_s ?? up.for_s));
  return `not reachable since ${since}${reasonOf(up.why)}`;
}

function bannerText(data) {
  if (data.role === "relay")
    return data.draining ? ["Draining: calls go on, new ones are turned away.", "warn"]
      : certificateBanner(data);
  const up = data.upstream;
  if (up.state === "ready") return certificateBanner(data);
  if (up.state === "connecting" && !up.why) return ["Looking for the relay…", "warn"];
  const next = up.state === "down" ? `Next try in ${up.retry_in_s} s.` : "Trying again now.";
  return [`Relay ${stateText(up)}. ${next}`, "bad"];
}

function certificateEnd(seconds) {
  const end = new Date(1000 * seconds);
  const days = Math.floor((end - Date.now()) / 86400000);
  const day = end.toLocaleDateString("en", { dateStyle: "medium" });
  return { days, text: days < 0 ? `expired on ${day}`
    : `valid until ${day} (${count(days)} ${days === 1 ? "day" : "days"})` };
}

// Of the relay itself, or as the local proxy was shown it.
function certificateText({ certificate_not_after: end, certificate_pinned: pinned }) {
  if (!end) return undefined;
  const { text } = certificateEnd(end);
  return pinned ? `known by its pin, whatever its date: ${text}` : text;
}

// One whose date does not matter alarms nobody.
function certificateBanner(data) {
  const ends = (data.role === "relay" ? [data] : [data.upstream, data.streams])
    .filter(({ certificate_not_after: end, certificate_pinned: pinned }) => end && !pinned)
    .map(({ certificate_not_after: end }) => end);
  if (ends.length === 0) return [null];
  const { days, text } = certificateEnd(Math.min(...ends));
  if (days >= SOON_DAYS) return [null];
  return data.role === "relay"
    ? [`The certificate: ${text}. Clients that do not pin its key do not connect after that.`,
      days < 0 ? "bad" : "warn"]
    : [`The relay's certificate, as it was shown: ${text}. Unless it is renewed, nothing new ` +
      "connects after that.", "warn"];
}

function portsText(counters, family) {
  const free = counters[`ports_${family}_free`];
  const used = counters[`ports_${family}_in_use`];
  const resting = counters[`ports_${family}_resting`];
  if (free + used + resting === 0) return undefined;
  return `${count(free)} free, ${count(used)} in use`;
}

function lossText({ state, transport }) {
  if (state !== "ready") return undefined;
  if (!["udp", "dtls"].includes(transport))
    return `nothing: ${TRANSPORTS[transport]} repeats what is lost, which then comes late`;
  const { asked, repeated, share } = lossOnTheWay();
  if (share === undefined) return "not known yet: too few questions so far";
  return repeated === 0 ? `none of the last ${count(asked)} questions`
    : `${percent(share)} of the last ${count(asked)} questions`;
}

function localState(data) {
  const { upstream: up, streams, turn, counters: c } = data;
  return [
    ["Calls", stateText(up), { id: "state-calls" }],
    ["Relay", up.host],
    ["Answers in", up.rtt_ms ? millis(up.rtt_ms) : undefined],
    ["Lost there and back", lossText(up), { id: "state-loss", value: lossOnTheWay().share }],
    ["Certificate", certificateText(up.certificate_not_after ? up : streams), { id: "state-certificate" }],
    ["Next try", up.state === "down" ? `in ${up.retry_in_s} s` : undefined],
    ["Pages and files", stateText(streams)],
    ["SOCKS5 for apps", data.sealed ? undefined : data.socks5 ? `${data.socks5}, ${count(c.socks_connections)} connections` : "off"],
    ["TURN for apps", turn ? turn.urls[0].replace(/^turn:|\?.*$/g, "") : "off"],
    ["Streams open", count(c.upstream_streams)],
  ];
}

function relayState(data) {
  const { counters: c, limits } = data;
  const room = limits.allocations > 0 ? ` of ${count(limits.allocations)}` : "";
  const byTransport = ["udp", "tcp", "tls", "dtls"].filter((t) => c[`clients_${t}`] > 0)
    .map((t) => `${count(c[`clients_${t}`])} by ${TRANSPORTS[t]}`).join(", ");
  return [
    ["Service", data.draining ? "draining" : "open to new calls"],
    ["Relayed addresses", `${count(c.allocations)}${room}`, { id: "state-allocations" }],
    ["For each user", limits.allocations_per_user > 0
      ? `${count(limits.allocations_per_user)} at most` : "no limit"],
    ["Clients", byTransport || "none"],
    ["Ports, IPv4", portsText(c, "udp4")],
    ["Ports, IPv6", portsText(c, "udp6")],
    ["Certificate", certificateText(data), { id: "state-certificate" }],
    ["Listens at", data.listen.join(", ")],
    ["Threads", count(data.workers)],
  ];
}

function showTotals({ counters: c }) {
  setList($("totals"), [
    ["Packets to peers", count(c.up_packets), { id: "up-packets", value: c.up_packets }],
    ["Packets from peers", count(c.down_packets), { id: "down-packets", value: c.down_packets }],
    ["Bytes to peers", byteCount(c.up_bytes), { id: "up-bytes", value: c.up_bytes }],
    ["Bytes from peers", byteCount(c.down_bytes), { id: "down-bytes", value: c.down_bytes }],
    ["Relayed addresses given", count(c.allocations_made)],
    ["Kept when an address changed", count(c.allocations_moved ?? c.upstream_moves)],
  ]);
  const dropped = Object.keys(DROPS).filter((key) => c[key] > 0);
  setList($("drops"), dropped.length
    ? dropped.map((key) => [`Packets ${DROPS[key]}`, count(c[key]), { id: key, value: c[key] }])
    : [["Packets", "none"]]);
}

// What a front is called, and who uses it where nobody says.
const FRONTS = {
  socks5: ["SOCKS5", "an app here"],
  run: ["Sealed app", "an app here"],
  turn: ["TURN", "–"],
};

function flowRow(flow) {
  const [front, somebody] = FRONTS[flow.front];
  const rate = (bits) => (bits === undefined ? "–" : bitRate(bits));
  const cell = (label, text, className = "") =>
    element("td", { text, className, "data-label": label });
  return element("tr", {},
    cell("Came by", `${front} over ${TRANSPORTS[flow.transport]}`),
    cell("User", flow.user ?? somebody),
    cell("Open for", duration(flow.age_s)),
    cell("To peers", rate(flow.up), "number"),
    cell("From peers", rate(flow.down), "number"),
    cell("Carried", byteCount(flow.up_bytes + flow.down_bytes), "number"));
}

function showFlows(data, before) {
  setText($("n-flows"), count(data.n_flows));
  setText($("flows-empty"), data.role === "local"
    ? "No call at the moment. One shows up here as soon as an app asks for a relayed address."
    : "Nobody uses the relay at the moment.");
  $("flows-empty").hidden = data.n_flows > 0;
  $("flows").hidden = data.n_flows === 0;
  $("flows").tBodies[0].replaceChildren(...flowRates(data, before).map(flowRow));
  const more = data.n_flows - data.flows.length;
  setText($("flows-note"), more > 0 ? `And ${count(more)} older ones, which are not shown.`
    : FLOWS_NOTE);
}

function makeCharts(data) {
  const both = (up, down) => [{ key: up, label: "to peers" }, { key: down, label: "from peers" }];
  const parent = $("charts");
  return [
    new Chart(parent, { title: "Bit rate", format: bitRate, least: 10000,
      series: both("upBits", "downBits") }),
    new Chart(parent, { title: "Packets", format: perSecond, least: 10,
      series: both("upPackets", "downPackets") }),
    data.role === "local"
      ? new Chart(parent, { title: "Round trip to the relay", format: millis, least: 10,
        series: [{ key: "rtt", label: "now" }] })
      : new Chart(parent, { title: "Relayed addresses", format: count, least: 5,
        series: [{ key: "flows", label: "open" }] }),
    new Chart(parent, { title: "Dropped on the way through", format: perSecond, least: 5,
      series: [{ key: "dropped", label: "now" }] }),
    ...(data.role === "local"
      ? [new Chart(parent, { title: "Lost on the way to the relay and back", format: percent, least: 0.05,
        series: [{ key: "lost", label: "in two minutes" }] })] : []),
  ];
}

// A screen reader hears of changes, not of every number.
function sayChange(data) {
  const state = data.role === "local"
    ? `${data.upstream.state === "ready" ? "Relay reached" : "Relay not reached"}, ` : "";
  const text = `${state}${data.n_flows === 0 ? "no call" : `${data.n_flows} open`}`;
  if (lastState && text !== lastState) setText($("say"), text);
  lastState = text;
}

// Once, and again when the relay comes or goes: what this browser tells a page.
async function askBrowser(data) {
  const key = `${data.upstream.state === "ready"} ${data.peers_see} ${Boolean(data.own_addresses)}`;
  if (data.role !== "local" || browser.key === key) return;
  browser = { key, state: "asking" };
  try {
    // Without the TURN server: an allocation would show up here as a call.
    const servers = serversOf(data);
    const { found, complete } = await gather(servers.stun);
    const { verdict, why } = judge(found, termsOf(data, servers, complete));
    browser = { key, state: "done", verdict, why };
  } catch {
    browser = { key, state: "cannot" };
  }
  answerPast(data);
}

function show(data) {
  const before = last;
  const at = takeSample(data);
  lost = undefined;
  charts ??= makeCharts(data);
  showFrame(data);
  setText($("fresh"), "live");
  showBanner(...bannerText(data));
  answerSeen(data);
  answerPast(data);
  answerGood(data);
  charts.forEach((chart) => chart.draw(samples, at));
  showFlows(data, before);
  setText($("state-title"), data.role === "local" ? "The relay, and this machine's side" : "This relay");
  setList($("state"), data.role === "local" ? localState(data) : relayState(data));
  showTotals(data);
  sayChange(data);
  const address = data.peers_see[0] ?? "nothing";
  document.title = data.role === "local" && data.upstream.state !== "ready"
    ? "no relay - callveil" : `${address} - callveil`;
  if (data.role === "local") askBrowser(data);
}

watch({
  onData: show,
  onLost: (error, wait) => {
    lost ??= Date.now();
    showBanner(`callveil does not answer since ${clock(lost)}. ` +
      `${last ? "What stands below is from then. " : ""}Asking again in ${Math.ceil(wait / 1000)} s.`);
    setText($("fresh"), "not live");
    document.title = "not answering - callveil";
  },
});
