// Small charts over time, drawn as SVG by hand: bars or lines on one time axis, with a value axis and a tooltip.
// A chart can be read without a pointer: its label tells the sums, and the arrow keys walk through its buckets.
import { el, put, say, svg } from "./dom.js";

const HEIGHT = 152;
const LEFT = 50;
const BOTTOM = 22;
const TOP = 8;
const RIGHT = 6;

/**
 * Draw `series` [{name, kind: "bar" | "line", tone, value(bucket)}] over `buckets` [{start}] of `span` milliseconds each.
 * `text(value)` writes a value, `onPick(bucket)` hears a click or Enter.
 */
export function chart({ title, total, buckets, span, series, text, onPick }) {
  const tip = el("div", { class: "tip", hidden: true });
  const box = el("div", { class: "plotbox" });
  const figure = el(
    "figure",
    { class: "chart" },
    el(
      "figcaption",
      {},
      el("h3", { text: title }),
      total && el("span", { class: "total", text: total }),
      series.length > 1 && el("span", { class: "keys muted" }, ...series.map((s) => el("span", {}, sign(s), s.name))),
    ),
    box,
  );
  let drawn = null;
  let at = -1;
  // One unit of the drawing is one pixel, so that text has its size at any width: a new width is a new drawing.
  new ResizeObserver(() => {
    const width = Math.round(box.clientWidth);
    if (!width || width === drawn?.width) return;
    const focused = document.activeElement === drawn?.node;
    drawn = plot({ title, total, buckets, span, series, text, width });
    listen(drawn.node);
    put(box, drawn.node, tip);
    if (focused) drawn.node.focus();
  }).observe(box);

  function point(index) {
    at = Math.max(0, Math.min(buckets.length - 1, index));
    const bucket = buckets[at];
    drawn.mark(at);
    put(
      tip,
      el("b", { text: timeText(bucket.start, span, true) }),
      ...series.map((s) =>
        el(
          "span",
          {},
          sign(s),
          `${s.name} `,
          el("b", { text: missing(s.value(bucket)) ? "–" : text(s.value(bucket)) }),
        ),
      ),
    );
    tip.hidden = false;
    const share = drawn.middle(at) / drawn.width;
    tip.style.setProperty("left", `${share * 100}%`);
    tip.classList.toggle("leftwards", share > 0.6);
  }
  function away() {
    tip.hidden = true;
    drawn.mark(-1);
  }
  function listen(node) {
    node.addEventListener("pointermove", (event) => {
      const index = drawn.indexAt(event.clientX - node.getBoundingClientRect().left);
      if (index >= 0 && index < buckets.length) point(index);
      else away();
    });
    node.addEventListener("pointerleave", away);
    node.addEventListener("blur", away);
    node.addEventListener("click", () => !tip.hidden && onPick?.(buckets[at]));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (step !== undefined && buckets.length) {
        point(at < 0 ? buckets.length - 1 : at + step);
        say(tip.textContent);
      } else if (event.key === "Enter" && at >= 0) onPick?.(buckets[at]);
      else return;
      event.preventDefault();
    });
  }
  return figure;
}

function plot({ title, total, buckets, span, series, text, width }) {
  const highest = Math.max(0, ...buckets.flatMap((bucket) => series.map((s) => s.value(bucket) ?? 0)));
  const top = roundUp(highest);
  const x = (index) => LEFT + (index / Math.max(1, buckets.length)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const step = x(1) - x(0);
  const node = svg("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`,
    class: "plot",
    role: "img",
    "aria-label": total ? `${title}: ${total}` : `${title} over time`,
    tabindex: "0",
  });
  const cursor = svg("rect", {
    class: "cursor",
    y: TOP,
    width: Math.max(1, step),
    height: HEIGHT - TOP - BOTTOM,
    visibility: "hidden",
  });
  node.append(cursor);
  for (const part of highest ? [0, 0.5, 1] : [0]) {
    node.append(
      svg("line", {
        class: part ? "rule" : "rule base",
        x1: LEFT,
        x2: width - RIGHT,
        y1: y(top * part),
        y2: y(top * part),
      }),
      svg("text", {
        class: "label",
        x: LEFT - 6,
        y: y(top * part) + 3.5,
        "text-anchor": "end",
        text: text(top * part),
      }),
    );
  }
  for (const [index, anchor] of timeLabels(buckets.length)) {
    node.append(
      svg("text", {
        class: "label",
        x: anchor === "end" ? width - RIGHT : x(index),
        y: HEIGHT - 6,
        "text-anchor": anchor,
        text: timeText(buckets[index].start + (anchor === "end" ? span : 0), span * buckets.length),
      }),
    );
  }
  for (const one of series) {
    if (one.kind === "bar") node.append(svg("path", { class: `bars ${one.tone}`, d: bars(one, buckets, x, y, step) }));
    else node.append(...line(one, buckets, x, y, step));
  }
  if (!highest)
    node.append(
      svg("text", {
        class: "nothing",
        x: (LEFT + width) / 2,
        y: HEIGHT / 2,
        "text-anchor": "middle",
        text: "nothing in this time",
      }),
    );
  return {
    node,
    width,
    middle: (index) => x(index) + step / 2,
    indexAt: (pixels) => Math.floor((pixels - LEFT) / step),
    mark(index) {
      cursor.setAttribute("visibility", index < 0 ? "hidden" : "visible");
      if (index >= 0) cursor.setAttribute("x", x(index));
    },
  };
}

const sign = (one) => el("i", { class: `key key-${one.kind} ${one.tone}` });
const missing = (value) => value === null || value === undefined;

function bars(one, buckets, x, y, step) {
  const width = step > 4 ? step - 1 : step;
  return buckets
    .map((bucket, index) => {
      const value = one.value(bucket) ?? 0;
      if (!value) return "";
      const high = Math.max(1, y(0) - y(value));
      return `M${x(index).toFixed(2)} ${(y(0) - high).toFixed(2)}h${width.toFixed(2)}v${high.toFixed(2)}h-${width.toFixed(2)}z`;
    })
    .join("");
}

// A bucket without events has no latency: the line is interrupted there, and a lonely point is a dot.
function line(one, buckets, x, y, width) {
  let d = "";
  const dots = [];
  const known = (index) => Boolean(buckets[index]) && !missing(one.value(buckets[index]));
  buckets.forEach((bucket, index) => {
    if (!known(index)) return;
    const at = [(x(index) + width / 2).toFixed(2), y(one.value(bucket)).toFixed(2)];
    if (!known(index - 1) && !known(index + 1))
      dots.push(svg("circle", { class: `dot ${one.tone}`, cx: at[0], cy: at[1], r: 2 }));
    else d += `${known(index - 1) ? "L" : "M"}${at.join(" ")}`;
  });
  return [svg("path", { class: `line ${one.tone}`, d: d || "M0 0" }), ...dots];
}

function timeLabels(n) {
  return n
    ? [
        [0, "start"],
        [Math.floor(n / 2), "middle"],
        [n - 1, "end"],
      ]
    : [];
}

function timeText(ms, span, exact = false) {
  const date = new Date(ms);
  const time = `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
  const day = `${date.toLocaleString("en-US", { month: "short" })} ${date.getDate()}`;
  if (exact) return span < 60_000 ? `${day} ${time}:${String(date.getSeconds()).padStart(2, "0")}` : `${day} ${time}`;
  return span > 3 * 86_400_000 ? day : span > 20 * 3_600_000 ? `${day} ${time}` : time;
}

function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((n) => n * power).find((n) => n >= value * 0.999);
}
