-- Writes the API reference to stdout, from the annotations in bindings/lunode.meta.lua and in the scripts: ./dev docs.
-- A development tool for lua5.4 or lunode; no part of the library. It lists every module right in scripts/lunode/ but
-- those named in INTERNAL, those named in WITHIN, and the classes that their functions take or give.

local ROOT = arg[0]:match("^(.*)/docs/[^/]*$") or "."
package.path = ROOT .. "/docs/?.lua;" .. package.path
local annotations = require "annotations"

local INTERNAL = { cli = true, version = true }
local WITHIN = { ["sim/history"] = true, ["sim/html"] = true } -- public ones in the folder of another

-- Of these classes only the methods and the fields that are meant for users: the rest serves the module itself.
local METHODS = {
  ["lunode.kv.db"] = "get set delete exists",
  ["lunode.kv.node"] = "close",
  ["lunode.kv.session"] = "",
  ["lunode.rpc.call"] = "cancel",
  ["lunode.rpc.connection"] = "call notify open",
  ["lunode.rpc.peer"] = "call notify open state stats close",
  ["lunode.sim.history"] = "invoke ok fail unknown attempt check",
  ["lunode.sim.loop"] = "",
  ["lunode.sim.net"] = "fault partition heal between name",
  ["lunode.sim.node"] = "active output require signal",
  ["lunode.sim.world"] = "node get run run_until step check_idle at cancel stream trace records trace_hash "
    .. "fault partition heal swarm has_fault kill crash restart pause resume jump_clock drift_clock",
  ["lunode.rpc.stream"] = "send finish receive chunks result close cancel",
}
local FIELDS = {
  ["lunode.sim.history"] = "operations",
  ["lunode.sim.fault"] = "kind nodes active",
  ["lunode.sim.net_fault"] = "kind active text",
  ["lunode.sim.net"] = "",
  ["lunode.sim.node"] = "name number address state boot exit_code",
  ["lunode.sim.world"] = "now seed nodes net schedule failures",
  ["lunode.kv.db"] = "now",
  ["lunode.kv.session"] = "id name protocol authenticated created",
  ["lunode.rpc.call"] = "",
  ["lunode.rpc.connection"] = "address closed",
  ["lunode.rpc.peer"] = "address",
}

local function read(path)
  local file <close> = assert(io.open(ROOT .. "/" .. path, "r"))
  return file:read("a")
end

local function list_files(dir)
  local quoted = "'" .. (ROOT .. "/" .. dir):gsub("'", [['\'']]) .. "'"
  local pipe = assert(io.popen(("find %s -name '*.lua' 2>/dev/null | LC_ALL=C sort"):format(quoted), "r"))
  local files = {}
  for path in pipe:lines() do
    files[#files + 1] = path:sub(#ROOT + 2)
  end
  pipe:close()
  return files
end

-- ---------------------------------------------------------------- what is public

local known = {} -- the classes and aliases that have a place of their own

local function is_shown(words, item)
  return not words or (" " .. words .. " "):find(" " .. item.name .. " ", 1, true) ~= nil
end

-- The chapters of the C modules: those of the file.
local function c_chapters()
  local file = annotations.parse(read "bindings/lunode.meta.lua")
  local chapters = {}
  for _, section in ipairs(file.sections) do
    local owners, chapter = {}, { title = section.title, text = {}, entries = {} }
    for _, item in ipairs(section.items) do
      if item.kind == "class" or item.kind == "alias" then
        known[item.name] = true
        chapter.entries[#chapter.entries + 1] = { item = item, members = {} }
        owners[item.object or item.name] = chapter.entries[#chapter.entries]
      elseif item.kind == "function" then
        local entry = assert(owners[item.owner], "a function before its class: " .. item.name)
        item.prefix = item.owner
        entry.members[#entry.members + 1] = item
      end
    end
    if #chapter.entries > 0 then
      chapters[#chapters + 1] = chapter
    end
  end
  return chapters, file.header
end

-- What the main file takes over from the others: `M.command = command.command`, or `event = sync.event` in its table.
local function exports(text)
  local found = {}
  for name, file, member in text:gmatch("\n%s*M?%.?([%w_]+) = ([%w_]+)%.([%w_]+),?%f[\n]") do
    found[file .. "." .. member] = name
  end
  return found
end

-- All of one file of a module: its public functions into `functions`, its classes with their methods into `classes`.
local function collect(path, main, exported, functions, classes)
  local base = path:match("([%w_]+)%.lua$")
  local owners = {}
  for _, section in ipairs(annotations.parse(read(path)).sections) do
    for _, item in ipairs(section.items) do
      if item.kind == "class" or item.kind == "alias" then
        local entry = classes[item.name] or { item = item, members = {} }
        if #item.fields > #entry.item.fields or #entry.item.text == 0 then
          entry.item = item -- one that only names the class again adds nothing
        end
        classes[item.name] = entry
        if item.object then
          owners[item.object] = entry
        end
      elseif item.owner == "M" and item.documented then
        local name = main and item.name or exported[base .. "." .. item.name]
        if name and not functions[name] then -- the main file, which comes first, may have said what it does
          item.name = name
          functions[#functions + 1], functions[name] = item, true
        end
      elseif owners[item.owner] and item.documented and item.method then
        local entry = owners[item.owner]
        item.prefix = entry.item.name:match("([%w_]+)$")
        entry.members[#entry.members + 1] = item
      end
    end
  end
end

local function mentioned(item, visit)
  for _, list in ipairs { item.params or {}, item.returns or {}, item.fields or {} } do
    for _, value in ipairs(list) do
      for name in value.type:gmatch("lunode%.[%w_.]+") do
        visit((name:gsub("%.+$", "")))
      end
    end
  end
end

-- A chapter for a module of ours: its functions, then the classes that these take and give, and so on.
local function script_chapter(name, main)
  local text = read(main)
  local exported, functions, classes = exports(text), {}, {}
  local files = { main }
  for _, path in ipairs(list_files("scripts/lunode/" .. name)) do
    if path ~= main then
      files[#files + 1] = path
    end
  end
  for _, path in ipairs(files) do
    collect(path, path == main, exported, functions, classes)
  end

  local full = "lunode." .. name:gsub("/", ".")
  local header = annotations.parse(text).header
  local chapter = { title = full, text = { header[1] }, entries = {} }
  for i = 2, #header do
    if header[i]:find("^%* ") then
      chapter.text[#chapter.text + 1] = header[i]
    end
  end
  chapter.entries[1] = { item = { kind = "module", name = full, text = {}, fields = {} }, members = functions }
  local function include(class)
    local entry = classes[class]
    if not entry or known[class] then
      return
    end
    known[class] = true
    local members, shown = {}, {}
    for _, item in ipairs(entry.members) do
      members[#members + 1] = is_shown(METHODS[class], item) and item or nil
    end
    for _, field in ipairs(entry.item.fields) do
      shown[#shown + 1] = is_shown(FIELDS[class], field) and field or nil
    end
    entry.members, entry.item.fields = members, shown
    chapter.entries[#chapter.entries + 1] = entry
    mentioned(entry.item, include)
    for _, item in ipairs(members) do
      mentioned(item, include)
    end
  end
  for _, item in ipairs(functions) do
    item.prefix = name:match "[^/]+$"
    mentioned(item, include)
  end
  return chapter
end

local function script_chapters()
  local chapters = {}
  for _, path in ipairs(list_files "scripts/lunode") do
    local name = path:match("^scripts/lunode/([%w_]+)%.lua$") or path:match("^scripts/lunode/([%w_]+)/init%.lua$")
    name = name or WITHIN[path:match("^scripts/lunode/(.*)%.lua$")] and path:match("^scripts/lunode/(.*)%.lua$")
    if name and not INTERNAL[name] then
      chapters[#chapters + 1] = script_chapter(name, path)
    end
  end
  return chapters
end

-- ---------------------------------------------------------------- how it looks

local out = {}

local function put(format, ...)
  out[#out + 1] = select("#", ...) > 0 and format:format(...) or format
end

local function paragraphs(text)
  for i, paragraph in ipairs(text) do
    put("%s", (paragraph:gsub("docs/([%w_/-]-([%w_-]+)%.md)", "[%2](%1)")))
    local next_one = text[i + 1]
    if not (next_one and paragraph:find("^%* ") and next_one:find("^%* ")) then
      put ""
    end
  end
end

local function anchor(heading)
  return "#" .. heading:lower():gsub("[^%w_ -]", ""):gsub(" ", "-")
end

-- A type as code; one that is documented here, as a link.
local function show_type(type_name)
  local bare = type_name:gsub("%?$", ""):gsub("%[%]$", "")
  if known[bare] then
    return ("[`%s`](%s)"):format(type_name, anchor(bare))
  end
  return "`" .. type_name .. "`"
end

local function width(text)
  return utf8.len(text) or #text
end

local function pad(text, columns)
  return text .. (" "):rep(columns - width(text))
end

-- A table of Markdown whose source is a table, too; the last column is as wide as it happens to be.
local function put_table(rows)
  local columns = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      row[i] = cell:gsub("|", "\\|")
      columns[i] = math.max(columns[i] or 3, width(row[i]))
    end
  end
  local last = #rows[1]
  columns[last] = 3
  local rule = {}
  for i = 1, last do
    rule[i] = ("-"):rep(columns[i])
  end
  table.insert(rows, 2, rule)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = i < last and pad(cell, columns[i]) or cell
    end
    put("%s", ("| " .. table.concat(cells, " | ") .. " |"):gsub("  |$", " |"))
  end
  put ""
end

local function put_fields(fields)
  if #fields > 0 then
    local rows = { { "field", "type", "" } }
    for i, field in ipairs(fields) do
      local name = field.name .. (field.optional and "?" or "")
      rows[i + 1] = { "`" .. name .. "`", show_type(annotations.bare(field.type)), field.text }
    end
    put_table(rows)
  end
end

local function signature(item)
  local optional, arguments = {}, {}
  for _, param in ipairs(item.params) do
    optional[param.name] = param.optional
  end
  for i, name in ipairs(item.arguments) do
    arguments[i] = name == "..." and "…" or name .. (optional[name] and "?" or "")
  end
  return ("%s%s%s(%s)"):format(item.prefix, item.method and ":" or ".", item.name, table.concat(arguments, ", "))
end

local function put_param(param)
  local name = param.name == "..." and "…" or param.name .. (param.optional and "?" or "")
  local line = ("- `%s` %s"):format(name, show_type(annotations.bare(param.type)))
  put("%s", param.text ~= "" and line .. ": " .. param.text or line)
end

local function show_value(value, type_name)
  local name = value.name and (value.name == "..." and "`…` " or ("`%s` "):format(value.name)) or ""
  return name .. show_type(type_name)
end

-- All that a function returns, in one line; `nil, err, code`, which so many do, in short.
local function put_returns(returns)
  local count, shown, texts = #returns, {}, {}
  local err, code = returns[count - 1], returns[count]
  local fails = count > 2 and err.name == "err" and code.name == "code"
  for i = 1, fails and count - 2 or count do
    local value = returns[i]
    shown[i] = show_value(value, fails and i == 1 and annotations.bare(value.type) or value.type)
    texts[#texts + 1] = value.text ~= "" and value.text or nil
  end
  local line = "- → " .. table.concat(shown, ", ") .. (#texts > 0 and ": " .. table.concat(texts, "; ") or "")
  if fails then
    local why = err.text ~= "" and code.text ~= "" and err.text .. "; " .. code.text or err.text .. code.text
    line = line .. "; or `nil, err, code`" .. (why ~= "" and ": " .. why or "")
  end
  put("%s", line)
end

local function put_function(item)
  put("#### `%s`", signature(item))
  put ""
  paragraphs(item.text)
  local before = #out
  for _, param in ipairs(item.params) do
    put_param(param)
  end
  if #item.returns > 0 then
    put_returns(item.returns)
  end
  if #out > before then
    put ""
  end
end

local function put_entry(entry, chapter)
  local item = entry.item
  local is_chapter = item.name == chapter.title
  if not is_chapter then
    put("### %s", item.name)
    put ""
  elseif item.kind == "class" and chapter.entries[1] ~= entry then -- objects that are called as their module
    put("### %s, the object", item.name)
    put ""
  end
  paragraphs(item.text)
  if item.kind == "alias" then
    put("`%s`", item.type)
    put ""
  end
  put_fields(item.fields)
  if item.parent then
    put("And all of [`%s`](%s).", item.parent, anchor(item.parent))
    put ""
  end
  for _, member in ipairs(entry.members) do
    if member.kind == "function" then
      put_function(member)
    else
      put("#### `%s.%s`", member.prefix, member.name)
      put ""
      paragraphs(member.text)
      if member.type then
        put("- `%s`", member.type)
        put ""
      end
    end
  end
end

local chapters, header = c_chapters()
for _, chapter in ipairs(script_chapters()) do
  chapters[#chapters + 1] = chapter
end

put "# Reference"
put ""
put "Made by `./dev docs` from the annotations in [bindings/lunode.meta.lua](../bindings/lunode.meta.lua) and in"
put "[scripts/lunode](../scripts/lunode): change them, not this page. The [guide](guide/README.md) is where to begin."
put ""
for _, chapter in ipairs(chapters) do
  chapter.title = chapter.title or "Conventions"
  put("- [%s](%s)", chapter.title, anchor(chapter.title))
end
put ""
for _, chapter in ipairs(chapters) do
  put("## %s", chapter.title)
  put ""
  if chapter.title == "Conventions" then
    put("%s", header[2])
    put ""
    put "`name?` is optional, or may be nil. `→` is what a function returns."
    put ""
  end
  paragraphs(chapter.text)
  for _, entry in ipairs(chapter.entries) do
    put_entry(entry, chapter)
  end
end
while out[#out] == "" do
  out[#out] = nil
end
io.stdout:write(table.concat(out, "\n"), "\n")
