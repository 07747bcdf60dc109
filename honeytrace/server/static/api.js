// Reading from the server, and the two things written: feedback and, once, the key.
// A source is where a session comes from: this server, or a file that was opened (file_source.js has the same methods).
const KEY = "honeytrace.key";
let askForKey = async () => null;

/** An answer that is not the wanted one; `status` is 0 when there was none. */
export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Say who asks the person for the key when the server wants one. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const server = {
  editable: true,
  session: (id, { signal } = {}) => get(`/ui/api/sessions/${encodeURIComponent(id)}`, { signal }),
  since: (id, seq) => get(`/ui/api/sessions/${encodeURIComponent(id)}?after_seq=${seq}`),
  event: (id, { signal } = {}) => get(`/ui/api/events/${encodeURIComponent(id)}`, { signal }),
  value: (id, path) =>
    get(`/ui/api/events/${encodeURIComponent(id)}/value?path=${encodeURIComponent(JSON.stringify(path))}`),
  feedback: (id, feedback) => send("PUT", `/v1/events/${encodeURIComponent(id)}`, { feedback }),
  download: async (id) => (await call(`/ui/api/sessions/${encodeURIComponent(id)}/download`)).blob(),
};

export const sessions = (params, options) => get(`/ui/api/sessions?${params}`, options);
export const overview = (params, options) => get(`/ui/api/overview?${params}`, options);
export const facets = () => get("/ui/api/facets");
export const info = () => get("/ui/api/info");

/** GET as JSON. */
export async function get(path, options = {}) {
  return (await call(path, options)).json();
}

async function send(method, path, body) {
  const headers = { "content-type": "application/json" };
  return (await call(path, { method, headers, body: JSON.stringify(body) })).json();
}

/** One request with the key, asked for as often as it is wrong. */
export async function call(path, { headers = {}, ...options } = {}) {
  for (let attempt = 0; ; attempt++) {
    const key = sessionStorage.getItem(KEY);
    const sent = key ? { ...headers, authorization: `Bearer ${key}` } : headers;
    let answer;
    try {
      answer = await takeEarly(path, key);
      answer ??= await fetch(path, {
        ...options,
        headers: sent,
        cache: "no-store",
        redirect: "error",
        credentials: "same-origin",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("the server does not answer");
    }
    if (answer.status === 401 && (await renewed(key, attempt))) continue;
    if (!answer.ok) throw new ApiError(await reason(answer), answer.status);
    return answer;
  }
}

// What early.js has asked for is good once, for whoever asks first.
function takeEarly(path, key) {
  const early = globalThis.honeytraceEarly;
  if (early?.path !== path || early.key !== key) return null;
  globalThis.honeytraceEarly = null;
  return early.answer;
}

let asking = null;
async function renewed(refused, attempt) {
  // Several requests may be refused at once: one question for all of them.
  if (sessionStorage.getItem(KEY) !== refused) return true;
  asking ??= askForKey(attempt > 0 || refused !== null).finally(() => {
    asking = null;
  });
  const key = await asking;
  if (!key) return false;
  sessionStorage.setItem(KEY, key);
  return true;
}

async function reason(answer) {
  try {
    const { message } = await answer.json();
    return typeof message === "string" ? message : JSON.stringify(message);
  } catch {
    return `the server answered ${answer.status}`;
  }
}
