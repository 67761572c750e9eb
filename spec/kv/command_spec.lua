local command = require "lunode.kv.command"

local function nothing() end

local function misuse(name, options)
  local ok, err = pcall(command.command, name, options)
  assert.is_false(ok)
  return err
end

describe("the registry of commands", function()
  it("finds a command by its name in any case", function()
    command.command("Spec.Find", { arity = 1, run = nothing })
    local entry = command.find("SPEC.FIND")
    assert.equal("spec.find", entry.name)
    assert.equal(entry, command.find("spec.find"))
    assert.equal(entry, command.find("sPEC.fIND"))
    assert.equal(entry, command.by_name["SPEC.FIND"])
    assert.is_nil(command.find("spec.other"))
    assert.is_nil(command.find(("x"):rep(100000)))
  end)

  it("does not remember the spellings that clients send", function()
    command.command("SPEC.SPELLING", { arity = 1, run = nothing })
    command.find("sPeC.SpElLiNg")
    assert.is_nil(command.by_name["sPeC.SpElLiNg"])
  end)

  it("turns an arity into bounds on the arguments", function()
    command.command("SPEC.EXACT", { arity = 3, run = nothing })
    command.command("SPEC.ATLEAST", { arity = -2, run = nothing })
    local exact, at_least = command.find("SPEC.EXACT"), command.find("SPEC.ATLEAST")
    assert.same({ 2, 2 }, { exact.min, exact.max })
    assert.same({ 1, math.huge }, { at_least.min, at_least.max })
  end)

  it("puts subcommands into their container", function()
    command.command("SPEC.BOX", { arity = -2 })
    command.command("SPEC.BOX|OPEN", { arity = 2, run = nothing })
    local box = command.find("spec.box")
    assert.equal("spec.box|open", command.subcommand(box, "Open").name)
    assert.is_nil(command.subcommand(box, "shut"))
    assert.equal("spec.box|open", command.resolve("Spec.Box|open").name)
    assert.is_nil(command.find("spec.box|open")) -- as a command's name
    assert.is_false(box.direct) -- it takes a look at its arguments
  end)

  it("hands a subcommand the arguments after its name", function()
    local got
    local function record(_, ...)
      got = { ... }
    end
    command.command("SPEC.BAG", { arity = -2 })
    command.command("SPEC.BAG|ONE", { arity = -2, run = record })
    command.command("SPEC.BAG|MANY", { arity = -2, variadic = true, run = record })
    command.resolve("SPEC.BAG|ONE").run({}, "one", "a", "b")
    assert.same({ "a", "b" }, got)
    command.resolve("SPEC.BAG|MANY").run({}, { "many", "a", "b" })
    assert.same({ { "a", "b" } }, got)
    command.resolve("SPEC.BAG|MANY").run({}, { "many" })
    assert.same({ {} }, got)
  end)

  it("refuses a second command of the same name, unless told to replace it", function()
    command.command("SPEC.TWICE", { arity = 1, run = nothing })
    assert.matches("SPEC.TWICE: exists already", misuse("SPEC.TWICE", { arity = 1, run = nothing }), 1, true)
    command.command("SPEC.TWICE", { arity = 2, run = nothing, replace = true })
    assert.equal(1, command.find("SPEC.TWICE").min)
  end)

  it("says what is wrong with an entry, and where", function()
    local function expect(text, name, options)
      local err = misuse(name, options)
      assert.matches(text, err, 1, true)
    end
    expect("a name is letters", "two words", { arity = 1, run = nothing })
    expect("a name is letters", 5, { arity = 1, run = nothing })
    expect("needs a table of options", "SPEC.BAD", nothing)
    expect("unknown option arty", "SPEC.BAD", { arty = 1, run = nothing })
    expect("arity must be an integer", "SPEC.BAD", { run = nothing })
    expect("arity must be an integer", "SPEC.BAD", { arity = 0, run = nothing })
    expect("arity must be an integer", "SPEC.BAD", { arity = 1.5, run = nothing })
    expect("run must be a function, not a string", "SPEC.BAD", { arity = 1, run = "print" })
    expect("needs a function run", "SPEC.BAD", { arity = 1 })
    expect("unknown flag wirte", "SPEC.BAD", { arity = 1, run = nothing, flags = { "wirte" } })
    expect("exclude each other", "SPEC.BAD", { arity = 1, run = nothing, flags = { "write", "readonly" } })
    expect("keys must be {first, last, step}", "SPEC.BAD", { arity = 2, run = nothing, keys = { 1 } })
    expect('SPEC.BAD: syntax "key [count": a bracket is not closed at 11', "SPEC.BAD",
      { arity = 2, run = nothing, syntax = "key [count" })
    expect("keys must be three integers", "SPEC.BAD", { arity = 2, run = nothing, keys = { 1, 1, "1" } })
    expect("there is no command spec.nowhere", "spec.nowhere|x", { arity = 2, run = nothing })
    assert.is_nil(command.find("SPEC.BAD"))

    local ok, err = pcall(function()
      command.command("SPEC.BAD", { arity = 1 })
    end)
    assert.is_false(ok)
    assert.matches("command_spec.lua:%d+: command SPEC.BAD", err)
  end)

  it("lists entries by name", function()
    command.command("SPEC.B", { arity = 1, run = nothing })
    command.command("SPEC.A", { arity = 1, run = nothing })
    local names = {}
    for _, entry in ipairs(command.list()) do
      names[#names + 1] = entry.name
    end
    local sorted = table.move(names, 1, #names, 1, {})
    table.sort(sorted)
    assert.same(sorted, names)
    assert.matches("spec.a spec.", table.concat(names, " "), 1, true)
  end)
end)
