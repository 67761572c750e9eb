local options = require "lunode.cli.options"
local tmp = require "lunode.test.tmp"

local LIST = {
  { name = "listen", value = "HOST:PORT", help = "", default = "a:1", accepts = "an address", parse = options.address },
  { name = "log-level", value = "LEVEL", help = "", accepts = "low or high", parse = options.one_of { "low", "high" } },
  { name = "size", value = "N", help = "", accepts = "1 to 9", parse = options.integer(1, 9) },
  { name = "config", value = "FILE", help = "", accepts = "a file", parse = options.nonempty, only_first = true },
}

local function read(words, variables)
  return options.read(LIST, words, function(name)
    return (variables or {})[name]
  end)
end

local function write_config(text)
  return tmp.write(tmp.dir() .. "/node.lua", text)
end

describe("a setting", function()
  it("comes from the option, else the variable, else the config file, else the default", function()
    local config = write_config 'log_level = "low"\nlisten = "file:1"'
    local all = { LUNODE_CONFIG = config, LUNODE_LISTEN = "variable:1" }
    assert.same({ host = "option", port = 1 }, read({ "--listen", "option:1" }, all).listen)
    assert.same({ host = "variable", port = 1 }, read({}, all).listen)
    assert.same({ host = "file", port = 1 }, read({}, { LUNODE_CONFIG = config }).listen)
    assert.same({ host = "a", port = 1 }, read({}).listen)
    assert.equal("low", read({ "--config=" .. config }).log_level)
    assert.equal("high", read({ "--log-level=high" }, all).log_level)
    assert.is_nil(read({}).log_level)
  end)

  it("counts as not given by an empty variable", function()
    assert.same({ host = "a", port = 1 }, read({}, { LUNODE_LISTEN = "" }).listen)
  end)

  it("takes its last value where an option comes twice", function()
    assert.equal(3, read({ "--size", "2", "--size=3" }).size)
  end)

  it("can be a number in the config file", function()
    assert.equal(4, read({ "--config", write_config "size = 4" }).size)
  end)
end)

describe("a wrong setting is refused with its place and what is accepted:", function()
  local function refused(message, code, words, variables)
    local settings, err, err_code = read(words, variables)
    assert.is_nil(settings)
    assert.equal(message, err)
    assert.equal(code, err_code)
  end

  it("an option", function()
    refused('--size: "10" is not acceptable; give 1 to 9', 2, { "--size", "10" })
    refused('--log-level: "" is not acceptable; give low or high', 2, { "--log-level=" })
  end)

  it("a variable", function()
    refused('LUNODE_LOG_LEVEL: "x" is not acceptable; give low or high', 2, {}, { LUNODE_LOG_LEVEL = "x" })
  end)

  it("a key of the config file, though the option would count", function()
    local path = write_config "\nsize = 0"
    refused(path .. ':2: size: "0" is not acceptable; give 1 to 9', 2, { "--config", path, "--size", "1" })
    path = write_config "size = {}"
    refused(path .. ":1: size is a table; give 1 to 9", 2, { "--config", path })
    path = write_config "size = 1.5"
    refused(path .. ":1: size is a float; give 1 to 9", 2, { "--config", path })
  end)

  it("an unknown option, with the nearest known one", function()
    refused("unknown option --lisetn; did you mean --listen?", 2, { "--lisetn", "a:1" })
    refused("unknown option --lisetn; did you mean --listen?", 2, { "--lisetn=a:1" })
    refused(
      "unknown option -x; known are --listen, --log-level, --size, --config, --help",
      2,
      { "-x" }
    )
  end)

  it("an unknown key, with the nearest known one", function()
    local path = write_config 'log_levle = "low"'
    refused(path .. ":1: unknown key log_levle; did you mean log_level?", 2, { "--config", path })
    path = write_config "return { 7 }"
    refused(path .. ": unknown key 1; known are listen, log_level, size", 2, { "--config", path })
  end)

  it("a config file that names a config file", function()
    local path = write_config 'config = "x"'
    refused(path .. ":1: unknown key config; known are listen, log_level, size", 2, { "--config", path })
  end)

  it("a config file that is missing or broken, which is no wrong usage", function()
    refused("config file: /no/such: No such file or directory", 1, { "--config", "/no/such" })
    local path = write_config "size ="
    refused("config file: " .. path .. ":1: unexpected symbol near <eof>; its lines are as in: "
      .. 'listen = "127.0.0.1:7000"', 1, { "--config", path })
  end)

  it("an option without a value", function()
    refused("--size needs a value: 1 to 9", 2, { "--size" })
    refused("--size needs a value: 1 to 9", 2, { "--size", "--listen", "a:1" })
  end)

  it("a word that is no option", function()
    refused('unexpected argument "extra"', 2, { "--size", "1", "extra" })
  end)
end)

describe("an address", function()
  it("has a host and a port", function()
    assert.same({ host = "127.0.0.1", port = 6380 }, options.address("127.0.0.1:6380"))
    assert.same({ host = "localhost", port = 0 }, options.address("localhost:0"))
    assert.same({ host = "::1", port = 65535 }, options.address("[::1]:65535"))
    assert.same({ host = "fe80::1%eth0", port = 1 }, options.address("[fe80::1%eth0]:1"))
  end)

  it("is nothing else", function()
    local huge = "a:99999999999999999999"
    for _, text in ipairs { "", ":", "a", "a:", ":1", "a:65536", "a:-1", "a:1x", "::1:1", "[::1]", huge } do
      assert.is_nil(options.address(text), text)
    end
  end)
end)

describe("a variable that looks like a misspelt one of ours", function()
  it("is told, and others are not", function()
    assert.same(
      { { name = "LUNODE_LISTN", meant = "LUNODE_LISTEN" } },
      options.misspelt(LIST, { "LUNODE_LISTN", "LUNODE_FULL", "LUNODE_SIZE", "LISTEN", "LUNODE_" })
    )
  end)
end)
