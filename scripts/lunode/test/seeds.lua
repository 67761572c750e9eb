-- sim_it: a test whose body runs under many seeds, and what a failure of it tells. Knows the simulator only from
-- outside: worlds, their schedules of faults, their transcripts.
--
--   sim_it("keeps what it acknowledged", { seeds = 100 }, function(world)
--     world:node("server", "server.lua", { "127.1.0.1:7000" })
--     world:swarm { duration = 30 }
--     world:run(40)
--     …
--   end)

local body = require "lunode.test.body"
local channel = require "lunode.test.channel"
local diff = require "lunode.test.diff"
local loop = require "lunode.loop"
local options_of_run = require "lunode.test.options"
local shrink = require "lunode.test.shrink"
local tmp = require "lunode.test.tmp"

local M = {}

local DEFAULT_SEEDS = 10
local SHRINK_SECONDS = 20
local TRANSCRIPT = 30 -- records shown of a failure

---@class lunode.test.sim_options
---@field seeds? integer  how many: 1, 2, … (default 10; --seeds and --seed go before it)
---@field full? integer   how many with LUNODE_FULL=1 (default ten times as many)
---@field world? lunode.sim.options  for sim.new; seed and keep are the runner's

-- ---------------------------------------------------------------- one run of the body

---@class lunode.test.attempt
---@field seed integer
---@field keep integer[]?  the faults that were applied; nil: all
---@field world table
---@field err any        what the body raised; nil: it passed
---@field text string?   that in words, with its place

local function is_pending(err)
  local meta = debug.getmetatable(err)
  return type(meta) == "table" and meta.__type == "pending"
end

-- luassert's errors have no place in their words; all others get their traceback.
local function in_words(err)
  local meta = debug.getmetatable(err)
  local is_failure = type(meta) == "table" and meta.__type == "failure"
  local text = diff.explain(tostring(err))
  if not text:find "^[^\n]-:%d+: " then
    text = body.place() .. ": " .. text
  end
  if is_failure or text:find("stack traceback:", 1, true) then
    return text
  end
  return text .. "\nstack traceback:\n" .. body.traceback()
end

---@return lunode.test.attempt
local function attempt(self, seed, keep)
  body.extend()
  local options = {}
  for key, value in pairs(self.options.world or {}) do
    options[key] = value
  end
  options.seed, options.keep = seed, keep
  local result = { seed = seed, keep = keep, world = require("lunode.sim").new(options) }
  local ok = xpcall(self.fn, function(err)
    result.err, result.text = err, in_words(err)
  end, result.world)
  if ok then
    return result
  elseif is_pending(result.err) then
    error(result.err, 0)
  end
  result.failed = true
  return result
end

-- ---------------------------------------------------------------- fewer faults

local function applied(result)
  local wanted = {}
  for _, id in ipairs(result.keep or {}) do
    wanted[id] = true
  end
  local ids = {}
  for _, fault in ipairs(result.world.schedule) do
    if not result.keep or wanted[fault.id] then
      ids[#ids + 1] = fault.id
    end
  end
  return ids
end

-- Returns the failure with as few faults as were found in time.
local function with_fewer_faults(self, failure)
  local best, deadline = failure, loop.time() + SHRINK_SECONDS
  local function fails(ids)
    if loop.time() > deadline then
      return false
    end
    channel.emit {
      kind = "note",
      text = ("seed %d failed; dropping faults, %d of %d left"):format(failure.seed, #applied(best), #applied(failure)),
    }
    local result = attempt(self, failure.seed, ids)
    if result.failed then
      best = result
    end
    return result.failed
  end
  local ids = applied(failure)
  if #ids > 0 and not fails {} then
    shrink.list(ids, fails)
  end
  return best
end

-- ---------------------------------------------------------------- what a failure tells

local function faults(failure, drawn)
  local ids = applied(failure)
  if #drawn == 0 then
    return "no faults were drawn"
  elseif #ids == 0 then
    return ("%d faults were drawn, none of which is needed"):format(#drawn)
  end
  local wanted, lines = {}, { ("faults, %d of the %d that were drawn:"):format(#ids, #drawn) }
  for _, id in ipairs(ids) do
    wanted[id] = true
  end
  for _, fault in ipairs(failure.world.schedule) do
    if wanted[fault.id] then
      lines[#lines + 1] = ("%5d  %10.3f s  %s"):format(fault.id, fault.at, fault.text)
    end
  end
  return table.concat(lines, "\n")
end

local function replay_command(failure, name)
  local words = { "lunode", "test", "--seed", tostring(failure.seed) }
  if failure.keep then
    words[#words + 1] = "--keep " .. (#failure.keep > 0 and table.concat(failure.keep, ",") or "none")
  end
  words[#words + 1] = "--filter " .. tmp.quote("^" .. name:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0") .. "$")
  local file = options_of_run.file or "FILE"
  words[#words + 1] = file:find "^[%w_./-]+$" and file or tmp.quote(file)
  return table.concat(words, " ")
end

local function explain(failure, drawn, name)
  local transcript = failure.world:trace { last = TRANSCRIPT }
  return table.concat({
    failure.text,
    ("seed %d, virtual time %.6f s; %s"):format(failure.seed, failure.world.now, faults(failure, drawn)),
    "the end of the transcript (--trace prints all of it):",
    (transcript:gsub("\n+$", "")),
    "to see it again:",
    "  " .. replay_command(failure, name),
  }, "\n")
end

-- Where a node has used up its budget of real time, it was somewhere else each time.
local function is_same(failure, again)
  return again.failed
    and (
      again.world:trace_hash() == failure.world:trace_hash()
      or failure.text:find("within one event", 1, true) and again.text:find("within one event", 1, true)
    )
end

local function judge(self, failure, name)
  local again = attempt(self, failure.seed, failure.keep)
  if not is_same(failure, again) then
    require("busted").fail(
      ("%s\nseed %d: %s when it was run again: the test depends on something outside of its world"):format(
        failure.text,
        failure.seed,
        again.failed and "something else happened" or "the test passed"
      ),
      0
    )
  end
  local drawn = failure.world.schedule
  local best = failure.keep and failure or with_fewer_faults(self, failure)
  return best, explain(best, drawn, name)
end

-- ---------------------------------------------------------------- all seeds

local function show(result, name)
  local run = options_of_run
  if run.trace then
    print(("transcript of seed %d:"):format(result.seed))
    print((result.world:trace():gsub("\n+$", "")))
  end
  if run.trace_html then
    local ok, err = require("lunode.sim.html").write(result.world, run.trace_html, {
      title = ("%s, seed %d"):format(name, result.seed),
      note = result.text,
    })
    if not ok then
      error("--trace-html: " .. tostring(err), 0)
    end
  end
end

local function seeds_of(self)
  local run = options_of_run
  if run.seed then
    return run.seed, run.seed
  end
  local seeds = self.options.seeds or DEFAULT_SEEDS
  if os.getenv "LUNODE_FULL" == "1" then
    seeds = self.options.full or 10 * seeds
  end
  return 1, run.seeds or seeds
end

local function run_all(self, name)
  local first, last = seeds_of(self)
  for seed = first, last do
    channel.emit { kind = "note", text = ("seed %d of %d"):format(seed, last) }
    local result = attempt(self, seed, options_of_run.keep)
    if result.failed then
      local best, text = judge(self, result, name)
      local shown, why = pcall(show, best, name)
      require("busted").fail(shown and text or ("%s\n%s"):format(text, why), 0)
    end
    show(result, name)
  end
end

local function check(name, options, fn)
  if type(name) ~= "string" then
    error(("sim_it: a name is needed, got a %s"):format(type(name)), 4)
  elseif type(fn) ~= "function" then
    error(("sim_it: a function of the world is needed, got a %s"):format(type(fn)), 4)
  elseif type(options) ~= "table" then
    error(("sim_it: options are a table, got a %s"):format(type(options)), 4)
  end
  for key in pairs(options) do
    if key ~= "seeds" and key ~= "full" and key ~= "world" then
      error(("sim_it: unknown option '%s'; there are seeds, full and world"):format(tostring(key)), 4)
    end
  end
  for _, key in ipairs { "seeds", "full" } do
    local count = options[key]
    if count ~= nil and (math.type(count) ~= "integer" or count < 1) then
      error(("sim_it: %s must be a whole number, at least 1, got %s"):format(key, tostring(count)), 4)
    end
  end
end

---@param name string
---@param options lunode.test.sim_options|fun(world: table)|nil
---@param fn? fun(world: table)
function M.it(name, options, fn)
  if fn == nil then
    options, fn = {}, options
  end
  check(name, options or {}, fn)
  local self = { options = options or {}, fn = fn }
  require("busted").it(name, function()
    run_all(self, require("lunode.test.harness").current_name())
  end)
end

return M
