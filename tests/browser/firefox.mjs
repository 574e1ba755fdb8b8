// Debian's Firefox, driven by Marionette, the protocol geckodriver speaks to it: a TCP
// connection on loopback, and JSON messages behind their length ("12:[0,1,...]").
//
// A page offers what a playwright page does, as far as the suites need it.

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const MARIONETTE_PORT = 2828;
const START_TIMEOUT_MS = 30000;
const COMMAND = 0;

// A new profile talks to its maker about many things; the rest of the file is what a person
// would set. What is asked for by name through the proxy would harm nobody, but is noise.
const QUIET = {
  "app.normandy.enabled": false,
  "app.update.auto": false,
  "browser.safebrowsing.malware.enabled": false,
  "browser.safebrowsing.phishing.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "dom.push.enabled": false,
  "extensions.update.enabled": false,
  "media.gmp-manager.updateEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "toolkit.telemetry.enabled": false,
};

const CAMERA = {
  "media.navigator.permission.disabled": true,
  "media.navigator.streams.fake": true,
};

function writeProfile(folder, prefs) {
  mkdirSync(folder, { recursive: true });
  const all = { ...QUIET, ...CAMERA, ...prefs, "marionette.port": MARIONETTE_PORT };
  const lines = Object.entries(all)
    .map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  writeFileSync(`${folder}/user.js`, lines.join(""));
}

class Marionette {
  #socket;
  #pending = new Map();
  #input = Buffer.alloc(0);
  #lastId = 0;

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (data) => this.#receive(data));
    socket.on("close", () => this.#fail(new Error("Firefox closed the Marionette connection")));
    socket.on("error", () => {});
  }

  #fail(error) {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #receive(data) {
    this.#input = Buffer.concat([this.#input, data]);
    for (;;) {
      const colon = this.#input.indexOf(":");
      const end = colon + 1 + Number(this.#input.subarray(0, Math.max(colon, 0)));
      if (colon < 0 || this.#input.length < end) return;
      const message = JSON.parse(this.#input.subarray(colon + 1, end));
      this.#input = this.#input.subarray(end);
      if (Array.isArray(message)) this.#answer(message); // the first one is a greeting
    }
  }

  #answer([, id, error, result]) {
    const { resolve, reject } = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) reject(new Error(`${error.error}: ${error.message}`));
    else resolve(result);
  }

  send(command, parameters = {}) {
    const id = ++this.#lastId;
    const text = JSON.stringify([COMMAND, id, command, parameters]);
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  close() {
    this.#socket.destroy();
  }
}

async function reach(child) {
  const end = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const socket = connect(MARIONETTE_PORT, "127.0.0.1");
    const open = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    if (open) return new Marionette(socket);
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`Firefox offers no Marionette port (exit status ${child.exitCode})`);
    await sleep(200);
  }
}

// One Firefox with one page, which is all of it: `close` ends the process.
class FirefoxPage {
  #child;
  #marionette;

  constructor(child, marionette) {
    this.#child = child;
    this.#marionette = marionette;
  }

  async goto(url) {
    await this.#marionette.send("WebDriver:Navigate", { url });
  }

  // Runs in the page's own realm. The function's promise may take its time; its own
  // timeouts end it.
  async evaluate(callee, argument) {
    const script = `const [argument, done] = arguments;
      Promise.resolve((${callee})(argument)).then((value) => done({ value }),
        (error) => done({ error: String(error) }));`;
    const { value: { value, error } } = await this.#marionette.send(
      "WebDriver:ExecuteAsyncScript", { script, args: [argument ?? null], sandbox: null });
    if (error !== undefined) throw new Error(error);
    return value;
  }

  async screenshot({ path }) {
    const { value } = await this.#marionette.send("WebDriver:TakeScreenshot", { full: false });
    writeFileSync(path, Buffer.from(value, "base64"));
  }

  async close() {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    await this.#marionette.send("Marionette:Quit", { flags: ["eForceQuit"] }).catch(() => {});
    this.#marionette.close();
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    await gone;
    clearTimeout(late);
  }
}

export async function launchFirefox(profile, prefs) {
  writeProfile(profile, prefs);
  const child = spawn("/usr/bin/firefox-esr",
    ["--marionette", "--headless", "--no-remote", "--profile", profile], { stdio: "ignore" });
  try {
    const marionette = await reach(child);
    await marionette.send("WebDriver:NewSession", { acceptInsecureCerts: true });
    await marionette.send("WebDriver:SetTimeouts", { script: 60000, pageLoad: 20000 });
    return new FirefoxPage(child, marionette);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}
