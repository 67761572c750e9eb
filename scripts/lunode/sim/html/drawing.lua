-- The second part of the page's script: draws what is in view, and answers mouse and keys. Runs in the browser.

return [==[
const $ = id => document.getElementById(id);
const view = $("view"), paper = $("paper"), over = $("over"), pen = paper.getContext("2d");
const GUTTER = 96, MARK = 3.2;
const MANY = 400; // records in view, from which on what is usual steps back behind what is not
let dense = 0; // how many times that there are
let lanes = [], laneWidth = 0, selected = -1, colors = {}, hits = [];

function readColors() {
  const css = getComputedStyle(document.documentElement);
  for (const name of ["back", "panel", "ink", "faint", "rule", "lane", "message", "slow", "lost", "print", "select",
    "fault", "clock"])
    colors[name] = css.getPropertyValue("--" + name).trim();
}

function left(n) { return GUTTER + lanes.indexOf(n) * laneWidth - view.scrollLeft; }
function X(n) { return left(n) + Math.min(60, laneWidth * 0.22); } // labels stand to the right of the line

function size(canvas, w, h) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  canvas.style.width = w + "px";
  canvas.style.height = h + "px";
  canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}

function arrange() {
  lanes = names.map((_, n) => n).filter(n => shown.nodes.has(n));
  laneWidth = Math.max(110, (view.clientWidth - GUTTER) / Math.max(1, lanes.length));
  layout(view.clientHeight);
  $("length").style.height = Math.max(0, height - view.clientHeight) + "px";
  $("length").style.width = GUTTER + laneWidth * lanes.length + "px";
  size(paper, view.clientWidth, view.clientHeight);
  size(over, 18, view.clientHeight);
  draw();
}

// ---- drawing, from the back to the front; `top` is the scroll position

function text(s, x, y, color, width, bold) {
  pen.font = (bold ? "600 " : "") + "11px ui-monospace, monospace";
  const room = Math.max(1, Math.floor(width / 6.7));
  if (s.length > room) s = s.slice(0, room - 1) + "…";
  pen.fillStyle = colors.back;
  pen.globalAlpha = 0.82;
  pen.fillRect(x - 2, y - 6, pen.measureText(s).width + 4, 12);
  pen.globalAlpha = 1;
  pen.fillStyle = color;
  pen.fillText(s, x, y);
}

// Returns what is to be written over the lanes.
function drawFaults(top, bottom) {
  const labels = [];
  for (const f of faults) {
    const y0 = f.from < 0 ? 0 : Y[f.from], y1 = Math.max(Y[f.to], y0 + 3);
    if (y1 < top || y0 > bottom) continue;
    const clock = /clock|drift|jump/.test(f.r.F + " " + f.r.x);
    for (const n of f.nodes) {
      if (!shown.nodes.has(n)) continue;
      const x = left(n) + 3 + f.row * 9, w = Math.max(12, laneWidth - 6 - f.row * 18);
      const rgb = clock ? colors.clock : colors.fault;
      pen.fillStyle = "rgba(" + rgb + ", .13)";
      pen.fillRect(x, y0 - top, w, y1 - y0);
      pen.fillStyle = "rgba(" + rgb + ", .75)";
      pen.fillRect(x, y0 - top, 3, y1 - y0);
      pen.fillRect(x, y0 - top, w, 1);
      if (f.to < R.length) pen.fillRect(x, y1 - top - 1, w, 1);
      const y = Math.min(y1 - top - 2, Math.max(y0 - top + 8, 36 + f.row * 13));
      labels.push([line(f.r.x || f.r.F || "fault"), x + 7, y, "rgb(" + rgb + ")", w - 8, true]);
    }
  }
  return labels;
}

function drawLives(top, bottom) {
  for (const n of lanes) {
    const x = X(n);
    for (const s of lives[n].length ? lives[n] : [{ state: "up", from: 0, to: R.length }]) {
      const y0 = Math.max(Y[s.from], top) - top, y1 = Math.min(Y[s.to], bottom) - top;
      if (y1 < y0) continue;
      pen.beginPath();
      pen.setLineDash(s.state === "up" ? [] : s.state === "paused" ? [2, 3] : [1, 7]);
      pen.lineWidth = s.state === "paused" ? 7 : s.state === "up" ? 2 : 2;
      pen.strokeStyle = s.state === "up" ? colors.lane : s.state === "paused" ? colors.slow : colors.lost;
      pen.moveTo(x, y0);
      pen.lineTo(x, y1);
      pen.stroke();
      pen.setLineDash([]);
      if (s.state !== "up" && y1 - y0 > 26) {
        text(s.state, x + 8, Math.max(y0 + 13, 50), pen.strokeStyle, laneWidth / 2, true);
      }
    }
  }
  pen.lineWidth = 1;
}

// Beside the lane, from call to result.
function drawOperations(top, bottom) {
  for (const op of operations) {
    if (!shown.nodes.has(op.n) || Y[op.to] < top || Y[op.from] > bottom) continue;
    pen.fillStyle = colorOf({ k: op.end });
    pen.globalAlpha = 0.45;
    pen.fillRect(X(op.n) - 13, Y[op.from] - top, 7, Math.max(3, Y[op.to] - Y[op.from]));
    pen.globalAlpha = 1;
  }
}

function cross(x, y) {
  pen.beginPath();
  pen.moveTo(x - 5, y - 5); pen.lineTo(x + 5, y + 5);
  pen.moveTo(x + 5, y - 5); pen.lineTo(x - 5, y + 5);
  pen.stroke();
}

function arrow(x0, y0, x1, y1, head) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
  if (!head || dense > 2) return;
  const a = Math.atan2(y1 - y0, x1 - x0);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x1 - 8 * Math.cos(a - 0.35), y1 - 8 * Math.sin(a - 0.35));
  pen.lineTo(x1 - 8 * Math.cos(a + 0.35), y1 - 8 * Math.sin(a + 0.35));
  pen.fill();
}

// A message that was lost ends in a cross on its way; one that was sent again arrives later all the same.
function drawMessage(m, top, bottom) {
  const start = m.send ?? m.lost[0] ?? m.deliver;
  const end = m.deliver ?? (m.lost.length ? m.lost[m.lost.length - 1] : R.length);
  const y0 = Y[start] - top, y1 = Y[end] - top;
  if (Math.max(y0, y1) < 0 || Math.min(y0, y1) > bottom - top) return;
  const chosen = selected >= 0 && R[selected].m === m;
  const x0 = X(m.from), x1 = X(m.to);
  pen.strokeStyle = pen.fillStyle = chosen ? colors.select : m.lost.length ? colors.lost : m.slow ? colors.slow
    : colors.message;
  pen.lineWidth = chosen ? 2.6 : 1.2;
  if (dense > 1 && !chosen) pen.globalAlpha = Math.max(0.06, (m.lost.length || m.slow ? 0.8 : 0.4) / dense);
  if (m.deliver !== null) {
    if (m.lost.length) pen.setLineDash([5, 4]);
    if (m.from === m.to) arrow(x0 + 14, y0, x0 + MARK, y1, true);
    else arrow(x0, y0, x1, y1, true);
    pen.setLineDash([]);
  }
  for (const i of m.lost) {
    const y = Y[i] - top, x = x0 + (x1 - x0) * 0.55;
    arrow(x0, y0, x, Math.max(y, y0 + 4), false);
    pen.lineWidth = 2;
    cross(x, Math.max(y, y0 + 4));
  }
  if (m.deliver === null && !m.lost.length) { // still on its way when the trace ends
    pen.setLineDash([2, 4]);
    arrow(x0, y0, x0 + (x1 - x0) * 0.5, Math.min(y0 + 30, y1), false);
    pen.setLineDash([]);
  }
  pen.globalAlpha = 1;
}

// What there is to read in a message.
function gist(s) { return line(s.slice(0, 200)).replace(/(\\x[0-9a-f]{2}|\ufffd)+/g, "·").replace(/^·/, ""); }

function labelOf(r) {
  switch (r.k) {
    case "send": return r.d ? gist(r.d) : r.x ? line(r.x) : "";
    case "deliver": case "lost": return "";
    case "print": case "stderr": case "invoke": case "ok": case "failed": return line(r.x || "");
    case "unknown": return line(r.x || "") + " (unknown)";
    case "connect": return "connect → " + line(r.x || "");
    case "accept": return "accept ← " + line(r.x || "");
    default: return describe(r);
  }
}

function colorOf(r) {
  switch (r.k) {
    case "send": case "deliver": return colors.message;
    case "lost": case "error": case "crash": case "kill": case "reset": case "refused": case "stderr":
      return colors.lost;
    case "print": case "ok": return colors.print;
    case "pause": case "resume": case "clock": case "unknown": return colors.slow;
    case "boot": case "exit": case "invoke": return colors.ink;
    default: return colors.faint;
  }
}

const LOUD = new Set(["error", "crash", "kill", "boot", "exit", "pause", "resume", "signal", "clock"]);

function drawMarks(top, bottom) {
  const free = new Map(); // by lane: from where on there is room for a label
  for (const pass of [true, false]) { // what people and nodes say comes before what went over the network
    for (const r of visible) {
      const y = Y[r.at] - top;
      if (r.n === undefined || y < 20 || y > bottom - top + 10 || r.k === "lost") continue;
      const isMain = r.k !== "send" && r.k !== "deliver" && groupOf(r.k) !== "connections";
      if (isMain !== pass) continue;
      const x = X(r.n), color = colorOf(r);
      pen.fillStyle = color;
      pen.globalAlpha = dense > 1 && !isMain ? 0.25 : 1;
      pen.beginPath();
      if (LOUD.has(r.k)) pen.rect(x - 5, y - 5, 10, 10); else pen.arc(x, y, MARK, 0, 7);
      pen.fill();
      pen.globalAlpha = 1;
      if (r.at === selected) {
        pen.strokeStyle = colors.select;
        pen.lineWidth = 2;
        pen.beginPath();
        pen.arc(x, y, 8, 0, 7);
        pen.stroke();
      }
      hits.push({ x, y, at: r.at });
      if (dense > 1 && !isMain) continue;
      const taken = free.get(r.n) || free.set(r.n, []).get(r.n), label = labelOf(r);
      if (label && !taken.some(t => Math.abs(t - y) < 11)) {
        taken.push(y);
        const quiet = r.k === "send";
        text(label, x + 9, y, quiet ? colors.faint : color, quiet ? laneWidth * 0.55 : laneWidth - 16, LOUD.has(r.k));
      }
    }
  }
}

function drawAxis(top) {
  pen.fillStyle = colors.panel;
  pen.fillRect(0, 0, GUTTER - 8, view.clientHeight);
  pen.font = "11px ui-monospace, monospace";
  pen.textAlign = "right";
  let last = -20, lastTime = "";
  for (const r of visible) {
    const y = Y[r.at] - top;
    if (y < 24 || y > view.clientHeight || y - last < 14) continue;
    const time = seconds(r.t);
    if (time === lastTime) continue;
    pen.fillStyle = colors.faint;
    pen.fillText(time, GUTTER - 14, y);
    last = y;
    lastTime = time;
  }
  pen.textAlign = "left";
}

function drawHead() {
  pen.fillStyle = colors.panel;
  pen.fillRect(0, 0, view.clientWidth, 22);
  pen.fillStyle = colors.rule;
  pen.fillRect(0, 22, view.clientWidth, 1);
  pen.textAlign = "center";
  pen.font = "600 12px system-ui, sans-serif";
  pen.fillStyle = colors.ink;
  for (const n of lanes) pen.fillText(names[n].slice(0, Math.floor(laneWidth / 7)), X(n), 11);
  pen.textAlign = "right";
  pen.fillStyle = colors.faint;
  pen.fillText("time", GUTTER - 14, 11);
  pen.textAlign = "left";
}

function drawOverview() {
  const p = over.getContext("2d"), h = view.clientHeight, f = h / Math.max(height, h);
  p.clearRect(0, 0, 18, h);
  for (const fault of faults) {
    const from = fault.from < 0 ? 0 : Y[fault.from];
    p.fillStyle = "rgba(" + colors.fault + ", .3)";
    p.fillRect(0, from * f, 18, Math.max(2, (Y[fault.to] - from) * f));
  }
  const rows = new Float64Array(Math.ceil(h) + 1);
  for (const r of visible) {
    rows[Math.min(rows.length - 1, Math.floor(Y[r.at] * f))] += LOUD.has(r.k) || r.k === "lost" ? 6 : 1;
  }
  const most = Math.max(1, ...rows);
  p.fillStyle = colors.lane;
  rows.forEach((n, y) => { if (n) p.fillRect(0, y, 3 + 12 * n / most, 1); });
  p.strokeStyle = colors.select;
  p.lineWidth = 2;
  p.strokeRect(1, view.scrollTop * f + 1, 16, Math.max(6, h * f - 2));
}

function draw() {
  const top = view.scrollTop, bottom = top + view.clientHeight;
  hits = [];
  pen.textBaseline = "middle";
  pen.fillStyle = colors.back;
  pen.fillRect(0, 0, view.clientWidth, view.clientHeight);
  dense = visible.reduce((n, r) => n + (Y[r.at] >= top && Y[r.at] <= bottom ? 1 : 0), 0) / MANY;
  const labels = drawFaults(top, bottom);
  drawLives(top, bottom);
  if (shown.groups.has("operations")) drawOperations(top, bottom);
  if (shown.groups.has("messages")) for (const m of visibleMessages) drawMessage(m, top, bottom);
  drawMarks(top, bottom);
  for (const label of labels) text(...label);
  drawAxis(top);
  drawHead();
  drawOverview();
}

let asked = false;
function redraw() {
  if (!asked) {
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }
}
]==]
