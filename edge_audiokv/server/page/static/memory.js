// Bytes by part over time, one above the other, with the process and the cap as lines.

import { bytes } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_POINTS = 600;
const LEAST_SPAN_S = 60;
const HEIGHT = 180;
const LEFT = 4;
const TOP = 16;
const BOTTOM = 18;
// Colours in page.css; a tenth part has the first one's.
const COLOURS = 9;

export function made(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

export class MemoryGraph {
  #svg;
  #summary;
  #table;
  #points = [];
  #names = [];

  constructor(svg, summary, table) {
    this.#svg = svg;
    this.#summary = summary;
    this.#table = table;
    new ResizeObserver(() => this.#draw()).observe(svg);
  }

  // What /v1/edge/memory told just now.
  add(memory) {
    const { parts, rss_bytes, cap_bytes } = memory;
    this.#points.push({ at: performance.now() / 1000, parts, rss_bytes, cap_bytes });
    if (this.#points.length > MOST_POINTS) this.#points.shift();
    for (const name of Object.keys(memory.parts)) {
      if (!this.#names.includes(name)) this.#names.push(name);
    }
    this.#draw();
    this.#tell(memory);
  }

  #tell({ rss_bytes: rss, cap_bytes: cap, parts }) {
    const share = Math.round((100 * rss) / cap);
    this.#summary.textContent =
      `The process takes ${bytes(rss)}, ${share}% of the cap of ${bytes(cap)}; ` +
      `the dashed line is the cap, the solid one the process.`;
    const rows = this.#names.map((name, index) => row(name, parts[name] ?? 0, index % COLOURS));
    this.#table.replaceChildren(...rows);
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!width || !this.#points.length) return;
    const last = this.#points.at(-1);
    const span = Math.max(LEAST_SPAN_S, last.at - this.#points[0].at);
    const sum = (point) => Object.values(point.parts).reduce((a, b) => a + b, 0);
    const most = Math.max(...this.#points.map((p) => Math.max(p.cap_bytes, p.rss_bytes, sum(p))));
    const x = (at) => LEFT + (1 - (last.at - at) / span) * (width - 2 * LEFT);
    const y = (size) => TOP + (1 - size / most) * (HEIGHT - TOP - BOTTOM);
    const line = (value) =>
      this.#points.map((p) => `${x(p.at).toFixed(1)},${y(value(p)).toFixed(1)}`).join(" ");

    const drawn = [];
    const below = new Map(this.#points.map((point) => [point, 0]));
    this.#names.forEach((name, index) => {
      const under = [...this.#points]
        .reverse()
        .map((p) => `${x(p.at).toFixed(1)},${y(below.get(p)).toFixed(1)}`)
        .join(" ");
      for (const point of this.#points) {
        below.set(point, below.get(point) + (point.parts[name] ?? 0));
      }
      const points = `${line((point) => below.get(point))} ${under}`;
      drawn.push(made("polygon", { points, class: `part part-${index % COLOURS}` }));
    });
    drawn.push(made("polyline", { points: line((p) => p.rss_bytes), class: "rss" }));
    const capY = y(last.cap_bytes).toFixed(1);
    drawn.push(made("line", { x1: 0, x2: width, y1: capY, y2: capY, class: "cap" }));
    drawn.push(made("text", { x: LEFT, y: capY - 4 }, `cap ${bytes(last.cap_bytes)}`));
    const floor = HEIGHT - 4;
    drawn.push(made("text", { x: LEFT, y: floor }, `${Math.round(span)} s ago`));
    drawn.push(made("text", { x: width - LEFT, y: floor, class: "end" }, "now"));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.replaceChildren(...drawn);
  }
}

function row(name, size, colour) {
  const tr = document.createElement("tr");
  const swatch = document.createElement("span");
  swatch.className = `swatch part-${colour}`;
  const head = document.createElement("th");
  head.scope = "row";
  head.append(swatch, name);
  const cell = document.createElement("td");
  cell.textContent = bytes(size);
  tr.append(head, cell);
  return tr;
}
