-- What `lunode repl` and `lunode attach` take alike: -e, -f, --format, and words; and how they go about it.

local M = {}

---@class lunode.cli.repl_options
---@field steps string[]   code from -e and -f, in order; none: a prompt
---@field json boolean
---@field files string[]   the other words
---@field timeout number?  seconds

local MAX_FILE = 1 << 20

local function read_file(path)
  local file, open_err = io.stdin, nil
  if path ~= "-" then
    file, open_err = io.open(path, "rb")
  end
  if not file then
    return nil, open_err
  end
  local text, err = file:read(MAX_FILE + 1)
  if path ~= "-" then
    file:close()
  end
  if not text and err then
    return nil, path .. ": " .. err
  elseif text and #text > MAX_FILE then
    return nil, ("%s: longer than %d bytes"):format(path, MAX_FILE)
  end
  return text and text:gsub("^#[^\n]*", "") or ""
end

local takers = {}

takers["-e"] = function(options, value)
  options.steps[#options.steps + 1] = value
end

takers["-f"] = function(options, value)
  local text, err = read_file(value)
  if not text then
    return err, 1
  end
  options.steps[#options.steps + 1] = text
end

takers["--format"] = function(options, value)
  if value ~= "lua" and value ~= "json" then
    return ("--format: %q is not acceptable; give lua or json"):format(value)
  end
  options.json = value == "json"
end

takers["--timeout"] = function(options, value)
  local seconds = tonumber(value)
  if not seconds or not (seconds > 0 and seconds <= 3600) then
    return ("--timeout: %q is not acceptable; give seconds, from above 0 to 3600"):format(value)
  end
  options.timeout = seconds + 0.0
end

---@param words string[]
---@param first integer   the first word behind the verb
---@param with_timeout? boolean
---@return lunode.cli.repl_options|"help"|nil options
---@return string? message
---@return integer? code  where it is not wrong usage
function M.read(words, first, with_timeout)
  local options = { steps = {}, json = false, files = {}, timeout = nil }
  local i = first
  while i <= #words do
    local word = words[i]
    local name, value = word:match "^(%-%-[^=]+)=(.*)$"
    name = name or word
    local taker = (name ~= "--timeout" or with_timeout) and takers[name]
    if word == "--help" or word == "-h" then
      return "help"
    elseif word == "--" then
      table.move(words, i + 1, #words, #options.files + 1, options.files)
      break
    elseif taker then
      if not value then
        i = i + 1
        value = words[i]
      end
      if not value then
        return nil, name .. " needs a value"
      end
      local err, code = taker(options, value)
      if err then
        return nil, err, code
      end
    elseif word:find "^%-." then
      return nil, "unknown option " .. word
    else
      options.files[#options.files + 1] = word
    end
    i = i + 1
  end
  return options
end

local EXIT = { ok = 0, error = 1, timeout = 1, interrupted = 130 }

---Evaluates the steps, up to the first that fails; or has the prompt run.
---@param prompt lunode.repl.prompt
---@param options lunode.cli.repl_options
---@return integer code
function M.perform(prompt, options)
  for _, code in ipairs(options.steps) do
    local outcome = prompt:eval(code)
    if outcome.status ~= "ok" then
      return EXIT[outcome.status]
    end
  end
  if #options.steps == 0 then
    prompt:run()
    return not prompt.screen and prompt.failed and 1 or 0
  end
  return 0
end

return M
