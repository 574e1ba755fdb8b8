// werift (TypeScript's WebRTC stack): two peers that may use relayed candidates only,
// and a data channel between them, through two allocations of the relay.
//
// Prints "ok - name" and "not ok - name" lines; tests/interop/werift.sh numbers them.
// Arguments: relay host, port, user, password.

import { RTCPeerConnection } from "werift";

const N = 500;
const [host, port, username, credential] = process.argv.slice(2);
let failed = false;

function check(name, good, why) {
  failed ||= !good;
  console.log(`${good ? "ok" : "not ok"} - ${name}`);
  if (!good && why !== undefined) console.log(why);
}

function withTimeout(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function newPeer(transport, password) {
  return new RTCPeerConnection({
    iceServers: [{ urls: `turn:${host}:${port}?transport=${transport}`, username, credential: password }],
    iceTransportPolicy: "relay",
  });
}

// Numbered messages, all of them in order and whole.
function countTo(channel, n) {
  return new Promise((resolve, reject) => {
    let next = 0;
    channel.onMessage.subscribe((data) => {
      const text = data.toString();
      if (text !== message(next)) return reject(new Error(`message ${next}: ${text.slice(0, 40)}`));
      next += 1;
      if (next === n) resolve(n);
    });
  });
}

function message(i) {
  return `${i} ${"y".repeat(i % 307)}`;
}

async function call(name, transportA, transportB) {
  const a = newPeer(transportA, credential);
  const b = newPeer(transportB, credential);
  try {
    const ours = a.createDataChannel("numbers");
    const opened = new Promise((resolve) => ours.stateChanged.subscribe((s) => s === "open" && resolve()));
    const theirs = new Promise((resolve) => b.onDataChannel.subscribe(resolve));
    await a.setLocalDescription(await a.createOffer());
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription(await b.createAnswer());
    await a.setRemoteDescription(b.localDescription);
    await withTimeout(opened, 20000, "the channel opens");
    const channel = await withTimeout(theirs, 20000, "the channel arrives");

    const both = Promise.all([countTo(ours, N), countTo(channel, N)]);
    for (let i = 0; i < N; i++) {
      ours.send(Buffer.from(message(i)));
      channel.send(Buffer.from(message(i)));
    }
    await withTimeout(both, 30000, "the messages arrive");
    check(`${name}: ${N} messages each way, in order, none lost`, true);

    const candidates = (a.localDescription.sdp + b.localDescription.sdp)
      .split(/\r?\n/).filter((line) => line.startsWith("a=candidate:"));
    check(`${name}: relayed candidates only`,
      candidates.length >= 2 && candidates.every((line) => / typ relay/.test(line)), candidates);
  } catch (error) {
    check(`${name}: ${N} messages each way, in order, none lost`, false, error.message);
  } finally {
    await Promise.allSettled([a.close(), b.close()]);
  }
}

// With a wrong password there is nothing to send to the other side at all.
async function wrongPassword() {
  const peer = newPeer("udp", "wrong");
  peer.createDataChannel("numbers");
  let sdp = "";
  try {
    await withTimeout(peer.setLocalDescription(await peer.createOffer()), 20000, "gathering");
    sdp = peer.localDescription.sdp;
  } catch (error) {
    console.log(`gathering said: ${error.message}`);
  }
  check("a wrong password yields no candidate", !sdp.includes("a=candidate:"), sdp);
  await peer.close();
}

await call("UDP", "udp", "udp");
await call("TCP", "tcp", "tcp");
await call("UDP to TCP", "udp", "tcp");
await wrongPassword();
process.exit(failed ? 1 : 0);
