-- report.lua BENCHMARK SAMPLES MISSING: turns the measurements of bench/run into its table. Runs nothing.

-- Who runs as what, and the most that our CPU time may be of theirs, or the least that our throughput may: section 9 of
-- the design.
local benchmarks = {
  echo = {
    title = "echo of 64 B messages, each connection one message at a time",
    names = { lunode = "lunode", epoll = "bare epoll", luv = "luv, Lua 5.4", node = "Node.js" },
    reach = function(_, peer) return ({ epoll = 1.10, luv = 0.75, node = 0.5 })[peer] end,
  },
  rpc = {
    title = "calls with a string of 64 B, which echo returns; Neovim's nvim_strwidth its width",
    names = { lunode = "lunode", tarantool = "Tarantool", neovim = "Neovim" },
    reach = function(_, peer) return peer == "tarantool" and 0.5 or nil end,
  },
  cluster = {
    title = "three nodes, 100 clients, keys of 16 B, values of 64 B; CPU is that of all three",
    names = { lunode = "lunode", etcd = "etcd", single = "single node" },
    reach = function(_, peer) return peer == "single" and 2.5 or nil end,
    reach_ops = function(workload) return (workload == "SET" or workload == "GET") and 10 or nil end,
  },
  vocabulary = {
    title = "redis-benchmark's default tests, 50 clients, 3 B values; random: 100,000 keys or members",
    names = { lunode = "lunode", ["redis-aof"] = "Redis, AOF" },
    reach = function() return 2.0 end,
    mean = { peer = "redis-aof", reach = 1.0 },
  },
  kv = {
    title = "redis-benchmark, 50 clients, 100,000 keys, 3 B values",
    names = {
      lunode = "lunode", redis = "Redis, memory", ["redis-aof"] = "Redis, AOF", ["redis-always"] = "Redis, AOF",
    },
    reach_ops = function(workload) return workload == "SET always, pipeline 1" and 3 or nil end,
    reach = function(workload)
      return ({
        ["PING, pipeline 16"] = 0.8,
        ["GET, pipeline 1"] = 1.0,
        ["GET, pipeline 16"] = 1.0,
        ["SET, pipeline 16"] = 0.7,
      })[workload]
    end,
  },
}

local COLUMNS = { "", "server", "CPU us/op", "ours/its", "reach", "", "ops/s", "ours/its", "p50 us", "p99 us" }
local LEFT = { true, true, false, false, true, true }

local function median(list)
  table.sort(list)
  local middle = (#list + 1) // 2
  return #list % 2 == 1 and list[middle] or (list[middle] + list[middle + 1]) / 2
end

---Reads tab-separated samples: workload, server, requests, CPU ns, ops/s, p50 us, p99 us.
---@return table[] groups  one a workload, in the order they were first met: {name, servers = {…}, [server] = samples}
---@return integer reps
local function read_samples(path)
  local groups, reps = {}, 0
  for line in io.lines(path) do
    local workload, server, rest = line:match("^([^\t]+)\t([^\t]+)\t(.+)$")
    local numbers = {}
    for field in rest:gmatch("[^\t]+") do numbers[#numbers + 1] = assert(tonumber(field), line) end
    local requests, cpu, ops, p50, p99 = table.unpack(numbers)
    local group = groups[workload]
    if not group then
      group = { name = workload, servers = {} }
      groups[workload] = group
      groups[#groups + 1] = group
    end
    if not group[server] then
      group[server] = { cpu = {}, ops = {}, p50 = {}, p99 = {} }
      table.insert(group.servers, server)
    end
    local samples = group[server]
    table.insert(samples.cpu, cpu / requests / 1000)
    table.insert(samples.ops, ops)
    table.insert(samples.p50, p50)
    table.insert(samples.p99, p99)
    reps = math.max(reps, #samples.ops)
  end
  return groups, reps
end

---The smallest CPU time is the one least disturbed; throughput and latency have no such side, so their median.
local function summarise(samples)
  return {
    cpu = math.min(table.unpack(samples.cpu)),
    ops = median(samples.ops),
    p50 = median(samples.p50),
    p99 = median(samples.p99),
  }
end

local function row(label, name, its, ours, reach, reach_ops)
  local cpu_ratio, ops_ratio, limit, verdict = "", "", "", ""
  if ours then
    cpu_ratio = ("%.2f"):format(ours.cpu / its.cpu)
    ops_ratio = ("%.2f"):format(ours.ops / its.ops)
    if reach then
      limit = ("<= %.2f"):format(reach)
      verdict = ours.cpu / its.cpu <= reach and "reached" or "missed"
    elseif reach_ops then
      limit = (">= %.1f ops/s"):format(reach_ops)
      verdict = ours.ops / its.ops >= reach_ops and "reached" or "missed"
    end
  end
  return {
    label, name, ("%.2f"):format(its.cpu), cpu_ratio, limit, verdict,
    ("%.0f"):format(its.ops), ops_ratio, ("%.0f"):format(its.p50), ("%.0f"):format(its.p99),
  }
end

local function print_table(rows)
  local widths = {}
  for _, cells in ipairs(rows) do
    for i, cell in ipairs(cells) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for _, cells in ipairs(rows) do
    local out = {}
    for i, cell in ipairs(cells) do
      local padding = (" "):rep(widths[i] - #cell)
      out[i] = LEFT[i] and cell .. padding or padding .. cell
    end
    print((table.concat(out, "  "):gsub(" +$", "")))
  end
end

local benchmark = benchmarks[arg[1]]
local groups, reps = read_samples(arg[2])
local rows = { COLUMNS }
for _, group in ipairs(groups) do
  local ours = group.lunode and summarise(group.lunode)
  for i, server in ipairs(group.servers) do
    local its = server == "lunode" and ours or summarise(group[server])
    rows[#rows + 1] = row(i == 1 and group.name or "", benchmark.names[server], its,
      server ~= "lunode" and ours or nil, benchmark.reach(group.name, server),
      benchmark.reach_ops and benchmark.reach_ops(group.name))
  end
end

-- The geometric mean of all ratios of CPU, for each kind of workload: what stands behind the comma.
local function print_means(mean)
  local kinds, logs = {}, {}
  for _, group in ipairs(groups) do
    local kind = group.name:match(", (.+)$")
    if group.lunode and group[mean.peer] then
      if not logs[kind] then kinds[#kinds + 1], logs[kind] = kind, {} end
      table.insert(logs[kind], math.log(summarise(group.lunode).cpu / summarise(group[mean.peer]).cpu))
    end
  end
  for _, kind in ipairs(kinds) do
    local sum = 0
    for _, log in ipairs(logs[kind]) do sum = sum + log end
    local ratio = math.exp(sum / #logs[kind])
    print(("\n%s: the geometric mean of %d ratios of CPU is %.2f, to reach <= %.2f: %s"):format(kind, #logs[kind],
      ratio, mean.reach, ratio <= mean.reach and "reached" or "missed"))
  end
end

print(("\n%s; CPU: minimum of %d runs, the rest: median\n"):format(benchmark.title, reps))
print_table(rows)
if benchmark.mean then print_means(benchmark.mean) end
for line in io.lines(arg[3]) do
  local server, remedy = line:match("^([^\t]+)\t(.+)$")
  print(("\n%s is missing (%s)"):format(benchmark.names[server], remedy))
end
