-- A peer that nobody here wrote: Debian's neovim speaks MessagePack-RPC, as a server and as a client.

local kit = require "spec.rpc.kit"
local ports = require "lunode.test.ports"
local process = require "lunode.test.process"
local task = require "lunode.task"
local tmp = require "lunode.test.tmp"
local wait = require "lunode.test.wait"

local function neovim(address)
  local dir = tmp.dir()
  local nvim = process.start {
    "nvim", "--headless", "--clean", "--listen", address,
    env = { HOME = dir, XDG_RUNTIME_DIR = dir, NVIM_LOG_FILE = dir .. "/log" },
  }
  local peer = kit.peer(address:find "^/" and "unix:" .. address or address, { backoff = 0.01, max_backoff = 0.1 })
  wait.till(function()
    assert(nvim:is_alive(), nvim:stderr())
    return peer:call("nvim_eval", { "1" }) == 1
  end, 20, "Neovim to answer")
  return peer, nvim
end

describe("Neovim", function()
  it("is called: results, texts, errors", function()
    local peer = neovim("127.0.0.1:" .. ports.free())
    assert.equal(3, peer:call("nvim_eval", { "1 + 2" }))
    assert.equal("äöü", peer:call("nvim_eval", { "'äöü'" }))
    assert.same({ a = { 1, 2.5 } }, peer:call("nvim_eval", { "{'a': [1, 2.5]}" }))
    local lines = { "one", "two", "three" }
    assert.is_nil(select(2, peer:call("nvim_buf_set_lines", { 0, 0, -1, true, lines })))
    assert.same(lines, peer:call("nvim_buf_get_lines", { 0, 0, -1, true }))

    local result, err = peer:call("nvim_eval", { "nonsense" })
    assert.is_nil(result)
    assert.matches("E121: Undefined variable: nonsense", err.message)
    assert.is_true(err.definite)
    err = select(2, peer:call("nvim_no_such_function"))
    assert.matches("Invalid method", err.message)
    assert.is_true(err.definite)
    assert.equal("ENOTSUP", select(2, peer:open("nvim_eval", { "1" })).code)
    assert.equal("connected", peer:state())
  end)

  it("answers many calls at a time, over a Unix socket", function()
    local peer = neovim(tmp.dir() .. "/nvim")
    local tasks = {}
    for i = 1, 100 do
      tasks[i] = task.spawn(function()
        assert.equal(2 * i, peer:call("nvim_eval", { i .. " * 2" }))
      end)
    end
    assert(task.wait_all(tasks))
  end)

  it("calls us: results, arguments, errors", function()
    kit.errors()
    local notified = task.event()
    local server, address = kit.serve {
      add = function(_, a, b) return a + b end,
      echo = function(_, value) return value end,
      slow = function() task.sleep(0.01) return "slept" end,
      fail = function() error("it failed", 0) end,
      note = function(_, text) notified:resolve(text) end,
    }
    local peer = neovim("127.0.0.1:" .. ports.free())
    local channel = assert(peer:call("nvim_eval", { ("sockconnect('tcp', '%s', {'rpc': 1})"):format(address) }))
    local function ask(words)
      return peer:call("nvim_eval", { ("rpcrequest(%d, %s)"):format(channel, words) })
    end
    assert.equal(5, ask "'add', 2, 3")
    assert.same({ 1, "x", { y = true } }, ask "'echo', [1, 'x', {'y': v:true}]")
    assert.equal("slept", ask "'slow'")
    local _, err = ask "'fail'"
    assert.matches("it failed", err.message)
    _, err = ask "'nope'"
    assert.matches("unknown method 'nope'", err.message)
    assert(peer:call("nvim_eval", { ("rpcnotify(%d, 'note', 'hello')"):format(channel) }))
    assert.equal("hello", notified:wait(20))
    assert.equal(0, server:stats().bad)
  end)

  it("calls us back over the connection that we have made", function()
    local peer, nvim = neovim("127.0.0.1:" .. ports.free())
    peer:close()
    local address = peer.address
    local both = kit.peer(address, { methods = { double = function(_, n) return 2 * n end } })
    local info = both:call("nvim_get_api_info")
    assert.equal(42, both:call("nvim_eval", { ("rpcrequest(%d, 'double', 21)"):format(info[1]) }))
    both:notify("nvim_command", { "qall!" })
    assert.equal(0, nvim:wait(10))
  end)
end)
