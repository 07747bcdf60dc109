// One row of the list of sessions.
import { el, icon, isolated } from "./dom.js";
import { ago, cost, count, duration, exact, moment, short } from "./format.js";

/** Draw a row; `onPick` hears that it is wanted for comparing, or no longer. */
export function drawRow(row, { index, active, picked, onPick }) {
  const status = ["ok", "error", "running"].includes(row.status) ? row.status : "ok";
  const running = el("span", { class: "muted", text: "running" });
  const started = { title: `${exact(row.start_time)} · ${ago(row.start_time)}`, text: moment(row.start_time) };
  return el(
    "div",
    {
      class: `row ${row.fresh ? "fresh" : ""}`,
      role: "row",
      id: `row-${row.session_id}`,
      "aria-rowindex": index + 2,
      "aria-selected": String(active),
      "data-session": row.session_id,
    },
    cell(`c-status is-${status}`, [icon(status), el("span", { text: status })]),
    cell("c-name", [
      el(
        "a",
        { href: `/s/${encodeURIComponent(row.session_id)}`, tabindex: "-1", title: row.session_id },
        isolated(row.name || "unknown"),
      ),
      gist(row),
    ]),
    cell("c-started", el("time", started)),
    cell("c-num c-duration", row.end_time === null ? running : duration(row.duration)),
    cell("c-num c-events", count(row.events), row.events === 1 ? "event" : "events"),
    cell(
      `c-num c-errors ${row.errors ? "is-error" : "none"}`,
      row.errors ? count(row.errors) : "–",
      row.errors === 1 ? "error" : "errors",
    ),
    cell(`c-num c-tokens ${row.tokens ? "" : "none"}`, row.tokens ? short(row.tokens, { even: true }) : "–", "tokens"),
    cell(`c-num c-cost ${row.cost ? "" : "none"}`, row.cost ? cost(row.cost) : "–"),
    cell("c-source", row.source ? isolated(row.source, { title: row.source }) : "–"),
    cell("c-user", row.user_id ? isolated(row.user_id, { title: row.user_id }) : "–"),
    cell(
      "c-pick",
      el("input", {
        type: "checkbox",
        tabindex: "-1",
        "aria-label": `Compare ${row.name}`,
        checked: picked,
        on: { change: onPick },
      }),
    ),
  );
}

// What went in and what came out, as far as it fits.
function gist({ inputs_preview: given, outputs_preview: got }) {
  if (!given && !got) return null;
  return el(
    "span",
    { class: "gist", title: [given, got].filter(Boolean).join("\n→ ") },
    given && isolated(given),
    got && el("span", { class: "arrow", "aria-hidden": "true", text: " → " }),
    got && isolated(got),
  );
}

function cell(kind, content, unit) {
  const after = unit && el("span", { class: "unit", text: ` ${unit}` });
  return el("span", { role: "gridcell", class: kind }, content, after);
}
