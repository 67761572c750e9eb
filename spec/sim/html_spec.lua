local html = require "lunode.sim.html"
local process = require "lunode.test.process"
local sim = require "lunode.sim"
local tmp = require "lunode.test.tmp"

local HOSTILE = table.concat {
  [[</script><script>document.documentElement.dataset.owned = 1</script><img src=x onerror="owned()">]],
  "<!--<script>",
  "\0\27[2J\xff\xfe\u{202e}\u{2028}\u{1f600}",
}

-- Two nodes that talk, a partition, a crash, and a node that prints and sends what could break a page.
local function make_world()
  local world = sim.new { seed = 5 }
  world:node("server", function()
    require("lunode.tcp_server").listen("127.1.0.1", 7000, {
      on_read = function(conn, data)
        conn:write(data)
      end,
    })
  end)
  world:node("client", function(text)
    local loop = require "lunode.loop"
    print(text)
    local conn = require("lunode.tcp_client").connect("127.1.0.1", 7000, {})
    loop.timer(0, function()
      conn:write(text)
    end, 0.5)
  end, { HOSTILE })
  world:run(2)
  local partition = world:partition { isolate = "server" }
  world:run(2)
  partition:stop()
  world:pause "server"
  world:run(1)
  world:resume "server"
  world:crash "server"
  world:run(1)
  world:restart "server"
  world:run(2)
  return world
end

local function count(text, piece)
  local n = 0
  for _ in text:gmatch(piece) do
    n = n + 1
  end
  return n
end

describe("the page of a trace", function()
  local world, page

  setup(function()
    world = make_world()
    page = html.page(world, { title = "a <title>", note = HOSTILE })
  end)

  it("has each node and each record, and nothing from elsewhere", function()
    assert.is_truthy(page:find('"nodes":["server","client"]', 1, true))
    assert.equal(#world:records(), count(page, '{"t":[^}]*"k":"'))
    assert.is_truthy(page:find(world:trace_hash(), 1, true))
    assert.is_nil(page:find("https?://"))
    assert.is_nil(page:find("<[^<>]* src="))
    assert.is_truthy(page:find("default-src 'none'", 1, true))
  end)

  it("has what nodes say as data, never as markup", function()
    assert.equal(2, count(page, "<script"))
    assert.equal(2, count(page, "</script>"))
    assert.is_nil(page:find("<img", 1, true))
    assert.is_nil(page:find("<!--", 1, true))
    assert.is_nil(page:find("\27", 1, true))
    assert.is_nil(page:find("\0", 1, true))
    assert.is_truthy(utf8.len(page), "it is not UTF-8")
    assert.is_truthy(page:find("<title>a &#60;title&#62;</title>", 1, true))
  end)

  it("is the same for the same run", function()
    assert.equal(page, html.page(make_world(), { title = "a <title>", note = HOSTILE }))
  end)

  it("says so where it cannot be written", function()
    local ok, err = html.write(world, tmp.dir() .. "/missing/trace.html")
    assert.is_nil(ok)
    assert.is_truthy(err:find("^cannot write the trace: .*/missing/trace.html: No such file"))
  end)

  it("keeps contents within bounds, and says how large they were", function()
    local other = sim.new()
    local data = ("x"):rep(100000)
    other:record { t = 0, kind = "send", node = "a", id = 1, from = "a", to = "b", bytes = #data, data = data }
    local text = html.page(other)
    assert.is_truthy(text:find('"b":100000', 1, true))
    assert.is_true(#text < 60000)
  end)

  -- A browser is much to install for one spec: it runs where there is one.
  local function browse(text)
    local dir = tmp.dir()
    tmp.write(dir .. "/trace.html", text)
    local browser = process.start {
      "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--user-data-dir=" .. dir .. "/profile", "--window-size=1200,800",
      "--dump-dom", "file://" .. dir .. "/trace.html",
      env = { HOME = dir },
    }
    local done, code = pcall(browser.wait, browser, 50)
    if not done then
      browser:close()
      pending "chromium did not end within 50 s: there is too little of this machine for it"
    end
    assert.equal(0, code, browser:stderr())
    return browser:stdout()
  end

  local function without_browser()
    if os.execute("command -v chromium >/dev/null") then
      return false
    end
    pending "there is no chromium here: apt-get install chromium"
    return true
  end

  it("is drawn by a browser without an error, and nothing that was sent runs in it", function()
    if without_browser() then
      return
    end
    local root = browse(page):match("<html[^>]*>")
    assert.is_truthy(root:find('data-state="ready"', 1, true), root)
    assert.is_truthy(root:find('data%-drawn="[1-9]'), root)
    assert.is_nil(root:find("data-error", 1, true), root)
    assert.is_nil(root:find("data-owned", 1, true), root)
  end)

  -- What a reader does, as a script after the page's own.
  local function act(steps)
    local script = ([[<script>
      const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const tell = (name, value) => { document.documentElement.dataset[name] = value; };
      const type = (id, value, event) => { $(id).value = value; $(id).dispatchEvent(new Event(event)); };
      %s
    </script>]]):format(steps)
    return (browse((page:gsub("</body>", function()
      return script .. "</body>"
    end))))
  end

  it("goes from event to event with keys, and shows what is in each, as text", function()
    if without_browser() then
      return
    end
    local dom = act [[
      press("Home"); tell("first", $("about").textContent);
      for (let i = 0; i < 1000; i++) press("j");
      tell("last", selected === visible[visible.length - 1].at);
      press("/"); view.focus(); press("Escape"); press("t"); press("+"); press("-"); press("t"); press("0");
      choose(R.findIndex(r => r.k === "send" && r.d), true);
      const from = selected;
      press("Enter"); tell("other", R[selected].k); press("Enter"); tell("back", selected === from);
    ]]
    local root, about = dom:match("<html[^>]*>"), dom:match('<aside.-</aside>')
    assert.is_nil(root:find("data%-error"), root)
    assert.is_nil(root:find("data%-owned"), root)
    assert.is_truthy(root:find("server%s+boot"), root)
    assert.is_truthy(root:find('data%-last="true"'), root)
    assert.is_truthy(root:find('data%-other="deliver"'), root)
    assert.is_truthy(root:find('data%-back="true"'), root)
    assert.is_truthy(about:find("&lt;script&gt;document", 1, true), about)
    assert.is_nil(about:find("<script", 1, true), about)
    assert.is_truthy(about:find("0000  3c 2f 73 63", 1, true), about) -- the bytes
  end)

  it("shows only the nodes, kinds, connection and text that are asked for", function()
    if without_browser() then
      return
    end
    local root = act([[
      const all = visible.length;
      type("find", "listening nowhere", "input"); tell("none", visible.every(r => r.k === "fault"));
      type("find", "owned()", "input"); tell("some", visible.length > 0 && visible.length < all);
      type("find", "", "input");
      $("nodes").querySelectorAll("input")[0].click(); tell("node", visible.every(r => r.n !== 0));
      $("nodes").querySelectorAll("input")[0].click();
      $("kinds").querySelectorAll("input")[0].click(); tell("kind", visible.every(r => r.k !== "send"));
      $("kinds").querySelectorAll("input")[0].click();
      type("conn", "1", "change"); tell("conn", visible.every(r => r.c === undefined || r.c === 1));
      type("conn", "", "change"); tell("all", visible.length === all);
    ]]):match("<html[^>]*>")
    assert.is_nil(root:find("data%-error"), root)
    for _, name in ipairs { "none", "some", "node", "kind", "conn", "all" } do
      assert.is_truthy(root:find(("data-%s=\"true\""):format(name), 1, true), name .. ": " .. root)
    end
  end)

  it("is drawn for a world in which nothing has happened, and for one with ten thousand records", function()
    if without_browser() then
      return
    end
    local empty, full = sim.new(), sim.new()
    for i = 1, 5000 do
      local from, to = "n" .. i % 5, "n" .. (i + 1) % 5
      full:record { t = i / 100, kind = "send", node = from, id = i, from = from, to = to, bytes = 3, data = "abc" }
      full:record { t = i / 100, kind = i % 7 == 0 and "lost" or "deliver", node = to, id = i, from = from, to = to }
    end
    for _, other in ipairs { empty, full } do
      local root = browse(html.page(other)):match("<html[^>]*>")
      assert.is_truthy(root:find('data-state="ready"', 1, true), root)
      assert.is_nil(root:find("data-error", 1, true), root)
    end
  end)
end)
