// The leak check, in browsers that leak, in others that do not, and in some that only look as if
// they did not. See page.sh. Both browsers at once: most of the time they wait for calls.

import { check, exitStatus, launchChromium } from "./checks.mjs";
import { launchFirefox } from "./firefox.mjs";
import {
  LOCAL, PROXY, RELAY, STRICT, WORK, checkTrouble, laptop, openPage, relay, takePictures, token,
} from "./page_lib.mjs";

const CHECK = `${LOCAL}/check#${token}`;

// These run in the page; one thing each, for both drivers.
async function verdict() {
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

async function pressAndLook(id) {
  document.getElementById(id).click();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (let n = 0; n < 100 && document.getElementById("again").disabled; n++)
    await new Promise((resolve) => setTimeout(resolve, 100));
}

async function testCall() {
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

const leaksOf = ({ learned }) => learned.filter(([mood]) => mood === "bad").map(([, address]) => address);

function checkLeaks(name, seen, setting) {
  check(`${name}: the verdict is "leaks"`, seen.word === "leaks", seen);
  check(`${name}: and names the machine's address`, leaksOf(seen).includes(laptop), seen);
  check(`${name}: and the setting that stops it`, seen.cure.includes(setting), seen.cure);
}

function checkPrivate(name, seen) {
  check(`${name}: the verdict is "private"`, seen.word === "private", seen);
  check(`${name}: and a peer learns the relay's address only`,
    seen.learned.length === 1 && seen.learned[0][1] === relay, seen);
}

function checkCall(name, result) {
  check(`${name}: the test call works, and is measured`, ["good", "fair", "poor"].includes(result.word) &&
    result.frames > 20 && result.bits > 20000 && result.rtt > 0, result);
  check(`${name}: its other end saw the relay only`, result.saw === relay, result);
}

// --- Chromium -----------------------------------------------------------------------------

async function inChromium(args, body) {
  const browser = await launchChromium(["--hide-scrollbars", ...args]);
  try {
    const page = await openPage(browser, CHECK);
    await body(page);
  } finally {
    await browser.close();
  }
}

const CHROMIUM_SETTING = "webrtc-ip-handling-policy=disable_non_proxied_udp";

async function chromiumPart() {
  await inChromium([], async (page) => {
    checkLeaks("Chromium, plain", await page.evaluate(verdict), CHROMIUM_SETTING);
    await page.evaluate(pressAndLook, "microphone");
    checkLeaks("Chromium, with a microphone", await page.evaluate(verdict), CHROMIUM_SETTING);
    await takePictures(page, "check-leaks");
    await page.goto(`${RELAY}/check#${token}`);
    const seen = await page.evaluate(verdict);
    check("Chromium, plain: the relay's page says \"leaks\" as well", seen.word === "leaks", seen);
  });
  // It lists no address of its own, and sends from it all the same.
  await inChromium(["--webrtc-ip-handling-policy=default_public_interface_only"],
    async (page) => {
      const seen = await page.evaluate(verdict);
      checkLeaks("Chromium, addresses not listed", seen, CHROMIUM_SETTING);
    });
  await inChromium([PROXY, STRICT], async (page) => {
    checkPrivate("Chromium, strict", await page.evaluate(verdict));
    await page.evaluate(pressAndLook, "microphone");
    checkPrivate("Chromium, strict, with a microphone", await page.evaluate(verdict));
    checkCall("Chromium, strict", await page.evaluate(testCall));
    await takePictures(page, "check-private");
  });
  checkTrouble();
}

// --- Firefox ------------------------------------------------------------------------------

async function inFirefox(prefs, body) {
  const page = await launchFirefox(`${WORK}/firefox-${Math.random()}`, prefs);
  try {
    await page.goto(CHECK);
    await body(page);
  } finally {
    await page.close();
  }
}

async function firefoxPart() {
  const setting = "media.peerconnection.ice.relay_only";
  await inFirefox({}, async (page) => {
    checkLeaks("Firefox, plain", await page.evaluate(verdict), setting);
    const result = await page.evaluate(testCall);
    check("Firefox, plain: it says which setting the loopback TURN server needs",
      result.word === "no call" && result.more.includes("media.peerconnection.ice.loopback"), result);
  });
  await inFirefox({ "media.peerconnection.ice.no_host": true }, async (page) => {
    checkLeaks("Firefox, addresses not listed", await page.evaluate(verdict), setting);
  });
  await inFirefox({
    "media.peerconnection.ice.loopback": true, "media.peerconnection.ice.relay_only": true,
  }, async (page) => {
    checkPrivate("Firefox, strict", await page.evaluate(verdict));
    checkCall("Firefox, strict", await page.evaluate(testCall));
  });
}

await Promise.all([chromiumPart(), firefoxPart()]);
process.exit(exitStatus());
