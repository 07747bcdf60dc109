// The timeline: one scale for all rows, where each bar lies on it, what the session waited for, and when nothing ran.
import { el } from "./dom.js";
import { duration } from "./format.js";

/** A scale from `start` to `end` in milliseconds; `at(ms)` is a percentage. */
export function scaleOf(start, end) {
  const span = Math.max(end - start, 0.001);
  return { start, end, span, at: (ms) => ((ms - start) / span) * 100 };
}

/** Round steps for an axis: about `wanted` of them. */
export function ticks(span, wanted = 5) {
  const rough = span / wanted;
  const units =
    rough >= 1000
      ? [
          1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 7_200_000,
          21_600_000, 86_400_000,
        ]
      : null;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step =
    units?.find((unit) => unit >= rough) ?? [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const all = [];
  for (let at = 0; at <= span * 1.0001 && all.length < 20; at += step) all.push(at);
  return all;
}

/** The axis: its labels, and lines as high as the rows. */
export function drawAxis(labels, lines, scale, origin) {
  const marks = ticks(scale.span, Math.max(2, Math.floor((labels.clientWidth || 500) / 80)));
  const before = scale.start - origin;
  // The last label stands before its line, so the one before it may have no room.
  const fits = (ms) =>
    ms / scale.span > 0.93 ||
    marks[marks.length - 1] / scale.span <= 0.93 ||
    ms <= scale.span * 0.93 - (120 / (labels.clientWidth || 500)) * scale.span;
  labels.replaceChildren(
    ...marks.filter(fits).map((ms) =>
      el("span", {
        css: { left: `${(ms / scale.span) * 100}%` },
        class: ms / scale.span > 0.93 ? "last" : "",
        text: ms + before === 0 ? "0" : duration(ms + before),
      }),
    ),
  );
  lines.replaceChildren(...marks.map((ms) => el("i", { css: { left: `${(ms / scale.span) * 100}%` } })));
}

/**
 * What the end of the session waited for: from the end backwards, always into the child that finished last.
 * A Map from id to the pieces [from, to] in which that event itself was waited for.
 */
export function criticalPath(root) {
  const path = new Map();
  const stack = [[root, root.end]];
  while (stack.length) {
    const [node, until] = stack.pop();
    const pieces = [];
    let at = Math.min(node.end, until);
    let first = true;
    const children = [...node.children].sort((a, b) => b.end - a.end);
    for (const child of children) {
      if (at <= node.start) break;
      // A child that still ran when a later sibling began was not what that sibling waited for.
      if (child.start >= at || (!first && child.end > at + 0.01)) continue;
      const end = Math.min(child.end, at);
      if (end - child.start <= 0) continue;
      if (at - end > 0) pieces.push([end, at]);
      stack.push([child, end]);
      at = Math.max(child.start, node.start);
      first = false;
    }
    if (at > node.start || !node.children.length) pieces.push([node.start, at]);
    path.set(node.id, pieces);
  }
  return path;
}

/** The pieces of a node's time in which no child ran; only those of at least `least` milliseconds. */
export function gaps(node, least) {
  const found = [];
  let covered = node.start;
  for (const child of node.children) {
    if (child.start - covered >= least) found.push([covered, child.start]);
    covered = Math.max(covered, child.end);
  }
  if (node.children.length && node.end - covered >= least) found.push([covered, node.end]);
  return found;
}

/** The bar of one row; `origin` is when the session began. */
export function drawBar(node, scale, path, origin) {
  const left = scale.at(node.start);
  const right = scale.at(node.end);
  if (right < 0 || left > 100)
    return el(
      "span",
      { class: "lane", "aria-hidden": "true" },
      el("i", { class: `outside ${right < 0 ? "before" : "after"}` }),
    );
  const from = Math.max(left, 0);
  const to = Math.min(right, 100);
  const place = ([a, b]) => ({
    left: `${clamp(((a - node.start) / (node.end - node.start || 1)) * 100)}%`,
    width: `${clamp(((b - a) / (node.end - node.start || 1)) * 100)}%`,
  });
  const bar = el("i", {
    class: `bar is-${node.event.event_type} ${node.event.error ? "is-error" : ""} ${node.running ? "is-running" : ""}`,
    css: { left: `${from}%`, width: `${Math.max(to - from, 0)}%` },
    title: `${duration(node.end - node.start)}, from +${duration(node.start - origin)}`,
  });
  const whole = left >= 0 && right <= 100;
  if (whole) {
    for (const gap of gaps(node, scale.span / 200)) bar.append(el("b", { class: "gap", css: place(gap) }));
    for (const piece of path?.get(node.id) ?? []) bar.append(el("b", { class: "critical", css: place(piece) }));
    const first = node.event.first_token_ms;
    if (first > 0 && node.start + first < node.end && to - from > 1)
      bar.append(el("b", { class: "first-token", css: { left: `${(first / (node.end - node.start)) * 100}%` } }));
  } else if (path?.has(node.id)) bar.append(el("b", { class: "critical", css: { left: "0%", width: "100%" } }));
  return el("span", { class: "lane", "aria-hidden": "true" }, bar);
}

const clamp = (percent) => Math.max(0, Math.min(100, percent));
