// The list of sessions: newest first, read page by page as one scrolls, growing at the top while one watches.
// What is being read does not move: away from the top, what is new waits behind a bar.
import { facets, info, server, sessions } from "./api.js";
import { compareTray } from "./compare_tray.js";
import { button, el, put, say, toast } from "./dom.js";
import { askedOf, filterBar, readFilters } from "./filters.js";
import { firstUse, problem } from "./empty.js";
import { plural } from "./format.js";
import { drawRow } from "./list_row.js";
import { onChange } from "./live.js";
import { go } from "./router.js";
import { virtualList } from "./virtual.js";

const PAGE = 100;
const COLUMNS = [
  ["Status", "status"],
  ["Session", "name"],
  ["Started", "started"],
  ["Duration", "num"],
  ["Events", "num"],
  ["Errors", "num"],
  ["Tokens", "num"],
  ["Cost", "num"],
  ["Source", "source"],
  ["User", "user"],
];

export function listView(place, address) {
  document.title = "Sessions · honeytrace";
  let rows = [];
  let waiting = [];
  let cursor = null;
  let active = 0;
  let filters = readFilters(address.query);
  let asked = 0;
  let loading = false;
  let lastMove = -Infinity;
  let later = null;

  const bar = filterBar((next) => go(`/${toQuery(next)}`));
  const news = button("", { class: "news", hidden: true }, showNews);
  const body = el("div", { class: "rows", role: "rowgroup" });
  const grid = el(
    "div",
    {
      class: "grid",
      role: "grid",
      tabindex: "0",
      "aria-label": "Sessions",
      "aria-rowcount": "-1",
      on: { keydown: onKey },
    },
    el(
      "div",
      { class: "head", role: "rowgroup" },
      el(
        "div",
        { class: "row", role: "row", "aria-rowindex": "1" },
        ...COLUMNS.map(([text, kind]) =>
          el("span", { role: "columnheader", class: `c-${kind} c-${text.toLowerCase()}`, text }),
        ),
        el("span", { role: "columnheader", class: "c-pick" }, el("span", { class: "hidden", text: "Compare" })),
      ),
    ),
    body,
  );
  const foot = el("p", { class: "foot muted", role: "status" });
  const note = el("div", { class: "note" });
  const tray = compareTray({
    nameOf: (id) => rows.find((row) => row.session_id === id)?.name ?? id,
    onChange: () => list.update(true),
  });
  place.append(
    el(
      "div",
      { class: "page list" },
      el("h1", { class: "hidden", text: "Sessions" }),
      bar.bar,
      bar.chips,
      el("div", { class: "newsline" }, news),
      grid,
      note,
      foot,
      tray.node,
    ),
  );
  const list = virtualList(body, { rows: () => rows, draw, keyOf: (row) => row.session_id, onEnd: nextPage });

  // Coming back from a session, one stands where one left.
  function returnTo() {
    sessionStorage.setItem("honeytrace.list", location.pathname + location.search);
    const index = rows.findIndex((row) => row.session_id === sessionStorage.getItem("honeytrace.opened"));
    sessionStorage.removeItem("honeytrace.opened");
    if (index < 0) return;
    setActive(index);
    grid.focus({ preventScroll: true });
  }

  function draw(row, index) {
    const node = drawRow(row, {
      index,
      active: index === active,
      picked: tray.has(row.session_id),
      onPick: () => tray.toggle(row.session_id),
    });
    node.addEventListener("click", (event) => {
      setActive(rows.indexOf(row), false);
      if (!event.target.closest("a, input, .c-pick") && !String(getSelection()))
        go(`/s/${encodeURIComponent(row.session_id)}`);
    });
    return node;
  }

  async function load() {
    const mine = ++asked;
    grid.setAttribute("aria-busy", "true");
    try {
      const params = askedOf(filters);
      params.set("limit", PAGE);
      const answer = await sessions(params);
      if (mine !== asked) return;
      rows = answer.sessions;
      cursor = answer.next;
      waiting = [];
      active = 0;
      show();
      returnTo();
      tray.show();
      say(rows.length ? `${rows.length}${cursor ? " or more" : ""} sessions` : "No sessions");
    } catch (error) {
      if (mine === asked) fail(error);
    }
  }

  async function nextPage() {
    if (!cursor || loading) return;
    loading = true;
    const mine = asked;
    try {
      const params = askedOf(filters);
      params.set("limit", PAGE);
      params.set("cursor", cursor);
      const answer = await sessions(params);
      if (mine !== asked) return;
      const seen = new Set(rows.map((row) => row.session_id));
      rows = rows.concat(answer.sessions.filter((row) => !seen.has(row.session_id)));
      cursor = answer.next;
      loading = false;
      show(false);
    } catch (error) {
      cursor = null;
      toast(`Could not read on: ${error.message}`);
    } finally {
      loading = false;
    }
  }

  function show(fresh = true) {
    list.update(fresh);
    grid.setAttribute("aria-busy", "false");
    grid.setAttribute("aria-rowcount", cursor ? "-1" : String(rows.length + 1));
    grid.hidden = rows.length === 0;
    note.replaceChildren();
    if (!rows.length) empty();
    foot.textContent =
      rows.length && !cursor
        ? `${plural(rows.length, "session")}${filters.length ? " match" : ""}`
        : cursor
          ? "more below"
          : "";
    setActive(active, false);
    news.hidden = waiting.length === 0;
    if (waiting.length) put(news, `${waiting.length} new`);
    place.setAttribute("data-ready", "list");
  }

  async function empty() {
    if (!filters.length) note.replaceChildren(firstUse(await info().catch(() => ({}))));
    else
      note.replaceChildren(
        el(
          "div",
          { class: "empty" },
          el("h2", { text: "Nothing matches" }),
          el("p", { text: "No session holds an event with all of these." }),
          button("Clear the filters", { class: "primary" }, () => go("/")),
        ),
      );
  }

  function fail(error) {
    rows = [];
    show();
    foot.textContent = "";
    note.replaceChildren(problem("The sessions could not be read", error, load));
    // A server that is getting ready, or away, will be there in a moment.
    if (error.status === 503 || error.status === 0) later = setTimeout(load, 2000);
  }

  // The first page is asked again, at most twice a second; rows further down are asked for by name.
  let timer = null;
  let touched = new Set();
  const stopListening = onChange((change) => {
    for (const id of change?.sessions ?? []) touched.add(id);
    timer ??= setTimeout(refresh, 400);
  });

  async function refresh() {
    const ids = touched;
    touched = new Set();
    const mine = asked;
    try {
      const params = askedOf(filters);
      params.set("limit", PAGE);
      const answer = await sessions(params);
      if (mine === asked && place.isConnected) merge(answer, ids);
    } catch {
      /* the live light says that the server is away */
    } finally {
      timer = touched.size ? setTimeout(refresh, 400) : null;
    }
  }

  async function merge(answer, ids) {
    const latest = new Map(answer.sessions.map((row) => [row.session_id, row]));
    const have = new Set(rows.map((row) => row.session_id));
    const changed = rows.filter((row) => latest.has(row.session_id) && differs(row, latest.get(row.session_id)));
    rows = rows.map((row) => latest.get(row.session_id) ?? row);
    const fresh = answer.sessions.filter((row) => !have.has(row.session_id));
    const added = rows.length ? fresh.filter((row) => row.start_time >= rows[rows.length - 1].start_time) : fresh;
    if (!rows.length) cursor = answer.next;
    waiting = added;
    if (added.length && atRest()) return showNews();
    if (changed.length || added.length) show();
    const far = [...ids].filter((id) => have.has(id) && !latest.has(id)).slice(0, 5);
    await Promise.all(
      far.map(async (id) => {
        const { summary } = await server.since(id, Number.MAX_SAFE_INTEGER).catch(() => ({}));
        rows = rows.map((row) => (summary && row.session_id === id ? { ...row, ...summary } : row));
      }),
    );
    if (far.length) show();
  }

  // Nothing is put under a pointer on its way to a row; a moment later it is.
  body.addEventListener("pointermove", () => {
    lastMove = performance.now();
  });
  function atRest() {
    if (scrollY >= 4 || active !== 0) return false;
    const rest = performance.now() - lastMove > 2000;
    if (!rest && body.matches(":hover")) {
      clearTimeout(later);
      later = setTimeout(() => waiting.length && atRest() && showNews(), 2100);
      return false;
    }
    return true;
  }

  function showNews() {
    const known = new Set(rows.map((row) => row.session_id));
    const added = waiting.filter((row) => !known.has(row.session_id)).map((row) => ({ ...row, fresh: true }));
    waiting = [];
    const top = rows[active]?.session_id;
    rows = [...added, ...rows].sort((a, b) => b.start_time - a.start_time);
    active =
      active === 0
        ? 0
        : Math.max(
            0,
            rows.findIndex((row) => row.session_id === top),
          );
    if (scrollY >= 4) {
      scrollTo(0, 0);
      active = 0;
    }
    show();
    say(`${plural(added.length, "new session")}`);
    for (const row of rows) delete row.fresh;
  }

  function setActive(index, reveal = true) {
    active = Math.max(0, Math.min(index, rows.length - 1));
    if (reveal && rows.length) list.reveal(active);
    for (const node of list.nodes())
      node.setAttribute("aria-selected", String(node.id === `row-${rows[active]?.session_id}`));
    if (rows.length) grid.setAttribute("aria-activedescendant", `row-${rows[active].session_id}`);
  }

  function onKey(event) {
    if (event.target !== grid || event.ctrlKey || event.metaKey || event.altKey) return;
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
    if (step !== undefined) setActive(active + step);
    else if (event.key === "Enter" && rows[active]) go(`/s/${encodeURIComponent(rows[active].session_id)}`);
    else if (event.key === " " && rows[active]) tray.toggle(rows[active].session_id);
    else return;
    event.preventDefault();
  }

  bar.set(filters);
  facets().then(bar.offer, () => {});
  load();
  return {
    focus: () => grid.focus({ preventScroll: true }),
    search: () => bar.search,
    update(next) {
      filters = readFilters(next.query);
      bar.set(filters);
      load();
    },
    escape() {
      if (document.activeElement === bar.search) grid.focus({ preventScroll: true });
      else if (filters.length) go("/");
    },
    leave() {
      asked++;
      clearTimeout(timer);
      clearTimeout(later);
      stopListening();
      list.stop();
    },
  };
}

function differs(a, b) {
  return ["status", "events", "errors", "tokens", "cost", "duration", "name", "user_id"].some(
    (name) => a[name] !== b[name],
  );
}

function toQuery(filters) {
  const text = new URLSearchParams(filters).toString();
  return text && `?${text}`;
}
