// Two sessions side by side: their sums, their trees matched event by event, and both details of the chosen pair.
import { align, differences } from "./align.js";
import { server } from "./api.js";
import { el, icon, isolated, put, say } from "./dom.js";
import { problem } from "./empty.js";
import { cost, count, duration, exact, moment, short } from "./format.js";
import { cutMap, jsonView, longText } from "./json_view.js";
import { go } from "./router.js";
import { buildTree } from "./tree.js";
import { virtualList } from "./virtual.js";

const SUMS = [
  ["Duration", "duration", duration],
  ["Events", "events", count],
  ["Errors", "errors", count],
  ["Tokens", "tokens", short],
  ["Cost", "cost", cost],
];
const PARTS = [
  ["error", "Error"],
  ["inputs", "Inputs"],
  ["outputs", "Outputs"],
  ["config", "Config"],
  ["metrics", "Metrics"],
  ["feedback", "Feedback"],
];

export function compareView(place, address) {
  document.title = "Compare · honeytrace";
  const ids = [address.match[1], address.match[2]];
  let rows = [];
  let chosen = 0;
  let asked = 0;
  const head = el("div", { class: "compare-head" });
  const body = el("div", {
    class: "rows",
    role: "grid",
    tabindex: "0",
    "aria-label": "Events of both sessions",
    on: { keydown: onKey },
  });
  const pair = el("div", { class: "pair" });
  const page = el(
    "div",
    { class: "page compare" },
    head,
    el(
      "div",
      { class: "compare-split" },
      el(
        "section",
        { class: "compare-tree", "data-scrolls": true, tabindex: "-1", "aria-label": "Both trees" },
        el(
          "div",
          { class: "both treehead", "aria-hidden": "true" },
          el("span", { text: "Event" }),
          ...["Left", "Right", "Difference"].map((text) => el("span", { class: "t-num", text })),
        ),
        body,
      ),
      el(
        "section",
        { class: "compare-detail", "data-scrolls": true, tabindex: "-1", "aria-label": "Both events" },
        pair,
      ),
    ),
  );
  place.append(page);
  const list = virtualList(body, { rows: () => rows, draw, keyOf: (row) => row.key });

  async function load() {
    try {
      const both = await Promise.all(ids.map((id) => server.session(id)));
      const [left, right] = both.map((answer, side) => {
        const events = new Map(answer.events.map((event) => [event.event_id, event]));
        return buildTree(
          ids[side],
          { ...answer.session, event_id: ids[side], event_type: "session", event_name: answer.summary.name },
          events,
        ).root;
      });
      rows = align(left, right).map((row, index) => ({ ...row, key: index }));
      showHead(both.map((answer) => answer.summary));
      list.update(true);
      choose(Math.max(0, rows.findIndex(differs)));
      say("Both sessions are shown");
    } catch (error) {
      page.replaceChildren(problem("The sessions could not be compared", error, null));
    }
    place.setAttribute("data-ready", "compare");
  }

  function showHead([a, b]) {
    document.title = `${a.name} and ${b.name} · honeytrace`;
    const who = (s, side) =>
      el(
        "th",
        { scope: "col" },
        el("a", { href: `/s/${encodeURIComponent(ids[side])}` }, isolated(s.name || "unknown")),
        el("code", { class: "muted", text: ids[side].slice(0, 8) }),
      );
    put(
      head,
      el(
        "table",
        { class: "sums" },
        el("caption", { class: "hidden", text: "Sums of both sessions" }),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, el("span", { class: "hidden", text: "Session" })),
            el("th", { scope: "col", text: "Started" }),
            ...SUMS.map(([text]) => el("th", { scope: "col", class: "c-num", text })),
          ),
        ),
        el(
          "tbody",
          {},
          ...[a, b].map((s, side) =>
            el(
              "tr",
              {},
              el(
                "th",
                { scope: "row" },
                el("span", { class: "side", text: side ? "Right" : "Left" }),
                ...who(s, side).childNodes,
              ),
              el("td", { class: "muted", title: exact(s.start_time), text: moment(s.start_time) }),
              ...SUMS.map(([, name, text]) =>
                el("td", { class: `c-num ${name === "errors" && s.errors ? "is-error" : ""}`, text: text(s[name]) }),
              ),
            ),
          ),
          el(
            "tr",
            { class: "delta" },
            el("th", { scope: "row", text: "Difference" }),
            el("td"),
            ...SUMS.map(([, name, text]) => el("td", { class: "c-num" }, delta(a[name], b[name], text))),
          ),
        ),
      ),
    );
  }

  function draw(row) {
    const { left, right } = row;
    const e = (left ?? right).event;
    const time = (node) => (node ? (node.running ? "running" : duration(node.end - node.start)) : "");
    const status = (node) => node?.event.error && icon("error", "is-error");
    const changed = left && right && differs(row);
    const node = el(
      "div",
      {
        class: `both event ${left && right ? "" : "one-side"}`,
        role: "row",
        id: `pair-${row.key}`,
        "aria-selected": String(row.key === chosen),
      },
      el(
        "span",
        { role: "gridcell", class: "t-name", css: { "padding-left": `${Math.min(row.depth, 12) * 14}px` } },
        el("span", { class: `kind is-${e.event_type}`, title: e.event_type }, icon((left ?? right).missing ? "running" : e.event_type)),
        isolated(e.event_name, { class: "label" }),
        !right && el("span", { class: "tag", text: "left only" }),
        !left && el("span", { class: "tag", text: "right only" }),
        changed && el("span", { class: "tag changed", text: "output differs" }),
      ),
      el("span", { role: "gridcell", class: "t-num" }, status(left), time(left)),
      el("span", { role: "gridcell", class: "t-num" }, status(right), time(right)),
      el(
        "span",
        { role: "gridcell", class: "t-num" },
        left && right && delta(left.end - left.start, right.end - right.start, duration),
      ),
    );
    node.addEventListener("click", () => choose(row.key));
    return node;
  }

  async function choose(index) {
    chosen = Math.max(0, Math.min(rows.length - 1, index));
    list.reveal(chosen);
    for (const node of list.nodes()) node.setAttribute("aria-selected", String(node.id === `pair-${chosen}`));
    body.setAttribute("aria-activedescendant", `pair-${chosen}`);
    const mine = ++asked;
    const sides = [rows[chosen].left, rows[chosen].right];
    try {
      const got = await Promise.all(sides.map((node) => node && (node.missing ? node : server.event(node.id))));
      if (mine !== asked) return;
      showPair(got, sides);
    } catch (error) {
      if (mine === asked) put(pair, el("p", { class: "is-error", text: error.message }));
    }
  }

  function showPair(got, sides) {
    const events = got.map((answer) => answer?.event);
    const parts = PARTS.filter(([name]) => events.some((event) => event && !isEmpty(event[name])));
    put(
      pair,
      ...got.map((answer, side) =>
        el(
          "h2",
          {},
          answer ? isolated(answer.event.event_name) : el("span", { class: "muted", text: "not in this session" }),
          answer &&
            el("a", {
              class: "link",
              href: `/s/${encodeURIComponent(ids[side])}#${encodeURIComponent(sides[side].id)}`,
              text: "open",
            }),
        ),
      ),
      ...parts.flatMap(([name, title]) => {
        const found = events[0] && events[1] ? differences(events[0][name], events[1][name], [name]) : new Set();
        const differs = (path) => found.has(JSON.stringify(path));
        return [
          el(
            "h3",
            { class: "part-title" },
            title,
            events[0] &&
              events[1] &&
              el("span", { class: found.size ? "tag changed" : "tag", text: found.size ? "differs" : "same" }),
          ),
          ...got.map((answer) =>
            el(
              "div",
              { class: "cell" },
              answer && !isEmpty(answer.event[name])
                ? value(name, answer, differs)
                : el("span", { class: "muted", text: answer ? "none" : "" }),
            ),
          ),
        ];
      }),
    );
  }

  function value(name, { event, cut }, differs) {
    if (name === "error") return el("p", { class: "is-error" }, longText(String(event.error)));
    return jsonView(event[name], {
      path: [name],
      cuts: cutMap(cut),
      load: (path) => server.value(event.event_id, path),
      differs,
      open: 3,
    });
  }

  function onKey(event) {
    const step = {
      ArrowDown: 1,
      j: 1,
      ArrowUp: -1,
      k: -1,
      PageDown: list.pageSize(),
      PageUp: -list.pageSize(),
      Home: -Infinity,
      End: Infinity,
    }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    choose(chosen + step);
    event.preventDefault();
  }

  load();
  return {
    focus: () => body.focus({ preventScroll: true }),
    escape: () => go("/"),
    update: () => {},
    leave() {
      asked++;
      list.stop();
    },
  };
}

// Whether the two events of a row came to different ends, or only one of them is there.
const differs = ({ left, right }) =>
  !left ||
  !right ||
  Boolean(left.event.error) !== Boolean(right.event.error) ||
  left.event.outputs_preview !== right.event.outputs_preview;

function delta(a, b, text) {
  if (typeof a !== "number" || typeof b !== "number") return el("span", { class: "muted", text: "–" });
  const by = b - a;
  if (Math.abs(by) < 1e-9) return el("span", { class: "muted", text: "same" });
  const percent = a > 0 ? Math.round((by / a) * 100) : null;
  return el(
    "span",
    { text: `${by > 0 ? "+" : "−"}${text(Math.abs(by))}` },
    percent !== null &&
      percent !== 0 &&
      Math.abs(percent) < 1000 &&
      el("span", { class: "muted", text: ` ${by > 0 ? "+" : "−"}${Math.abs(percent)} %` }),
  );
}

const isEmpty = (value) =>
  value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
