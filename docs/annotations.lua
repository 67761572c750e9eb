-- Reads LuaLS annotations: from the text of a Lua file to its classes, functions and aliases. Does not know how they
-- are shown.
--
--   local file = annotations.parse(text)
--   file.header                the comment that opens the file, as paragraphs
--   file.sections              in order: { title, items }; what comes before the first "-- ---- title" line has none
--
-- An item has `kind` "class", "alias", "function" or "variable", `text` (paragraphs), and what that kind needs.

local M = {}

---@class annotations.value  a parameter, a result or a field
---@field name string?
---@field type string
---@field optional boolean
---@field text string

---@class annotations.item
---@field kind "class"|"alias"|"function"|"variable"
---@field name string         of classes and aliases in full; of functions and variables the last word
---@field owner string?       functions and variables: the local whose they are
---@field method boolean?     functions: called with ":"
---@field arguments string[]? functions: as the code has them, or the annotations where it has none
---@field documented boolean  functions: there is at least one line of ours before it
---@field text string[]       paragraphs
---@field params annotations.value[]
---@field returns annotations.value[]
---@field fields annotations.value[]  classes
---@field parent string?      classes
---@field type string?        aliases and variables
---@field object string?      classes: the local that holds their functions

-- ---------------------------------------------------------------- types

local OPENING, CLOSING = { ["("] = true, ["{"] = true, ["["] = true, ["<"] = true }, {
  [")"] = true, ["}"] = true, ["]"] = true, [">"] = true,
}

-- Where the type that begins at `at` ends: at a space or a comma, unless that is within brackets or quotes, or follows
-- the colon of a function's results.
local function type_end(text, at)
  local depth, quoted, results = 0, false, false
  local i = at
  while i <= #text do
    local c = text:sub(i, i)
    if c == '"' then
      quoted = not quoted
    elseif not quoted and OPENING[c] then
      depth = depth + 1
    elseif not quoted and CLOSING[c] then
      depth = depth - 1
    elseif depth == 0 and not quoted and c == ":" then
      results = true
      i = i + 1 -- the space behind it
    elseif depth == 0 and not quoted and c == "," and results then
      i = i + 1
    elseif depth == 0 and not quoted and (c == " " or c == ",") then
      return i - 1
    end
    i = i + 1
  end
  return #text
end

local function take_type(text)
  local stop = type_end(text, 1)
  return text:sub(1, stop), text:sub(stop + 1)
end

local function trim(text)
  return (text:gsub("^[%s#]+", ""):gsub("%s+$", ""))
end

---The type without the mark that says it may be nil; a function's whose last result may be nil is as it was.
---@param type_name string
---@return string bare
function M.bare(type_name)
  if type_name:find("^fun%b().") and not type_name:find("^fun%b()%?$") then
    return type_name
  end
  return (type_name:gsub("%?$", ""))
end

local function may_be_nil(type_name)
  return M.bare(type_name) ~= type_name
end

-- "name? type  text"
local function parse_named(text)
  local name, mark, rest = text:match("^([%w_.]+)(%??)%s+(.*)$")
  if not name then
    error("not understood: " .. text)
  end
  local type_name, left = take_type(rest)
  return { name = name, type = type_name, optional = mark == "?" or may_be_nil(type_name), text = trim(left) }
end

-- "type name, type name  text": appends one value for each type.
local function parse_returns(text, values)
  local rest = text
  repeat
    local type_name, left = take_type(rest)
    local name, after = left:match("^ ([%a_][%w_]*)(.*)$")
    if not name then
      name, after = left:match("^ (%.%.%.)(.*)$")
    end
    if name and (after == "" or after:find("^,") or after:find("^  ")) then
      left = after
    else
      name = nil
    end
    local value = { name = name, type = type_name, optional = may_be_nil(type_name), text = "" }
    values[#values + 1] = value
    local more = left:match("^, (.*)$")
    if not more then
      value.text = trim(left)
    end
    rest = more
  until not rest
end

-- ---------------------------------------------------------------- blocks of "---" lines

local function new_block()
  return { text = {}, params = {}, returns = {}, fields = {}, generics = {}, open = nil, count = 0 }
end

-- Paragraphs: lines join, unless one is empty or begins an item of a list.
local function add_text(block, line)
  local text = block.text
  if line == "" then
    block.open = nil
  elseif block.open == "text" and not line:find("^%* ") then
    text[#text] = text[#text] .. " " .. trim(line)
  else
    text[#text + 1] = trim(line)
    block.open = "text"
  end
end

local tags = {}

function tags.class(block, rest)
  local name, parent, text = rest:match("^([%w_.]+)%s*:?%s*([%w_.]*)%s*(.*)$")
  block.class, block.parent = name, parent ~= "" and parent or nil
  if text ~= "" then
    add_text(block, text)
  end
end

function tags.alias(block, rest)
  local name, definition = rest:match("^([%w_.]+)%s+(.*)$")
  local text
  block.alias = name
  block.type, text = take_type(definition)
  if trim(text) ~= "" then
    add_text(block, trim(text))
  end
end

function tags.field(block, rest)
  if rest:find("^private ") then
    block.open = { text = "" } -- and what continues it
    return
  end
  local value = parse_named(rest)
  block.fields[#block.fields + 1] = value
  block.open = value
end

function tags.param(block, rest)
  local value = parse_named(rest)
  block.params[#block.params + 1] = value
  block.open = value
end

tags["return"] = function(block, rest)
  parse_returns(rest, block.returns)
  block.open = block.returns[#block.returns]
end

function tags.type(block, rest)
  block.type = rest
end

function tags.generic(block, rest)
  local name, constraint = rest:match("^(%w+)%s*:?%s*(%S*)$")
  block.generics[name] = constraint ~= "" and constraint or "any"
end

local function add_line(block, line)
  block.count = block.count + 1
  local tag, rest = line:match("^@(%w+)%s*(.*)$")
  if tag then
    block.open = nil
    if tags[tag] then
      tags[tag](block, rest)
    end
  elseif type(block.open) == "table" and line:find("^%s") then
    block.open.text = trim(block.open.text .. " " .. trim(line)) -- goes on from the line above
  else
    if type(block.open) == "table" then
      block.open = nil
    end
    add_text(block, line)
  end
end

local function resolve_generics(block)
  for _, list in ipairs { block.params, block.returns } do
    for _, value in ipairs(list) do
      value.type = block.generics[value.type] or value.type
    end
  end
end

-- ---------------------------------------------------------------- files

local function words(list)
  local all = {}
  for word in list:gmatch("[%w_.]+") do
    all[#all + 1] = word
  end
  return all
end

-- The item that a block and the line of code behind it make; nil for what is no part of an API.
local function item_of(block, code)
  resolve_generics(block)
  local item = {
    text = block.text, params = block.params, returns = block.returns, fields = block.fields,
    parent = block.parent, type = block.type, documented = block.count > 0,
  }
  local owner, separator, name, arguments = code:match("^function ([%w_]+)([.:])([%w_]+)%(([^)]*)%)")
  if block.class then
    item.kind, item.name, item.object = "class", block.class, code:match("^local ([%w_]+) = ")
  elseif block.alias then
    item.kind, item.name = "alias", block.alias
  elseif owner then
    item.kind, item.owner, item.name, item.method = "function", owner, name, separator == ":"
    item.arguments = words(arguments)
  elseif block.count > 0 then
    item.owner, item.name = code:match("^([%w_]+)%.([%w_]+) = ")
    if not item.owner then
      return nil
    end
    item.kind, item.arguments = "variable", {}
    for i, param in ipairs(block.params) do -- a function that is made elsewhere
      item.kind, item.arguments[i] = "function", param.name
    end
  else
    return nil
  end
  return item
end

---@param text string  of a Lua file
---@return {header: string[], sections: {title: string?, items: annotations.item[]}[]}
function M.parse(text)
  local header, block, section = new_block(), new_block(), { title = nil, items = {} }
  local file = { header = header.text, sections = { section } }
  local in_header = true
  local function finish(code)
    section.items[#section.items + 1] = item_of(block, code)
    block = new_block()
  end
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local ours, title = line:match("^%-%-%-(.*)$"), line:match("^%-%- %-%-%-[%-]+ (.*)$")
    local comment = line:match("^%-%- ?(.*)$")
    if title then
      in_header = false
      section = { title = title, items = {} }
      file.sections[#file.sections + 1] = section
    elseif ours and not ours:find("^%-") then
      if not (in_header and ours == "@meta") then
        in_header = false
        if ours:find("^@class") and block.class or ours:find("^@alias") and block.alias then
          finish ""
        end
        add_line(block, ours)
      end
    elseif comment and in_header then
      add_text(header, comment)
    elseif not comment then
      in_header = in_header and line == "" and #header.text == 0
      finish(line)
    end
  end
  return file
end

return M
