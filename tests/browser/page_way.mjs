// What the page says of the way to the relay while a call uses it: nothing lost, and then a fifth
// of what goes up. See page.sh. Argument: loss.

import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { check, exitStatus, launchChromium } from "./checks.mjs";
import {
  LOCAL, MEDIA_PORT, ROUTER, checkAxe, checkText, checkTrouble, far, openPage, takePictures,
  textBecomes, textOf, token,
} from "./page_lib.mjs";
import { openEcho } from "./socks_udp.mjs";

const LOST_PERCENT = 20;
const N_CALLS = 4; // each is asked about every two seconds

// Dropped behind the link: at its sender's end the sender would hear of it.
function setLoss(percent) {
  const rules = percent === 0 ? "delete table inet lossy" : `table inet lossy {
    chain in {
      type filter hook prerouting priority -300;
      iifname "to-laptop" udp dport ${MEDIA_PORT} numgen random mod 100 < ${percent} drop
    }
  }`;
  execFileSync("nsenter", ["--target", ROUTER, "--net", "nft", "-f", "-"], { input: rules });
}

const lossOn = (page) => page.evaluate(() =>
  Number(document.getElementById("state-loss").dataset.value ?? NaN));

async function checkLoss(page) {
  const word = await textOf(page, "#good-word");
  check("before a call there is none to judge", word === "No call now", word);
  const echoes = [];
  for (let i = 0; i < N_CALLS; i++) echoes.push(await openEcho(far, 7));
  const flows = echoes.map((echo) => echo.start(50, 160));
  await checkText("a way that loses nothing is said to", page, "#state-loss",
    /^none of the last \d+ questions$/, 25000);
  const value = await lossOn(page);
  check("as a number as well", value === 0, value);
  await checkText("and the call is good", page, "#good-word", /^Good$/);
  await sleep(3000);
  check("with nothing lost", !/lost/.test(await textOf(page, "#good-more")) &&
    (await lossOn(page)) === 0, await textOf(page, "#good-more"));

  setLoss(LOST_PERCENT);
  await checkText(`${LOST_PERCENT} % lost on the way up: the page shows loss`, page, "#state-loss",
    /^[\d.]+ % of the last \d+ questions$/, 20000);
  const mood = await textBecomes(page, "#good-word", /^(Fair|Poor)$/, 30000);
  check("and the call is good no more", /^(Fair|Poor)$/.test(mood), mood);
  await checkText("which says why", page, "#good-more", /[\d.]+ % lost on the way to the relay and back\./);
  await checkText("it gets poor as the loss goes on", page, "#good-word", /^Poor$/, 40000);
  await sleep(10000);
  const lost = await lossOn(page);
  check("the share is about what was dropped", lost > 0.05 && lost < 0.35, lost);
  await checkText("and has its chart", page, "#charts figure:last-child",
    /Lost on the way to the relay and back\s+in two minutes [\d.]+ %/);
  await takePictures(page, "status-loss");
  await checkAxe("with loss", page);
  setLoss(0);
  flows.forEach((flow) => flow.stop());
  echoes.forEach((echo) => echo.close());
}

const browser = await launchChromium(["--hide-scrollbars"]);
try {
  await checkLoss(await openPage(browser, `${LOCAL}/#${token}`));
  checkTrouble();
} finally {
  await browser.close();
}
process.exit(exitStatus());
