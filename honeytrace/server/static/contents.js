// What ran below an event, by name: how often, how long in all, with how many tokens and errors.
import { el, icon, isolated } from "./dom.js";
import { count, duration, short } from "./format.js";
import { visibleRows } from "./tree.js";

const SHOWN = 12;

/** A small table; time is the sum over the events, so what ran side by side counts twice. */
export function contents(top) {
  const groups = new Map();
  for (const node of visibleRows(top, new Set())) {
    if (node === top) continue;
    const { event_type: type, event_name: name, tokens, error } = node.event;
    const key = `${type}\n${name}`;
    const group = groups.get(key) ?? { type, name, n: 0, time: 0, tokens: 0, errors: 0 };
    group.n += 1;
    group.time += node.end - node.start;
    group.tokens += tokens ?? 0;
    group.errors += error ? 1 : 0;
    groups.set(key, group);
  }
  const rows = [...groups.values()].sort((a, b) => b.time - a.time);
  const more = rows.length - SHOWN;
  const head = ["Name", "Count", "Time", "Tokens", "Errors"];
  return el(
    "div",
    {},
    el(
      "table",
      { class: "small-table" },
      el(
        "thead",
        {},
        el("tr", {}, ...head.map((text, index) => el("th", { scope: "col", class: index ? "c-num" : "", text }))),
      ),
      el(
        "tbody",
        {},
        ...rows
          .slice(0, SHOWN)
          .map((g) =>
            el(
              "tr",
              {},
              el(
                "td",
                {},
                el(
                  "span",
                  { class: "with-icon" },
                  el("span", { class: `kind is-${g.type}`, title: g.type }, icon(g.type)),
                  isolated(g.name),
                ),
              ),
              el("td", { class: "c-num", text: count(g.n) }),
              el("td", { class: "c-num", text: duration(g.time) }),
              el("td", { class: `c-num ${g.tokens ? "" : "none"}`, text: g.tokens ? short(g.tokens) : "–" }),
              el("td", { class: `c-num ${g.errors ? "is-error" : "none"}`, text: g.errors ? count(g.errors) : "–" }),
            ),
          ),
      ),
    ),
    more > 0 && el("p", { class: "muted", text: `and ${more} more names` }),
  );
}
