// A UDP server that sends back what it gets. Arguments: address, port.

import { createSocket } from "node:dgram";

const [address, port] = process.argv.slice(2);
const server = createSocket("udp4");
server.on("message", (message, from) => server.send(message, from.port, from.address));
server.bind(Number(port), address);
