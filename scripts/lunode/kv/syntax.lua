-- Reads a text that says how a command is used, and gives what COMMAND DOCS calls its arguments: redis-cli makes its
-- hints of these. Checks no commands.
--
--   key [NX|XX] [EX seconds|PX milliseconds] (score member)...
--
--   word      an argument; in capitals a token, which belongs to the argument behind it, if that has none in brackets
--   [ ]       may be left out
--   a|b       one of these; in parentheses or brackets
--   ( )...    and word...: as often as you like; a token in the parentheses comes each time
local resp = require "lunode.resp"

local M = {}

local OPTIONAL, MULTIPLE, MULTIPLE_TOKEN =
  resp.status "optional", resp.status "multiple", resp.status "multiple_token"

local parse_one

local function fail(reader, what)
  error(("syntax %q: %s at %d"):format(reader.text, what, reader.at), 0)
end

local SIGNS = { "^%s*(%.%.%.)", "^%s*([%[%]()|])", "^%s*([^%s%[%]()|.]+)" }

-- The next sign or word; takes it.
local function take(reader)
  for _, pattern in ipairs(SIGNS) do
    local _, last, found = reader.text:find(pattern, reader.at)
    if found then
      reader.at = last + 1
      return found
    end
  end
end

local function peek(reader)
  local at = reader.at
  local word = take(reader)
  reader.at = at
  return word
end

local function is_token(word)
  return word:find "%u" and not word:find "%l"
end

local ENDS = { ["|"] = true, [")"] = true, ["]"] = true }

-- One argument, without what repeats it.
local function parse_item(reader)
  local word = take(reader)
  if word == "(" or word == "[" then
    local item = parse_one(reader)
    if take(reader) ~= (word == "(" and ")" or "]") then
      fail(reader, "a bracket is not closed")
    end
    item.flags[#item.flags + 1] = word == "[" and OPTIONAL or nil
    return item, word == "("
  elseif not word:find "^%w" then
    fail(reader, "an argument is missing")
  elseif not is_token(word) then
    return { name = word, type = "string", flags = {} }
  end
  local following = peek(reader)
  if not following or ENDS[following] or following == "[" or following == "..." or is_token(following) then
    return { name = word:lower(), type = "pure-token", token = word, flags = {} }
  end
  local item = parse_item(reader)
  item.token = word
  return item
end

local function parse_sequence(reader)
  local list = {}
  local word = peek(reader)
  while word and not ENDS[word] do
    local item, grouped = parse_item(reader)
    if peek(reader) == "..." then
      take(reader)
      item.flags[#item.flags + 1] = MULTIPLE
      item.flags[#item.flags + 1] = grouped and item.token and MULTIPLE_TOKEN or nil
    end
    list[#list + 1] = item
    word = peek(reader)
  end
  return list
end

-- What stands between brackets, as one argument.
function parse_one(reader)
  local choices = {}
  repeat
    local list = parse_sequence(reader)
    if #list == 0 then
      fail(reader, "an argument is missing")
    end
    choices[#choices + 1] = list[2] and { name = list[1].name, type = "block", flags = {}, arguments = list } or list[1]
    local more = peek(reader) == "|" and take(reader)
  until not more
  return choices[2] and { name = choices[1].name, type = "oneof", flags = {}, arguments = choices } or choices[1]
end

local function document(list)
  local documents = {}
  for i, item in ipairs(list) do
    local fields = { "name", item.name, "type", item.type }
    for _, field in ipairs {
      { "token", item.token }, { "flags", item.flags[1] and resp.set(item.flags) },
      { "arguments", item.arguments and document(item.arguments) },
    } do
      if field[2] then
        table.move(field, 1, 2, #fields + 1, fields)
      end
    end
    documents[i] = resp.map(fields)
  end
  return documents
end

---The arguments, as COMMAND DOCS tells them. Raises where the text is none.
---@param text string
---@return any[] reply
function M.arguments(text)
  local reader = { text = text, at = 1 }
  local list = parse_sequence(reader)
  if reader.text:find("%S", reader.at) then
    fail(reader, "there is more than can be read")
  end
  return document(list)
end

return M
