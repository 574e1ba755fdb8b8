// The leak check, in browsers that leak, in others that do not, and in some that only look as if
// they did not. See page.sh. Both browsers at once: most of the time they wait for calls.

import { check, exitStatus, launchChromium } from "./checks.mjs";
import { launchFirefox } from "./firefox.mjs";
import { checkCall, checkPrivate, pressAndLook, testCall, verdict } from "./leak_check.mjs";
import {
  LOCAL, PROXY, RELAY, STRICT, WORK, checkTrouble, laptop, openPage, takePictures, token,
} from "./page_lib.mjs";

const CHECK = `${LOCAL}/check#${token}`;

const leaksOf = ({ learned }) => learned.filter(([mood]) => mood === "bad").map(([, address]) => address);

function checkLeaks(name, seen, setting) {
  check(`${name}: the verdict is "leaks"`, seen.word === "leaks", seen);
  check(`${name}: and names the machine's address`, leaksOf(seen).includes(laptop), seen);
  check(`${name}: and the setting that stops it`, seen.cure.includes(setting), seen.cure);
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
