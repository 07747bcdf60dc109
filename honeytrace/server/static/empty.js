// What stands where there is nothing to show: the first use, and a problem with what to do about it.
import { button, copy, el } from "./dom.js";

const FIRST = `import honeytrace
honeytrace.init()
honeytrace.trace(sorted)([3, 1, 2])`;

/** The three lines that make a first trace. */
export function firstUse({ store }) {
  return el(
    "div",
    { class: "empty first" },
    el("h2", { text: "No traces yet" }),
    el("p", { text: "Run these three lines on this machine. The session appears here by itself." }),
    el(
      "div",
      { class: "snippet" },
      el("pre", {}, el("code", { text: FIRST })),
      button("", { icon: "copy", label: "Copy the three lines", class: "quiet" }, () => copy(FIRST)),
    ),
    el(
      "p",
      { class: "muted" },
      "In a program, ",
      el("code", { text: "@honeytrace.trace" }),
      " goes above the functions you want to see.",
    ),
    store && el("p", { class: "muted" }, "This server reads ", el("code", { text: store }), "."),
  );
}

/** Something failed: what, why, and once more. */
export function problem(title, error, again) {
  return el(
    "div",
    { class: "empty problem", role: "alert" },
    el("h2", { text: title }),
    el("p", { text: error.message }),
    el(
      "p",
      { class: "row-of" },
      again && button("Try again", { class: "primary" }, again),
      el("a", { href: "/", text: "All sessions" }),
    ),
  );
}
