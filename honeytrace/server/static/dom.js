// Building the page: elements are made one by one and text is only ever set as text.
// Nothing in this package parses markup from data: there is no innerHTML, no style attribute, no link made of data.
const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `on` holds listeners, `css` custom properties and lengths, `text` the text; the rest are attributes. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element, in the same way. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** One of the drawings in index.html. */
export function icon(name, extra = "") {
  return svg("svg", { class: `icon ${extra}`, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Put these in the place of what is there; nothing is put for false, null and "". */
export function put(node, ...children) {
  node.replaceChildren();
  return fill(node, {}, children);
}

/** A button; `label` is for screen readers and the tooltip when there is only an icon. */
export function button(text, { icon: drawing, label, ...props } = {}, onClick) {
  return el(
    "button",
    { type: "button", "aria-label": label, title: label, ...props, on: { click: onClick } },
    drawing && icon(drawing),
    text && el("span", { text }),
  );
}

/** Text that may run in either direction and must not disturb its neighbours. */
export function isolated(text, props = {}) {
  return el("bdi", { dir: "auto", ...props, text: visible(text) });
}

/** Say something to screen readers, politely. */
export function say(text) {
  const place = document.getElementById("said");
  if (place.textContent !== text) place.textContent = text;
}

let toastTimer;
/** Show a short message at the bottom for a moment. */
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    place.hidden = true;
  }, 3500);
}

const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
/** Control characters as their pictures: a terminal escape or a NUL is seen, not obeyed. */
export function visible(text) {
  return String(text).replace(CONTROL, (c) =>
    c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)),
  );
}

/** Copy text; where the clipboard is not allowed (plain http on another host), through a selection. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied");
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "on") {
      for (const [kind, listener] of Object.entries(value)) if (listener) node.addEventListener(kind, listener);
    } else if (name === "css") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat())
    if (child !== undefined && child !== null && child !== false && child !== "") node.append(child);
  return node;
}
