// The tree beside the timeline: one row per event, of which only those in sight exist.
// Folding, finding, zooming and the keyboard are here; what a row means for the rest of the page is not.
import { button, el, icon, isolated, say } from "./dom.js";
import { cost, duration, plural, short } from "./format.js";
import { criticalPath, drawAxis, drawBar, scaleOf } from "./timeline.js";
import { UNFINISHED, deepest, matching, visibleRows } from "./tree.js";
import { virtualList } from "./virtual.js";

/** `onSelect(id, {quiet})` hears what is chosen, `onOpen()` that its detail is wanted (where it does not fit beside). */
export function treePane({ onSelect, onOpen }) {
  let tree = null;
  let rows = [];
  let folded = new Set();
  let found = null;
  let chosen = null;
  let zoomed = null;
  let scale = scaleOf(0, 1);
  let path = new Map();
  let indent = () => 0;

  const search = el("input", {
    type: "search",
    placeholder: "Find in this session",
    "aria-label": "Find in this session",
    "data-search": true,
    spellcheck: "false",
    autocomplete: "off",
  });
  const hits = el("span", { class: "muted hits", role: "status" });
  const unzoom = button(
    "Whole session",
    { class: "quiet unzoom", hidden: true, label: "Show the whole session (z)" },
    () => zoom(null),
  );
  const foldAll = button(
    "Fold all",
    { class: "quiet", label: "Fold or unfold everything (shift with the arrows: one branch)" },
    toggleAll,
  );
  const labels = el("div", { class: "axis", "aria-hidden": "true" });
  const lines = el("span", { class: "lane" });
  const body = el("div", {
    class: "rows",
    role: "tree",
    tabindex: "0",
    "aria-label": "Events of the session",
    on: { keydown: onKey },
  });
  const scroller = el(
    "div",
    { class: "scroller", "data-scrolls": true, tabindex: "-1" },
    el(
      "div",
      { class: "treehead" },
      el("span", { class: "t-name", text: "Event" }),
      el("span", { class: "t-num", text: "Tokens" }),
      el("span", { class: "t-num", text: "Duration" }),
      labels,
    ),
    el(
      "div",
      { class: "sheet" },
      el("div", { class: "gridlines event", "aria-hidden": "true" }, el("span"), el("span"), el("span"), lines),
      body,
    ),
  );
  const node = el(
    "section",
    { class: "treepane", "aria-label": "Tree and timeline" },
    el(
      "div",
      { class: "tools" },
      el("div", { class: "searchbox" }, icon("search"), search, el("kbd", { text: "/", "aria-hidden": "true" })),
      hits,
      el("span", { class: "spring" }),
      legend(),
      unzoom,
      foldAll,
    ),
    scroller,
  );
  const list = virtualList(body, { rows: () => rows, draw, keyOf: (row) => row.id });
  const wide = new ResizeObserver(() => tree && drawAxis(labels, lines, scale, tree.root.start));
  wide.observe(labels);

  function draw(row) {
    const e = row.event;
    const open = !folded.has(row.id);
    const parent = row.parent;
    const rated = e.feedback && (e.feedback.rating !== undefined || e.feedback.thumb !== undefined || e.feedback.note);
    const item = el(
      "div",
      {
        class: `event ${found && !found.hits.has(row.id) ? "dim" : ""} ${path.has(row.id) ? "on-path" : ""}`,
        role: "treeitem",
        id: `event-${row.id}`,
        "data-event": row.id,
        "aria-level": row.depth + 1,
        "aria-expanded": row.children.length ? String(open) : null,
        "aria-selected": String(row.id === chosen),
        "aria-setsize": parent ? parent.children.length : 1,
        "aria-posinset": parent ? parent.children.indexOf(row) + 1 : 1,
        "aria-label": row.missing
          ? `a call that ${UNFINISHED}`
          : `${e.event_type} ${e.event_name}, ${duration(row.running ? null : row.end - row.start)}${e.error ? ", error" : ""}`,
      },
      el(
        "span",
        { class: "t-name", css: { "padding-left": `${indent(row.depth)}px` } },
        row.children.length
          ? el("span", { class: `twisty ${open ? "open" : ""}` }, icon("fold"))
          : el("span", { class: "twisty" }),
        el(
          "span",
          { class: `kind is-${e.event_type} ${e.error ? "is-error" : ""}`, title: e.event_type },
          icon(row.missing ? "running" : e.event_type),
        ),
        isolated(e.event_name || "unknown", { class: "label", title: e.event_name }),
        e.error && icon("error", "is-error"),
        !open &&
          row.errors > (e.error ? 1 : 0) &&
          el("span", { class: "badge is-error", text: row.errors - (e.error ? 1 : 0), title: "errors below" }),
        rated && icon("note", "rated"),
        el("span", { class: "muted preview" }, isolated(e.error || e.model || e.inputs_preview || "")),
      ),
      el("span", {
        class: "t-num muted",
        title: e.cost ? cost(e.cost) : null,
        text: e.tokens ? short(e.tokens, { even: true }) : "",
      }),
      el("span", { class: "t-num", text: row.running ? "running" : duration(row.missing ? null : row.end - row.start) }),
      drawBar(row, scale, path, tree.root.start),
    );
    item.addEventListener("click", (event) => {
      if (event.target.closest(".twisty") && row.children.length) fold(row.id, open);
      else {
        select(row.id);
        body.focus({ preventScroll: true });
        onOpen();
      }
    });
    item.addEventListener("dblclick", () => zoom(zoomed === row.id ? null : row.id));
    return item;
  }

  function show(next, running) {
    tree = next;
    indent = indentation(deepest(tree.nodes));
    body.classList.toggle("running", running);
    settle();
  }

  // Everything that follows from the tree, the folding, the search and the zoom.
  function settle() {
    const shown = tree.nodes.get(zoomed) ?? tree.root;
    scale = scaleOf(shown.start, Math.max(shown.end, shown === tree.root ? tree.root.inner : shown.end));
    path = criticalPath(tree.root);
    found = search.value.trim() ? matching(tree.nodes, search.value) : null;
    rows = visibleRows(tree.root, folded, found?.keep);
    hits.textContent = found ? plural(found.hits.size, "match").replace("matchs", "matches") : "";
    unzoom.hidden = !zoomed;
    foldAll.lastChild.textContent = folded.size ? "Unfold all" : "Fold all";
    list.update(true);
    drawAxis(labels, lines, scale, tree.root.start);
    mark();
  }

  function mark() {
    for (const item of list.nodes()) item.setAttribute("aria-selected", String(item.dataset.event === chosen));
    if (list.node(chosen)) body.setAttribute("aria-activedescendant", `event-${chosen}`);
    else body.removeAttribute("aria-activedescendant");
  }

  function select(id, { reveal = true, quiet = false } = {}) {
    const target = tree.nodes.get(id);
    if (!target) return;
    let unfolded = false;
    for (let at = target.parent; at; at = at.parent) unfolded = folded.delete(at.id) || unfolded;
    if (found && !found.keep.has(id)) {
      search.value = "";
      unfolded = true;
    }
    if (unfolded) settle();
    chosen = id;
    if (reveal) list.reveal(rows.indexOf(target));
    mark();
    onSelect(id, { quiet });
  }

  function fold(id, shut, branch = false) {
    const ids = branch
      ? visibleRows(tree.nodes.get(id), new Set())
          .filter((row) => row.children.length)
          .map((row) => row.id)
      : [id];
    for (const at of ids) folded[shut ? "add" : "delete"](at);
    // A chosen event that was folded away hands over to what hides it.
    let visibleId = chosen;
    for (let at = tree.nodes.get(chosen)?.parent; at; at = at.parent) if (folded.has(at.id)) visibleId = at.id;
    settle();
    if (visibleId !== chosen) select(visibleId);
  }

  function toggleAll() {
    if (folded.size) folded = new Set();
    else for (const row of tree.nodes.values()) if (row.children.length && row !== tree.root) folded.add(row.id);
    fold(tree.root.id, false);
  }

  function zoom(id) {
    zoomed = id === tree.root.id ? null : id;
    settle();
    say(zoomed ? "The timeline shows the chosen event" : "The timeline shows the whole session");
  }

  function nextError() {
    const order = visibleRows(tree.root, new Set());
    const here = order.indexOf(tree.nodes.get(chosen));
    const failed = (row) => row.event.error;
    const next = order.slice(here + 1).find(failed) ?? order.find(failed);
    if (next) select(next.id);
    else say("No errors");
  }

  function onKey(event) {
    if (event.target !== body || event.ctrlKey || event.metaKey || event.altKey || !rows.length) return;
    const at = rows.findIndex((row) => row.id === chosen);
    const row = rows[at] ?? rows[0];
    const move = {
      ArrowDown: 1,
      j: 1,
      ArrowUp: -1,
      k: -1,
      PageDown: list.pageSize(),
      PageUp: -list.pageSize(),
      Home: -Infinity,
      End: Infinity,
    }[event.key];
    if (move !== undefined) select(rows[Math.max(0, Math.min(rows.length - 1, at + move))].id);
    else if (event.key === "ArrowRight") {
      if (folded.has(row.id)) fold(row.id, false, event.shiftKey);
      else if (row.children.length) select(row.children[0].id);
    } else if (event.key === "ArrowLeft") {
      if (row.children.length && !folded.has(row.id)) fold(row.id, true, event.shiftKey);
      else if (row.parent) select(row.parent.id);
    } else if (event.key === "Enter") onOpen();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  search.addEventListener("input", () => tree && settle());
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !found?.hits.size) return;
    const wanted = rows.filter((row) => found.hits.has(row.id));
    const at = wanted.findIndex((row) => row.id === chosen);
    select(wanted[(at + 1) % wanted.length].id);
  });

  return {
    node,
    search,
    show,
    select,
    nextError,
    selected: () => chosen,
    nodeOf: (id) => tree.nodes.get(id),
    root: () => tree.root,
    redraw: () => list.update(true),
    focus: () => body.focus({ preventScroll: true }),
    firstInteresting: () => (tree.root.children.length === 1 ? tree.root.children[0].id : tree.root.id),
    key(event) {
      if (event.key === "e") nextError();
      else if (event.key === "z") zoom(zoomed ? null : chosen);
      else return false;
      return true;
    },
    escape() {
      if (search.value) {
        search.value = "";
        settle();
      } else if (document.activeElement !== search) {
        if (!zoomed) return false;
        zoom(null);
      }
      body.focus({ preventScroll: true });
      return true;
    },
    stop() {
      wide.disconnect();
      list.stop();
    },
  };
}

// The first levels have room; what is deeper shares 100 pixels, so that a name is never pushed out of its column.
function indentation(depth) {
  const step = Math.min(16, 100 / Math.max(1, depth - 6));
  return (level) => (level <= 6 ? level * 16 : 96 + (level - 6) * step);
}

function legend() {
  const sign = (kind, text) => el("span", {}, el("i", { class: `sign ${kind}` }), text);
  return el(
    "span",
    { class: "legend muted", "aria-hidden": "true" },
    sign("critical", "critical path"),
    sign("gap", "nothing ran"),
    sign("first-token", "first token"),
  );
}
