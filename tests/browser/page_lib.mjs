// What the suites of the stats page share: pages that are watched for errors and for requests
// to anybody else, pictures, axe-core.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { check } from "./checks.mjs";

export const {
  RELAY_ADDRESS: relay, LAPTOP_ADDRESS: laptop, FAR_ADDRESS: far, STATS_TOKEN: token, PICTURES,
  RELAY_PID, LOCAL_PID, WORK, SECRET, PORT, ROUTER, MEDIA_PORT,
} = process.env;
export const LOCAL = "http://127.0.0.1:9642";
export const RELAY = `https://${relay}:9641`;
export const PROXY = "--proxy-server=socks5://127.0.0.1:1080";
export const STRICT = "--webrtc-ip-handling-policy=disable_non_proxied_udp";
export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

// What a page did that it should not have, over all pages.
const trouble = [];

// `expected`: console messages that belong to the fault under test.
export async function openPage(browser, url, { expected = /$^/, permissions, ...options } = {}) {
  const context = await browser.newContext({
    viewport: DESKTOP, ignoreHTTPSErrors: true, permissions, ...options });
  const page = await context.newPage();
  const note = (what) => expected.test(what) || trouble.push(`${url}: ${what}`);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) note(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => note(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    note(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (![LOCAL, RELAY].includes(new URL(request.url()).origin)) note(`request: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

export function checkTrouble() {
  check("no page asks anybody else, raises an error or warns on the console",
    trouble.length === 0, trouble);
}

export const textOf = (page, selector) => page.locator(selector).first().innerText();

// Waits until an element's text matches. Return: the text, matching or not.
export async function textBecomes(page, selector, pattern, timeoutMs = 8000) {
  let text = "";
  for (const end = Date.now() + timeoutMs; Date.now() < end;) {
    text = await page.evaluate((css) => document.querySelector(css)?.innerText ?? "", selector);
    if (pattern.test(text)) return text;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return text;
}

export async function checkText(name, page, selector, pattern, timeoutMs) {
  const text = await textBecomes(page, selector, pattern, timeoutMs);
  check(name, pattern.test(text), `"${text}" is not ${pattern}`);
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function checkAxe(name, page) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  check(`${name}: axe finds nothing serious`, bad.length === 0 && passes.length > 10,
    bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(" ")}`));
}

// Wide and narrow, light and dark; nothing may stick out sideways.
export async function takePictures(page, name) {
  for (const [size, viewport] of [["wide", DESKTOP], ["narrow", PHONE]]) {
    await page.setViewportSize(viewport);
    const out = await page.evaluate(() =>
      document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`${name}, ${size}: nothing sticks out`, out <= 0, out);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${PICTURES}/${name}-${size}-${colorScheme}.png`, fullPage: true });
      if ((size === "wide") === (colorScheme === "light"))
        await checkAxe(`${name}, ${size}, ${colorScheme}`, page);
    }
  }
  await page.setViewportSize(DESKTOP);
}
