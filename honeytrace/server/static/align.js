// Two trees laid side by side: which event of the one is which event of the other, level by level.
// Children match when type and name are the same, in order, as many as can (longest common subsequence).
const LIMIT = 400;

/** Rows [{left, right, depth}] in reading order; a row without one side is an event only the other has. */
export function align(left, right) {
  const rows = [];
  const stack = [{ left, right, depth: 0 }];
  while (stack.length) {
    const row = stack.pop();
    rows.push(row);
    const below = matchChildren(row.left?.children ?? [], row.right?.children ?? []);
    for (let i = below.length - 1; i >= 0; i--)
      stack.push({ left: below[i][0], right: below[i][1], depth: row.depth + 1 });
  }
  return rows;
}

function matchChildren(a, b) {
  if (!a.length || !b.length) return [...a.map((node) => [node, null]), ...b.map((node) => [null, node])];
  const same = (i, j) =>
    a[i].event.event_type === b[j].event.event_type && a[i].event.event_name === b[j].event.event_name;
  // Very many children are matched by place alone: the table below grows with the product.
  if (a.length * b.length > LIMIT * LIMIT) return inPlace(a, b, same);
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = same(i, j) ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  }
  const pairs = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && same(i, j)) pairs.push([a[i++], b[j++]]);
    else if (j >= b.length || (i < a.length && best[i + 1][j] >= best[i][j + 1])) pairs.push([a[i++], null]);
    else pairs.push([null, b[j++]]);
  }
  return pairs;
}

function inPlace(a, b, same) {
  const pairs = [];
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if (a[i] && b[i] && same(i, i)) pairs.push([a[i], b[i]]);
    else {
      if (a[i]) pairs.push([a[i], null]);
      if (b[i]) pairs.push([null, b[i]]);
    }
  }
  return pairs;
}

/** The paths at which two JSON values differ, as JSON text, and all paths that lead to them. */
export function differences(a, b, path = [], found = new Set()) {
  const stack = [[a, b, path]];
  while (stack.length) {
    const [one, other, at] = stack.pop();
    const branch = (value) => value !== null && typeof value === "object";
    if (branch(one) && branch(other) && Array.isArray(one) === Array.isArray(other)) {
      for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
        stack.push([own(one, key), own(other, key), [...at, Array.isArray(one) ? Number(key) : key]]);
      }
    } else if (JSON.stringify(one) !== JSON.stringify(other)) found.add(JSON.stringify(at));
  }
  return found;
}

const own = (value, key) => (Object.hasOwn(value, key) ? value[key] : undefined);
