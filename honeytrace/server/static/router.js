// Which page an address means, and going from one to the other without loading the page again.
// A view is a function (place, address) => {leave()?, keys?, update?(address)}.
const routes = [];
let current = null;
let pathname = null;

/** Show `view` for paths that match; its groups are in `address.match`. */
export function route(pattern, view) {
  routes.push({ pattern, view });
}

/** The view that is shown. */
export const shown = () => current;

/** Go somewhere; `replace` leaves no trace in the history. */
export function go(to, { replace = false } = {}) {
  const target = new URL(to, location.href);
  if (target.origin !== location.origin) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  show();
}

/** Show what the address says. The same view is only told of a changed query or hash. */
export function show() {
  const address = {
    pathname: location.pathname,
    query: new URLSearchParams(location.search),
    hash: decode(location.hash.slice(1)),
  };
  if (current?.update && pathname === address.pathname) {
    current.update(address);
    return;
  }
  pathname = address.pathname;
  current?.leave?.();
  const place = document.getElementById("main");
  place.replaceChildren();
  place.removeAttribute("data-ready");
  scrollTo(0, 0);
  const found = routes.find(({ pattern }) => pattern.test(address.pathname)) ?? routes[0];
  address.match = (found.pattern.exec(address.pathname) ?? []).map((part) => part && decode(part));
  current = found.view(place, address) ?? {};
}

/** Listen for links and for back and forward. */
export function start() {
  addEventListener("popstate", show);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/']");
    if (
      !link ||
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    if (link.hasAttribute("download")) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  show();
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
