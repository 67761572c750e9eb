-- The last part of the page's script: what is known of the chosen event, filters, mouse and keys. Runs in the browser.

return [==[
function element(name, content, className) {
  const e = document.createElement(name);
  if (content !== undefined) e.textContent = content;
  if (className) e.className = className;
  return e;
}

// ---- about one event. Everything from the trace goes in as text, never as markup.

function dump(s) {
  const bytes = bytesOf(s.slice(0, 1024)), lines = [];
  for (let i = 0; i < bytes.length; i += 8) {
    const part = Array.from(bytes.slice(i, i + 8));
    lines.push(i.toString(16).padStart(4, "0") + "  "
      + part.map(b => b.toString(16).padStart(2, "0")).join(" ").padEnd(25)
      + part.map(b => b > 31 && b < 127 ? String.fromCharCode(b) : "·").join(""));
  }
  return lines.join("\n") + (s.length > 1024 ? "\n…" : "");
}

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) if (value !== undefined) list.append(element("dt", name), element("dd", value));
  return list;
}

function fateOf(m) {
  if (m.deliver !== null) {
    return (m.lost.length ? "lost, sent again, and " : "") + "delivered at " + seconds(R[m.deliver].t)
      + (m.took !== undefined ? ", after " + span(m.took) + (m.slow ? " (slow)" : "") : "");
  }
  return m.lost.length ? "lost at " + seconds(R[m.lost[m.lost.length - 1]].t) : "on its way when the trace ends";
}

const HELP = [["↓ ↑ j k", "next, previous event"], ["] [", "the same, of this connection"],
  ["Enter", "the other end of a message"], ["+ - 0", "zoom"], ["t", "distances: order or time"], ["/", "filter"],
  ["Esc", "choose nothing"], ["Home End", "first, last"]];

function aboutKeys(box) {
  const list = element("ul");
  for (const [keys, what] of HELP) {
    const item = element("li");
    for (const k of keys.split(" ")) item.append(element("kbd", k), " ");
    item.append(what);
    list.append(item);
  }
  box.append(element("h2", "Choose an event"), list);
}

function about() {
  const box = $("about");
  box.replaceChildren();
  if (selected < 0) return aboutKeys(box);
  const r = R[selected], m = r.m;
  box.append(element("h2", nameOf(r.n) + "  " + describe(r)));
  box.append(facts([["time", seconds(r.t)], ["what", r.k], ["connection", r.c],
    ["from", r.f !== undefined ? nameOf(r.f) : undefined], ["to", r.o !== undefined ? nameOf(r.o) : undefined],
    ["bytes", r.b],
    ["sent", m && m.send !== null ? seconds(R[m.send].t) : undefined], ["fate", m ? fateOf(m) : undefined],
    ["nodes", r.N ? r.N.map(nameOf).join(", ") : undefined]]));
  if (r.x) box.append(element("pre", readable(r.x)));
  if (r.d) {
    box.append(element("pre", readable(r.d)), element("pre", dump(r.d), "hex"));
    if (r.b > r.d.length) box.append(element("p", "The first " + r.d.length + " of " + r.b + " bytes."));
  }
}

function choose(i, scroll) {
  selected = i;
  if (i >= 0 && scroll) {
    const y = Y[i];
    const isInView = y > view.scrollTop + 50 && y < view.scrollTop + view.clientHeight - 40;
    if (!isInView) view.scrollTop = y - view.clientHeight / 2;
    history.replaceState(null, "", "#" + i);
  }
  about();
  redraw();
}

function go(step, same) {
  const conn = same && selected >= 0 ? R[selected].c : undefined;
  const list = conn !== undefined ? visible.filter(r => r.c === conn) : visible;
  if (!list.length) return;
  let k = list.findIndex(r => r.at >= selected);
  if (selected < 0) {
    k = list.findIndex(r => Y[r.at] >= view.scrollTop + 24);
    return choose(list[Math.max(0, k)].at, true);
  }
  if (k < 0) k = list.length;
  if (step > 0 && list[k] && list[k].at > selected) step = 0;
  choose(list[Math.min(list.length - 1, Math.max(0, k + step))].at, true);
}

function otherEnd() {
  const m = selected >= 0 && R[selected].m;
  if (!m) return;
  const other = selected === m.send ? m.deliver ?? m.lost[0] : m.send;
  if (other !== null && other !== undefined) choose(other, true);
}

function setZoom(factor) {
  const y = view.scrollTop + view.clientHeight / 2;
  let i = visible.findIndex(r => Y[r.at] >= y);
  i = i < 0 ? R.length : visible[i].at;
  zoom = factor === 0 ? 1 : Math.min(40, Math.max(scale === "time" ? 1 : 0.15, zoom * factor));
  arrange();
  view.scrollTop = Y[i] - view.clientHeight / 2;
}

function setScale(name) {
  scale = name;
  zoom = 1;
  $("scale").textContent = name === "time" ? "distances: time" : "distances: order";
  arrange();
  if (selected >= 0) choose(selected, true);
}

// ---- filters

function checkbox(parent, label, set, value) {
  const box = element("label"), input = element("input");
  input.type = "checkbox";
  input.checked = set.has(value);
  input.addEventListener("change", () => { set[input.checked ? "add" : "delete"](value); arrange(); });
  box.append(input, label);
  parent.append(box);
}

function setUp() {
  names.forEach((name, n) => checkbox($("nodes"), name, shown.nodes, n));
  for (const g of ALL_GROUPS) checkbox($("kinds"), g, shown.groups, g);
  const ends = new Map();
  for (const r of R) {
    if (r.c === undefined || ends.has(r.c)) continue;
    ends.set(r.c, r.f !== undefined ? nameOf(r.f) + " – " + nameOf(r.o) : nameOf(r.n));
  }
  for (const [c, who] of ends) {
    const option = element("option", c + ": " + who);
    option.value = c;
    $("conn").append(option);
  }
  const left = T.count - R.length;
  $("facts").textContent = "seed " + T.seed + " · " + seconds(T.now) + " · " + R.length + " records"
    + (left > 0 ? " (" + left + " earlier ones were not kept)" : "") + " · trace " + T.hash;
  if (T.note) {
    $("note").textContent = readable(T.note);
    $("note").hidden = false;
  }
  $("conn").addEventListener("change", () => { shown.conn = $("conn").value; arrange(); });
  $("find").addEventListener("input", () => { shown.find = $("find").value.toLowerCase(); arrange(); });
  $("in").addEventListener("click", () => setZoom(1.5));
  $("out").addEventListener("click", () => setZoom(1 / 1.5));
  $("scale").addEventListener("click", () => setScale(scale === "time" ? "order" : "time"));
}

// ---- mouse and keys

paper.addEventListener("click", e => {
  const box = paper.getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
  let best = null, least = 400;
  for (const h of hits) {
    const d = (h.x - x) ** 2 + (h.y - y) ** 2;
    if (d < least) { least = d; best = h.at; }
  }
  choose(best ?? messageAt(x, y) ?? rowAt(x, y) ?? -1, false);
});

// The message whose arrow passes the point.
function messageAt(x, y) {
  let best = null, least = 6;
  for (const m of visibleMessages) {
    const a = m.send ?? m.lost[0] ?? m.deliver, b = m.deliver ?? m.lost[0] ?? a;
    const x0 = X(m.from), y0 = Y[a] - view.scrollTop, dx = X(m.to) - x0, dy = Y[b] - view.scrollTop - y0;
    const f = Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / Math.max(1, dx * dx + dy * dy)));
    const d = Math.hypot(x0 + f * dx - x, y0 + f * dy - y);
    if (d < least) { least = d; best = a; }
  }
  return best;
}

// The event whose label is there.
function rowAt(x, y) {
  const h = hits.filter(h => Math.abs(h.y - y) < 7 && x > h.x && x < h.x + laneWidth - 16);
  return h.length ? h[0].at : null;
}

const KEYS = {
  j: () => go(1), ArrowDown: () => go(1), k: () => go(-1), ArrowUp: () => go(-1),
  "]": () => go(1, true), "[": () => go(-1, true),
  Enter: otherEnd, "+": () => setZoom(1.5), "=": () => setZoom(1.5), "-": () => setZoom(1 / 1.5), 0: () => setZoom(0),
  t: () => setScale(scale === "time" ? "order" : "time"), "/": () => $("find").focus(), Escape: () => choose(-1),
  Home: () => visible.length && choose(visible[0].at, true),
  End: () => visible.length && choose(visible[visible.length - 1].at, true),
};
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  if (/^(INPUT|SELECT|BUTTON)$/.test(e.target.tagName)) {
    if (e.key === "Escape") view.focus();
    return;
  }
  const act = KEYS[e.key];
  if (act) { e.preventDefault(); act(); }
});
over.addEventListener("pointerdown", e => { over.setPointerCapture(e.pointerId); drag(e); });
over.addEventListener("pointermove", e => { if (e.buttons) drag(e); });
function drag(e) {
  const f = (e.clientY - over.getBoundingClientRect().top) / view.clientHeight;
  view.scrollTop = f * Math.max(height, view.clientHeight) - view.clientHeight / 2;
}
view.addEventListener("scroll", redraw);
window.addEventListener("resize", arrange);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); redraw(); });

readColors();
setUp();
about();
setScale("order");
const wanted = /^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : -1;
if (R[wanted]) choose(wanted, true);
else view.scrollTop = height; // failures are at the end
draw();
document.documentElement.dataset.drawn = hits.length;
document.documentElement.dataset.state = "ready";
]==]
