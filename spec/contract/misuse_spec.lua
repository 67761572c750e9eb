-- The simulated modules refuse what the real ones refuse, in the same words, and take what they take: every option with
-- every kind of value, every method with wrong arguments.

local cleanup = require "lunode.test.cleanup"
local kit = require "spec.contract.kit"

local OPTIONS = {
  "on_connect", "on_read", "on_message", "on_error", "low", "high", "cap", "nodelay", "idle_timeout", "read_timeout",
  "write_timeout", "keepalive", "user_timeout", "protocol", "authenticated", "max_args", "max_bulk", "max_line",
  "max_message", "max_values", "decoder", "connect_timeout", "backlog", "reuseport", "ipv6_only", "mode",
  "max_connections", "nonsense", 1, true,
}

local function named(name, value)
  return { name = name, value = value }
end

local VALUES = {
  named("true", true), named("false", false), named("0", 0), named("1", 1), named("2", 2), named("-1", -1),
  named("0.5", 0.5), named("5.0", 5.0), named("nan", 0 / 0), named("huge", math.huge), named("1 << 40", 1 << 40),
  named("minimum", math.mininteger), named('""', ""), named('"5"', "5"), named('"0x10"', "0x10"),
  named('"0600"', "0600"), named('"0888"', "0888"), named('"line"', "line"), named('"1e3"', "1e3"),
  named("{}", {}), named("{ length = 4 }", { length = 4 }), named("{ length = 3 }", { length = 3 }),
  named("{ idle = 1 }", { idle = 1 }), named("{ idle = 0 }", { idle = 0 }), named('{ count = "2" }', { count = "2" }),
  named("{ 1 }", { 1 }), named("a function", function() end),
}

-- What a call raises, without its position, or "fine".
local function said(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return "fine", result
  end
  return (tostring(result):gsub("^[^\n]-:%d+: ", ""))
end

describe("the real modules and the simulated ones", function()
  local real, simulated = kit.both()

  -- In both worlds; fails where they differ.
  local function compare(what, fn)
    local expected, found = fn(real), fn(simulated)
    if expected ~= found then
      error(("%s\n-- real: %s\n-- simulated: %s"):format(what, expected, found), 0)
    end
  end

  for _, side in ipairs { "connect", "listen" } do
    it(side .. " with the same options", function()
      for _, key in ipairs(OPTIONS) do
        for _, value in ipairs(VALUES) do
          compare(("%s { [%q] = %s }"):format(side, key, value.name), function(world)
            local fn = side == "connect" and world.tcp_client.connect or world.tcp_server.listen
            local text, object = said(fn, kit.HOST, side == "connect" and 1 or 0, { [key] = value.value })
            if object then
              object:close()
            end
            return text
          end)
        end
      end
    end)

    it(side .. " to the same hosts and ports", function()
      local hosts = {
        named("nil", nil), named("true", true), named("5", 5), named("a zero byte", "a\0b"), named('""', ""),
        named('"1.2.3"', "1.2.3"), named('"0127.0.0.1"', "0127.0.0.1"), named('"a..b"', "a..b"),
        named('"x_y.invalid"', "x_y.invalid"), named('":::"', ":::"), named('"1:2"', "1:2"), named('"unix:"', "unix:"),
        named("a long label", ("x"):rep(64) .. ".invalid"), named('"host name"', "host name"),
      }
      local ports = {
        named("nil", nil), named("1", 1), named('"1"', "1"), named('"http"', "http"), named("1.5", 1.5),
        named("65536", 65536), named("true", true),
      }
      for _, host in ipairs(hosts) do
        for _, port in ipairs(ports) do
          compare(("%s(%s, %s)"):format(side, host.name, port.name), function(world)
            local heard
            local options = {}
            if side == "connect" then
              function options.on_connect(_, err, code)
                heard = ("%s %s"):format(err, code)
              end
            end
            local text, err, code
            local ok, object = pcall(function() -- called by name: messages have it
              local result
              if side == "connect" then
                result, err, code = world.tcp_client.connect(host.value, port.value, options)
              else
                result, err, code = world.tcp_server.listen(host.value, port.value, options)
              end
              return result
            end)
            if not ok then
              text = object:gsub("^[^\n]-:%d+: ", "")
            elseif not object then
              text = ("%s %s"):format(err, code)
            elseif side == "connect" then
              kit.till(world, function()
                return heard
              end)
              text = heard
            else
              object:close()
              text = "fine"
            end
            return text
          end)
        end
      end
    end)
  end

  it("and the methods of connections", function()
    local function conn_of(world)
      local conn = world.tcp_client.connect(kit.HOST, 1, {})
      cleanup.add(function()
        conn:abort()
      end)
      return conn
    end
    local conns = { [real] = conn_of(real), [simulated] = conn_of(simulated) }
    local arguments = table.move(VALUES, 1, #VALUES, 1, {})
    arguments[#arguments + 1] = named("a list", { "a", "b" })
    arguments[#arguments + 1] = named("a mixed list", { "a", 5 })
    for _, method in ipairs { "write", "set" } do
      for _, argument in ipairs(arguments) do
        compare(("conn:%s(%s)"):format(method, argument.name), function(world)
          local conn = conns[world]
          return (said(function()
            local room
            if method == "write" then
              room = conn:write(argument.value)
            else
              conn:set(argument.value)
            end
            return room
          end))
        end)
      end
    end
    for _, key in ipairs(OPTIONS) do
      for _, value in ipairs(VALUES) do
        compare(("conn:set { [%q] = %s }"):format(key, value.name), function(world)
          return (said(function()
            conns[world]:set { [key] = value.value }
          end))
        end)
      end
    end
  end)

  it("and the marks of gates", function()
    local servers = { [real] = kit.listen(real, {}), [simulated] = kit.listen(simulated, {}) }
    for _, method in ipairs { "hold", "release" } do
      for _, argument in ipairs(VALUES) do
        compare(("server:%s(%s)"):format(method, argument.name), function(world)
          return (said(function()
            if method == "hold" then -- called by name: messages have it
              servers[world]:hold(argument.value)
            else
              servers[world]:release(argument.value)
            end
          end))
        end)
      end
    end
  end)
end)
