// Numbers, times and sizes as people read them. Everything here is pure; a missing value is an en dash.
const NONE = "–";
const missing = (value) => value === null || value === undefined || Number.isNaN(value);
const grouped = new Intl.NumberFormat("en-US");

/** Milliseconds: 950 µs, 12.3 ms, 1.24 s, 3 m 05 s, 2 h 07 m. */
export function duration(ms) {
  if (missing(ms)) return NONE;
  if (ms < 0.0005) return "0";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${pad(s % 60)} s`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A whole number with separators: 12,345. */
export const count = (n) => (missing(n) ? NONE : grouped.format(n));

/** A count that fits a narrow column or an axis: 950, 1.2k, 34M; `even` ones stand below each other: 4.0k. */
export function short(n, { even = false } = {}) {
  if (missing(n)) return NONE;
  for (const [size, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (Math.abs(n) >= size * 0.9995) return `${even ? digits(n / size) : trim(n / size)}${unit}`;
  }
  return Number.isInteger(n) ? String(n) : trim(n);
}

/** US dollars; small amounts keep two significant digits. */
export function cost(usd) {
  if (missing(usd)) return NONE;
  if (usd === 0) return "$0";
  if (usd >= 100) return `$${grouped.format(Math.round(usd))}`;
  if (usd >= 0.1) return `$${usd.toFixed(2)}`;
  return `$${usd.toFixed(Math.min(7, 1 - Math.floor(Math.log10(usd))))}`;
}

/** Characters, as a size. */
export function size(n) {
  if (n < 1000) return `${n}`;
  if (n < 1e6) return `${trim(n / 1e3)} k`;
  return `${trim(n / 1e6)} M`;
}

/** A moment in a list: 14:03:22 today, yesterday with its day, older with its date. */
export function moment(ms, now = Date.now()) {
  if (missing(ms)) return NONE;
  const date = new Date(ms);
  const day = new Date(now);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  if (date.toDateString() === day.toDateString()) return time;
  const sameYear = date.getFullYear() === day.getFullYear();
  const month = date.toLocaleString("en-US", { month: "short" });
  return sameYear
    ? `${month} ${date.getDate()} ${time}`
    : `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** A moment in full, with milliseconds and the offset of this place. */
export function exact(ms) {
  if (missing(ms)) return NONE;
  const d = new Date(ms);
  const zone = -d.getTimezoneOffset();
  const offset = `${zone < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(zone) / 60))}:${pad(Math.abs(zone) % 60)}`;
  return (
    `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:` +
    `${pad(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")} ${offset}`
  );
}

/** How long ago, roughly: now, 40 s ago, 5 min ago. */
export function ago(ms, now = Date.now()) {
  if (missing(ms)) return NONE;
  const s = Math.max(0, (now - ms) / 1000);
  if (s < 5) return "now";
  for (const [limit, unit, name] of [
    [60, 1, "s"],
    [3600, 60, "min"],
    [86_400, 3600, "h"],
    [Infinity, 86_400, "d"],
  ]) {
    if (s < limit) return `${Math.floor(s / unit)} ${name} ago`;
  }
  return NONE;
}

/** Read "250", "250ms", "1.5 s", "2m" or "1h" as milliseconds; undefined when it is none of these. */
export function parseDuration(text) {
  const match = /^\s*([\d.]+)\s*(µs|us|ms|s|m|min|h)?\s*$/.exec(text);
  if (!match || !Number.isFinite(Number(match[1]))) return undefined;
  const unit = { µs: 0.001, us: 0.001, ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 }[match[2] || "ms"];
  return Number(match[1]) * unit;
}

/** "1 event", "2 events". */
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

const pad = (n) => String(n).padStart(2, "0");
const digits = (n) => n.toFixed(Math.abs(n) < 9.95 ? 1 : 0);
const trim = (n) => digits(n).replace(/\.0$/, "");
