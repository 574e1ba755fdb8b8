// The leak check's page, asked by whoever drives a browser: beside `callveil local` and in a seal.

import { check } from "./checks.mjs";

const relay = process.env.RELAY_ADDRESS;

// These run in the page; one thing each, for both drivers.
export async function verdict() {
  for (const end = Date.now() + 15000; Date.now() < end;) {
    const word = document.getElementById("verdict-word").textContent;
    if (["private", "leaks", "unsure"].includes(word)) {
      return {
        word,
        learned: [...document.querySelectorAll("#learned tbody tr")].map((row) =>
          [row.className, row.cells[0].textContent, row.cells[1].textContent]),
        cure: document.getElementById("cure").hidden ? "" : document.getElementById("cure").textContent,
      };
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { word: "none", text: document.body.textContent };
}

export async function pressAndLook(id) {
  document.getElementById(id).click();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (let n = 0; n < 100 && document.getElementById("again").disabled; n++)
    await new Promise((resolve) => setTimeout(resolve, 100));
}

export async function testCall() {
  const text = (id) => document.getElementById(id)?.textContent;
  const value = (id) => Number(document.getElementById(id)?.dataset.value);
  document.getElementById("call").click();
  for (const end = Date.now() + 32000; Date.now() < end;) {
    if (["good", "fair", "poor", "leaks", "no call"].includes(text("call-word"))) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { word: text("call-word"), more: text("call-more"), saw: text("call-saw"),
    rtt: value("call-rtt"), bits: value("call-bits"), frames: value("call-frames") };
}

export function checkPrivate(name, seen) {
  check(`${name}: the verdict is "private"`, seen.word === "private", seen);
  check(`${name}: and a peer learns the relay's address only`,
    seen.learned.length === 1 && seen.learned[0][1] === relay, seen);
}

export function checkCall(name, result) {
  check(`${name}: the test call works, and is measured`, ["good", "fair", "poor"].includes(result.word) &&
    result.frames > 20 && result.bits > 20000 && result.rtt > 0, result);
  check(`${name}: its other end saw the relay only`, result.saw === relay, result);
}
