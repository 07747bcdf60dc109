// The two sessions chosen for comparing, at the bottom of the list. The last two chosen count.
import { button, el, icon, isolated, put } from "./dom.js";

const KEPT = "honeytrace.compare";

/** Choose this session, and let the next one be chosen in the list. */
export function compareLater(id) {
  sessionStorage.setItem(KEPT, id);
}

/** The tray; `nameOf(id)` names a session, `onChange()` hears that the choice is another. */
export function compareTray({ nameOf, onChange }) {
  let picked = [sessionStorage.getItem(KEPT)].filter(Boolean);
  sessionStorage.removeItem(KEPT);
  const node = el("div", { class: "tray", hidden: true, role: "region", "aria-label": "Chosen for comparing" });

  function set(ids) {
    picked = ids;
    show();
    onChange();
  }

  function show() {
    node.hidden = picked.length === 0;
    const chips = picked.map((id) =>
      el("span", { class: "chip" }, isolated(nameOf(id)), el("code", { class: "muted", text: id.slice(0, 8) })),
    );
    const address = `/compare/${picked.map(encodeURIComponent).join("/")}`;
    const next =
      picked.length === 2
        ? el("a", { class: "primary", href: address }, icon("compare"), "Compare")
        : el("span", { class: "muted", text: "choose one more to compare" });
    put(
      node,
      ...chips,
      next,
      button("", { icon: "close", label: "Choose none", class: "quiet" }, () => set([])),
    );
  }

  return {
    node,
    show,
    has: (id) => picked.includes(id),
    toggle: (id) => set(picked.includes(id) ? picked.filter((one) => one !== id) : [...picked.slice(-1), id]),
  };
}
