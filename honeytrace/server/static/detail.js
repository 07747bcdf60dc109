// The chosen event in full: facts, feedback, error, what went in and out, and everything else it carries.
// The last event stays until the next one is there, so that nothing jumps while walking through a tree.
import { conversation, isConversation } from "./conversation.js";
import { button, copy, el, icon, isolated } from "./dom.js";
import { feedbackBox } from "./feedback.js";
import { cost, count, duration, exact } from "./format.js";
import { contents } from "./contents.js";
import { cutMap, jsonView, longText } from "./json_view.js";
import { UNFINISHED } from "./tree.js";

const KEPT = 60;

/** The pane. `show(id, node, root)` shows an event; nodes are those of the tree. */
export function detailPane({ source, onFeedback, onSelect, onClose }) {
  const cache = new Map();
  const shut = new Set();
  let asked = 0;
  let shown = null;
  let abort = new AbortController();
  let chatWay = "read"; // one reads all events of a session in the same way
  const content = el("div", { class: "detail-content" });
  const back = button("Back to the tree", { icon: "back", class: "quiet back-to-tree" }, onClose);
  const node = el(
    "section",
    { class: "detail", "aria-label": "Event", "data-scrolls": true, tabindex: "-1" },
    back,
    content,
  );

  async function show(id, place, root) {
    const mine = ++asked;
    abort.abort();
    abort = new AbortController();
    if (place.missing) {
      content.replaceChildren(unfinished(id));
      content.setAttribute("data-shown", id);
      shown = id;
      return;
    }
    const slow = setTimeout(() => content.classList.add("waiting"), 150);
    try {
      const answer = cache.get(id) ?? (await source.event(id, { signal: abort.signal }));
      cache.delete(id);
      cache.set(id, answer);
      if (cache.size > KEPT) cache.delete(cache.keys().next().value);
      if (mine !== asked) return;
      const top = id === shown ? node.scrollTop : 0;
      content.replaceChildren(...draw(answer, place, root));
      content.setAttribute("data-shown", id);
      node.scrollTop = top;
      shown = id;
    } catch (error) {
      if (error.name === "AbortError" || mine !== asked) return;
      content.replaceChildren(
        el(
          "div",
          { class: "empty problem", role: "alert" },
          el("h2", { text: "The event could not be read" }),
          el("p", { text: error.message }),
          button("Try again", { class: "primary" }, () => show(id, place, root)),
        ),
      );
    } finally {
      clearTimeout(slow);
      if (mine === asked) content.classList.remove("waiting");
    }
  }

  function unfinished(id) {
    return el(
      "div",
      { class: "empty" },
      el("h2", { text: `This call ${UNFINISHED}` }),
      el("p", {
        text: "Calls are recorded when they finish, and what ran below this one has. If its process was killed, it never will.",
      }),
      el("p", { class: "muted" }, "Its id: ", el("code", { text: id })),
    );
  }

  // What others changed is shown, but not under the hands of someone who is rating or writing a note.
  async function refresh(place, root) {
    const before = JSON.stringify(cache.get(place.id));
    const mine = asked;
    const answer = await source.event(place.id).catch(() => null);
    if (!answer || mine !== asked || JSON.stringify(answer) === before) return;
    const box = content.querySelector(".feedback");
    const busy = box?.contains(document.activeElement) || box?.querySelector(".primary:not([hidden])");
    if (busy) return;
    cache.set(place.id, answer);
    show(place.id, place, root);
  }

  function draw({ event, cut }, place, root) {
    const context = { cuts: cutMap(cut), load: async (path) => source.value(event.event_id, path) };
    const metadata = { ...event.metadata };
    const traceback = metadata.traceback;
    const error = event.error || (event.event_type === "session" ? metadata.error : null);
    if (error) delete metadata.traceback;
    const section = (name, title, body, extra) => fold(name, title, body, extra);
    const data = (name, title, value, options = {}) =>
      isEmpty(value)
        ? null
        : section(name, title, jsonView(value, { ...context, path: [name], ...options }), copier(event, name, context));
    const chat = event.event_type === "model" && isConversation(event);
    return [
      head(event, place, root),
      source.editable &&
        feedbackBox(event.feedback, {
          save: (change) => source.feedback(event.event_id, change),
          changed: (feedback) => {
            event.feedback = feedback;
            onFeedback(event.event_id, feedback);
          },
        }),
      error && errorBlock(String(error), traceback),
      chat ? chatSection(event, context) : null,
      !chat && data("inputs", "Inputs", event.inputs),
      !chat && data("outputs", "Outputs", event.outputs),
      place && place.children.length > 0 && section("below", "What ran below", contents(place)),
      data("config", "Config", event.config),
      data("metrics", "Metrics", event.metrics),
      data("metadata", "Metadata", metadata),
      data("feedback", "Feedback", event.feedback),
      data("user_properties", "User properties", event.user_properties),
      section("ids", "Identifiers", ids(event)),
    ].filter(Boolean);
  }

  function chatSection(event, context) {
    const body = el("div", {});
    const way = (name, text, label) =>
      button(text, { class: "link way", "aria-pressed": "false", label, "data-way": name }, (click) => {
        click.preventDefault();
        set(chatWay === name ? "read" : name);
      });
    const ways = [way("plain", "Plain", "Show texts as they were sent"), way("json", "JSON", "Show as JSON")];
    const set = (next) => {
      chatWay = next;
      for (const one of ways) one.setAttribute("aria-pressed", String(one.dataset.way === next));
      body.replaceChildren(
        next === "json"
          ? jsonView({ inputs: event.inputs, outputs: event.outputs }, { ...context })
          : conversation(event, { ...context, plain: next === "plain" && "all" }),
      );
    };
    set(chatWay);
    return fold("chat", "Conversation", body, el("span", { class: "ways" }, ...ways));
  }

  // Which sections are folded is remembered from one event to the next.
  function fold(name, title, body, extra) {
    const section = el(
      "details",
      { class: `section section-${name}`, open: !shut.has(name) },
      el("summary", {}, icon("fold"), el("h3", { text: title }), el("span", { class: "spring" }), extra),
      body,
    );
    section.addEventListener("toggle", () => shut[section.open ? "delete" : "add"](name));
    return section;
  }

  function copier(event, name, context) {
    return button("", { icon: "copy", label: `Copy ${name} as JSON`, class: "quiet small" }, async (click) => {
      click.preventDefault();
      const cut = [...context.cuts.keys()].some((path) => JSON.parse(path)[0] === name);
      copy(JSON.stringify(cut ? await source.value(event.event_id, [name]) : event[name], null, 2));
    });
  }

  function ids(event) {
    const names = ["event_id", "session_id", "parent_id"].filter((name) => event[name]);
    const rows = names.map((name) =>
      el(
        "div",
        { class: "id-row" },
        el("span", { class: "muted", text: name }),
        el("code", { text: event[name] }),
        name === "parent_id" &&
          event.parent_id !== event.event_id &&
          button("Go to", { class: "link" }, () => onSelect(event.parent_id)),
        button("", { icon: "copy", label: `Copy ${name}`, class: "quiet small" }, () => copy(event[name])),
      ),
    );
    const times = [
      ["start_time", event.start_time],
      ["end_time", event.end_time],
    ]
      .filter(([, ms]) => typeof ms === "number")
      .map(([name, ms]) =>
        el("div", { class: "id-row" }, el("span", { class: "muted", text: name }), el("code", { text: exact(ms) })),
      );
    return el("div", { class: "ids" }, ...rows, ...times);
  }

  return {
    node,
    show,
    refresh,
  };
}

function head(event, place, root) {
  const m = event.metadata ?? {};
  const fact = (label, value, title) =>
    value &&
    value !== "–" &&
    el("span", { class: "stat", title }, el("span", { class: "muted", text: label }), el("b", {}, value));
  const tokens =
    m.prompt_tokens !== undefined || m.completion_tokens !== undefined
      ? `${count(m.prompt_tokens ?? 0)} in · ${count(m.completion_tokens ?? 0)} out`
      : typeof m.total_tokens === "number"
        ? count(m.total_tokens)
        : null;
  const first = m.time_to_first_token_ms;
  const speed =
    m.completion_tokens > 0 && event.duration > (first ?? 0)
      ? `${Math.round(m.completion_tokens / ((event.duration - (first ?? 0)) / 1000))} tok/s`
      : null;
  const offset = root && place && place.start - root.start;
  return el(
    "header",
    { class: "detail-head" },
    el(
      "div",
      { class: "title" },
      el("span", { class: `kind is-${event.event_type} ${event.error ? "is-error" : ""}` }, icon(event.event_type)),
      el("h2", {}, isolated(event.event_name || "unknown")),
      el("span", { class: "tag", text: event.event_type }),
    ),
    el(
      "div",
      { class: "stats" },
      fact("Duration", duration(event.duration ?? (place && !place.running ? place.end - place.start : null))),
      fact("Started", offset ? `+${duration(offset)}` : null, exact(event.start_time)),
      fact("Model", event.config?.model && isolated(String(event.config.model))),
      fact("Tokens", tokens, m.total_tokens && `${count(m.total_tokens)} in all`),
      fact("Cost", typeof m.cost === "number" ? cost(m.cost) : null),
      fact("First token", typeof first === "number" ? duration(first) : null),
      fact("Speed", speed),
      fact("Finish", typeof m.finish_reason === "string" && isolated(m.finish_reason)),
      fact(
        "Source",
        event.source && event.source !== "unknown" && event.source !== root?.event.source && isolated(event.source),
      ),
    ),
  );
}

function errorBlock(error, traceback) {
  return el(
    "section",
    { class: "errorblock", "aria-label": "Error" },
    el("h3", {}, icon("error"), "Error"),
    el("p", { class: "message" }, longText(error)),
    typeof traceback === "string" &&
      el(
        "details",
        { open: true },
        el("summary", {}, icon("fold"), "Traceback"),
        el("pre", {}, longText(traceback, { limit: 8000 })),
      ),
  );
}

function isEmpty(value) {
  return value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
}
