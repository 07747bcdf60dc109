// A model event read as a conversation: who said what, which tools were called with what, and the answer.
import { el, icon, isolated } from "./dom.js";
import { jsonView, longText } from "./json_view.js";

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

/** Whether an event can be read so. */
export function isConversation(event) {
  return (
    Array.isArray(event.inputs?.chat_history) ||
    typeof event.outputs?.role === "string" ||
    Array.isArray(event.outputs?.tool_calls)
  );
}

/** The conversation of an event; `context` is what `jsonView` takes, for cut values. */
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
    ),
  );
  node.append(...parts(message.content, [...path, "content"], context));
  const calls = Array.isArray(message.tool_calls) ? message.tool_calls : [];
  calls.forEach((call, index) => node.append(toolCall(call, [...path, "tool_calls", index], context)));
  const rest = Object.entries(message).filter(
    ([name, value]) => !["role", "content", "tool_calls", "name"].includes(name) && value !== null,
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
  if (cut) return el("div", { class: "said" }, jsonView(text, { ...context, path }));
  const parsed = asObject(text);
  if (parsed) return el("div", { class: "said" }, jsonView(parsed, { ...context, path, cuts: new Map(), open: 2 }));
  return el("div", { class: "said" }, longText(text, { limit: 4000 }));
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
