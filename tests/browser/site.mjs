// The web site beyond the relay: a page, and a script it loads from a second host name, so
// that two names must be resolved before "ran" is written into it.
//
// Arguments: address, certificate, key, and the script's host name.

import { createServer } from "node:https";
import { readFileSync } from "node:fs";

const [address, certificate, key, scriptHost] = process.argv.slice(2);

const PAGE = `<!doctype html><meta charset="utf-8"><title>call</title>
<style>video { width: 320px; height: 240px; background: #ddd }</style>
<h1>A call</h1><p id="host"></p>
<script src="https://${scriptHost}/script.js"></script>`;
const SCRIPT = `document.documentElement.dataset.script = "ran";
document.getElementById("host").textContent = location.host;`;

createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, ({ url }, response) => {
  const [type, body] = url === "/script.js" ? ["text/javascript", SCRIPT] : ["text/html", PAGE];
  response.writeHead(url === "/favicon.ico" ? 404 : 200, { "Content-Type": type });
  response.end(body);
}).listen(443, address);
