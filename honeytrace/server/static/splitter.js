// The line between two panes, moved by pointer or arrow keys; the width is kept for the next time.
import { el } from "./dom.js";

const KEPT = "honeytrace.detail-width";

/** Put a splitter between the children of `split`; `pane`, the second, gets the chosen width. */
export function splitter(split, pane) {
  const bar = el("div", {
    class: "splitter",
    role: "separator",
    "aria-orientation": "vertical",
    tabindex: "0",
    "aria-label": "Width of the detail",
  });
  split.insertBefore(bar, pane);
  let width = Number(localStorage.getItem(KEPT)) || 0;

  function set(next) {
    width = Math.max(20, Math.min(75, next));
    split.style.setProperty("--detail", `${width}%`);
    bar.setAttribute("aria-valuenow", Math.round(width));
    localStorage.setItem(KEPT, String(width));
  }
  const now = () => (pane.offsetWidth / split.offsetWidth) * 100;
  if (width) set(width);

  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  bar.addEventListener("pointermove", (event) => {
    if (!bar.hasPointerCapture(event.pointerId)) return;
    const box = split.getBoundingClientRect();
    set(((box.right - event.clientX) / box.width) * 100);
  });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: 2, ArrowRight: -2 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(now() + step);
  });
  bar.addEventListener("dblclick", () => {
    localStorage.removeItem(KEPT);
    split.style.removeProperty("--detail");
  });
}
