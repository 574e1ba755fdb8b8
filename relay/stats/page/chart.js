// A time series as inline SVG: two lines at most, drawn anew from the same few hundred samples.
// A chart library would be larger than the whole page and gives a screen reader no words.

import { element, setText } from "/base.js";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const SPANS = [60, 120, 300]; // seconds: the first one that what is known fits into
const HEIGHT = 100;
const TOP = 8;

function svg(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The next round number: 1, 2 or 5 times a power of ten.
function roundUp(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= x * 0.9999);
}

export class Chart {
  #format; #series; #least; #area; #top; #svg; #title; #from;

  // series: [{ key, label }], `least` is the smallest top of the scale.
  constructor(parent, { title, format, series, least }) {
    this.#format = format;
    this.#title = title;
    this.#least = least;
    this.#series = series.map(({ key, label }, i) => {
      const value = element("b", { text: "–" });
      return { key, label, value, line: svg("path", { class: i ? "line second" : "line" }),
        shown: element("span", { className: i ? "key second" : "key" }, `${label} `, value) };
    });
    this.#area = svg("path", { class: "area" });
    this.#svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none",
      role: "img", "aria-label": title });
    for (const y of [TOP, (TOP + HEIGHT) / 2, HEIGHT - 0.5])
      this.#svg.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    this.#svg.append(this.#area, ...this.#series.map(({ line }) => line));
    this.#top = element("span", { className: "top", "aria-hidden": "true" });
    this.#from = element("span");
    parent.append(element("figure", {},
      element("figcaption", {}, element("strong", { text: title }),
        ...this.#series.map(({ shown }) => shown)),
      element("div", { className: "plot" }, this.#svg, this.#top),
      element("div", { className: "axis", "aria-hidden": "true" },
        this.#from, element("span", { text: "now" }))));
  }

  // `samples` hold seconds in `t`; a value that is missing, or a pause, breaks the line.
  draw(samples, now) {
    const keys = this.#series.map(({ key }) => key);
    const most = Math.max(...samples.flatMap((s) => keys.map((key) => s[key] ?? 0)), 0);
    const top = roundUp(Math.max(most, this.#least));
    const span = SPANS.find((seconds) => now - samples[0]?.t <= seconds) ?? SPANS[0];
    const x = (s) => (WIDTH - (now - s.t) * (WIDTH / span)).toFixed(1);
    const y = (value) => (HEIGHT - (HEIGHT - TOP) * (value / top)).toFixed(1);
    const said = [];
    this.#series.forEach(({ key, label, value, line }, i) => {
      let path = "";
      let area = "";
      let before = null;
      for (const s of samples) {
        if (s[key] === undefined || s[key] === null) {
          if (before && i === 0) area += `L${x(before)} ${HEIGHT}Z`;
          before = null;
          continue;
        }
        const joins = before && s.t - before.t < 4;
        if (!joins && before && i === 0) area += `L${x(before)} ${HEIGHT}Z`;
        path += `${joins ? "L" : "M"}${x(s)} ${y(s[key])}`;
        area += joins ? `L${x(s)} ${y(s[key])}` : `M${x(s)} ${HEIGHT}L${x(s)} ${y(s[key])}`;
        before = s;
      }
      if (before) area += `L${x(before)} ${HEIGHT}Z`;
      line.setAttribute("d", path);
      if (i === 0) this.#area.setAttribute("d", area);
      const last = samples.at(-1)?.[key];
      const text = last === undefined || last === null ? "–" : this.#format(last);
      setText(value, text);
      said.push(`${label} ${text === "–" ? "not known" : text}`);
    });
    setText(this.#top, this.#format(top));
    setText(this.#from, `${span / 60} min ago`);
    this.#svg.setAttribute("aria-label",
      `${this.#title}, the last ${span / 60} minutes: now ${said.join(", ")}, scale up to ${this.#format(top)}`);
  }
}
