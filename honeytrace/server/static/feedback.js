// Ratings and a note on one event, written with PUT and merged into its feedback.
// rating is 1 to 5, thumb is "up" or "down", note is text; null takes a rating back.
import { button, el, say, toast } from "./dom.js";

/** The controls for an event; `save(feedback)` writes, `changed(feedback)` hears what is stored then. */
export function feedbackBox(feedback, { save, changed }) {
  let kept = { ...feedback };
  const thumbs = [
    ["up", "up", "Good"],
    ["down", "thumbdown", "Bad"],
  ].map(([value, drawing, label]) =>
    button("", { icon: drawing, label, class: "thumb", "data-thumb": value }, () =>
      put({ thumb: kept.thumb === value ? null : value }),
    ),
  );
  const stars = [1, 2, 3, 4, 5].map((value) =>
    button(String(value), { label: `Rate ${value} of 5`, class: "star", "data-rating": value }, () =>
      put({ rating: kept.rating === value ? null : value }),
    ),
  );
  const note = el("textarea", {
    rows: "1",
    placeholder: "Add a note",
    "aria-label": "Note",
    maxlength: "20000",
    dir: "auto",
  });
  const saveNote = button("Save note", { class: "primary", hidden: true }, () =>
    put({ note: note.value.trim() || null }),
  );
  const grow = () => {
    note.style.setProperty("height", "auto");
    note.style.setProperty("height", `${note.scrollHeight + 2}px`);
    saveNote.hidden = note.value.trim() === (kept.note ?? "");
  };
  note.addEventListener("input", grow);
  note.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveNote.click();
    if (event.key === "Escape") {
      note.value = kept.note ?? "";
      grow();
    }
  });

  async function put(change) {
    const before = kept;
    kept = { ...kept, ...change };
    show();
    try {
      await save(change);
      say("Feedback saved");
      changed(kept);
    } catch (error) {
      kept = before;
      toast(`The feedback was not saved: ${error.message}`);
    }
    show();
  }

  function show() {
    for (const thumb of thumbs) thumb.setAttribute("aria-pressed", String(kept.thumb === thumb.dataset.thumb));
    for (const star of stars) {
      star.setAttribute("aria-pressed", String(kept.rating === Number(star.dataset.rating)));
      star.classList.toggle("reached", typeof kept.rating === "number" && Number(star.dataset.rating) <= kept.rating);
    }
    if (document.activeElement !== note) note.value = typeof kept.note === "string" ? kept.note : "";
    saveNote.hidden = note.value.trim() === (kept.note ?? "");
  }
  show();
  requestAnimationFrame(() => note.isConnected && note.value && grow());
  return el(
    "div",
    { class: "feedback", role: "group", "aria-label": "Feedback" },
    el("div", { class: "thumbs" }, ...thumbs),
    el("div", { class: "stars", role: "group", "aria-label": "Rating, 1 to 5" }, ...stars),
    el("div", { class: "notebox" }, note, saveNote),
  );
}
