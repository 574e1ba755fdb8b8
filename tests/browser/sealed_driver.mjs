// Drives a browser inside the seal for a program outside, sealed.mjs: one line of JSON comes for
// each thing to do, and one goes back for each that is done. No network has a part in that.
//
// Arguments: chromium or firefox, and a new profile's folder for the latter.
//
// {"do": name, ...} is answered by {"value": ...} or {"error": text}; the first line out says
// that the browser runs.

import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { launchChromium } from "./checks.mjs";
import { launchFirefox } from "./firefox.mjs";

const [kind, profile] = process.argv.slice(2);

async function startChromium() {
  const browser = await launchChromium();
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, permissions: ["camera", "microphone"],
  });
  return { page: await context.newPage(), close: () => browser.close() };
}

async function startFirefox() {
  const page = await launchFirefox(profile, {});
  return { page, close: () => page.close() };
}

// The browser's processes: the arguments of each, and the system call filters it is under.
function processes() {
  const read = (pid, file) => readFileSync(`/proc/${pid}/${file}`, "utf8");
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
    try {
      const args = read(pid, "cmdline").split("\0");
      const status = read(pid, "status");
      const number = (field) => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)[1]);
      // The peer's are root's.
      if (!/chromium|firefox/.test(args[0]) || number("Uid") !== process.getuid()) return [];
      return { args, nFilters: number("Seccomp_filters") };
    } catch {
      return []; // it has just ended
    }
  });
}

const { page, close } = await (kind === "chromium" ? startChromium() : startFirefox());
const things = {
  goto: ({ url }) => page.goto(url).then(() => null),
  // The text is a function of page.mjs.
  evaluate: ({ text, argument }) => page.evaluate((0, eval)(`(${text})`), argument),
  screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
  processes,
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ value: "started" });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    say({ value: await things[request.do](request) ?? null });
  } catch (error) {
    say({ error: String(error.message ?? error) });
  }
}
await close();
