// A JSON value as a tree that folds, made level by level as it is opened.
// Values the server cut are marked and loaded on demand; whatever a string holds, it is shown as text.
import { button, copy, el, toast, visible } from "./dom.js";
import { count, size } from "./format.js";

const LONG = 1500;
const BEGINNING = 700;
const CHUNK = 100_000;
const MANY = 100;

/**
 * Show `value`, which stands at `path` of the event. `cuts` maps JSON paths to {length, kind}; `load(path)` fetches a
 * whole value; `differs(path)` marks what is different elsewhere.
 */
export function jsonView(value, { path = [], cuts = new Map(), load = null, differs = null, open = 2 } = {}) {
  const context = { cuts, load, differs, open };
  return el("div", { class: "json" }, ...top(value, path, context));
}

/** The cuts of an event as a map for `jsonView`. */
export const cutMap = (cuts = []) => new Map(cuts.map((cut) => [JSON.stringify(cut.path), cut]));

function top(value, path, context) {
  if (!isBranch(value)) return [leaf(value, path, context)];
  return entries(value, path, context, 0);
}

function entries(value, path, context, depth) {
  const isArray = Array.isArray(value);
  const all = isArray ? value.map((item, index) => [index, item]) : Object.entries(value);
  const place = el("div", { class: "members" });
  let shown = 0;
  const more = () => {
    const next = all.slice(shown, shown + MANY);
    shown += next.length;
    place.querySelector(":scope > .json-more")?.remove();
    place.append(...next.map(([key, item]) => member(key, item, [...path, key], context, depth, isArray)));
    if (shown < all.length)
      place.append(
        button(
          `Show ${Math.min(MANY, all.length - shown)} more of ${count(all.length)}`,
          { class: "link json-more" },
          more,
        ),
      );
  };
  more();
  const cut = context.cuts.get(JSON.stringify(path));
  if (cut && context.load)
    place.append(loader(cut, path, context, (whole) => place.replaceWith(...entries(whole, path, context, depth))));
  return [place];
}

function member(key, value, path, context, depth, isArray) {
  const name = el("span", { class: isArray ? "json-index" : "json-key" }, el("bdi", { text: visible(key) }));
  const different = context.differs?.(path) ? "differs" : "";
  if (!isBranch(value)) return el("div", { class: `json-row ${different}` }, name, leaf(value, path, context));
  const length =
    context.cuts.get(JSON.stringify(path))?.length ?? (Array.isArray(value) ? value.length : Object.keys(value).length);
  if (!length && !context.cuts.has(JSON.stringify(path)))
    return el(
      "div",
      { class: `json-row ${different}` },
      name,
      el("span", { class: "json-null", text: Array.isArray(value) ? "[]" : "{}" }),
    );
  const node = el(
    "details",
    { class: `json-branch ${different}` },
    el("summary", {}, name, el("span", { class: "muted", text: summary(value, length) })),
  );
  const build = () => {
    if (node.childElementCount === 1) node.append(...entries(value, path, context, depth + 1));
  };
  node.addEventListener("toggle", () => node.open && build());
  if (depth + 1 < context.open || (depth + 1 === context.open && length <= 5)) {
    build();
    node.open = true;
  }
  return node;
}

function summary(value, length) {
  if (Array.isArray(value)) return `[${count(length)}]`;
  const names = Object.keys(value)
    .slice(0, 4)
    .map((name) => (name.length > 20 ? `${name.slice(0, 20)}…` : name));
  return `{${visible(names.join(", "))}${length > 4 ? ", …" : ""}}`;
}

function leaf(value, path, context) {
  if (value === null || value === undefined) return el("span", { class: "json-null", text: "null" });
  if (typeof value !== "string") return el("span", { class: "json-atom", text: String(value) });
  const cut = context.cuts.get(JSON.stringify(path));
  const node = el(
    "span",
    { class: "json-leaf" },
    longText(cut ? `${value.slice(0, BEGINNING)}…` : value, { quoted: true }),
  );
  if (cut && context.load)
    node.append(
      loader(cut, path, context, (whole) => node.replaceChildren(longText(whole, { quoted: true, expanded: true }))),
    );
  return node;
}

/** A button that loads what the server cut, and hands it to `put`. */
export function loader(cut, path, context, put) {
  const unit = cut.kind === "string" ? "characters" : cut.kind === "array" ? "entries" : "keys";
  const ask = button(`Load all ${size(cut.length)} ${unit}`, { class: "link load" }, async () => {
    ask.disabled = true;
    try {
      const whole = await context.load(path);
      context.cuts.delete(JSON.stringify(path));
      ask.remove();
      put(whole);
    } catch (error) {
      ask.disabled = false;
      toast(`Could not load: ${error.message}`);
    }
  });
  return ask;
}

/** Text of any length: the beginning first, the rest in pieces the browser can lay out. */
export function longText(text, { quoted = false, expanded = false, limit = LONG } = {}) {
  const node = el("span", { class: quoted ? "json-string" : "text", dir: "auto" });
  let shown = 0;
  const controls = el("span", { class: "text-more" });
  const add = (length) => {
    node.append(visible(text.slice(shown, shown + length)));
    shown = Math.min(text.length, shown + length);
    controls.replaceChildren();
    if (shown >= text.length) return;
    const next = Math.min(CHUNK, text.length - shown);
    controls.append(
      button(
        next === text.length - shown
          ? `Show all ${size(text.length)} characters`
          : `Show ${size(next)} of ${size(text.length)} characters more`,
        { class: "link" },
        () => add(next),
      ),
      button("Copy all", { class: "link" }, () => copy(text)),
    );
  };
  add(expanded ? CHUNK : text.length <= limit * 1.3 ? text.length : limit);
  return el("span", { class: "long" }, node, controls);
}

const isBranch = (value) => value !== null && typeof value === "object";
