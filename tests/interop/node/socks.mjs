// npm's "socks" as a client of the local proxy: CONNECT, BIND and ASSOCIATE, for
// tests/interop/local_clients.sh. Prints "ok - name" and "not ok - name" lines.
// Arguments: SOCKS host and port.

import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { SocksClient } from "socks";

const proxy = { host: process.argv[2], port: Number(process.argv[3]), type: 5 };
const PEER = "10.99.1.2";
const BODY = 2 << 20;
let failed = false;

function check(name, good, why = "") {
    failed ||= !good;
    console.log(`${good ? "ok" : "not ok"} - ${name}`);
    if (!good) console.log(String(why));
}

const sum = (data) => createHash("sha256").update(data).digest("hex");

async function read(socket, n) {
    const parts = [];
    let length = 0;
    while (length < n) {
        const [part] = await once(socket, "data");
        parts.push(part);
        length += part.length;
    }
    return Buffer.concat(parts);
}

async function connect(host, port) {
    const { socket } = await SocksClient.createConnection({
        proxy, command: "connect", destination: { host, port }, timeout: 15000,
    });
    socket.resume();
    return socket;
}

async function streams(host) {
    const socket = await connect(host, 4002);
    const body = randomBytes(BODY);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(BODY));
    const answer = read(socket, BODY);
    socket.write(Buffer.concat([length, body]));
    check(`CONNECT to ${host}: ${BODY} bytes each way`, sum(await answer) === sum(body));
    socket.destroy();
}

async function refused() {
    try {
        (await connect(PEER, 9)).destroy();
        check("CONNECT to a closed port fails", false, "it succeeded");
    } catch (e) {
        check("CONNECT to a closed port fails", /ConnectionRefused/.test(e.message), e.message);
    }
}

async function bind() {
    const client = new SocksClient({
        proxy, command: "bind", destination: { host: PEER, port: 0 }, timeout: 15000,
    });
    const bound = once(client, "bound");
    const established = once(client, "established");
    client.connect();
    const { remoteHost } = (await bound)[0];
    check("BIND: the first reply has the relay's address", remoteHost.host === "10.99.1.1",
        JSON.stringify(remoteHost));
    const control = await connect(PEER, 4003);
    control.write(`connect ${remoteHost.host} ${remoteHost.port}\n`);
    const { socket, remoteHost: peer } = (await established)[0];
    const body = randomBytes(50000);
    const hello = `${peer.host} ${peer.port}\n`;
    const answer = read(socket, hello.length + body.length);
    socket.resume();
    socket.write(body);
    const got = await answer;
    check("BIND: the second reply names the peer, as it does itself",
        got.subarray(0, hello.length).toString() === hello, got.subarray(0, 30));
    check("BIND: 50000 bytes each way", sum(got.subarray(hello.length)) === sum(body));
    socket.destroy();
    control.destroy();
}

async function associate() {
    const client = new SocksClient({
        proxy, command: "associate", destination: { host: "0.0.0.0", port: 0 }, timeout: 15000,
    });
    client.on("error", () => {}); // the end of its TCP connection, below, is one for it
    client.connect();
    const [{ remoteHost, socket }] = await once(client, "established");
    const udp = createSocket("udp4");
    let bad = 0;
    let n = 0;
    for (const host of [PEER, "10.99.1.3", "four.peer.test", "fd99:1::2"]) {
        for (let i = 0; i < 50; i++, n++) {
            const data = randomBytes(i * 25);
            udp.send(SocksClient.createUDPFrame({ remoteHost: { host, port: 4000 }, data }),
                remoteHost.port, remoteHost.host);
            const [message] = await once(udp, "message", { signal: AbortSignal.timeout(5000) });
            const frame = SocksClient.parseUDPFrame(message);
            const from = host === "four.peer.test" ? PEER : host;
            // It writes an IPv6 address in a form of its own.
            const right = frame.remoteHost.host === from || host.includes(":");
            if (!right || frame.remoteHost.port !== 4000 || sum(frame.data) !== sum(data)) bad++;
        }
    }
    check(`ASSOCIATE: ${n} datagrams to four peers and back`, bad === 0, `${bad} were wrong`);
    udp.close();
    socket.destroy();
}

for (const part of [() => streams(PEER), () => streams("www.peer.test"),
    () => streams("fd99:1::2"), refused, bind, associate]) {
    try {
        await part();
    } catch (e) {
        check(`${part} runs to its end`.replace(/\s+/g, " ").slice(0, 60), false, e);
    }
}
process.exit(failed ? 1 : 0);
