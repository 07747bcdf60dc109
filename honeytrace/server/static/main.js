// Where the page starts: the routes, the bar at the top, the live stream, the keyboard and files that are dropped.
import { onKeyNeeded } from "./api.js";
import { compareView } from "./compare.js";
import { toast } from "./dom.js";
import { openText } from "./file_source.js";
import { askForKey } from "./key_dialog.js";
import { help, startKeys } from "./keys.js";
import { listView } from "./list.js";
import { connect } from "./live.js";
import { overviewView } from "./overview.js";
import { go, route, start } from "./router.js";
import { sessionView } from "./session.js";

const byId = (id) => document.getElementById(id);
const LIGHTS = { on: "live", waiting: "reconnecting", off: "not live" };

onKeyNeeded(askForKey);
const named = (name, view) => (place, address) => {
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.dataset.page = name;
  return view(place, address);
};
route(/^\/$/, named("list", listView));
route(/^\/s\/([^/]+)$/, named("session", sessionView));
route(/^\/compare\/([^/]+)\/([^/]+)$/, named("compare", compareView));
route(/^\/overview$/, named("overview", overviewView));

const theme = () => globalThis.honeytraceTheme.toggle();
byId("theme").addEventListener("click", theme);
byId("help").addEventListener("click", help);
byId("open-file").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", () => open(byId("file").files[0]));
startKeys({ theme, open: () => byId("file").click() });

addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});

async function open(file) {
  if (!file) return;
  try {
    go(`/s/${encodeURIComponent(openText(await file.text()))}?file=1`);
  } catch (error) {
    toast(`${file.name} could not be opened: ${error.message}`);
  }
  byId("file").value = "";
}

start();
connect((state) => {
  byId("live").dataset.state = state;
  byId("live").lastElementChild.textContent = LIGHTS[state];
});
