// The one question for the key of a server that wants one. It is kept for this tab only.
import { el } from "./dom.js";

/** Ask; resolves with the key, or null when the question was put away. */
export function askForKey(refused) {
  return new Promise((answer) => {
    const field = el("input", {
      type: "password",
      name: "key",
      autocomplete: "off",
      required: true,
      "aria-label": "Key",
    });
    const form = el(
      "form",
      {},
      el("h2", { text: "This server wants a key" }),
      el("p", { text: "It was given to, or printed by, honeytrace serve. This tab keeps it until it is closed." }),
      refused && el("p", { class: "is-error", role: "alert", text: "That key was not accepted." }),
      field,
      el("button", { class: "primary", text: "Continue" }),
    );
    const dialog = el("dialog", { class: "keydialog", "aria-label": "Key" }, form);
    let given = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      given = field.value.trim() || null;
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
