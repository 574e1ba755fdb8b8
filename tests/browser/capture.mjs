// Captures what comes in on one link of a network namespace, with tcpdump, and counts in it.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

// Starts capturing; resolves once tcpdump listens. `pid` lives in the namespace meant.
export async function startCapture(pid, link, file) {
  const child = spawn("nsenter", ["--target", pid, "--net", "tcpdump", "-Z", "root", "-i", link,
    "-Q", "in", "--immediate-mode", "-n", "-U", "-s", "128", "-w", file],
  { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  const ended = once(child, "exit");
  await new Promise((resolve, reject) => {
    child.stderr.on("data", (text) => {
      said += text;
      if (said.includes("listening on")) resolve();
    });
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`tcpdump: ${said}`)));
  });
  return {
    file,
    async stop() {
      await sleep(300); // what has just come in
      child.kill("SIGINT");
      await ended;
      const dropped = /^(\d+) packets dropped by kernel/m.exec(said)?.[1];
      if (dropped !== "0") throw new Error(`tcpdump lost packets: ${said}`);
    },
  };
}

// The packets a filter matches, one line each.
export function packets(capture, filter) {
  const { status, stdout, stderr } = spawnSync("tcpdump", ["-n", "-q", "-t", "-r", capture.file,
    filter], { encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`tcpdump: ${stderr}`);
  return stdout.split("\n").filter((line) => line !== "");
}

// How many payload bytes the packets hold that a filter matches.
export function payloadBytes(capture, filter) {
  return packets(capture, filter)
    .map((line) => /(?:UDP, length|tcp) (\d+)/.exec(line)?.[1] ?? 0)
    .reduce((sum, length) => sum + Number(length), 0);
}
