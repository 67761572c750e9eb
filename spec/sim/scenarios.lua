-- Small worlds of unmodified scripts under random faults, for specs and for the benchmark. Each is a function that
-- fills a world, which then runs for SECONDS. Contains no specs.

local M = {}

M.SECONDS = 12

local here = debug.getinfo(1, "S").source:match("^@(.*)/spec/sim/[^/]*$") or "."

---The path of a file of this project.
---@param path string
---@return string
function M.file(path)
  return here .. "/" .. path
end

local function example(name)
  return M.file("examples/" .. name .. ".lua")
end

-- A client that sends lines at times of chance, connects again when it lost its server, and prints what comes back.
local function line_client(address, lines)
  local loop = require "lunode.loop"
  local tcp_client = require "lunode.tcp_client"
  local host, port = address:match("^(.+):(%d+)$")
  local conn
  local function connect()
    conn = tcp_client.connect(host, tonumber(port), {
      connect_timeout = 1,
      decoder = "line",
      on_message = function(_, line) print(line) end,
      on_close = function(_, _, code)
        print("lost", code)
        loop.timer(0.5, connect)
      end,
    })
    conn:write(arg[0] .. "\n")
  end
  connect()
  local function say()
    conn:write(lines[loop.random(1, #lines)] .. "\n")
    loop.timer(loop.random(1, 400) / 1000, say)
  end
  say()
end

local scenarios = {}
M.scenarios = scenarios
M.names = { "echo", "chat", "proxy", "pubsub", "gossip", "rpc", "kv" }

local function add_clients(world, count, address, lines)
  for i = 1, count do
    world:node("client" .. i, line_client, { address, lines })
  end
end

function scenarios.echo(world)
  world:node("server", example "echo_server", { "127.1.0.1:7000" })
  add_clients(world, 3, "server:7000", { "hello", "how are you?", ("x"):rep(5000) })
end

function scenarios.chat(world)
  world:node("server", example "chat", { "127.1.0.1:7000" })
  add_clients(world, 3, "server:7000", { "hello", "is anybody there?", "/quit", ("x"):rep(2000) })
end

function scenarios.proxy(world)
  world:node("server", example "echo_server", { "127.1.0.1:7000" })
  world:node("proxy", example "proxy", { "127.1.0.2:7000", "server:7000" })
  add_clients(world, 2, "proxy:7000", { "hello", ("x"):rep(3000) })
end

function scenarios.pubsub(world)
  world:node("server", example "pubsub_broker", { "127.1.0.1:7000" })
  add_clients(world, 3, "server:7000",
    { "SUB a.*", "SUB a.b", "UNSUB a.*", "PUB a.b first", "PUB a.c second", "nonsense" })
end

function scenarios.gossip(world)
  world:node("n1", example "gossip", { "127.1.0.1:7000" })
  for i = 2, 5 do
    world:node("n" .. i, example "gossip", { ("127.1.0.%d:7000"):format(i), "127.1.0.1:7000" })
  end
end

function scenarios.rpc(world)
  world:node("server", example "rpc_calculator", { "serve", "127.1.0.1:7000" })
  for i = 1, 2 do
    world:node("client" .. i, function()
      local loop, rpc, task = require "lunode.loop", require "lunode.rpc", require "lunode.task"
      local peer = rpc.peer "127.1.0.1:7000"
      local methods = { "add", "sub", "mul", "div", "no such method" }
      task.spawn(function()
        while true do
          local method, a, b = methods[loop.random(1, #methods)], loop.random(0, 9), loop.random(0, 9)
          local result, err = peer:call(method, { a, b }, { timeout = 1 })
          print(method, a, b, result, err and err.code, err and err.definite)
          task.sleep(loop.random(1, 300) / 1000)
        end
      end)
      task.spawn(function()
        while true do
          local stream = peer:open "sum"
          for n = 1, stream and loop.random(1, 50) or 0 do
            if not stream:send(tostring(n)) then break end
          end
          local sum, err = nil, nil
          if stream then sum, err = stream:close() end
          print("sum", sum, err and err.code)
          task.sleep(1)
        end
      end)
    end)
  end
end

---`lunode kv` without its command line: address, directory, sync.
M.kv_node = function(address, dir, sync)
  local kv, loop = require "lunode.kv", require "lunode.loop"
  local host, port = address:match("^(.+):(%d+)$")
  local node = assert(kv.start { host = host, port = tonumber(port), dir = dir, sync = sync })
  local signal = loop.signal("TERM", function() node:close() end)
  loop.run()
  signal:close()
  os.exit(node.failed and 1 or 0)
end

function scenarios.kv(world)
  world:node("server", M.kv_node, { "127.1.0.1:7000", "data", "always" })
  for i = 1, 3 do
    world:node("client" .. i, function()
      local loop, resp, tcp_client = require "lunode.loop", require "lunode.resp", require "lunode.tcp_client"
      local commands = {
        { "INCR", "n" }, { "GET", "n" }, { "SET", "k", "v", "PX", "700" }, { "GET", "k" }, { "APPEND", "log", arg[0] },
        { "DEL", "log" }, { "KEYS", "*" }, { "SCAN", "0" }, { "RANDOMKEY" }, { "FLUSHALL" }, { "PTTL", "k" },
        { "NONSENSE" }, { "CLIENT", "LIST" }, { "INFO" },
      }
      local conn, rest
      local function show(value)
        if type(value) == "table" then
          local parts = {}
          for j, part in ipairs(value) do parts[j] = show(part) end
          return value.err or value.ok or "[" .. table.concat(parts, " ") .. "]"
        end
        return tostring(value)
      end
      local function connect()
        rest = ""
        conn = tcp_client.connect("server", 7000, {
          connect_timeout = 1,
          on_read = function(_, data)
            rest = rest .. data
            local position = 1
            while true do
              local value, next_position = resp.decode(rest, position)
              if value == nil then break end
              position = next_position
              print((show(value)))
            end
            rest = rest:sub(position)
          end,
          on_close = function(_, _, code)
            print("lost", code)
            loop.timer(0.5, connect)
          end,
        })
      end
      connect()
      local function command()
        conn:write(resp.command(table.unpack(commands[loop.random(1, #commands)])))
        loop.timer(loop.random(1, 300) / 1000, command)
      end
      command()
    end)
  end
end

---A world with a scenario in it, and a swarm of faults over all of it; it has run.
---@param sim table  lunode.sim
---@param name string
---@param seed integer
---@param options? table  of the world
---@return table world
function M.run(sim, name, seed, options)
  options = options or {}
  options.seed, options.errors = seed, options.errors or "record"
  local world = sim.new(options)
  scenarios[name](world)
  world:swarm { duration = M.SECONDS, intensity = 5 }
  world:run(M.SECONDS)
  return world
end

return M
