-- Commands on the bits of strings: SETBIT GETBIT BITCOUNT BITPOS BITOP. BITFIELD has its own file.
local bits = require "lunode.bits"
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local string_value, expiry_of = keys.string_value, keys.expiry
local integer = numbers.integer

local LONGEST = 512 * 1024 * 1024 -- proto-max-bulk-len

local BAD_OFFSET = resp.error("ERR bit offset is not an integer or out of range")
local BAD_BIT = resp.error("ERR bit is not an integer or out of range")
local NOT_A_BIT = resp.error("ERR The bit argument must be 1 or 0.")
local NOT_TAKES_ONE = resp.error("ERR BITOP NOT must be called with a single source key.")

local KEY = { 1, 1, 1 }
local WRITE = { "write", "denyoom" }

local M = {}

---The position of a bit, as a command gives it. Raises Redis's error.
---@param text string
---@param width? integer  of a field: "#3" is then the fourth one
---@return integer offset
function M.offset(text, width)
  local counts_fields = width and text:sub(1, 1) == "#"
  local offset = numbers.parse(counts_fields and text:sub(2) or text)
  if offset and counts_fields then
    offset = offset * width
  end
  if not offset or offset < 0 or offset >> 3 >= LONGEST then
    error(BAD_OFFSET, 0)
  end
  return offset
end

command.command("SETBIT", {
  arity = 4, flags = WRITE, keys = KEY, access = "RW access update", group = "bitmap", since = "2.2.0",
  complexity = "O(1)", summary = "Sets or clears the bit at offset in the string value stored at key",
  run = function(ctx, key, at, bit)
    local db, offset = ctx.db, M.offset(at)
    if bit ~= "0" and bit ~= "1" then
      return BAD_BIT
    end
    local row, old = db:find(key)
    local text, position = db:text(old), (offset >> 3) + 1
    local is_longer = position > #text
    local byte, mask = text:byte(position) or 0, 0x80 >> (offset & 7)
    local changed = bit == "1" and byte | mask or byte & ~mask
    if changed == byte and not is_longer then
      return byte & mask ~= 0 and 1 or 0
    end
    text = text:sub(1, position - 1) .. ("\0"):rep(position - 1 - #text) .. string.char(changed)
      .. text:sub(position + 1)
    db:put(row, old, string_value(text, old and expiry_of(old)))
    ctx:notify("$", "setbit", key)
    return byte & mask ~= 0 and 1 or 0
  end,
})

command.command("GETBIT", {
  arity = 3, flags = { "readonly", "fast" }, keys = KEY, access = "RO access", group = "bitmap", since = "2.2.0",
  complexity = "O(1)", summary = "Returns the bit value at offset in the string value stored at key",
  run = function(ctx, key, at)
    local offset = M.offset(at)
    local byte = (ctx.db:get(key) or ""):byte((offset >> 3) + 1) or 0
    return byte >> (7 - (offset & 7)) & 1
  end,
})

-- Whether a range counts in bits.
local function counts_bits(unit)
  local word = unit and unit:upper() or "BYTE"
  if word ~= "BIT" and word ~= "BYTE" then
    error(errors.SYNTAX, 0)
  end
  return word == "BIT"
end

-- The first and the last bit of the range from `first` to `last`, which count from the end where they are negative.
local function range(text, first, last, in_bits)
  local size = in_bits and #text * 8 or #text
  first = math.max(first < 0 and size + first or first, 0)
  last = math.min(math.max(last < 0 and size + last or last, 0), size - 1)
  if in_bits then
    return first, last
  end
  return first <= last and first * 8 or #text * 8, last * 8 + 7
end

command.command("BITCOUNT", {
  arity = -2, flags = { "readonly" }, keys = KEY, access = "RO access", group = "bitmap", since = "2.6.0",
  complexity = "O(N)", summary = "Count set bits in a string",
  run = function(ctx, key, from, to, unit, ...)
    local text = ctx.db:get(key)
    if text == nil then
      return 0
    elseif from == nil then
      return bits.count(text, 0, #text * 8 - 1)
    elseif to == nil or ... then
      return errors.SYNTAX
    end
    local first, last = integer(from), integer(to)
    if first < 0 and last < 0 and first > last then
      return 0
    end
    return bits.count(text, range(text, first, last, counts_bits(unit)))
  end,
})

command.command("BITPOS", {
  arity = -3, flags = { "readonly" }, keys = KEY, access = "RO access", group = "bitmap", since = "2.8.7",
  complexity = "O(N)", summary = "Find first bit set or clear in a string",
  run = function(ctx, key, which, from, to, unit, ...)
    local bit = integer(which)
    if bit ~= 0 and bit ~= 1 then
      return NOT_A_BIT
    end
    local text = ctx.db:get(key)
    if text == nil then
      return -bit
    elseif ... then
      return errors.SYNTAX
    end
    local first = from and integer(from) or 0
    local in_bits = counts_bits(unit) -- before the end: this order shows in what is refused
    local first_bit, last_bit = range(text, first, to and integer(to) or -1, in_bits)
    if first_bit > last_bit then
      return -1
    end
    -- without an end, zeros follow the string
    return bits.find(text, bit, first_bit, last_bit) or bit == 0 and not to and #text * 8 or -1
  end,
})

local OPERATIONS = { AND = "and", OR = "or", XOR = "xor", NOT = "not" }

command.command("BITOP", {
  arity = -4, variadic = true, flags = WRITE, keys = { 2, -1, 1 }, access = { "OW update", "RO access" },
  group = "bitmap", since = "2.6.0", complexity = "O(N)", summary = "Perform bitwise operations between strings",
  run = function(ctx, args)
    local db, operation = ctx.db, OPERATIONS[args[1]:upper()]
    if not operation then
      return errors.SYNTAX
    elseif operation == "not" and #args ~= 3 then
      return NOT_TAKES_ONE
    end
    local result
    for i = 3, #args do
      local _, value = db:find(args[i])
      local text = db:text(value)
      result = result and bits.combine(operation, result, text) or text
    end
    if operation == "not" then
      result = bits.invert(result)
    end
    if result ~= "" then
      db:set(args[2], result)
      ctx:notify("$", "set", args[2])
    elseif db:delete(args[2]) then
      ctx:notify("g", "del", args[2])
    end
    return #result
  end,
})

return M
