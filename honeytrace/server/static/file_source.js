// A session out of a file: the same answers as the server's, made from full events that never leave the page.
const files = new Map();
const LIMIT = 20_000;

/** The source for a session that was opened, or undefined. */
export const fileSource = (id) => files.get(id);

/** Read what `honeytrace show --json` or the download button wrote; returns the session's id. Throws with a reason. */
export function openText(text) {
  const events = eventsOf(text);
  if (!events.length) throw new Error("there are no events in it");
  const id = events.find((event) => event.event_type === "session")?.session_id ?? events[0].session_id;
  if (typeof id !== "string") throw new Error("its events have no session_id");
  files.set(
    id,
    source(
      id,
      events.filter((event) => event.session_id === id),
    ),
  );
  return id;
}

function eventsOf(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    try {
      value = text
        .split("\n")
        .filter((line) => line.trim())
        .map((line) => JSON.parse(line));
    } catch {
      throw new Error("it is not JSON");
    }
  }
  const events = Array.isArray(value) ? value : value?.events;
  if (!Array.isArray(events)) throw new Error("it has no list of events");
  return events.filter((event) => event && typeof event === "object" && typeof event.event_id === "string");
}

function source(id, events) {
  const byId = new Map(events.map((event) => [event.event_id, event]));
  const session = byId.get(id) ?? {
    event_id: id,
    session_id: id,
    event_type: "session",
    event_name: "unknown",
    inputs: {},
  };
  byId.set(id, session);
  const total = (name) =>
    events.reduce((sum, { metadata }) => sum + (typeof metadata?.[name] === "number" ? metadata[name] : 0), 0);
  const others = events.filter((event) => event !== session);
  const usage = (name) =>
    others.reduce((sum, { metadata }) => sum + (typeof metadata?.[name] === "number" ? metadata[name] : 0), 0) ||
    total(name);
  const starts = events.map((event) => event.start_time).filter((time) => typeof time === "number");
  const errors = events.filter((event) => event.error).length;
  const summary = {
    session_id: id,
    name: session.event_name,
    source: session.source,
    user_id: session.user_properties?.user_id,
    start_time: session.start_time ?? Math.min(...starts),
    end_time: session.end_time ?? null,
    duration: session.duration ?? null,
    events: others.length,
    errors,
    tokens: usage("total_tokens"),
    cost: usage("cost") || null,
    status: errors ? "error" : "ok",
  };
  return {
    editable: false,
    session: async () => ({
      session,
      summary,
      events: [...byId.values()].map(slim).sort((a, b) => (a.start_time ?? 0) - (b.start_time ?? 0)),
      seq: 0,
    }),
    event: async (eventId) => {
      if (!byId.has(eventId)) throw new Error("the event is not in the file");
      const cut = [];
      return { event: shortened(byId.get(eventId), [], cut), cut };
    },
    value: async (eventId, path) => path.reduce((value, key) => value[key], byId.get(eventId)),
    download: async () => new Blob([JSON.stringify({ session_id: id, events })], { type: "application/json" }),
  };
}

function slim(event) {
  const m = event.metadata ?? {};
  return {
    event_id: event.event_id,
    parent_id: event.parent_id,
    event_type: event.event_type,
    event_name: event.event_name,
    start_time: event.start_time ?? null,
    end_time: event.end_time ?? null,
    duration: event.duration ?? null,
    error: event.error ? String(event.error).slice(0, 300) : null,
    model: event.config?.model ?? null,
    tokens: m.total_tokens ?? null,
    cost: m.cost ?? null,
    first_token_ms: m.time_to_first_token_ms ?? null,
    feedback: event.feedback ?? null,
    inputs_preview: preview(event.inputs),
    outputs_preview: preview(event.outputs),
  };
}

function preview(value) {
  return Object.entries(value ?? {})
    .map(([name, item]) => `${name}=${typeof item === "object" ? "…" : String(item).slice(0, 60)}`)
    .join(", ")
    .slice(0, 120);
}

function shortened(value, path, cut) {
  if (typeof value === "string" && value.length > LIMIT) {
    cut.push({ path, length: value.length, kind: "string" });
    return value.slice(0, 2000);
  }
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item, index) => shortened(item, [...path, index], cut));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shortened(item, [...path, key], cut)]));
}
