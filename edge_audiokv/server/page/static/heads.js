// Layers from left to right, a band for each head: rows of sound upwards, of text downwards.

import { made } from "./memory.js";

const BAND = { few: 84, many: 52 };
const FEW = 4;
const GAP = 6;
const FLOOR = 16;

export class HeadsPicture {
  #svg;
  #summary;
  #table;
  #details;
  #heads = null;

  constructor(svg, summary, table, details) {
    this.#svg = svg;
    this.#summary = summary;
    this.#table = table;
    this.#details = details;
    new ResizeObserver(() => this.#draw()).observe(svg);
    details.addEventListener("toggle", () => this.#fill());
  }

  // `heads` of /v1/edge/memory: lists [L][H] of rows by kind, and the room that there is.
  show(heads) {
    if (JSON.stringify(heads) === JSON.stringify(this.#heads)) return;
    this.#heads = heads;
    this.#draw();
    this.#tell();
    this.#fill();
  }

  #tell() {
    if (!this.#heads) return;
    const { audio, text, other, capacity } = this.#heads;
    const layers = audio.length;
    const heads = audio[0].length;
    const sound = range(audio);
    const written = range(text);
    const rest = range(other);
    const room = range(capacity);
    this.#summary.textContent =
      `${layers} layers of ${heads} heads. A head keeps ${sound} rows of sound, ${written} of ` +
      `text and ${rest} of the rest; it has room for ${room}.`;
  }

  #fill() {
    if (!this.#details.open || !this.#heads) return;
    const { audio, text, other, capacity } = this.#heads;
    const rows = audio.flatMap((heads, layer) =>
      heads.map((_, head) =>
        row([layer, head, ...[audio, text, other, capacity].map((kind) => kind[layer][head])]),
      ),
    );
    this.#table.replaceChildren(...rows);
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!width || !this.#heads) return;
    const { audio, text, other, capacity } = this.#heads;
    const heads = audio[0].length;
    const band = heads > FEW ? BAND.many : BAND.few;
    const column = width / audio.length;
    const up = Math.max(1, ...audio.flat());
    const down = Math.max(1, ...text.flatMap((of, l) => of.map((n, h) => n + other[l][h])));
    // One scale for both sides, so that sound and text can be compared.
    const scale = (band - GAP) / (up + down);
    const drawn = [];
    for (let head = 0; head < heads; head += 1) {
      const axis = head * band + GAP + up * scale;
      audio.forEach((_, layer) => {
        const [a, t, o] = [audio, text, other].map((kind) => kind[layer][head]);
        const cell = made("g");
        const x = (layer * column + 0.5).toFixed(1);
        const place = { x, width: Math.max(1, column - 1).toFixed(1) };
        const bar = (kind, from, size) =>
          made("rect", { ...place, y: from.toFixed(1), height: size.toFixed(1), class: kind });
        cell.append(
          made(
            "title",
            {},
            `layer ${layer}, head ${head}: ${a} of sound, ${t} of text, ${o} of the rest, ` +
              `room for ${capacity[layer][head]}`,
          ),
          bar("audio", axis - a * scale, a * scale),
          bar("text", axis, t * scale),
          bar("other", axis + t * scale, o * scale),
        );
        drawn.push(cell);
      });
      const y = axis.toFixed(1);
      drawn.push(made("line", { x1: 0, x2: width, y1: y, y2: y, class: "axis" }));
    }
    const height = heads * band + FLOOR;
    drawn.push(made("text", { x: 2, y: height - 3 }, "first layer"));
    drawn.push(made("text", { x: width - 2, y: height - 3, class: "end" }, "last"));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#svg.setAttribute("height", height);
    this.#svg.replaceChildren(...drawn);
  }
}

function range(rows) {
  const all = rows.flat();
  const [least, most] = [Math.min(...all), Math.max(...all)];
  return least === most ? `${most}` : `${least} to ${most}`;
}

function row(cells) {
  const tr = document.createElement("tr");
  cells.forEach((text, index) => {
    const cell = document.createElement(index < 2 ? "th" : "td");
    if (index < 2) cell.scope = "row";
    cell.textContent = text;
    tr.append(cell);
  });
  return tr;
}
