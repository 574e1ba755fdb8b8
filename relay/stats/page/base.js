// What both pages share: the token, asking /stats.json, and writing text into the page.
// Text from outside goes through textContent, here and everywhere.

const TOKEN_KEY = "callveil-token";
const POLL_MS = 1000;
const TIMEOUT_MS = 5000;
const BACK_OFF_MAX_MS = 15000;

export const $ = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function element(name, { text, className, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Rows of [name, text, options] in a <dl>. What is the same stays, so that a selection does.
export function setList(dl, rows) {
  const wanted = rows.filter(([, text]) => text !== undefined && text !== null);
  while (dl.children.length > 2 * wanted.length) dl.lastElementChild.remove();
  while (dl.children.length < 2 * wanted.length) dl.append(element("dt"), element("dd"));
  wanted.forEach(([name, text, { id, value } = {}], i) => {
    const [dt, dd] = [dl.children[2 * i], dl.children[2 * i + 1]];
    setText(dt, name);
    setText(dd, text);
    if (id) dd.id = id;
    else dd.removeAttribute("id");
    if (value !== undefined) dd.dataset.value = value;
    else delete dd.dataset.value;
  });
}

export function setMood(target, mood) {
  target.classList.remove("good", "warn", "bad");
  if (mood) target.classList.add(mood);
}

export function showBanner(text, mood = "bad") {
  const banner = $("banner");
  banner.hidden = !text;
  setText(banner, text ?? "");
  setMood(banner, mood);
}

// --- numbers for people -------------------------------------------------------------------

function scaled(value, base, units) {
  let i = 0;
  let x = value;
  for (; x >= base * 0.9995 && i < units.length - 1; i++) x /= base;
  const digits = i === 0 ? 0 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
  return `${x.toFixed(digits)} ${units[i]}`;
}

export const bitRate = (bits) => scaled(bits, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
export const byteCount = (bytes) => scaled(bytes, 1000, ["B", "kB", "MB", "GB", "TB"]);
export const count = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");
export const perSecond = (n) => `${n < 10 && n % 1 ? n.toFixed(1) : count(Math.round(n))}/s`;
export const millis = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
export const percent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.1 ? 2 : 1)} %`;

export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// A moment, with its date unless that was today.
export function clock(time) {
  const date = new Date(time);
  const two = (n) => String(n).padStart(2, "0");
  const hour = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (date.toDateString() === new Date().toDateString()) return hour;
  return `${date.toLocaleDateString("en", { day: "numeric", month: "short" })}, ${hour}`;
}

// --- the token ----------------------------------------------------------------------------

// callveil prints the page's address with the token as its fragment, which no request carries.
// It goes from the address bar to this tab's memory.
function takeTokenFromAddress() {
  const token = location.hash.slice(1);
  if (token === "") return;
  sessionStorage.setItem(TOKEN_KEY, token);
  history.replaceState(null, "", location.pathname);
}

export const hasToken = () => sessionStorage.getItem(TOKEN_KEY) !== null;

export async function ask() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const response = await fetch("/stats.json", {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(`it answers with ${response.status}`);
  return response.json();
}

function askForToken(retry) {
  const form = $("token");
  if (hasToken()) {
    setText($("token-why"), "That token is not, or no longer, the right one: callveil makes up a " +
      "new one each time it starts, unless [stats] sets one.");
    sessionStorage.removeItem(TOKEN_KEY);
  }
  $("view").hidden = true;
  showBanner(null);
  form.hidden = false;
  $("token-text").focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN_KEY, $("token-text").value.trim());
    $("token-text").value = "";
    form.hidden = true;
    retry();
  };
}

// --- asking again and again ---------------------------------------------------------------

// Asks once a second while the page is looked at, and less often while nobody answers. One
// request at a time; `once` stops at the first answer.
export function watch({ onData, onLost, once = false }) {
  let timer = 0;
  let running = false;
  let wait = POLL_MS;

  const later = (ms) => {
    clearTimeout(timer);
    timer = document.hidden ? 0 : setTimeout(look, ms);
  };
  async function look() {
    if (running) return;
    running = true;
    try {
      const data = await ask();
      running = false;
      if (!data) {
        askForToken(look);
        return;
      }
      wait = POLL_MS;
      $("view").hidden = false;
      onData(data);
      if (!once) later(wait);
    } catch (error) {
      running = false;
      onLost(error, wait);
      later(wait);
      wait = Math.min(2 * wait, BACK_OFF_MAX_MS);
    }
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !$("token").hidden) return;
    if (document.hidden) clearTimeout(timer);
    else if (!once) later(0);
  });
  window.addEventListener("hashchange", () => {
    takeTokenFromAddress();
    $("token").hidden = true;
    look();
  });
  takeTokenFromAddress();
  look();
}

export function showFrame(data) {
  setText($("role"), data.sealed ? "in a seal" : data.role === "local" ? "on this machine" : "relay");
  setText($("version"), `callveil ${data.callveil}, up for ${duration(data.uptime_s)}`);
}
