-- The first part of the page's script: what the records mean. Lives of nodes, messages with both their ends, faults
-- from begin to end, and where each record lies on the page. Draws nothing. Runs in the browser.

return [==[
"use strict";
window.addEventListener("error", e => { document.documentElement.dataset.error = e.message; });
const T = JSON.parse(document.getElementById("trace").textContent);
const R = T.records;

// Bytes come as characters up to U+00FF: text where they are valid UTF-8, else escapes.
const utf8 = new TextDecoder("utf-8", { fatal: true });
function bytesOf(s) { return Uint8Array.from(s, c => c.charCodeAt(0)); }
function readable(s) {
  let text;
  try { text = utf8.decode(bytesOf(s)); } catch (_) { text = s.replace(/[\x80-\xff]/g, hex); }
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2066-\u2069\ufeff]/g, hex);
}
function hex(c) {
  const named = { "\r": "\\r" }[c];
  const n = c.charCodeAt(0);
  return named || (n < 256 ? "\\x" + n.toString(16).padStart(2, "0") : "\\u" + n.toString(16).padStart(4, "0"));
}
function line(s) { return readable(s).replace(/\n/g, "\\n").replace(/\t/g, "\\t"); }

const names = T.nodes.map(line);
function nameOf(i) { return i === undefined ? "the world" : names[i]; }
function seconds(t) { return (Math.abs(t) < 1e-9 ? 0 : t).toFixed(6) + " s"; }
function span(dt) {
  return dt >= 1 ? dt.toFixed(3) + " s" : dt >= 0.001 ? (dt * 1e3).toFixed(3) + " ms" : (dt * 1e6).toFixed(0) + " µs";
}

// ---- messages: each has where it was sent, where it was lost (perhaps again and again), where it arrived

const messages = new Map();
R.forEach((r, i) => {
  r.at = i;
  if (r.i === undefined || !(r.k === "send" || r.k === "deliver" || r.k === "lost")) return;
  let m = messages.get(r.i);
  if (!m) messages.set(r.i, m = { id: r.i, send: null, lost: [], deliver: null, from: r.f, to: r.o });
  if (r.k === "lost") m.lost.push(i); else if (m[r.k] === null) m[r.k] = i;
  r.m = m;
});
const latencies = [];
for (const m of messages.values()) {
  if (m.send !== null && m.deliver !== null) {
    m.took = R[m.deliver].t - R[m.send].t;
    latencies.push(m.took);
  }
}
latencies.sort((a, b) => a - b);
const usual = latencies.length ? latencies[latencies.length >> 1] : 0;
for (const m of messages.values()) m.slow = m.took !== undefined && m.took > 5 * usual && m.took > 1e-4;

// ---- lives: what a node was, from one record to the next ("" is the end of the trace)

const ENDS = { exit: "ended", kill: "killed", crash: "crashed", error: null };
const lives = names.map(() => []);
R.forEach((r, i) => {
  if (r.n === undefined) return;
  const life = lives[r.n], last = life[life.length - 1];
  const state = r.k === "boot" ? "up" : r.k === "pause" ? "paused" : r.k === "resume" ? "up" : ENDS[r.k];
  if (!state || (last && last.state === state && r.k !== "boot")) return;
  if (last) last.to = i;
  life.push({ state, from: i, to: R.length });
});

// ---- operations of a history: a call and what came of it, one at a time for each who calls

const DONE = ["ok", "failed", "unknown"];
const operations = [], calling = new Map();
R.forEach((r, i) => {
  if (r.k === "invoke") {
    const op = { n: r.n, from: i, to: R.length, end: "unknown" };
    operations.push(op);
    calling.set(r.n, op);
  } else if (DONE.includes(r.k) && calling.has(r.n)) {
    const op = calling.get(r.n);
    calling.delete(r.n);
    op.to = i;
    op.end = r.k;
  }
});

// ---- faults: a begin and the end that belongs to it

const faults = [], open = [];
R.forEach((r, i) => {
  if (r.k !== "fault") return;
  if (r.p === "end") {
    const k = open.findLastIndex(f => f.key === r.F + "|" + (r.x || ""));
    if (k >= 0) open.splice(k, 1)[0].to = i;
    else faults.push({ from: -1, to: i, r, nodes: r.N || [] });
  } else {
    const nodes = r.N && r.N.length ? r.N : names.map((_, n) => n);
    const f = { from: i, to: R.length, r, key: r.F + "|" + (r.x || ""), nodes };
    faults.push(f);
    open.push(f);
  }
});
// Faults that overlap on a lane stand beside each other.
faults.forEach((f, i) => {
  const meets = o => o.to > f.from && o.nodes.some(n => f.nodes.includes(n));
  const taken = new Set(faults.slice(0, i).filter(meets).map(o => o.row));
  f.row = 0;
  while (taken.has(f.row)) f.row++;
});

// ---- what is shown, and where

const GROUPS = { messages: ["send", "deliver", "lost"], output: ["print", "stderr"], connections: ["connect", "accept",
  "close", "refused", "reset", "timeout"], operations: ["invoke", ...DONE] };
const ALL_GROUPS = ["messages", "output", "operations", "connections", "events"];
function groupOf(kind) {
  for (const g in GROUPS) if (GROUPS[g].includes(kind)) return g;
  return "events";
}
const shown = {
  nodes: new Set(names.keys()), groups: new Set(ALL_GROUPS), conn: "", find: "",
};
let scale = "order", zoom = 1;
let visible = [], Y = new Float64Array(R.length + 1), height = 0, visibleMessages = [];

function describe(r) {
  if (r.k === "fault") return (r.p === "end" ? "ends: " : "fault: ") + line(r.x || r.F || "");
  const who = r.k === "send" ? "→ " + nameOf(r.o) : r.k === "deliver" ? "← " + nameOf(r.f)
    : r.k === "lost" ? "lost on the way to " + nameOf(r.o) : r.k;
  return who + (r.i !== undefined ? " #" + r.i : "") + (r.x ? " " + line(r.x) : "");
}

function isShown(r) {
  if (r.k === "fault") return true;
  if (r.n !== undefined && !shown.nodes.has(r.n)) return false;
  if (!shown.groups.has(groupOf(r.k))) return false;
  if (shown.conn !== "" && r.c !== undefined && String(r.c) !== shown.conn) return false;
  if (shown.find && !r.m && !haystack(r).includes(shown.find)) return false;
  if (r.m && (!shown.nodes.has(r.m.from) || !shown.nodes.has(r.m.to))) return false;
  if (!shown.find || !r.m) return true;
  return [r.m.send, ...r.m.lost, r.m.deliver].some(i => i !== null && haystack(R[i]).includes(shown.find));
}
function haystack(r) {
  if (r.hay === undefined) {
    r.hay = (describe(r) + " " + nameOf(r.n) + " " + (r.d ? readable(r.d) : "")).toLowerCase();
  }
  return r.hay;
}

// In order, a row an event, and more between those that are further apart in time; or to scale.
function layout(viewHeight) {
  visible = R.filter(isShown);
  const first = R.length ? R[0].t : 0, all = Math.max(1e-9, T.now - first);
  let y = 30, next = 0;
  for (let i = 0; i <= R.length; i++) {
    const r = R[i];
    if (scale === "time") {
      y = 30 + ((r ? r.t : T.now) - first) / all * Math.max(200, viewHeight - 60) * zoom;
    } else if (next < visible.length && visible[next] === r) {
      const dt = next ? r.t - visible[next - 1].t : 0;
      if (next) y += (13 + Math.min(34, 7 * Math.log10(1 + dt / 1e-4))) * zoom;
      next++;
    }
    Y[i] = y;
  }
  if (scale === "order") Y[R.length] = y + 24 * zoom;
  height = Y[R.length] + 40;
  const ids = new Set();
  visibleMessages = [];
  for (const r of visible) if (r.m && !ids.has(r.m)) { ids.add(r.m); visibleMessages.push(r.m); }
}
]==]
