// An app that sends a known number of datagrams through SOCKS5 UDP ASSOCIATE to an echo server,
// and counts what comes back: what the stats must then say.

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const HEADER_LEN = 10;
const SOCKS = { host: "127.0.0.1", port: 1080 };

async function associate() {
  const control = connect(SOCKS);
  await once(control, "connect");
  control.write(Buffer.from([5, 1, 0]));
  await once(control, "data");
  control.write(Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
  const [reply] = await once(control, "data");
  if (reply[1] !== 0) throw new Error(`UDP ASSOCIATE answers ${reply[1]}`);
  return { control, port: reply.readUInt16BE(8) };
}

export async function openEcho(address, port) {
  const { control, port: socksPort } = await associate();
  const socket = createSocket("udp4");
  const header = Buffer.from([0, 0, 0, 1, ...address.split(".").map(Number), port >> 8, port & 255]);
  const count = { sent: 0, sentBytes: 0, received: 0, receivedBytes: 0 };
  socket.on("message", (message) => {
    count.received += 1;
    count.receivedBytes += message.length - HEADER_LEN;
  });
  const send = (length) => {
    count.sent += 1;
    count.sentBytes += length;
    socket.send(Buffer.concat([header, Buffer.alloc(length, 65)]), socksPort, SOCKS.host);
  };
  const settle = async (wanted) => {
    for (let n = 0; count.received < wanted && n < 100; n++) await sleep(20);
  };
  // The first one waits for a permission; nothing is sent past it.
  send(100);
  await settle(1);
  return {
    count,
    async burst(n, length) {
      for (let i = 0; i < n; i++) {
        send(length);
        if (i % 10 === 9) await sleep(10);
      }
      await settle(count.sent);
    },
    // As a call does: `perSecond` datagrams, whatever becomes of them, until stop() is called.
    start(perSecond, length) {
      const timer = setInterval(() => send(length), 1000 / perSecond);
      return { stop: () => clearInterval(timer) };
    },
    close() {
      control.destroy();
      socket.close();
    },
  };
}
