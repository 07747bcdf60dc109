// One session: its facts above, the tree beside the timeline, and the chosen event's detail.
// A running session grows while one watches; neither the chosen event nor the place in the tree moves.
import { server } from "./api.js";
import { compareLater } from "./compare_tray.js";
import { detailPane } from "./detail.js";
import { button, copy, el, icon, isolated, put, say, toast } from "./dom.js";
import { problem } from "./empty.js";
import { fileSource } from "./file_source.js";
import { cost, count, duration, exact, moment, plural, short } from "./format.js";
import { onChange } from "./live.js";
import { go } from "./router.js";
import { splitter } from "./splitter.js";
import { buildTree } from "./tree.js";
import { treePane } from "./tree_pane.js";

export function sessionView(place, address) {
  const id = address.match[1];
  const fromFile = address.query.has("file");
  const source = fromFile ? fileSource(id) : server;
  document.title = "Session · honeytrace";
  if (!fromFile) sessionStorage.setItem("honeytrace.opened", id);
  if (!source) {
    place.append(
      el(
        "div",
        { class: "page" },
        el(
          "div",
          { class: "empty" },
          el("h2", { text: "This file is no longer open" }),
          el("p", {
            text: "A file is read by this page only and is forgotten when the page is loaded again. Open it again, or drop it here.",
          }),
          button("Open file", { icon: "open", class: "primary" }, () => document.getElementById("open-file").click()),
        ),
      ),
    );
    place.setAttribute("data-ready", "session");
    return {};
  }
  const events = new Map();
  let session = null;
  let seq = 0;
  let gone = false;
  let clock = null;
  const abort = new AbortController();

  const facts = el("header", { class: "facts" });
  const detail = detailPane({
    source,
    onFeedback: changedFeedback,
    onSelect: (event) => tree.select(event),
    onClose: closeDetail,
  });
  const tree = treePane({ onSelect: select, onOpen: openDetail });
  const split = el("div", { class: "split" }, tree.node, detail.node);
  splitter(split, detail.node);
  const page = el("div", { class: "page session" }, facts, split);
  place.append(page);
  facts.append(el("h1", { class: "ghost", text: "\u00a0" }));

  async function load() {
    try {
      const answer = await source.session(id, { signal: abort.signal });
      take(answer);
      const wanted = location.hash.slice(1);
      const there = Boolean(tree.nodeOf(wanted));
      const first = there ? wanted : tree.firstInteresting();
      tree.select(first, { reveal: true, quiet: true });
      if (there) openDetail();
      if (wanted && !there) toast("The event in this link is not in this session");
      place.setAttribute("data-ready", "session");
      say(`Session ${answer.summary.name}, ${plural(answer.summary.events, "event")}`);
    } catch (error) {
      if (error.name === "AbortError") return;
      page.replaceChildren(
        problem(
          error.status === 404 ? "No such session" : "The session could not be read",
          error.status === 404
            ? new Error("Nothing has been recorded under this id here. It may be in another store, or pruned.")
            : error,
          error.status === 404
            ? null
            : () => {
                page.replaceChildren(facts, split);
                load();
              },
        ),
      );
      place.setAttribute("data-ready", "session");
    }
  }

  function take(answer) {
    session = { ...answer.session, ...pick(answer.summary, ["start_time", "end_time", "duration"]) };
    seq = Math.max(seq, answer.seq ?? 0);
    for (const event of answer.events) events.set(event.event_id, event);
    if (events.has(id))
      events.set(id, {
        ...events.get(id),
        source: answer.summary.source,
        end_time: answer.summary.end_time,
        duration: answer.summary.duration,
      });
    const root = { ...session, event_id: id, event_type: "session", event_name: answer.summary.name };
    tree.show(buildTree(id, root, events), answer.summary.end_time === null);
    showFacts(answer.summary);
  }

  function showFacts(s) {
    document.title = `${s.name || "unknown"} · honeytrace`;
    const status = s.status ?? "ok";
    const stat = (label, value, title) =>
      value &&
      value !== "–" &&
      el("span", { class: "stat", title }, el("span", { class: "muted", text: label }), el("b", {}, value));
    const actions = el(
      "div",
      { class: "actions" },
      !fromFile &&
        button("Compare", { icon: "compare", class: "quiet", label: "Compare with another session" }, () =>
          compareWith(s),
        ),
      button("Download", { icon: "down", class: "quiet", label: "Download this session as JSON" }, download),
    );
    put(
      facts,
      el(
        "a",
        { class: "back", href: listAddress(), "aria-label": "All sessions", title: "All sessions (Esc)" },
        icon("back"),
      ),
      el("h1", {}, isolated(s.name || "unknown")),
      el("span", { class: `status is-${status}` }, icon(status), status),
      fromFile && el("span", { class: "status from-file", text: "from a file" }),
      el(
        "div",
        { class: "stats" },
        stat("Started", moment(s.start_time), exact(s.start_time)),
        stat("Duration", s.end_time === null ? el("span", { class: "elapsed" }) : duration(s.duration)),
        stat("Events", count(s.events)),
        s.errors > 0 &&
          el(
            "button",
            {
              type: "button",
              class: "stat is-error",
              title: "Go to the next error (e)",
              on: { click: () => tree.nextError() },
            },
            el("span", { text: "Errors" }),
            el("b", { text: count(s.errors) }),
          ),
        stat("Tokens", s.tokens ? short(s.tokens) : null, count(s.tokens)),
        stat("Cost", s.cost ? cost(s.cost) : null),
        stat("Source", s.source && isolated(s.source)),
        stat("User", s.user_id && isolated(s.user_id)),
        el(
          "button",
          { type: "button", class: "stat id", title: "Copy the session id", on: { click: () => copy(id) } },
          el("code", { text: id.slice(0, 8) }),
          icon("copy"),
        ),
      ),
      actions,
    );
    clearInterval(clock);
    const elapsed = facts.querySelector(".elapsed");
    const tick = () =>
      put(elapsed, `${duration(Math.max(0, Math.floor((Date.now() - s.start_time) / 1000) * 1000))} so far`);
    if (elapsed) {
      tick();
      clock = setInterval(tick, 1000);
    }
  }

  function select(eventId, { quiet = false } = {}) {
    const node = tree.nodeOf(eventId);
    detail.show(eventId, node, tree.root());
    const hash = `#${encodeURIComponent(eventId)}`;
    if (!quiet && location.hash !== hash) history.replaceState(null, "", hash);
  }

  // On a narrow screen the detail lies over the tree.
  const covers = () => getComputedStyle(detail.node).position === "fixed";

  function openDetail() {
    page.classList.add("detail-open");
    if (covers()) detail.node.focus({ preventScroll: true });
  }

  function closeDetail() {
    page.classList.remove("detail-open");
    tree.focus();
  }

  function changedFeedback(eventId, feedback) {
    const event = events.get(eventId);
    if (event) event.feedback = feedback;
    tree.redraw();
  }

  async function download() {
    const blob = await source.download(id).catch((error) => toast(`Could not download: ${error.message}`));
    if (!blob) return;
    const link = el("a", { href: URL.createObjectURL(blob), download: `session-${id}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function compareWith(s) {
    compareLater(id);
    toast("Choose the session to compare with");
    go(`/?name=${encodeURIComponent(s.name ?? "")}`);
  }

  let fetching = null;
  let again = false;
  const stopListening = fromFile
    ? () => {}
    : onChange((change) => {
        if (!session || (change && !change.sessions.includes(id) && change.sessions.length < 50)) return;
        if (fetching) again = true;
        else fetching = grow();
      });

  async function grow() {
    try {
      do {
        again = false;
        const answer = await server.since(id, seq);
        if (gone) return;
        if (answer.events.length || answer.summary.end_time !== null) {
          const changed = answer.events.map((event) => event.event_id);
          take(answer);
          if (changed.includes(tree.selected())) detail.refresh(tree.nodeOf(tree.selected()), tree.root());
        }
        await new Promise((done) => setTimeout(done, 300));
      } while (again);
    } catch {
      /* the live light says that the server is away */
    } finally {
      fetching = null;
    }
  }

  load();
  return {
    focus: () => tree.focus(),
    search: () => tree.search,
    key: (event) => tree.key(event),
    escape() {
      if (page.classList.contains("detail-open") && covers()) closeDetail();
      else if (!tree.escape()) go(listAddress());
    },
    update(next) {
      if (tree.nodeOf(next.hash)) tree.select(next.hash, { reveal: true, quiet: true });
    },
    leave() {
      gone = true;
      clearInterval(clock);
      abort.abort();
      stopListening();
      tree.stop();
    },
  };
}

// The list as it was left, with its filters.
const listAddress = () => sessionStorage.getItem("honeytrace.list") ?? "/";

const pick = (object, names) => Object.fromEntries(names.map((name) => [name, object[name]]));
