local logger = require "lunode.logger"

describe("the logger", function()
  local told, level, sink

  before_each(function()
    told, level, sink = {}, logger.level, logger.sink
    logger.level = "info"
    logger.sink = function(...)
      told[#told + 1] = { ... }
    end
  end)

  after_each(function()
    logger.level, logger.sink = level, sink
  end)

  it("tells its level and those above", function()
    for _, name in ipairs { "debug", "info", "warn", "error" } do
      logger[name]("x")
    end
    assert.same({ { "info", "x" }, { "warn", "x" }, { "error", "x" } }, told)
    logger.level = "error"
    logger.warn("y")
    assert.equal(3, #told)
  end)

  it("formats only where there are arguments", function()
    logger.info("%d %s", 5, "five")
    logger.info("100%")
    assert.same({ { "info", "5 five" }, { "info", "100%" } }, told)
  end)

  it("keeps a message on its line and the terminal in peace, whatever is in it", function()
    logger.info("%s", "a\r\n2026-01-01T00:00:00.000Z info forged\0\27[2J\127")
    logger.info("%s", "caf\u{e9} \u{9b}2J")
    logger.info("%s", "\xff\xe9")
    assert.same({
      { "info", [[a\r\n2026-01-01T00:00:00.000Z info forged\x00\x1b[2J\x7f]] },
      { "info", "caf\u{e9} \\xc2\\x9b2J" },
      { "info", [[\xff\xe9]] },
    }, told)
  end)

  it("indents the lines of a traceback after the first", function()
    logger.traceback("x:1: bad \27\nstack traceback:\n\t[C]: in ?")
    assert.same({ { "error", "x:1: bad \\x1b\n    stack traceback:\n      [C]: in ?" } }, told)
  end)
end)
