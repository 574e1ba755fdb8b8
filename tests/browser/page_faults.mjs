// What the page says when something is wrong. See page.sh. Arguments: relay-gone,
// wrong-password, local-gone or certificate.

import { check, exitStatus, launchChromium } from "./checks.mjs";
import {
  LOCAL, LOCAL_PID, RELAY_PID, checkAxe, checkText, checkTrouble, openPage, relay, takePictures,
  token,
} from "./page_lib.mjs";

const open = (browser, expected) => openPage(browser, `${LOCAL}/#${token}`, { expected });

async function relayGone(browser) {
  const page = await open(browser);
  await checkText("first it is there", page, "#peers-see", new RegExp(`^${relay}`));
  process.kill(Number(RELAY_PID), "SIGKILL");
  await checkText("a relay that dies is \"not reachable since\"", page, "#banner",
    /^Relay not reachable since \d\d:\d\d: .+ Next try in \d+ s\.$|Trying again now/, 25000);
  await checkText("peers see nothing then", page, "#peers-see", /^nothing$/);
  await checkText("and no call gets out", page, "#good-word", /^No call gets out$/);
  await checkAxe("the relay gone", page);
}

async function wrongPassword(browser) {
  const page = await open(browser);
  await checkText("a wrong password is named", page, "#banner",
    /^Relay not reachable since \d\d:\d\d: .*(password|credential)/i);
  await takePictures(page, "status-down");
}

async function localGone(browser) {
  const page = await open(browser, /ERR_|Failed to (fetch|load)/);
  await checkText("first it answers", page, "#fresh", /^live$/);
  process.kill(Number(LOCAL_PID), "SIGSTOP");
  await checkText("a callveil that does not answer is said not to", page, "#banner",
    /^callveil does not answer since \d\d:\d\d\. What stands below is from then/, 12000);
  await checkText("and the page is not live", page, "#fresh", /^not live$/);
  process.kill(Number(LOCAL_PID), "SIGCONT");
  await checkText("until it answers again", page, "#fresh", /^live$/, 20000);
  const counts = () => page.evaluate(() => document.getElementsByTagName("*").length);
  const before = await counts();
  await page.waitForTimeout(3000);
  check("a page that is left alone does not grow", await counts() === before);
}

// An authority vouches for it, and it ends within the week.
async function certificate(browser) {
  const page = await open(browser);
  await checkText("the relay's certificate is told as it was shown", page, "#state-certificate",
    /^valid until .* \(\d days?\)$/);
  await checkText("and its end, which is near", page, "#banner",
    /^The relay's certificate, as it was shown: valid until .* Unless it is renewed, nothing new connects after that\.$/);
  await checkAxe("a certificate that ends soon", page);
}

const browser = await launchChromium(["--hide-scrollbars"]);
try {
  await { "relay-gone": relayGone, "wrong-password": wrongPassword, "local-gone": localGone,
    certificate }[process.argv[2]](browser);
  checkTrouble();
} finally {
  await browser.close();
}
process.exit(exitStatus());
