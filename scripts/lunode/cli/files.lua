-- What the verbs about data directories share: words of their command lines, sizes, a line of progress. Knows no data.

local loop = require "lunode.loop"
local suggest = require "lunode.cli.suggest"

local M = {}

M.EXIT_FAILURE, M.EXIT_USAGE, M.EXIT_INTERRUPTED = 1, 2, 130

---Tells on the standard error what is wrong, and returns the exit code.
---@param text string
---@param code? integer  (default 1)
---@return integer code
function M.complain(text, code)
  io.stderr:write("lunode: ", require("lunode.logger").escape(text), "\n")
  return code or M.EXIT_FAILURE
end

---Reads a command line: names of files, and options that are known.
---@param words string[]  words[1] is the verb
---@param count integer   so many names there must be
---@param what string     what these are: "DATA OUT"
---@param known? table<string, true|string[]>  options: true takes no value, a list is what it may be
---@return string[]|"help"|nil names
---@return table|string options_or_message
function M.read(words, count, what, known)
  known = known or {}
  local names, given, i = {}, {}, 2
  while i <= #words do
    local word = words[i]
    local name, value = word:match "^%-%-([^=]+)=?(.*)$"
    if word == "--help" or word == "-h" then
      return "help", {}
    elseif word == "--" then
      table.move(words, i + 1, #words, #names + 1, names)
      break
    elseif not name and word:sub(1, 1) ~= "-" then
      names[#names + 1] = word
    elseif known[name] == true and value == "" then
      given[name] = true
    elseif type(known[name]) == "table" then
      if not word:find("=", 1, true) then
        i, value = i + 1, words[i + 1] or ""
      end
      for _, choice in ipairs(known[name]) do
        given[name] = choice == value and value or given[name]
      end
      if given[name] ~= value then
        return nil, ("--%s: %q is not acceptable; give one of %s"):format(name, value, table.concat(known[name], ", "))
      end
    else
      local all = { "--help" }
      for option in pairs(known) do
        all[#all + 1] = "--" .. option
      end
      table.sort(all)
      return nil, ("unknown option %s%s"):format(word, suggest.hint(word, all))
    end
    i = i + 1
  end
  if #names ~= count then
    return nil, ("%s needed, and %d %s given"):format(what, #names, #names == 1 and "word was" or "words were")
  end
  return names, given
end

---@param path string
---@return boolean  also for a directory
function M.exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

---What the store says of a directory, for verbs without the option --data, of data that exists.
---@param err string
---@return string
function M.without_option(err)
  return (err:gsub("[;,] [^;,]*%-%-data$", ""):gsub("; restore it from a backup$", "")
    :gsub("; create it$", "; give the data directory of a node"))
end

---A word for the shell.
---@param text string
---@return string
function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

---What a command of the shell prints, without the last newline; nil and what it says where it fails.
---@param line string
---@return string? output, string? err
function M.shell(line)
  local pipe = assert(io.popen("{ " .. line .. "\n} 2>&1", "r"))
  local output = pipe:read("a"):gsub("\n$", "")
  if pipe:close() then
    return output
  end
  return nil, output
end

---@param path string
---@return string
function M.absolute(path)
  if path:sub(1, 1) == "/" then
    return path
  end
  return assert(M.shell "pwd -P") .. "/" .. path
end

local UNITS = { "KiB", "MiB", "GiB", "TiB" }

---@param bytes integer
---@return string  as "3.4 MiB"
function M.size(bytes)
  local unit = "bytes"
  for _, larger in ipairs(UNITS) do
    if bytes < 1024 then
      break
    end
    bytes, unit = bytes / 1024, larger
  end
  return (unit == "bytes" and "%d %s" or "%.1f %s"):format(bytes, unit)
end

---@param count integer
---@param noun string
---@return string  as "1 row", "3 rows", "2 entries"
function M.count(count, noun)
  if count == 1 then
    return "1 " .. noun
  end
  return ("%d %s"):format(count, noun == "entry" and "entries" or noun .. "s")
end

-- ---- progress, on a terminal only

local INTERVAL = 0.1 -- seconds

---@class lunode.cli.progress
local methods = {}
local progress_mt = { __name = "lunode.cli.progress", __index = methods }

---@return lunode.cli.progress
function M.progress()
  return setmetatable({
    shows = require("lunode.edit").is_terminal(2),
    started = loop.time(),
    next = 0,
    drawn = false,
  }, progress_mt)
end

---Tells how far it is.
---@param rows integer
---@param bytes integer
---@param total? integer  rows, about
function methods:tell(rows, bytes, total)
  local now = loop.time()
  if not self.shows or now < self.next then
    return
  end
  self.next, self.drawn = now + INTERVAL, true
  local text = ("%s, %s"):format(M.count(rows, "row"), M.size(bytes))
  if total and total > 0 and rows > 0 then
    local part = math.min(rows / total, 0.99)
    text = ("%s, about %.0f %%, %.0f s left"):format(text, part * 100, (now - self.started) * (1 - part) / part)
  end
  io.stderr:write("\r\27[K", text)
end

---Takes the line away.
---@return number seconds  since it began
function methods:close()
  if self.drawn then
    io.stderr:write("\r\27[K")
    self.drawn = false
  end
  return loop.time() - self.started
end

return M
