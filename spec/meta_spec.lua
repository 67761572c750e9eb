-- bindings/lunode.meta.lua against the modules: it declares what there is, all of it, and nothing else.

local tmp = require "lunode.test.tmp"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "spec"
local text = assert(tmp.read(here .. "/../bindings/lunode.meta.lua"), "lunode.meta.lua is not where it was")

--- What the file declares: by the name of its local, the functions, methods and (for modules) fields.
local function parse()
  local declared, fields = {}, {}
  for line in text:gmatch("[^\n]+") do
    local class = line:match("^%-%-%-@class ([%w_.]+)")
    local field = line:match("^%-%-%-@field ([%w_]+)")
    local object = line:match("^local ([%w_]+) = {}$")
    local owner, kind, name = line:match("^function ([%w_]+)([.:])([%w_]+)%(")
    if class then
      fields = {}
    elseif field then
      fields[field] = "field"
    elseif object then
      assert(not declared[object], object .. " is declared twice")
      declared[object] = fields
      fields = {}
    elseif owner then
      assert(declared[owner], owner .. " has a function before it is declared")
      assert(not declared[owner][name], owner .. "." .. name .. " is declared twice")
      declared[owner][name] = kind == ":" and "method" or "function"
    elseif line:find("^function") then
      error("not understood: " .. line)
    end
  end
  return declared
end

local declared = parse()

--- What there is: the keys of a table.
local function actual(object, kind)
  local found = {}
  for name, value in pairs(object) do
    found[name] = type(value) == "function" and kind or "field"
  end
  return found
end

local function methods(name) -- REQUIRES: its module is loaded
  local meta = debug.getregistry()[name]
  assert.is_table(meta, "there is no type " .. name)
  local index = meta.__index
  if type(index) == "function" then -- of connections: the methods are what it looks into
    local _, upvalue = debug.getupvalue(index, 1)
    index = upvalue
  end
  return actual(index, "method")
end

describe("lunode.meta.lua", function()
  local modules = {
    "batch",
    "bits",
    "budget",
    "decoder",
    "edit",
    "hash",
    "lcs",
    "log",
    "loop",
    "mac",
    "msgpack",
    "nearby",
    "ranks",
    "resp",
    "score",
    "slot",
    "store",
    "tcp_client",
    "tcp_server",
    "watchdog",
  }
  local types = {
    timer = "lunode.timer",
    hook = "lunode.hook",
    signal = "lunode.signal",
    conn = "lunode.conn",
    server = "lunode.server",
    handle = "lunode.store_handle",
    snapshot = "lunode.snapshot",
    elements = "lunode.elements",
    members = "lunode.members",
    scored = "lunode.scored",
    rows = "lunode.rows",
    ranks_nodes = "lunode.ranks",
    nearby_members = "lunode.nearby",
    decoder_object = "lunode.decoder",
    builder = "lunode.batch",
    editor = "lunode.editor",
    watcher = "lunode.watcher",
    log_handle = "lunode.log_handle",
    names = "lunode.resp.names",
  }

  it("is a Lua file that returns the modules by name", function()
    local returned = assert(load(text))()
    local names = {}
    for name in pairs(returned) do
      names[#names + 1] = name
    end
    table.sort(names)
    local expected = table.move(modules, 1, #modules, 1, {})
    table.sort(expected)
    assert.same(expected, names)
  end)

  setup(function()
    for _, name in ipairs(modules) do
      require("lunode." .. name)
    end
  end)

  for _, name in ipairs(modules) do
    it("declares what lunode." .. name .. " has, and nothing else", function()
      assert.same(actual(require("lunode." .. name), "function"), declared[name])
    end)
  end

  for name, type_name in pairs(types) do
    it("declares the methods of " .. type_name .. ", and no others", function()
      local expected = methods(type_name)
      if name == "conn" then
        expected.data = "field"
      end
      assert.same(expected, declared[name])
    end)
  end

  it("declares nothing beside these", function()
    for name in pairs(declared) do
      local known = types[name] ~= nil
      for _, module in ipairs(modules) do
        known = known or module == name
      end
      assert.is_true(known, name)
    end
  end)

  --- The names of the @field lines of a class, without those it inherits.
  local function options_of(class)
    local names, inside = {}, false
    for line in text:gmatch("[^\n]+") do
      local start = line:match("^%-%-%-@class ([%w_.]+)")
      if start then
        inside = start == class
      elseif inside then
        names[#names + 1] = line:match("^%-%-%-@field ([%w_]+)%?")
      end
    end
    assert(#names > 0, "no class " .. class)
    return names
  end

  --- A value that the option refuses, so that trying it opens nothing: nil when the option is unknown.
  local function refusal(try, name)
    local ok, err = pcall(try, { [name] = io.stdout })
    assert(not ok, name .. " takes a file")
    return err:find("option '" .. name .. "' must", 1, true) and err or nil
  end

  it("names the options of connections as they are", function()
    local tcp_client = require "lunode.tcp_client"
    local tcp_server = require "lunode.tcp_server"
    local function client(options)
      tcp_client.connect("127.0.0.1", 1, options)
    end
    local function server(options)
      tcp_server.listen("127.0.0.1", 0, options)
    end
    for _, class in ipairs { "lunode.conn_options", "lunode.conn_callbacks" } do
      for _, name in ipairs(options_of(class)) do
        assert.is_truthy(refusal(client, name), name)
        assert.is_truthy(refusal(server, name), name)
      end
    end
    for _, name in ipairs(options_of("lunode.client_options")) do
      assert.is_truthy(refusal(client, name), name)
    end
    for _, name in ipairs(options_of("lunode.server_options")) do
      assert.is_truthy(refusal(server, name), name)
    end
  end)

  it("knows every option that conn_options.c takes", function()
    local source = assert(tmp.read(here .. "/../bindings/conn_options.c"))
    local known, count = {}, 0
    for _, class in ipairs { "conn_options", "conn_callbacks", "client_options", "server_options" } do
      for _, name in ipairs(options_of("lunode." .. class)) do
        known[name] = true
      end
    end
    for name in source:gmatch('strcmp%(key, "([%w_]+)"%)') do
      assert.is_true(known[name], name)
      count = count + 1
    end
    for name in source:gmatch('%[LN_ON_[%w_]+%] = "([%w_]+)"') do
      assert.is_true(known[name], name)
      count = count + 1
    end
    assert.is_true(count >= 18, "conn_options.c is written in another way now: " .. count)
  end)

  it("names what stats gives", function()
    local conn = require("lunode.tcp_client").connect("127.0.0.1", 1, {})
    local listed = text:match("@return {([^\n]*)}\nfunction conn:stats")
    local names = {}
    for name in listed:gmatch("([%w_]+): ") do
      names[name] = true
    end
    for name in pairs(conn:stats()) do
      assert.is_true(names[name], name)
      names[name] = nil
    end
    assert.same({}, names)
    conn:abort()
  end)
end)
