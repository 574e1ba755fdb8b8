// What a browser tells a page that wants a call, and what that means; and a call of its own.

const GATHER_MS = 6000;

// Whatever says nothing about anybody: no address at all, loopback, and the addresses that are
// the same in every sealed namespace of `callveil run` (relay/seal/place.h).
const NOTHING = [/^0\.0\.0\.0$/, /^::$/, /^127\./, /^::1$/, /^192\.0\.2\.2$/, /^fd63:616c:6c76::/i];

export function parseCandidate(line) {
  const words = line.replace(/^candidate:/, "").split(" ");
  const after = (word) => words[words.indexOf(word, 6) + 1];
  return {
    protocol: words[2].toLowerCase(),
    address: words[4],
    type: after("typ"),
    related: words.includes("raddr") ? after("raddr") : undefined,
  };
}

// All candidates that a page gets with these servers, none of them being forced, and whether that
// was all there was to come.
export async function gather(servers, policy = "all") {
  const pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: policy });
  const found = [];
  let complete = false;
  try {
    const gathered = new Promise((resolve) => {
      pc.onicecandidate = ({ candidate }) => {
        if (candidate === null) resolve(complete = true);
        else if (candidate.candidate) found.push(parseCandidate(candidate.candidate));
      };
    });
    pc.createDataChannel("check");
    await pc.setLocalDescription(await pc.createOffer());
    await Promise.race([gathered, new Promise((resolve) => setTimeout(resolve, GATHER_MS))]);
  } finally {
    pc.close();
  }
  return { found, complete };
}

// What to ask in the relay's or the local proxy's name. `stun` is a server that only a direct
// datagram reaches: a browser whose addresses are merely not listed gives itself away by it. In a
// seal nothing is reached directly; there it is the seal's own, which shows what peers see.
export function serversOf(data) {
  const servers = { stun: [], turn: [] };
  if (data.role === "local") {
    servers.stun = (data.mirror ?? data.stun ?? []).map((url) => ({ urls: url }));
    // While there is no relay it gives no address, and takes its time to say so.
    if (data.turn?.credential && data.upstream.state === "ready") {
      const { urls, username, credential } = data.turn;
      servers.turn = [{ urls, username, credential }];
    }
    return servers;
  }
  const host = location.hostname;
  if (NOTHING.some((pattern) => pattern.test(host)) || host === "localhost") return servers;
  const udp = (data.listen ?? []).find((url) => /^udp/.test(url));
  const port = udp && /:(\d+)$/.exec(udp)[1];
  if (port) servers.stun = [{ urls: `stun:${host}:${port}` }];
  return servers;
}

export const relayUrls = (data) => (data.listen ?? []).flatMap((url) => {
  const [, scheme, port] = /^([a-z+]+):.*:(\d+)$/.exec(url) ?? [];
  const host = location.hostname;
  if (/udp/.test(scheme)) return [`turn:${host}:${port}?transport=udp`];
  return /tcp/.test(scheme) ? [`turn:${host}:${port}?transport=tcp`] : [];
});

// What judge() needs to know of the answer, where these servers were asked.
export function termsOf(data, { stun }, complete) {
  return {
    relay: data.peers_see,
    own: data.own_addresses,
    isProof: complete && stun.length > 0,
    isRelayAsked: data.role === "relay",
    isSealed: data.sealed === true,
  };
}

// One row per thing a peer would learn; the verdict is "private", "leaks" or "unsure", and `why`
// tells of the last one what is missing. `isProof`: a server that only a direct datagram reaches was
// asked, and so a browser that leaks has shown an address. Then a mere name proves neither: it may
// stand for an address that says nothing, as in a sealed namespace. `isRelayAsked`: that server is the
// relay, which tells everybody its own address, and so any answer of its shows a leak. `isSealed`: a
// name can stand for nothing but the seal's own addresses.
export function judge(found,
  { relay, own = [], isProof, isRelayAsked = false, isSealed = false }) {
  const rows = new Map();
  const isSafe = (address) => NOTHING.some((pattern) => pattern.test(address)) ||
    (isSealed && address.endsWith(".local"));
  const add = (address, what, leaks) => {
    if (!rows.get(address)?.leaks) rows.set(address, { address, what, leaks });
  };
  let direct = false;
  let isNamed = false;
  const learn = (address, how) => {
    if (!address || isSafe(address)) return;
    if (relay.includes(address)) add(address, "the relay's address", false);
    else if (address.endsWith(".local")) {
      isNamed = true;
      add("a name in .local", "stands for an address that this browser keeps from pages without " +
        "a microphone", !isProof);
    }
    else if (own.includes(address)) add(address, `this machine's own address${how}`, true);
    else add(address, `an address that is not the relay's${how}`, true);
  };
  if (isRelayAsked && found.some(({ type }) => type === "srflx"))
    add("this machine's own", "this browser reached the relay directly, past any proxy: a peer would " +
      "be reached in the same way", true);
  for (const { type, address, related } of found) {
    learn(address, type === "host" ? "" : ", as a server on the way saw it");
    learn(related, ", told along with the relay's (\u201craddr\u201d)");
    direct ||= type !== "relay" && !isSafe(address) && !relay.includes(address) &&
      (!address.endsWith(".local") || !isProof);
  }
  // A name or a missing list hides nothing from whoever gets the packets.
  if (direct)
    for (const address of own.filter((one) => !isSafe(one)))
      add(address, "this machine's own address: its packets would come from it, or from the " +
        "public address of the router in front of it", true);
  const all = [...rows.values()].sort((a, b) => b.leaks - a.leaks);
  if (all.some((row) => row.leaks)) return { rows: all, verdict: "leaks" };
  if (isNamed) return { rows: all, verdict: "unsure", why: "names" };
  return isProof ? { rows: all, verdict: "private" } : { rows: all, verdict: "unsure", why: "proof" };
}

export function browserName() {
  const agent = navigator.userAgent;
  if (/Firefox\//.test(agent)) return "Firefox";
  if (/Edg\//.test(agent)) return "Edge";
  if (/Chrom(e|ium)\//.test(agent)) return "Chromium";
  return /Safari\//.test(agent) ? "Safari" : "this browser";
}

// --- a call between two ends in this page -------------------------------------------------

// A picture that is never the same twice, so that the encoder has something to do.
function drawing() {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext("2d");
  let frame = 0;
  const draw = () => {
    frame += 1;
    for (let i = 0; i < 24; i++) {
      context.fillStyle = `hsl(${(frame * 3 + i * 15) % 360} 55% ${35 + (i % 3) * 12}%)`;
      const height = 180 + 150 * Math.sin(frame / 14 + i / 3);
      context.fillRect(i * 27, 0, 27, height);
      context.fillStyle = `hsl(${(frame * 3 + i * 15 + 180) % 360} 30% 22%)`;
      context.fillRect(i * 27, height, 27, 360);
    }
    context.fillStyle = "#fff";
    context.font = "600 40px sans-serif";
    context.fillText(`frame ${frame}`, 24, 336);
  };
  draw();
  const timer = setInterval(draw, 50);
  return { stream: canvas.captureStream(20), stop: () => clearInterval(timer) };
}

const ofType = (stats, type) => [...stats.values()].filter((entry) => entry.type === type);

async function measure(ends) {
  const [a, b] = await Promise.all(ends.map((pc) => pc.getStats()));
  const video = ofType(b, "inbound-rtp").find(({ kind }) => kind === "video");
  const transport = ofType(a, "transport")[0];
  const pair = a.get(transport?.selectedCandidatePairId) ??
    ofType(a, "candidate-pair").find(({ selected, nominated, state }) =>
      selected || (nominated && state === "succeeded"));
  return {
    saw: ofType(b, "remote-candidate").map(({ address }) => address).filter(Boolean),
    transport: a.get(pair?.localCandidateId)?.relayProtocol,
    rtt: pair?.currentRoundTripTime,
    bytes: video?.bytesReceived ?? 0,
    packets: video?.packetsReceived ?? 0,
    lost: Math.max(0, video?.packetsLost ?? 0),
    jitter: video?.jitter,
    frames: video?.framesDecoded ?? 0,
    at: performance.now(),
  };
}

// Echoes over the data channel: what a sentence needs there and back, through the relay twice.
function pings(a, b) {
  const times = [];
  const channel = a.createDataChannel("ping", { ordered: false, maxRetransmits: 0 });
  b.ondatachannel = ({ channel: echo }) => {
    echo.onmessage = ({ data }) => echo.readyState === "open" && echo.send(data);
  };
  channel.onmessage = ({ data }) => times.push(performance.now() - Number(data));
  const sent = { n: 0 };
  const timer = setInterval(() => {
    if (channel.readyState !== "open") return;
    channel.send(String(performance.now()));
    sent.n += 1;
  }, 100);
  return { times, sent, stop: () => clearInterval(timer) };
}

async function connect(a, b, timeoutMs) {
  const told = { a: [], b: [] };
  const trickle = (from, to, list) => {
    from.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      list.push(candidate.candidate);
      to.addIceCandidate(candidate).catch(() => {});
    };
  };
  const connected = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(told.a.length && told.b.length
      ? "unconnected" : "no-candidate")), timeoutMs);
    b.onconnectionstatechange = () => {
      if (b.connectionState === "connected") {
        clearTimeout(late);
        resolve();
      } else if (b.connectionState === "failed") {
        clearTimeout(late);
        reject(new Error(told.a.length && told.b.length ? "unconnected" : "no-candidate"));
      }
    };
    a.onicegatheringstatechange = () => {
      if (a.iceGatheringState !== "complete" || told.a.length) return;
      clearTimeout(late);
      reject(new Error("no-candidate"));
    };
  });
  trickle(a, b, told.a);
  trickle(b, a, told.b);
  await a.setLocalDescription(await a.createOffer());
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription(await b.createAnswer());
  await a.setRemoteDescription(b.localDescription);
  await connected;
  return told;
}

// Calls for `seconds`; onTick gets what was measured so far. Throws Error("no-candidate") when
// the relay gives no address, Error("unconnected") when the two ends do not meet.
export async function testCall({ servers, seconds, video, onTick }) {
  const options = { iceServers: servers, iceTransportPolicy: "relay" };
  const a = new RTCPeerConnection(options);
  const b = new RTCPeerConnection(options);
  const picture = drawing();
  const echo = pings(a, b);
  try {
    for (const track of picture.stream.getTracks()) a.addTrack(track, picture.stream);
    b.ontrack = ({ streams }) => {
      video.srcObject = streams[0];
      video.play().catch(() => {});
    };
    const told = await connect(a, b, 15000);
    const start = performance.now();
    let result;
    for (let before = await measure([a, b]), first = before; ;) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const now = await measure([a, b]);
      const passed = (now.at - start) / 1000;
      const expected = now.packets + now.lost - first.packets - first.lost;
      result = {
        ...now,
        passed,
        saw: [...new Set([...told.a.flatMap((line) => {
          const { address, related } = parseCandidate(line);
          return [address, related];
        }), ...now.saw])].filter((one) => one && !/^(0\.0\.0\.0|::)$/.test(one)),
        bits: 8000 * (now.bytes - before.bytes) / (now.at - before.at),
        averageBits: 8000 * (now.bytes - first.bytes) / (now.at - first.at),
        loss: expected > 0 ? (now.lost - first.lost) / expected : 0,
        messages: { sent: echo.sent.n, back: echo.times.length },
        echo: echo.times.length
          ? [...echo.times].sort((x, y) => x - y)[Math.floor(echo.times.length / 2)] : undefined,
      };
      onTick(result);
      if (passed >= seconds || b.connectionState === "failed") return result;
      before = now;
    }
  } finally {
    picture.stop();
    echo.stop();
    picture.stream.getTracks().forEach((track) => track.stop());
    video.pause(); // the last picture stays
    a.close();
    b.close();
  }
}
