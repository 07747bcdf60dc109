// How things went over time: events, errors, latency, tokens and cost, and the same by event name or by model.
import { overview } from "./api.js";
import { chart } from "./chart.js";
import { button, el, isolated, put, say } from "./dom.js";
import { problem } from "./empty.js";
import { cost, count, duration, short } from "./format.js";
import { onChange } from "./live.js";
import { go } from "./router.js";

const RANGES = {
  "1h": ["1 hour", 3_600_000],
  "24h": ["24 hours", 86_400_000],
  "7d": ["7 days", 604_800_000],
  "30d": ["30 days", 2_592_000_000],
};
const COLUMNS = [
  ["key", "Name"],
  ["events", "Events", count],
  ["errors", "Errors", count],
  ["p50", "p50", duration],
  ["p95", "p95", duration],
  ["tokens", "Tokens", short],
  ["cost", "Cost", cost],
];
const BUCKETS = 60;

export function overviewView(place, address) {
  document.title = "Overview · honeytrace";
  let query = address.query;
  let order = ["events", true];
  let answer = null;
  let asked = 0;
  const charts = el("div", { class: "charts" });
  const table = el("div", { class: "tablebox", tabindex: "0", role: "region", "aria-label": "By name or model" });
  const ranges = el("div", { class: "segments", role: "group", "aria-label": "Time" });
  const groups = el("div", { class: "segments", role: "group", "aria-label": "Group by" });
  const page = el(
    "div",
    { class: "page overview" },
    el("header", { class: "overview-head" }, el("h1", { text: "Overview" }), el("span", { class: "spring" }), ranges),
    charts,
    el(
      "header",
      { class: "overview-head" },
      el("h2", { text: "Where it went" }),
      el("span", { class: "spring" }),
      groups,
    ),
    table,
  );
  place.append(page);

  const range = () => (RANGES[query.get("range")] ? query.get("range") : "24h");
  const by = () => (query.get("by") === "model" ? "model" : "name");

  function choose(change) {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(change)) next.set(name, value);
    go(`/overview?${next}`, { replace: true });
  }

  async function load() {
    const mine = ++asked;
    const until = Date.now();
    const since = until - RANGES[range()][1];
    const option = (value, text, chosen, change) =>
      el("button", {
        type: "button",
        "aria-pressed": String(chosen),
        "data-value": value,
        text,
        on: { click: () => choose(change) },
      });
    put(ranges, ...Object.entries(RANGES).map(([key, [text]]) => option(key, text, key === range(), { range: key })));
    put(
      groups,
      option("name", "By name", by() === "name", { by: "name" }),
      option("model", "By model", by() === "model", { by: "model" }),
    );
    try {
      const got = await overview(
        new URLSearchParams({ since: Math.floor(since), until: Math.ceil(until), by: by(), buckets: BUCKETS }),
      );
      if (mine !== asked) return;
      answer = got;
      show((until - since) / Math.max(1, answer.buckets.length));
      place.setAttribute("data-ready", "overview");
    } catch (error) {
      if (mine !== asked) return;
      put(charts, problem("The overview could not be read", error, load));
      place.setAttribute("data-ready", "overview");
    }
  }

  function show(span) {
    const { buckets } = answer;
    const total = (name) => buckets.reduce((sum, bucket) => sum + (bucket[name] ?? 0), 0);
    const [events, errors] = [total("events"), total("errors")];
    const onPick = (bucket) => go(`/?since=${Math.floor(bucket.start)}&until=${Math.ceil(bucket.start + span)}`);
    const shared = { buckets, span, onPick };
    put(
      charts,
      chart({
        ...shared,
        title: "Events",
        total: count(events),
        text: short,
        series: [{ name: "events", kind: "bar", tone: "tone-events", value: (b) => b.events }],
      }),
      chart({
        ...shared,
        title: "Errors",
        total: events ? `${count(errors)} · ${share(errors / events)}` : count(errors),
        text: short,
        series: [{ name: "errors", kind: "bar", tone: "tone-errors", value: (b) => b.errors }],
      }),
      chart({
        ...shared,
        title: "Latency",
        total: "",
        text: duration,
        series: [
          { name: "p50", kind: "line", tone: "tone-p50", value: (b) => (b.events ? b.p50 : null) },
          { name: "p95", kind: "line", tone: "tone-p95", value: (b) => (b.events ? b.p95 : null) },
        ],
      }),
      chart({
        ...shared,
        title: "Tokens",
        total: short(total("tokens")),
        text: short,
        series: [{ name: "tokens", kind: "bar", tone: "tone-tokens", value: (b) => b.tokens }],
      }),
      chart({
        ...shared,
        title: "Cost",
        total: cost(total("cost")),
        text: cost,
        series: [{ name: "cost", kind: "bar", tone: "tone-cost", value: (b) => b.cost }],
      }),
    );
    showTable();
  }

  function showTable() {
    const [name, down] = order;
    const rows = [...answer.groups].sort((a, b) => compare(a[name], b[name]) * (down ? -1 : 1));
    const most = Math.max(1, ...rows.map((row) => row.events));
    const head = COLUMNS.map(([key, text]) =>
      el(
        "th",
        {
          scope: "col",
          class: key === "key" ? "" : "c-num",
          "aria-sort": key === name ? (down ? "descending" : "ascending") : null,
        },
        button(key === "key" && by() === "model" ? "Model" : text, { "data-sort": key }, () => {
          order = [key, key === name ? !down : key !== "key"];
          showTable();
          table.querySelector(`[data-sort="${key}"]`).focus();
        }),
      ),
    );
    put(
      table,
      rows.length === 0
        ? el("p", {
            class: "muted nothing",
            text: by() === "model" ? "No event names a model in this time." : "No events in this time.",
          })
        : el(
            "table",
            { class: "groups" },
            el("thead", {}, el("tr", {}, ...head)),
            el(
              "tbody",
              {},
              ...rows.map((row) =>
                el(
                  "tr",
                  {},
                  el(
                    "th",
                    { scope: "row" },
                    el(
                      "a",
                      { href: `/?${by()}=${encodeURIComponent(row.key)}&range=${range()}` },
                      isolated(row.key || "unknown"),
                    ),
                    el("i", { class: "share", css: { width: `${(row.events / most) * 100}%` } }),
                  ),
                  ...COLUMNS.slice(1).map(([key, , text]) =>
                    el("td", {
                      class: `c-num ${row[key] ? (key === "errors" ? "is-error" : "") : "none"}`,
                      text: row[key] ? text(row[key]) : "–",
                    }),
                  ),
                ),
              ),
            ),
          ),
    );
  }

  // Watching does not need more than a look every few seconds; a pointer on a chart is not disturbed.
  let timer = null;
  const stop = onChange(() => {
    timer ??= setTimeout(async () => {
      timer = null;
      if (!page.matches(":hover")) await load();
    }, 5000);
  });
  load().then(() => say("Overview"));
  return {
    focus: () => charts.querySelector("svg")?.focus(),
    escape: () => go("/"),
    update(next) {
      query = next.query;
      load();
    },
    leave() {
      asked++;
      clearTimeout(timer);
      stop();
    },
  };
}

const share = (part) => `${(part * 100).toFixed(part < 0.0995 ? 1 : 0)} %`;
const compare = (a, b) =>
  typeof a === "string" || typeof b === "string"
    ? String(a ?? "").localeCompare(String(b ?? ""))
    : (a ?? -1) - (b ?? -1);
