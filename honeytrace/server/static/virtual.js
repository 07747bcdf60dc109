// A long list of which only the rows in sight exist. All rows have one height, read from the custom property --row.
// The rows may scroll with the page or inside a box: what is in sight is asked of the layout, not kept.
const SPARE = 12;

// A custom property is read as it was written, in rem or in pixels.
function pixels(node, property) {
  const text = getComputedStyle(node).getPropertyValue(property).trim();
  return (
    (parseFloat(text) || 0) *
    (text.endsWith("rem") ? parseFloat(getComputedStyle(document.documentElement).fontSize) : 1)
  );
}

/** Show `rows()` inside `body`; `draw(row, index)` makes an element, `keyOf(row)` says which may be kept. */
export function virtualList(body, { rows, draw, keyOf, onEnd }) {
  let drawn = new Map();
  let height = 0;
  let queued = false;
  body.classList.add("virtual");

  function rowHeight() {
    return pixels(body, "--row") || 36;
  }

  function inSight() {
    const box = body.getBoundingClientRect();
    const scroller = body.closest("[data-scrolls]");
    const scrolls = scroller && getComputedStyle(scroller).overflowY !== "visible";
    const view = scrolls ? scroller.getBoundingClientRect() : { top: 0, bottom: innerHeight };
    const first = Math.floor((Math.max(view.top, 0) - box.top) / height) - SPARE;
    const last = Math.ceil((Math.min(view.bottom, innerHeight) - box.top) / height) + SPARE;
    return [Math.max(0, first), Math.min(rows().length, Math.max(last, 0))];
  }

  /** Draw what is in sight; `fresh` draws rows again that are there already. */
  function update(fresh = false) {
    height = rowHeight();
    const all = rows();
    body.style.setProperty("height", `${all.length * height}px`);
    const [first, last] = inSight();
    const next = new Map();
    for (let index = first; index < last; index++) {
      const key = keyOf(all[index]);
      let node = fresh ? null : drawn.get(key);
      if (!node) {
        node = draw(all[index], index);
        drawn.get(key)?.remove();
        body.append(node);
      }
      node.style.setProperty("top", `${index * height}px`);
      next.set(key, node);
    }
    for (const [key, node] of drawn) if (!next.has(key)) node.remove();
    drawn = next;
    if (onEnd && last >= all.length) onEnd();
  }

  /** Bring a row into sight, moving as little as possible. */
  function reveal(index) {
    height = rowHeight();
    const scroller = body.closest("[data-scrolls]");
    const inside = scroller && getComputedStyle(scroller).overflowY !== "visible";
    const top = body.getBoundingClientRect().top + index * height;
    const view = inside ? scroller.getBoundingClientRect() : { top: 0, bottom: innerHeight };
    const above = pixels(body, "--covered");
    const target = inside ? scroller : window;
    if (top < view.top + above) target.scrollBy(0, top - view.top - above);
    else if (top + height > view.bottom) target.scrollBy(0, top + height - view.bottom + 4);
    update();
  }

  function soon() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      if (body.isConnected) update();
    });
  }
  const resized = new ResizeObserver(soon);
  resized.observe(body);
  document.addEventListener("scroll", soon, { capture: true, passive: true });
  addEventListener("resize", soon);
  return {
    update,
    reveal,
    node: (key) => drawn.get(key),
    nodes: () => drawn.values(),
    pageSize: () => Math.max(1, Math.floor(innerHeight / rowHeight()) - 4),
    stop() {
      resized.disconnect();
      document.removeEventListener("scroll", soon, { capture: true });
      removeEventListener("resize", soon);
    },
  };
}
