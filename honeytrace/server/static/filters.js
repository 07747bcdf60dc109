// The search box and the filters of the list. What is asked lives in the address, so that a link shares the view.
import { button, el, icon, isolated } from "./dom.js";
import { duration, exact, parseDuration } from "./format.js";

const RANGES = {
  "15m": ["15 minutes", 15],
  "1h": ["hour", 60],
  "24h": ["24 hours", 1440],
  "7d": ["7 days", 10_080],
  "30d": ["30 days", 43_200],
};
const KNOWN = [
  "q",
  "type",
  "name",
  "model",
  "source",
  "user",
  "error",
  "min_duration",
  "max_duration",
  "since",
  "until",
  "range",
];
const known = (name) => KNOWN.includes(name) || name.startsWith("meta.");

/** The filters of an address. */
export function readFilters(query) {
  return [...query].filter(([name, value]) => known(name) && value !== "");
}

/** What to ask the server: a range that follows the clock becomes a moment. */
export function askedOf(filters, now = Date.now()) {
  const params = new URLSearchParams();
  for (const [name, value] of filters) {
    if (name !== "range") params.append(name, value);
    else if (RANGES[value]) params.set("since", String(Math.floor(now - RANGES[value][1] * 60_000)));
  }
  return params;
}

/** The bar above the list. `change(filters)` hears every wish; `set(filters)` shows those of an address. */
export function filterBar(change) {
  let filters = [];
  const value = (name) => filters.find(([key]) => key === name)?.[1] ?? "";
  const put = (name, text) => change([...filters.filter(([key]) => key !== name), ...(text ? [[name, text]] : [])]);

  const search = el("input", {
    type: "search",
    placeholder: "Search inputs and outputs",
    "aria-label": "Search inputs and outputs",
    "data-search": true,
    spellcheck: "false",
    autocomplete: "off",
  });
  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => put("q", search.value.trim()), 250);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(typing);
    put("q", search.value.trim());
  });

  const selects = {
    type: choice("Type", "type", [
      ["session", "session"],
      ["chain", "chain"],
      ["model", "model"],
      ["tool", "tool"],
    ]),
    name: choice("Name", "name", []),
    model: choice("Model", "model", []),
    source: choice("Source", "source", []),
    user: choice("User", "user", []),
    range: choice(
      "Time",
      "range",
      Object.entries(RANGES).map(([key, [label]]) => [key, `last ${label}`]),
    ),
  };
  function choice(label, name, options) {
    const select = el("select", {
      "aria-label": label,
      "data-filter": name,
      on: {
        change: () =>
          change([
            ...filters.filter(([key]) => key !== name && !(name === "range" && (key === "since" || key === "until"))),
            ...(select.value ? [[name, select.value]] : []),
          ]),
      },
    });
    const offer = (pairs) => {
      const kept = value(name);
      const all = kept && !pairs.some(([key]) => key === kept) ? [[kept, kept], ...pairs] : pairs;
      select.replaceChildren(
        el("option", { value: "", text: label }),
        ...all.map(([key, text]) => el("option", { value: key, text })),
      );
      select.value = kept;
      select.classList.toggle("set", kept !== "");
    };
    offer(options);
    return { select, offer, options };
  }

  const errors = button("Errors", { icon: "error", class: "toggle", "aria-pressed": "false" }, () =>
    put("error", value("error") ? "" : "1"),
  );
  const more = moreFilters((pairs) => {
    const names = new Set(["min_duration", "max_duration", "since", "until"]);
    const clock = pairs.some(([name]) => name === "since" || name === "until");
    const rest = filters.filter(
      ([name]) => !names.has(name) && !name.startsWith("meta.") && !(clock && name === "range"),
    );
    change([...rest, ...pairs]);
  });
  const chips = el("div", { class: "chips" });
  const bar = el(
    "form",
    { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    el("div", { class: "searchbox" }, icon("search"), search, el("kbd", { text: "/", "aria-hidden": "true" })),
    el("div", { class: "choices" }, ...Object.values(selects).map(({ select }) => select), errors, more.node),
  );

  return {
    bar,
    chips,
    search,
    set(next) {
      filters = next;
      if (document.activeElement !== search) search.value = value("q");
      for (const { offer, options } of Object.values(selects)) offer(options);
      errors.setAttribute("aria-pressed", String(Boolean(value("error"))));
      more.set(filters);
      chips.replaceChildren(...chipsOf(filters, change));
      chips.hidden = chips.childElementCount === 0;
    },
    offer({ names = [], models = [], sources = [], users = [] }) {
      for (const [key, found] of [
        ["name", names],
        ["model", models],
        ["source", sources],
        ["user", users],
      ]) {
        selects[key].options = found.filter(Boolean).map((text) => [text, clip(text)]);
        selects[key].offer(selects[key].options);
      }
    },
  };
}

function moreFilters(apply) {
  const field = (label, props) => {
    const input = el("input", { autocomplete: "off", spellcheck: "false", ...props });
    return [input, el("label", {}, el("span", { text: label }), input)];
  };
  const [least, leastRow] = field("Longer than", { placeholder: "e.g. 250 ms, 1.5 s", name: "min" });
  const [most, mostRow] = field("Shorter than", { placeholder: "e.g. 2 m", name: "max" });
  const [since, sinceRow] = field("From", { type: "datetime-local", step: "1", name: "since" });
  const [until, untilRow] = field("Until", { type: "datetime-local", step: "1", name: "until" });
  const [key, keyRow] = field("Metadata key", { placeholder: "e.g. env", name: "key" });
  const [wanted, wantedRow] = field("is", { placeholder: "e.g. prod", name: "value" });
  const number = el("span", { class: "badge", hidden: true });
  const node = el(
    "details",
    { class: "more" },
    el("summary", { class: "toggle" }, icon("filter"), el("span", { text: "More" }), number),
    el(
      "div",
      { class: "panel" },
      leastRow,
      mostRow,
      sinceRow,
      untilRow,
      keyRow,
      wantedRow,
      el("button", { type: "button", class: "primary", text: "Apply", on: { click: submit } }),
    ),
  );
  let kept = [];

  function submit() {
    const pairs = [];
    for (const [name, input] of [
      ["min_duration", least],
      ["max_duration", most],
    ]) {
      const ms = input.value.trim() ? parseDuration(input.value) : null;
      input.setCustomValidity(ms === undefined ? "a duration such as 250 ms, 1.5 s or 2 m" : "");
      if (ms === undefined) return input.reportValidity();
      if (ms !== null) pairs.push([name, String(ms)]);
    }
    for (const [name, input] of [
      ["since", since],
      ["until", until],
    ]) {
      if (input.value) pairs.push([name, String(new Date(input.value).getTime())]);
    }
    const meta = kept.filter(([name]) => name.startsWith("meta."));
    if (key.value.trim() && wanted.value.trim()) meta.push([`meta.${key.value.trim()}`, wanted.value.trim()]);
    key.value = wanted.value = "";
    node.open = false;
    return apply([...pairs, ...meta]);
  }
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input")) {
      event.preventDefault();
      submit();
    }
    if (event.key === "Escape" && node.open) {
      event.stopPropagation();
      node.open = false;
      node.firstChild.focus();
    }
  });
  document.addEventListener("pointerdown", (event) => {
    if (node.open && !node.contains(event.target)) node.open = false;
  });
  return {
    node,
    set(filters) {
      kept = filters;
      const value = (name) => filters.find(([at]) => at === name)?.[1];
      least.value = value("min_duration") ? duration(Number(value("min_duration"))) : "";
      most.value = value("max_duration") ? duration(Number(value("max_duration"))) : "";
      for (const [name, input] of [
        ["since", since],
        ["until", until],
      ])
        input.value = value(name) ? local(Number(value(name))) : "";
      const n = filters.filter(([name]) => /^(min_duration|max_duration|since|until|meta\.)/.test(name)).length;
      number.textContent = n;
      number.hidden = n === 0;
    },
  };
}

function chipsOf(filters, change) {
  const said = {
    q: "contains",
    type: "type",
    name: "name",
    model: "model",
    source: "source",
    user: "user",
    min_duration: "longer than",
    max_duration: "shorter than",
    since: "from",
    until: "until",
  };
  const chips = filters.map(([name, value], index) => {
    const label = name === "error" ? "with errors" : name === "range" ? "last" : (said[name] ?? name.slice(5));
    let text = value;
    if (name === "error") text = "";
    else if (name === "range") text = RANGES[value]?.[0] ?? value;
    else if (name.endsWith("_duration")) text = duration(Number(value));
    else if (name === "since" || name === "until") text = exact(Number(value)).slice(0, 19);
    const remove = button("", { icon: "close", label: `Remove the filter ${label} ${text}`.trim() }, () =>
      change(filters.filter((_, at) => at !== index)),
    );
    return el(
      "span",
      { class: "chip" },
      el("span", { class: "muted", text: label }),
      text && isolated(clip(text, 40)),
      remove,
    );
  });
  if (chips.length > 1) chips.push(button("Clear all", { class: "link" }, () => change([])));
  return chips;
}

const clip = (text, length = 60) => (text.length > length ? `${text.slice(0, length)}…` : text);

function local(ms) {
  const date = new Date(ms);
  return new Date(ms - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
