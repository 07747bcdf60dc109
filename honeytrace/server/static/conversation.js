// A model event read as a conversation: who said what, which tools were called with what, and the answer.
import { button, el, icon, isolated } from "./dom.js";
import { size } from "./format.js";
import { jsonView, loader, longText } from "./json_view.js";
import { markdown } from "./markdown.js";

const BEGINNING = 4000;
const MOST_FORMATTED = 50_000;

const ROLES = {
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  assistant: "assistant",
  ai: "assistant",
  model: "assistant",
  tool: "tool",
  function: "tool",
};

const SHOWN = new Set(["role", "content", "tool_calls", "name"]);
const SHOWN_TEXTS = new Set(["reasoning", "tool_call_id"]);

/** Whether an event can be read so. */
export function isConversation(event) {
  return (
    Array.isArray(event.inputs?.chat_history) ||
    typeof event.outputs?.role === "string" ||
    Array.isArray(event.outputs?.tool_calls)
  );
}

/** The conversation of an event; `context` is what `jsonView` takes, and `plain`: texts as they were sent. */
export function conversation(event, context) {
  const inputs = event.inputs ?? {};
  const outputs = event.outputs ?? {};
  const history = Array.isArray(inputs.chat_history) ? inputs.chat_history : [];
  const list = el("ol", { class: "chat", "aria-label": "Conversation" });
  history.forEach((message, index) => list.append(turn(message, ["inputs", "chat_history", index], context)));
  const cutHistory = context.cuts.get(JSON.stringify(["inputs", "chat_history"]));
  if (cutHistory)
    list.append(
      el(
        "li",
        { class: "turn" },
        jsonView(history.length ? [] : history, { ...context, path: ["inputs", "chat_history"] }),
      ),
    );
  if (Object.keys(outputs).length) list.append(turn({ role: "assistant", ...outputs }, ["outputs"], context, true));
  const rest = Object.fromEntries(Object.entries(inputs).filter(([name]) => name !== "chat_history"));
  return el(
    "div",
    {},
    list,
    Object.keys(rest).length > 0 &&
      el(
        "div",
        { class: "also" },
        el("h4", { text: "Other inputs" }),
        jsonView(rest, { ...context, path: ["inputs"], open: 1 }),
      ),
  );
}

function turn(message, path, context, isAnswer = false) {
  if (message === null || typeof message !== "object") message = { role: "unknown", content: message };
  const role = typeof message.role === "string" ? message.role : "unknown";
  const node = el(
    "li",
    { class: `turn role-${ROLES[role] ?? "other"} ${isAnswer ? "answer" : ""}` },
    el(
      "div",
      { class: "who" },
      isolated(role),
      message.name && el("span", { class: "muted" }, isolated(String(message.name))),
      isAnswer && el("span", { class: "muted", text: "answer" }),
      typeof message.tool_call_id === "string" &&
        el("code", { class: "muted", text: message.tool_call_id.slice(0, 40) }),
    ),
  );
  if (typeof message.reasoning === "string" && message.reasoning)
    node.append(
      el(
        "details",
        { class: "reasoning", open: true },
        el("summary", {}, icon("fold"), "Reasoning"),
        said(message.reasoning, [...path, "reasoning"], context),
      ),
    );
  node.append(
    ...parts(message.content, [...path, "content"], { ...context, plain: context.plain || ROLES[role] === "tool" }),
  );
  const calls = Array.isArray(message.tool_calls) ? message.tool_calls : [];
  calls.forEach((call, index) => node.append(toolCall(call, [...path, "tool_calls", index], context)));
  const rest = Object.entries(message).filter(
    ([name, value]) => value !== null && !SHOWN.has(name) && !(typeof value === "string" && SHOWN_TEXTS.has(name)),
  );
  if (rest.length)
    node.append(el("div", { class: "beside" }, jsonView(Object.fromEntries(rest), { ...context, path, open: 1 })));
  return node;
}

function parts(content, path, context) {
  if (content === null || content === undefined || content === "") return [];
  if (typeof content === "string") return [said(content, path, context)];
  if (!Array.isArray(content)) return [jsonView(content, { ...context, path })];
  return content.map((part, index) => {
    const at = [...path, index];
    if (typeof part === "string") return said(part, at, context);
    if (typeof part?.text === "string") return said(part.text, [...at, "text"], context);
    return el("div", { class: "part" }, jsonView(part, { ...context, path: at, open: 1 }));
  });
}

function said(text, path, context) {
  const cut = context.cuts.get(JSON.stringify(path));
  const node = el("div", { class: "said" });
  const parsed = cut || context.plain === "all" ? null : asObject(text);
  if (parsed) node.append(jsonView(parsed, { ...context, path, cuts: new Map(), open: 2 }));
  else node.append(written(text, context.plain));
  if (cut && context.load)
    node.append(loader(cut, path, context, (whole) => node.replaceChildren(written(whole, context.plain, true))));
  return node;
}

// The beginning of a long text first: laying out what nobody has asked for takes time.
function written(text, plain, whole = text.length < BEGINNING * 1.5) {
  if (plain || text.length > MOST_FORMATTED) return longText(text, { limit: BEGINNING, expanded: whole });
  if (whole) return markdown(text);
  const end = text.lastIndexOf("\n", BEGINNING);
  const node = el("div", {}, markdown(text.slice(0, end > BEGINNING / 2 ? end : BEGINNING)));
  const more = () => node.replaceChildren(markdown(text));
  node.append(button(`Show all ${size(text.length)} characters`, { class: "link" }, more));
  return node;
}

function toolCall(call, path, context) {
  const named = call?.function ?? call ?? {};
  const given = named.arguments ?? named.args ?? named.input ?? {};
  const parsed = typeof given === "string" ? asObject(given) : given;
  return el(
    "div",
    { class: "call" },
    el(
      "div",
      { class: "call-name" },
      icon("tool"),
      el("b", {}, isolated(String(named.name ?? "unknown tool"))),
      call?.id && el("code", { class: "muted", text: String(call.id).slice(0, 40) }),
    ),
    parsed !== null
      ? jsonView(parsed, { ...context, path: [...path, "function", "arguments"], open: 2 })
      : said(String(given), [...path, "function", "arguments"], context),
  );
}

function asObject(text) {
  if (!/^\s*[{[]/.test(text) || text.length > 200_000) return null;
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
