// Checks the suite, not callveil: in the place of `callveil local` it does as much of its work
// as a well-behaved browser can notice, with the relay's own help and no care at all.
//
// TURN on loopback, UDP and TCP, is passed on to the relay as UDP, message by message: the
// client's credential is one of the relay's, and so is every answer. SOCKS5 CONNECT is passed
// on to a SOCKS server beside the relay, but for the TURN port itself.
//
// Arguments: relay address, relay port, SOCKS port beside the relay, the relay's REST secret,
// and the token of the statistics.

import { createHmac } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";

const [relay, relayPort, socksPort, secret, token] = process.argv.slice(2);
const LOOPBACK = "127.0.0.1";
const TURN_PORT = 3478;

const username = `${Math.floor(Date.now() / 1000) + 3600}:callveil`;
const credential = createHmac("sha1", secret).update(username).digest("base64");

function toRelay(onMessage) {
  const socket = createSocket("udp4").on("message", onMessage).on("error", () => {});
  return { send: (message) => socket.send(message, Number(relayPort), relay),
    close: () => socket.close() };
}

const isChannelData = (bytes) => (bytes[0] & 0xc0) === 0x40;

// How long a message is in the stream, and without its padding.
function lengths(bytes) {
  const body = bytes.readUInt16BE(2);
  return isChannelData(bytes) ? [4 + ((body + 3) & ~3), 4 + body] : [20 + body, 20 + body];
}

function turnStream(client) {
  let input = Buffer.alloc(0);
  const upstream = toRelay((message) => {
    const padding = isChannelData(message) ? -message.length & 3 : 0;
    client.write(Buffer.concat([message, Buffer.alloc(padding)]));
  });
  client.on("data", (data) => {
    input = Buffer.concat([input, data]);
    while (input.length >= 4 && input.length >= lengths(input)[0]) {
      const [padded, bare] = lengths(input);
      upstream.send(Buffer.from(input.subarray(0, bare)));
      input = input.subarray(padded);
    }
  });
  client.on("error", () => {}).on("close", () => upstream.close());
}

function turnDatagrams() {
  const flows = new Map();
  const front = createSocket("udp4");
  front.on("message", (message, { address, port }) => {
    if (!flows.has(port)) flows.set(port, toRelay((answer) => front.send(answer, port, address)));
    flows.get(port).send(message);
  });
  front.bind(TURN_PORT, LOOPBACK);
}

// A CONNECT to the TURN port, by address or by a "name" that is one.
function isOurTurn(request) {
  const port = Buffer.from([TURN_PORT >> 8, TURN_PORT & 0xff]);
  const byAddress = Buffer.concat([Buffer.from([5, 1, 0, 1, 127, 0, 0, 1]), port]);
  const byName = Buffer.concat([Buffer.from([5, 1, 0, 3, 9]), Buffer.from(LOOPBACK), port]);
  return request.equals(byAddress) || request.equals(byName);
}

function socks(client) {
  client.on("error", () => {});
  client.once("data", () => {
    client.write(Buffer.from([5, 0]));
    client.once("data", (request) => {
      if (isOurTurn(request)) {
        client.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
        turnStream(client);
        return;
      }
      const upstream = connect(Number(socksPort), relay);
      upstream.on("error", () => client.destroy());
      // The server beside the relay does not die with it; its clients must not notice.
      connect(Number(relayPort), relay, function () {
        this.destroy();
        upstream.write(Buffer.from([5, 1, 0]));
      }).on("error", () => upstream.destroy(new Error("the relay is gone")));
      upstream.once("data", () => {
        upstream.write(request);
        client.pipe(upstream).pipe(client);
      });
    });
  });
}

createServer(turnStream).listen(TURN_PORT, LOOPBACK);
turnDatagrams();
createServer(socks).listen(1080, LOOPBACK);
createHttpServer((request, response) => {
  const right = request.headers.authorization === `Bearer ${token}`;
  response.writeHead(right ? 200 : 401, { "Content-Type": "application/json" });
  const urls = ["udp", "tcp"].map((t) => `turn:${LOOPBACK}:${TURN_PORT}?transport=${t}`);
  response.end(right ? JSON.stringify({ turn: { urls, username, credential } }) : "");
}).listen(9642, LOOPBACK);
console.error(`loopback TURN at ${LOOPBACK}:${TURN_PORT}: ` +
  `username ${username} credential ${credential}`);
