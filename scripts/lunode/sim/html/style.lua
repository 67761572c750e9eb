-- What the page of a trace consists of before its script runs: elements, and how they look, by day and by night.

local M = {}

M.css = [[
:root {
  --back: #fbfbfa; --panel: #f1f1ee; --ink: #1d1f21; --faint: #63686e; --rule: #d5d5d0; --lane: #9aa1a8;
  --message: #2f6fb3; --slow: #b26a00; --lost: #c62828; --print: #1b6e3c; --select: #7b2fbf; --fault: 200, 60, 40;
  --clock: 120, 90, 190; color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #16181b; --panel: #202328; --ink: #e4e6e8; --faint: #9aa2ab; --rule: #363b42; --lane: #59616b;
    --message: #74b0ee; --slow: #f0b050; --lost: #ff7b72; --print: #7fd79a; --select: #d0a2ff; --fault: 240, 100, 80;
    --clock: 170, 140, 240;
  }
}
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body {
  display: flex; flex-direction: column; background: var(--back); color: var(--ink);
  font: 13px/1.4 system-ui, sans-serif;
}
header { padding: 8px 12px; background: var(--panel); border-bottom: 1px solid var(--rule); }
h1 { display: inline; margin: 0 12px 0 0; font-size: 15px; }
#facts { color: var(--faint); }
#note { margin: 6px 0 0; max-height: 11em; overflow: auto; white-space: pre; font: 12px/1.35 ui-monospace, monospace; }
nav { display: flex; flex-wrap: wrap; gap: 4px 12px; margin-top: 6px; align-items: center; }
fieldset { display: inline-flex; flex-wrap: wrap; gap: 2px 8px; margin: 0; padding: 0; border: 0; }
legend { float: left; margin-right: 6px; padding: 0; color: var(--faint); }
label { white-space: nowrap; }
input[type=checkbox] { margin: 0 3px 0 0; vertical-align: -1px; }
input[type=search], select, button {
  font: inherit; color: inherit; background: var(--back); padding: 2px 7px;
  border: 1px solid var(--rule); border-radius: 4px;
}
:focus-visible { outline: 2px solid var(--select); outline-offset: 1px; }
main { flex: 1; display: flex; min-height: 0; }
#view { flex: 1; position: relative; overflow: auto scroll; min-width: 0; }
#paper { position: sticky; top: 0; left: 0; display: block; }
#over { width: 18px; cursor: pointer; border-left: 1px solid var(--rule); }
aside { width: 340px; padding: 10px 12px; overflow: auto; border-left: 1px solid var(--rule); }
aside { background: var(--panel); }
aside h2 { margin: 0 0 6px; font-size: 14px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 1px 10px; margin: 0 0 8px; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 4px 0 10px; white-space: pre-wrap; overflow-wrap: anywhere; font: 12px/1.35 ui-monospace, monospace; }
pre.hex { white-space: pre; overflow-x: auto; }
kbd { padding: 0 4px; border: 1px solid var(--rule); border-radius: 3px; font: 11px ui-monospace, monospace; }
aside ul { padding-left: 16px; margin: 4px 0; color: var(--faint); }
@media (max-width: 800px) { aside { width: 240px; } }
]]

M.body = [[
<header>
<h1>%s</h1><span id="facts"></span>
<pre id="note" hidden></pre>
<nav>
<fieldset id="nodes"><legend>nodes</legend></fieldset>
<fieldset id="kinds"><legend>show</legend></fieldset>
<label>connection <select id="conn"><option value="">all</option></select></label>
<input type="search" id="find" size="18" placeholder="text or content" aria-label="only what contains this text">
<span><button id="out" title="less detail (-)">−</button> <button id="in" title="more detail (+)">+</button>
<button id="scale" title="what the distance between events means (t)"></button></span>
</nav>
</header>
<main>
<div id="view" tabindex="0" role="application" aria-label="space-time diagram; arrow keys go from event to event">
<canvas id="paper"></canvas><div id="length"></div></div>
<canvas id="over" aria-hidden="true"></canvas>
<aside id="about" aria-live="polite"></aside>
</main>
]]

return M
