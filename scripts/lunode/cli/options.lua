-- Settings from four places: option, environment, config file, default, the first of them that has one.
-- Does not know any setting: a verb declares its own in a list of these, in the order `help` shows them.

local config = require "lunode.cli.config"
local suggest = require "lunode.cli.suggest"

local M = {}

---@class lunode.cli.option
---@field name string     "log-level": the option --log-level, the variable LUNODE_LOG_LEVEL, the config key log_level
---@field value string    what help shows for its value: "LEVEL"
---@field help string     one line
---@field default string?  as the user would write it
---@field accepts string  what a value has to be: "one of debug, info, warn, error"
---@field parse fun(text: string): any  nil when the text is not acceptable
---@field only_first? boolean  not in the config file: it says where that is
---@field instead_of? string[]  names that people try, as another program has them
---@field flag? boolean  takes no value: the option alone means "yes". Its values are those of `yes_no`

M.EXIT_FAILURE = 1
M.EXIT_USAGE = 2

---@param name string
---@return string
function M.variable(name)
  return "LUNODE_" .. name:upper():gsub("-", "_")
end

---@param name string
---@return string
function M.config_key(name)
  return (name:gsub("-", "_"))
end

-- ---------------------------------------------------------------- kinds of values

---HOST:PORT, [IPv6]:PORT.
---@param text string
---@return { host: string, port: integer }?
function M.address(text)
  local host, port = text:match("^%[([%x:.%%%w]+)%]:(%d+)$")
  if not host then
    host, port = text:match("^([%w.-]+):(%d+)$")
  end
  port = #(port or "") <= 5 and math.tointeger(port)
  if not port or port > 65535 then
    return nil
  end
  return { host = host, port = port }
end

---@param choices string[]
---@return fun(text: string): string?
function M.one_of(choices)
  return function(text)
    for _, choice in ipairs(choices) do
      if text == choice then
        return choice
      end
    end
  end
end

---@param low integer
---@param high integer
---@return fun(text: string): integer?
function M.integer(low, high)
  return function(text)
    local number = text:find("^%d+$") and math.tointeger(text)
    if number and number >= low and number <= high then
      return number
    end
  end
end

---@param text string
---@return boolean?
function M.yes_no(text)
  if text == "yes" or text == "no" then
    return text == "yes"
  end
end

---Other names for commands: NAME=NEW, and more behind commas.
---@param text string
---@return table<string, string>?
function M.renames(text)
  local names = {}
  for word in (text .. ","):gmatch("([^,]*),") do
    local name, new = word:match("^%s*([%w_.-]+)%s*=%s*([%w_.-]*)%s*$")
    if not name or names[name:upper()] then
      return nil
    end
    names[name:upper()] = new
  end
  return names
end

---@param text string
---@return string?
function M.nonempty(text)
  if text ~= "" and not text:find("\0", 1, true) then
    return text
  end
end

---@param text string
---@return string
function M.anything(text)
  return text
end

-- ---------------------------------------------------------------- the places

-- A problem with what the user gave; thrown as a table, so that nothing else is taken for one.
local function refuse(code, format, ...)
  error({ message = format:format(...), code = code }, 0)
end

local function by_name(list)
  local map = {}
  for _, option in ipairs(list) do
    map[option.name] = option
  end
  return map
end

local function parse_value(option, text, where)
  local value = option.parse(text)
  if value == nil then
    refuse(M.EXIT_USAGE, "%s: %q is not acceptable; give %s", where, text, option.accepts)
  end
  return value
end

local function unknown_option(list, word)
  local names = {}
  for i, option in ipairs(list) do
    names[i] = "--" .. option.name
    for _, other in ipairs(option.instead_of or {}) do
      if word == other then
        refuse(M.EXIT_USAGE, "unknown option %s; --%s %s is for that", word, option.name, option.value)
      end
    end
  end
  names[#names + 1] = "--help"
  refuse(M.EXIT_USAGE, "unknown option %s%s", word, suggest.hint(word, names))
end

-- Returns the words of the command line as a map of option names to texts, or "help".
local function read_words(list, words)
  local known, given = by_name(list), {}
  local i = 1
  while i <= #words do
    local word = words[i]
    if word == "--help" or word == "-h" then
      return "help"
    end
    local name, text = word:match("^%-%-([^=]+)=(.*)$")
    name = name or word:match("^%-%-(.+)$")
    if not name then
      if word:sub(1, 1) == "-" then
        unknown_option(list, word)
      end
      refuse(M.EXIT_USAGE, "unexpected argument %q", word)
    elseif not known[name] then
      unknown_option(list, "--" .. name)
    elseif not text and known[name].flag then
      text = "yes"
    elseif not text then
      i = i + 1
      text = words[i]
      -- The next option was hardly meant as the value of this one; after `=` anything is.
      if not text or known[text:match("^%-%-([^=]+)") or ""] then
        refuse(M.EXIT_USAGE, "--%s needs a value: %s", name, known[name].accepts)
      end
    end
    given[name] = text
    i = i + 1
  end
  return given
end

-- Returns a map of option names to {value, where}.
local function read_config(list, path)
  local entries, err = config.load(path)
  if not entries then
    refuse(M.EXIT_FAILURE, "config file: %s", err)
  end
  local keys, known, found = {}, {}, {}
  for _, option in ipairs(list) do
    if not option.only_first then
      local key = M.config_key(option.name)
      keys[#keys + 1], known[key] = key, option
    end
  end
  for _, entry in ipairs(entries) do
    local option = known[entry.key]
    if not option then
      local key = tostring(entry.key)
      refuse(M.EXIT_USAGE, "%s: unknown key %s%s", entry.where, key, suggest.hint(key, keys))
    end
    local kind = math.type(entry.value) or type(entry.value)
    if option.flag and kind == "boolean" then
      entry.value, kind = entry.value and "yes" or "no", "string"
    end
    if kind ~= "string" and kind ~= "integer" then
      refuse(M.EXIT_USAGE, "%s: %s is a %s; give %s", entry.where, entry.key, kind, option.accepts)
    end
    local text = tostring(entry.value)
    found[option.name] = { parse_value(option, text, entry.where .. ": " .. entry.key) }
  end
  return found
end

-- An empty variable counts as none, so that `LUNODE_X= lunode …` takes one away.
local function variable(name, getenv)
  local text = getenv(M.variable(name))
  return text ~= "" and text or nil
end

-- Option or environment: {value}, or nil.
local function from_outside(option, given, getenv)
  local text = given[option.name]
  if text then
    return { parse_value(option, text, "--" .. option.name) }
  end
  text = variable(option.name, getenv)
  if text then
    return { parse_value(option, text, M.variable(option.name)) }
  end
end

local function gather(list, words, getenv)
  local given = read_words(list, words)
  if given == "help" then
    return "help"
  end
  local outside, path = {}, nil
  for _, option in ipairs(list) do
    outside[option.name] = from_outside(option, given, getenv)
    if option.name == "config" and outside.config then
      path = outside.config[1]
    end
  end
  local in_file = path and read_config(list, path) or {}
  local settings = {}
  for _, option in ipairs(list) do
    local found = outside[option.name] or in_file[option.name]
    local value = found and found[1]
    if not found and option.default then
      value = option.parse(option.default)
    end
    settings[M.config_key(option.name)] = value
  end
  return settings
end

---What a function returns; where it raises {message, code}, as one that reads settings does: nil and these.
---@param fn function
---@param ... any
---@return any result
---@return string? message, integer? code
function M.caught(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" then
    return nil, result.message, result.code
  end
  error(result, 0)
end

---Reads the settings of a verb. The option called "config", where there is one, names the config file.
---@param list lunode.cli.option[]
---@param words string[]  the command line after the verb
---@param getenv fun(name: string): string?
---@return table|"help"|nil settings  by config key
---@return string? message  one line: what is wrong, where it was given, what is accepted
---@return integer? code    the exit code for that
function M.read(list, words, getenv)
  return M.caught(gather, list, words, getenv)
end

---Variables that look like a misspelt one of ours. Other LUNODE_* variables are nobody's business.
---@param list lunode.cli.option[]
---@param names string[]  all variables that are set
---@return { name: string, meant: string }[]
function M.misspelt(list, names)
  local ours, known, found = {}, {}, {}
  for i, option in ipairs(list) do
    ours[i] = M.variable(option.name)
    known[ours[i]] = true
  end
  for _, name in ipairs(names) do
    if name:find("^LUNODE_") and not known[name] then
      for _, candidate in ipairs(ours) do
        if suggest.distance(name, candidate) <= 2 then
          found[#found + 1] = { name = name, meant = candidate }
          break
        end
      end
    end
  end
  return found
end

---The lines of `help` about options, in aligned columns.
---@param list lunode.cli.option[]
---@return string
function M.help(list)
  local rows, width = {}, 0
  for _, option in ipairs(list) do
    local left = ("--%s %s"):format(option.name, option.value):gsub(" $", "")
    local right = option.help
    if option.default then
      right = ("%s (default %s)"):format(right, option.default)
    end
    rows[#rows + 1] = { left, right }
    width = math.max(width, utf8.len(left))
  end
  rows[#rows + 1] = { "--help", "this text" }
  for i, row in ipairs(rows) do
    rows[i] = ("  %s%s  %s"):format(row[1], (" "):rep(width - utf8.len(row[1])), row[2])
  end
  return table.concat(rows, "\n")
end

return M
