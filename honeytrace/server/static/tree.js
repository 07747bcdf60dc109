// The tree of a session, made from a flat list of events: parents by parent_id, siblings by start_time.
// Every event is in it exactly once: circles hang below the root. Nothing here recurses.

/** What is said of a parent that is not there: only what has finished is sent. */
export const UNFINISHED = "did not finish, or has not yet";

/**
 * Make the tree. `events` is a Map by id; the root is the session. Nodes: {event, id, depth, parent, children, start, end}.
 * A parent that is not there is made up under the root, `missing`: nobody knows what it ran below.
 */
export function buildTree(sessionId, session, events, now = Date.now()) {
  const nodes = new Map();
  for (const [id, event] of events) nodes.set(id, { id, event, depth: 0, parent: null, children: [], placed: false });
  let root = nodes.get(sessionId);
  if (!root) {
    root = { id: sessionId, event: session, depth: 0, parent: null, children: [], placed: false };
    nodes.set(sessionId, root);
  }
  for (const node of [...nodes.values()]) {
    if (node === root) continue;
    const parent = nodes.get(node.event.parent_id) ?? unfinished(node.event, nodes, root);
    (parent !== node ? parent : root).children.push(node);
  }
  place(root);
  // Whoever cannot be reached from the root is in a circle: it is cut where it is met first.
  for (const node of nodes.values()) {
    if (node.placed) continue;
    const at = nodes.get(node.event.parent_id);
    at.children.splice(at.children.indexOf(node), 1);
    root.children.push(node);
    place(node, root);
  }
  setTimes(root, now);
  return { root, nodes };
}

/** The rows to show: a walk from the root past what is folded, and past what `keep` does not want. */
export function visibleRows(root, folded, keep = null) {
  const rows = [];
  const stack = [root];
  while (stack.length) {
    const node = stack.pop();
    if (keep && !keep.has(node.id)) continue;
    rows.push(node);
    if (!keep && folded.has(node.id)) continue;
    for (let i = node.children.length - 1; i >= 0; i--) stack.push(node.children[i]);
  }
  return rows;
}

/** The ids of what matches a text and of all above it. */
export function matching(nodes, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = new Set();
  const keep = new Set();
  for (const node of nodes.values()) {
    const e = node.event;
    const all = [e.event_name, e.event_type, e.model, e.error, e.inputs_preview, e.outputs_preview, node.id]
      .join("\n")
      .toLowerCase();
    if (!words.every((word) => all.includes(word))) continue;
    hits.add(node.id);
    for (let at = node; at && !keep.has(at.id); at = at.parent) keep.add(at.id);
  }
  return { hits, keep };
}

/** The deepest level of a tree. */
export function deepest(nodes) {
  let depth = 0;
  for (const node of nodes.values()) depth = Math.max(depth, node.depth);
  return depth;
}

function unfinished({ parent_id: id, start_time }, nodes, root) {
  if (!id) return root;
  const event = { event_id: id, event_type: "unfinished", event_name: "unfinished", inputs_preview: UNFINISHED };
  const node = { id, event: { ...event, start_time }, depth: 0, parent: null, children: [], placed: false };
  node.missing = true;
  nodes.set(id, node);
  root.children.push(node);
  return node;
}

function place(top, parent = null) {
  top.parent = parent;
  const stack = [top];
  while (stack.length) {
    const node = stack.pop();
    node.placed = true;
    node.depth = node.parent ? node.parent.depth + 1 : 0;
    node.children.sort((a, b) => (a.event.start_time ?? Infinity) - (b.event.start_time ?? Infinity));
    for (const child of node.children) {
      child.parent = node;
      stack.push(child);
    }
  }
}

// Times may be missing: a start falls back on the parent's, an end on the latest below or, while running, on now.
function setTimes(root, now) {
  const order = visibleRows(root, new Set());
  for (const node of order) {
    // Children are sorted by now; the one it was made for need not be the earliest.
    if (node.missing) node.event.start_time = node.children[0].event.start_time ?? null;
    const { start_time: start, end_time: end, duration } = node.event;
    node.start = start ?? node.parent?.start ?? order.find((at) => at.event.start_time)?.event.start_time ?? now;
    node.end = end ?? (duration !== null && duration !== undefined ? node.start + duration : null);
    node.running = node.end === null && !node.missing;
  }
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i];
    node.inner = node.children.reduce((latest, child) => Math.max(latest, child.end), node.end ?? node.start);
    if (node.end === null) node.end = node.inner;
    node.errors = (node.event.error ? 1 : 0) + node.children.reduce((sum, child) => sum + child.errors, 0);
  }
}
