// What changes, as it changes: one stream from /ui/api/live for the whole page, reconnected when it breaks.
// EventSource cannot send a key, so the stream is read with fetch.
import { call } from "./api.js";

const listeners = new Set();
let state = "off";
let showState = () => {};

/** Call `listener({seq, sessions})` for each change; `listener(null)` says that some may have been missed. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Connect and stay connected; `show(state)` hears "on", "waiting" and "off". */
export async function connect(show) {
  showState = show;
  for (let wait = 500; ; wait = Math.min(wait * 2, 10_000)) {
    try {
      const answer = await call("/ui/api/live", { headers: { accept: "text/event-stream" } });
      if (state === "waiting") tell(null);
      setState("on");
      wait = 500;
      await read(answer.body);
    } catch (error) {
      if (error.status === 401) return setState("off");
    }
    setState("waiting");
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5))
        .join("\n");
      if (data) tell(JSON.parse(data));
    }
  }
}

function tell(change) {
  for (const listener of listeners) listener(change);
}

function setState(next) {
  state = next;
  showState(next);
}
