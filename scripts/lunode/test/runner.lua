-- Runs spec files, each in a process of its own, several at a time, and gives what comes of them to a report.
-- What runs inside of such a process is lunode.test.harness.
--
-- A process of its own, because a spec may end or kill it, hang in it, or leave it in whatever state: that must be a
-- failure with a name, and must not touch the other files.

local channel = require "lunode.test.channel"
local cleanup = require "lunode.test.cleanup"
local loop = require "lunode.loop"
local msgpack = require "lunode.msgpack"
local process = require "lunode.test.process"
local task = require "lunode.task"
local times = require "lunode.test.times"
local tmp = require "lunode.test.tmp"

local M = {}

local OUTPUT = 1 << 20 -- bytes of a spec's output at a time
local POLL = 0.02 -- seconds between looks at a process
local SIGNAL_AFTER = 1 -- seconds over the deadline: then the process did not notice it by itself
local KILL_AFTER = 6

---@class lunode.test.result  of a test
---@field name string
---@field status "passed"|"failed"|"skipped"
---@field seconds number
---@field message string?
---@field place string?  "spec/x_spec.lua:12"

---@class lunode.test.file_result
---@field file string
---@field tests lunode.test.result[]      in the order they ran
---@field troubles lunode.test.result[]   failures outside of tests
---@field passed integer
---@field failed integer   troubles included
---@field skipped integer
---@field seconds number

---@class lunode.test.run_options
---@field jobs integer
---@field timeout number    seconds for each test
---@field filter? string
---@field shuffle? integer  seed
---@field rewrite? boolean
---@field seed? integer     sim_it: this one only
---@field seeds? integer    sim_it: how many
---@field keep? integer[]   sim_it: these faults only
---@field trace? boolean
---@field trace_html? string

local function executable()
  local pipe = assert(io.popen("readlink -f /proc/$PPID/exe", "r"))
  local path = pipe:read "l"
  pipe:close()
  return path
end

-- ---------------------------------------------------------------- one file

---A file's process, and what is known of it.
---@class lunode.test.run
local methods = {}
local metatable = { __index = methods }

local function new_run(runner, file, slot)
  return setmetatable({
    runner = runner,
    file = file,
    slot = slot, -- no other one that runs now has it: 1, 2, … jobs
    result = { file = file, tests = {}, troubles = {}, passed = 0, failed = 0, skipped = 0, seconds = 0 },
    begun = loop.now(),
    heard = loop.now(), -- when it last gave a sign of life
    signalled = false,
    killed = false,
    doing = nil, -- the event "run" that it was last in
    note = nil,
    done = false, -- it has said so
    process = nil,
    reader = nil,
    shown = { out = 0, err = 0 }, -- bytes of its output
  }, metatable)
end

function methods:start()
  local options = self.runner.options
  local dir = tmp.dir()
  tmp.write(dir .. "/options", msgpack.encode(msgpack.map {
    file = self.file,
    timeout = options.timeout,
    filter = options.filter,
    shuffle = options.shuffle,
    seed = options.seed,
    seeds = options.seeds,
    keep = options.keep and msgpack.array(options.keep),
    trace = options.trace,
    trace_html = options.trace_html,
  }))
  self.reader = channel.reader(dir .. "/events")
  -- What it makes for the time of a test goes with our directory, also when it is killed. A spec that runs as root may
  -- give up its rights, and must still get there.
  os.execute("chmod 711 " .. tmp.quote(dir))
  local env = {
    TMPDIR = dir, LUNODE_REWRITE = options.rewrite and "1" or nil,
    LUNODE_TEST_SLOT = ("%d/%d"):format(self.slot, options.jobs),
  }
  self.process = process.start { self.runner.bin, "test", "--child", dir, env = env }
end

function methods:add_trouble(name, message)
  local trouble = { name = name or self.file, status = "failed", seconds = 0, message = message }
  table.insert(self.result.troubles, trouble)
  self.result.failed = self.result.failed + 1
  self.runner.report:failure(self.file, trouble)
end

function methods:add_test(event)
  local result = self.result
  table.insert(result.tests, event)
  result[event.status] = result[event.status] + 1
  if event.status == "failed" then
    self.runner.report:failure(self.file, event)
  elseif event.status == "skipped" then
    self.runner.report:skipped(self.file, event)
  end
end

local take = {}

function take.run(self, event)
  self.doing = event
end

function take.test(self, event)
  self.doing, self.note = nil, nil
  self:add_test(event)
end

function take.trouble(self, event)
  self:add_trouble(event.name, event.message)
end

function take.note(self, event)
  self.note = event.text
end

function take.done(self)
  self.done, self.doing = true, nil
end

function methods:take_events()
  for _, event in ipairs(self.reader:read()) do
    self.heard, self.signalled = loop.now(), false
    take[event.kind](self, event)
  end
end

-- Its deadline is the process's own affair, as long as it can look after it.
function methods:watch()
  local late = loop.now() - self.heard - self.runner.options.timeout
  if late > KILL_AFTER then
    self.killed = true
    self.process:kill "KILL"
  elseif late > SIGNAL_AFTER and not self.signalled then
    self.signalled = true
    self.process:kill "XCPU"
  end
end

function methods:show_output()
  for _, name in ipairs { "out", "err" } do
    repeat
      local text = tmp.read(self.process.dir .. "/" .. name, self.shown[name], OUTPUT) or ""
      self.shown[name] = self.shown[name] + #text
      if text ~= "" then
        self.runner.report:output(self.file, text)
      end
    until #text < OUTPUT
  end
end

local function ending(code, killed, timeout)
  if killed then
    return ("did not end within %g s, nor when it was told to: it was killed"):format(timeout)
  elseif code > 128 then
    return ("was ended by signal %d"):format(code - 128)
  end
  return ("ended with exit code %d, by os.exit or because it crashed"):format(code)
end

-- A process that ends before it says that it is done has failed, whatever its exit code.
function methods:judge(code)
  local doing = self.doing
  local how = ending(code, self.killed, self.runner.options.timeout)
  if not self.done then
    local where = doing and ("in %s of %q"):format(doing.what, doing.name) or "outside of any test"
    if self.note then
      where = ("%s (%s)"):format(where, self.note)
    end
    self:add_trouble(doing and doing.name, ("%s: the process %s, %s"):format(self.file, how, where))
  elseif code ~= 0 then
    self:add_trouble(nil, ("%s: after its last test the process %s"):format(self.file, how))
  end
end

function methods:run()
  self:start()
  local at_once = self.runner.options.jobs == 1
  local alive
  repeat
    task.sleep(POLL)
    alive = self.process:is_alive()
    self:take_events()
    self:watch()
    if at_once then
      self:show_output()
    end
    self.runner.report:progress(self.runner)
  until not alive or self.runner.interrupted
  if self.runner.interrupted then
    self.process:close()
    return
  end
  local code = self.process:wait(10)
  self:take_events()
  self:show_output()
  self:judge(code)
  self.reader:close()
  self.process:close()
  self.result.seconds = loop.now() - self.begun
end

-- ---------------------------------------------------------------- all files

---@class lunode.test.runner
---@field files string[]
---@field options lunode.test.run_options
---@field report table
---@field expected table<string, number>  seconds by file
---@field running lunode.test.run[]
---@field results table<string, lunode.test.file_result>
---@field interrupted boolean

local function shuffle(files, seed)
  math.randomseed(seed)
  for i = #files, 2, -1 do
    local k = math.random(i)
    files[i], files[k] = files[k], files[i]
  end
end

-- The longest first: else the last one might run alone.
local function start_order(self)
  local queue = table.move(self.files, 1, #self.files, 1, {})
  if self.options.shuffle then
    shuffle(queue, self.options.shuffle)
  elseif self.options.jobs > 1 then
    local position = {}
    for i, file in ipairs(queue) do
      position[file] = i
    end
    table.sort(queue, function(a, b)
      local x, y = self.expected[a], self.expected[b]
      if x ~= y then
        return x > y
      end
      return position[a] < position[b]
    end)
  end
  return queue
end

local function work(self, queue, slot)
  while #queue > 0 and not self.interrupted do
    local run = new_run(self, table.remove(queue, 1), slot)
    self.running[#self.running + 1] = run
    run:run()
    for i, other in ipairs(self.running) do
      if other == run then
        table.remove(self.running, i)
        break
      end
    end
    if not self.interrupted then
      self.results[run.file] = run.result
      self.report:file_ended(run.result)
    end
  end
end

local function run_all(self)
  local queue, workers = start_order(self), {}
  for i = 1, math.min(self.options.jobs, #queue) do
    workers[i] = task.spawn(work, self, queue, i)
  end
  task.wait_all(workers)
end

local function remember(self)
  local measured = {}
  for file, result in pairs(self.results) do
    measured[file] = result.seconds
  end
  if not self.options.filter then
    times.write(measured, self.files)
  end
end

local function add_up(self)
  local total = { passed = 0, failed = 0, skipped = 0, files = {}, seconds = loop.now() - self.begun }
  for _, file in ipairs(self.files) do
    local result = self.results[file]
    if result then
      table.insert(total.files, result)
      for _, field in ipairs { "passed", "failed", "skipped" } do
        total[field] = total[field] + result[field]
      end
    end
  end
  return total
end

---Runs the files. Outside of tasks.
---@param files string[]
---@param options lunode.test.run_options
---@param report table  lunode.test.report, lunode.test.tap
---@return table total  passed, failed, skipped, seconds, files: lunode.test.file_result[] in the order of `files`
---@return boolean interrupted
function M.run(files, options, report)
  local self = {
    files = files,
    options = options,
    report = report,
    expected = times.read(files),
    running = {},
    results = {},
    interrupted = false,
    begun = loop.now(),
    bin = executable(),
  }
  local signals = {}
  for i, name in ipairs { "INT", "TERM" } do
    signals[i] = loop.signal(name, function()
      self.interrupted = true
    end)
  end
  report:begin(self)
  local ok, err = pcall(task.run, run_all, self)
  cleanup.end_file()
  for _, signal in ipairs(signals) do
    signal:close()
  end
  if not ok then
    error(err, 0)
  end
  remember(self)
  return add_up(self), self.interrupted
end

return M
