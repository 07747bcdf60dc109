// The keyboard for the whole page: a few keys that mean the same everywhere, and the help that lists all of them.
// Keys that walk a list or a tree belong to these and are handled there.
import { button, el } from "./dom.js";
import { shown } from "./router.js";

const KEYS = [
  [
    "Everywhere",
    [
      ["/", "search"],
      ["Esc", "one step back: search, zoom, session"],
      ["t", "light or dark"],
      ["o", "open a downloaded session"],
      ["?", "this help"],
    ],
  ],
  [
    "Sessions",
    [
      ["↑ ↓", "choose a session (also k, j)"],
      ["Enter", "open it"],
      ["Space", "mark it for comparing"],
      ["Home End", "first, last"],
    ],
  ],
  [
    "A session",
    [
      ["↑ ↓", "choose an event"],
      ["→ ←", "unfold, fold; into, out of"],
      ["Shift → ←", "the whole branch"],
      ["e", "next error"],
      ["z", "zoom the timeline to the event, and back"],
      ["Enter", "next match while finding"],
    ],
  ],
];

/** Listen for the keys; `actions` has theme() and open(). */
export function startKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (
      event.defaultPrevented ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      document.querySelector("dialog[open]")
    )
      return;
    const view = shown();
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (typing && typing.matches("textarea, select")) typing.blur();
      else view?.escape?.();
      return;
    }
    if (typing && event.key === "ArrowDown" && typing.matches("[data-search]")) {
      event.preventDefault();
      view?.focus?.();
      return;
    }
    if (typing) return;
    if (event.key === "/") (view?.search?.() ?? view?.search)?.focus?.();
    else if (event.key === "?") help();
    else if (event.key === "t") actions.theme();
    else if (event.key === "o") actions.open();
    else if (
      ["ArrowDown", "ArrowUp", "j", "k"].includes(event.key) &&
      (event.target === document.body || event.target.id === "main")
    ) {
      view?.focus?.();
      document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key: event.key, bubbles: true, cancelable: true }),
      );
    } else if (!view?.key?.(event)) return;
    event.preventDefault();
  });
}

/** Show the list of keys. */
export function help() {
  const dialog = el(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    el(
      "header",
      {},
      el("h2", { id: "help-title", text: "Keyboard" }),
      button("", { icon: "close", label: "Close", class: "quiet" }, () => dialog.close()),
    ),
    el(
      "div",
      { class: "columns" },
      ...KEYS.map(([title, keys]) =>
        el(
          "section",
          {},
          el("h3", { text: title }),
          el(
            "dl",
            {},
            ...keys.flatMap(([key, text]) => [
              el("dt", {}, ...key.split(" ").map((one) => el("kbd", { text: one }))),
              el("dd", { text }),
            ]),
          ),
        ),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
