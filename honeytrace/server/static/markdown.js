// What models write, read as they mean it: headings, lists, tables, code, emphasis. It makes elements, never markup;
// links and pictures stay text with their address beside it, so that nothing traced can be followed or fetched.
// What is no Markdown comes out as it went in, line for line.
import { el, visible } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const DIVIDER = /^\s*\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?$/;
const INLINE =
  /(`+)([^`]|[^`][^\n]{0,1000}?[^`])\1(?!`)|\*\*(?=\S)([^\n]{1,1000}?\S|\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]{0,1000}?[^\s*])\*(?![\w*])|(?<!\w)_(?=[^\s_])([^_\n]{0,1000}?[^\s_])_(?!\w)|~~(?=\S)([^~\n]{1,300}?)~~/g;
const MOST_LEVELS = 8;

/** An element with the text as it is meant to be read. */
export function markdown(text) {
  return el("div", { class: "md" }, ...blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0));
}

function blocks(lines, level) {
  const made = [];
  let plain = [];
  const flush = () => {
    while (plain.length && !plain[plain.length - 1].trim()) plain.pop();
    if (plain.length) made.push(el("p", { dir: "auto" }, ...inline(plain.join("\n"))));
    plain = [];
  };
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const [read, take] = level < MOST_LEVELS ? special(lines, at, level) : [null, 0];
    if (read) {
      flush();
      made.push(read);
      at += take;
      continue;
    }
    if (line.trim()) plain.push(line);
    else flush();
    at++;
  }
  flush();
  return made;
}

// A block that begins at a line, and how many lines it takes.
function special(lines, at, level) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [el("p", { class: `md-h md-h${heading[1].length}`, dir: "auto" }, ...inline(heading[2])), 1];
  if (RULE.test(line)) return [el("hr"), 1];
  if (ITEM.test(line)) return list(lines, at, level);
  if (QUOTE.test(line)) {
    let end = at;
    while (end < lines.length && QUOTE.test(lines[end])) end++;
    const inner = lines.slice(at, end).map((one) => QUOTE.exec(one)[1]);
    return [el("blockquote", {}, ...blocks(inner, level + 1)), end - at];
  }
  if (line.includes("|") && isDivider(lines[at + 1])) return table(lines, at);
  return [null, 0];
}

const isDivider = (line) => line !== undefined && line.length < 500 && line.includes("-") && DIVIDER.test(line);

function code(lines, at, [, fence, language]) {
  let end = at + 1;
  while (end < lines.length && !lines[end].trimStart().startsWith(fence)) end++;
  const text = visible(lines.slice(at + 1, end).join("\n"));
  const label = language && el("span", { class: "md-language muted", text: language.slice(0, 20) });
  return [el("div", { class: "md-code" }, label, el("pre", { tabindex: "0" }, el("code", { text }))), end + 1 - at];
}

function list(lines, at, level) {
  const [, margin, sign] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(sign);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (item && item[1].length <= margin.length && /\d/.test(item[2]) !== ordered) break;
    if (item && item[1].length <= margin.length) items.push([item[3]]);
    else if (lines[end].trim() === "" && continues(lines[end + 1], margin)) items[items.length - 1].push("");
    else if (continues(lines[end], margin))
      items[items.length - 1].push(dedented(lines[end], margin.length + sign.length + 1));
    else break;
    end++;
  }
  const start = ordered && sign !== "1." && sign !== "1)" ? parseInt(sign, 10) : null;
  const made = items.map((inner) => el("li", { dir: "auto" }, ...tight(blocks(inner, level + 1))));
  return [el(ordered ? "ol" : "ul", { start }, ...made), end - at];
}

const continues = (line, margin) =>
  line !== undefined && line.trim() !== "" && line.length - line.trimStart().length > margin.length;
const dedented = (line, most) => line.slice(Math.min(most, line.length - line.trimStart().length));
// An item that is one paragraph needs none.
const tight = (made) => (made[0]?.matches("p:not([class])") ? [...made[0].childNodes, ...made.slice(1)] : made);

function table(lines, at) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end++;
  const row = (line, tag) => el("tr", {}, ...cells(line).map((cell) => el(tag, { dir: "auto" }, ...inline(cell))));
  const body = lines.slice(at + 2, end).map((line) => row(line, "td"));
  return [
    el("div", { class: "md-table" }, el("table", {}, el("thead", {}, row(lines[at], "th")), el("tbody", {}, ...body))),
    end - at,
  ];
}

function inline(text, level = 0) {
  const made = [];
  let done = 0;
  for (const found of level < 4 ? text.matchAll(INLINE) : []) {
    if (found.index > done) made.push(visible(text.slice(done, found.index)));
    const [, ticks, coded, strong, star, underscore, struck] = found;
    if (ticks) made.push(el("code", { text: visible(coded) }));
    else if (strong) made.push(el("strong", {}, ...inline(strong, level + 1)));
    else if (struck) made.push(el("s", {}, ...inline(struck, level + 1)));
    else made.push(el("em", {}, ...inline(star ?? underscore, level + 1)));
    done = found.index + found[0].length;
  }
  if (done < text.length) made.push(visible(text.slice(done)));
  return made;
}
