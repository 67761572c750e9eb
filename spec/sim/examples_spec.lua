-- Every example runs in the simulator, unmodified, and does what it is for: also where the network, the disk or a
-- power cut would have it otherwise.

local scenarios = require "spec.sim.scenarios"
local sim = require "lunode.sim"

local function example(name)
  return scenarios.file("examples/" .. name .. ".lua")
end

-- A client that sends what the spec puts into `mailbox`, a list, and prints the lines that it gets.
local function telnet(address, mailbox)
  local loop, tcp_client = require "lunode.loop", require "lunode.tcp_client"
  local host, port = address:match("^(.+):(%d+)$")
  local conn, timer
  conn = tcp_client.connect(host, tonumber(port), {
    decoder = "line",
    on_message = function(_, line) print(line) end,
    on_close = function(_, _, code)
      print("closed", code)
      timer:close()
    end,
  })
  timer = loop.timer(0.01, function()
    while #mailbox > 0 do conn:write(table.remove(mailbox, 1) .. "\n") end
  end, 0.01)
end

-- Its function `say` sends lines, and lets a second pass.
local function add_telnet(world, name, address)
  local mailbox = {}
  local node = world:node(name, telnet, { address, mailbox })
  local function say(...)
    for _, line in ipairs { ... } do mailbox[#mailbox + 1] = line end
    world:run(1)
  end
  world:run(0.1)
  return say, node
end

describe("in the simulator,", function()
  it("echo_client gets from echo_server what it sends", function()
    local world = sim.new()
    world:node("server", example "echo_server", { "127.1.0.1:7000" })
    local client = world:node("client", example "echo_client", { "server:7000", "hello", "how are you?" })
    assert(world:run_until(function() return client.state == "ended" end))
    assert.equal("hello\nhow are you?\n", client:output())
    assert.equal(0, client.exit_code)
    assert.equal("listening on 127.1.0.1:7000\n", world:get("server"):output())
  end)

  it("echo_client tells why it cannot connect, and that it lost its server", function()
    local world = sim.new()
    world:node("server", example "echo_server", { "127.1.0.1:7000" })
    local refused = world:node("refused", example "echo_client", { "server:7001", "hello" })
    world:run(1)
    assert.equal(1, refused.exit_code)
    assert.equal("cannot connect to server:7001: Connection refused\n", refused:output "stderr")
    world:crash "server"
    local silent = world:node("silent", example "echo_client", { "server:7000", "hello" })
    world:run(10)
    assert.equal(1, silent.exit_code)
    assert.matches("cannot connect to server:7000: .*timeout", silent:output "stderr")
  end)

  it("echo_server and the others say how they are used, and exit with 2", function()
    for _, name in ipairs { "echo_server", "chat", "gossip", "rpc_calculator" } do
      local world = sim.new()
      local node = world:node("n", example(name), { "nonsense" })
      world:run(1)
      assert.equal(2, node.exit_code, name)
      assert.matches("^usage: lunode run " .. name, node:output "stderr")
    end
  end)

  it("chat passes lines on to everybody else, and tells who comes and goes", function()
    local world = sim.new()
    world:node("server", example "chat", { "127.1.0.1:7000" })
    local ann, ann_node = add_telnet(world, "ann", "server:7000")
    ann "ann"
    local bob, bob_node = add_telnet(world, "bob", "server:7000")
    bob("bob", "hello")
    ann "hello bob"
    world:kill "bob"
    world:run(1)
    assert.equal("* what is your name?\n* welcome, ann; 1 here; /quit leaves\n* bob has joined\n<bob> hello\n"
      .. "* bob has left\n", ann_node:output())
    assert.matches("<ann> hello bob\n$", bob_node:output())
    ann "/quit"
    assert.matches("as you wish, goodbye\nclosed\tnil\n$", ann_node:output())
  end)

  it("proxy hands on both ways, the end as well", function()
    local world = sim.new()
    world:node("server", example "echo_server", { "127.1.0.1:7000" })
    world:node("proxy", example "proxy", { "127.1.0.2:7000", "server:7000" })
    local client = world:node("client", example "echo_client", { "proxy:7000", "through", ("x"):rep(100000) })
    assert(world:run_until(function() return client.state == "ended" end))
    assert.equal("through\n" .. ("x"):rep(100000) .. "\n", client:output())
    world:kill "server"
    local lost = world:node("lost", example "echo_client", { "proxy:7000", "x" })
    assert(world:run_until(function() return lost.state == "ended" end))
    assert.equal("", lost:output())
  end)

  it("pubsub_broker delivers by topic", function()
    local world = sim.new()
    world:node("server", example "pubsub_broker", { "127.1.0.1:7000" })
    local sub, sub_node = add_telnet(world, "sub", "server:7000")
    sub("SUB news.*", "SUB news.lua", "NONSENSE")
    local pub, pub_node = add_telnet(world, "pub", "server:7000")
    pub("PUB news.lua 5.4", "PUB other x")
    sub "UNSUB news.*"
    pub "PUB news.lua again"
    assert.equal("OK 2\nOK 0\nOK 1\n", pub_node:output())
    assert.equal("OK\nOK\nERR SUB topic, UNSUB topic or PUB topic text\nMSG news.lua 5.4\nMSG news.lua 5.4\nOK\n"
      .. "MSG news.lua again\n", sub_node:output())
  end)

  -- The last state that a node has told of each other.
  local function view(node)
    local states = {}
    for state, address in node:output():gmatch "(%a+) ([%d.]+:%d+) %d+\n" do states[address] = state end
    return states
  end

  local function cluster(seed)
    local world = sim.new { seed = seed }
    world:node("n1", example "gossip", { "127.1.0.1:7000" })
    for i = 2, 5 do
      world:node("n" .. i, example "gossip", { ("127.1.0.%d:7000"):format(i), "127.1.0.1:7000" })
    end
    return world
  end

  local function agree(world, state, address)
    return function()
      for _, node in ipairs(world.nodes) do
        local other = node.address .. ":7000" ~= address
        if node.state == "up" and other and view(node)[address] ~= state then return false end
      end
      return true
    end
  end

  it("gossip learns of all members, of one that dies, and of its return", function()
    for seed = 1, 5 do
      local world = cluster(seed)
      for i = 1, 5 do
        assert(world:run_until(agree(world, "alive", ("127.1.0.%d:7000"):format(i)), 20))
      end
      world:crash "n3"
      assert(world:run_until(agree(world, "dead", "127.1.0.3:7000"), 30))
      world:restart "n3"
      assert(world:run_until(agree(world, "alive", "127.1.0.3:7000"), 30))
    end
  end)

  it("gossip survives a partition: each side believes the other dead, and after healing none", function()
    local world = cluster(11)
    world:run(10)
    local fault = world:partition { { "n1", "n2" }, { "n3", "n4", "n5" } }
    assert(world:run_until(function()
      return view(world:get "n1")["127.1.0.4:7000"] == "dead" and view(world:get "n5")["127.1.0.2:7000"] == "dead"
    end, 60))
    assert.equal("alive", view(world:get "n1")["127.1.0.2:7000"])
    fault:stop()
    for i = 1, 5 do
      assert(world:run_until(agree(world, "alive", ("127.1.0.%d:7000"):format(i)), 120))
    end
  end)

  it("rpc_calculator calculates, and tells errors that are definite", function()
    local world = sim.new()
    world:node("server", example "rpc_calculator", { "serve", "127.1.0.1:7000" })
    local count = 0
    local function call(...)
      count = count + 1
      local node = world:node("client" .. count, example "rpc_calculator", { "call", "server:7000", ... })
      if count == 4 then world:partition { isolate = "server" } end
      assert(world:run_until(function() return node.state == "ended" end))
      return node:output() .. node:output "stderr", node.exit_code
    end
    assert.equal("3\n", (call("add", 1, 2)))
    assert.equal("10\n", (call("sum", 1, 2, 3, 4)))
    assert.same({ "cannot divide by zero\n", 1 }, { call("div", 1, 0) })
    local said, code = call("add", 1, 2) -- isolated: it cannot connect, so it is known not to have been calculated
    assert.equal(1, code)
    assert.equal(1, select(2, said:gsub("\n", "")))
    assert.not_matches("may have been calculated", said)
  end)

  -- Sends commands to a key-value node from the outside, and waits for the replies.
  local function redis(world, address)
    local here = world:node("here")
    local tcp_client, resp = here:require "lunode.tcp_client", require "lunode.resp"
    local host, port = address:match("^(.+):(%d+)$")
    local bytes, closed = "", false
    local conn = tcp_client.connect(host, tonumber(port), {
      on_read = function(_, data) bytes = bytes .. data end,
      on_close = function() closed = true end,
    })
    return function(...)
      conn:write(resp.command(...))
      local value, rest
      assert(world:run_until(function()
        value, rest = resp.decode(bytes)
        return value ~= nil or closed or world:get("server").state == "crashed"
      end))
      bytes = value ~= nil and bytes:sub(rest) or ""
      return type(value) == "table" and (value.ok or value.err) or value
    end
  end

  it("custom_command serves commands of its own beside Redis's", function()
    local world = sim.new()
    world:node("server", example "custom_command", { "127.1.0.1:7000" })
    local call = redis(world, "server:7000")
    assert.equal(1, call("HITS", "front"))
    assert.equal(2, call("HITS", "front"))
    assert.equal("OK", call("SET", "color", "red"))
    assert.equal(1, call("CAS", "color", "red", "blue"))
    assert.equal(0, call("CAS", "color", "red", "green"))
    assert.equal("blue", call("GET", "color"))
  end)

  it("a key-value node keeps what it acknowledged with sync always, whatever the power does", function()
    for seed = 1, 10 do
      local world = sim.new { seed = seed }
      world:node("server", scenarios.kv_node, { "127.1.0.1:7000", "data", "always" })
      local call = redis(world, "server:7000")
      local acknowledged = 0
      world:at(world.now + 0.05 + world:stream("spec"):float(), function() world:crash "server" end)
      repeat
        local value = call("INCR", "n")
        acknowledged = value or acknowledged
      until not value or value > 2000
      assert.is_true(acknowledged > 5)
      assert.equal("crashed", world:get("server").state)
      world:restart "server"
      world:run(1)
      local probe = world:node("probe", function()
        local conn = require("lunode.tcp_client").connect("server", 7000, {
          on_read = function(conn, data)
            print((data:gsub("%c+", " ")))
            conn:close()
          end,
        })
        conn:write "GET n\r\n"
      end)
      world:run(1)
      local found = tonumber(probe:output():match "(%d+) *\n$")
      assert.is_true(found == acknowledged or found == acknowledged + 1, ("%s, %d"):format(found, acknowledged))
    end
  end)

  it("a key-value node ends in good order at SIGTERM, and stops when its disk fails", function()
    local world = sim.new()
    local server = world:node("server", scenarios.kv_node, { "127.1.0.1:7000", "data", "no" })
    local call = redis(world, "server:7000")
    assert.equal("OK", call("SET", "k", "v"))
    server:signal "TERM"
    world:run(10)
    assert.equal("ended", server.state)
    assert.equal(0, server.exit_code)
    world:restart "server"
    world:run(1)
    world:fault { kind = "disk_eio", nodes = { "server" } }
    local node = world:node("client", function()
      local conn = require("lunode.tcp_client").connect("server", 7000, {
        on_read = function(_, data) print(data) end, on_close = function(_, _, code) print("closed", code) end,
      })
      conn:write "GET k\r\nSET k w\r\n"
    end)
    world:run(1)
    assert.equal(1, server.exit_code)
    assert.matches("closed\t", node:output())
    assert.not_matches("OK", node:output())
  end)
end)
