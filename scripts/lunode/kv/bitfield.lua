-- BITFIELD and BITFIELD_RO: a string as an array of integers of any width.
local bit_commands = require "lunode.kv.bits"
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local null = resp.null

local BAD_TYPE = resp.error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but "
  .. "i64 is.")
local BAD_OVERFLOW = resp.error("ERR Invalid OVERFLOW type specified")
local ONLY_GET = resp.error("ERR BITFIELD_RO only supports the GET subcommand")

local KEY = { 1, 1, 1 }

-- ---- bytes

-- A string and the bytes that have changed, so that a change does not cost a copy of all.
---@class lunode.kv.bitfield
---@field text string
---@field changed table<integer, integer>  position → byte
---@field size integer

local function byte_at(field, position)
  return field.changed[position] or field.text:byte(position) or 0
end

local function read(field, offset, width)
  local value = 0
  while width > 0 do
    local within = offset & 7
    local taken = math.min(8 - within, width)
    local piece = byte_at(field, (offset >> 3) + 1) >> (8 - within - taken) & (1 << taken) - 1
    value = value << taken | piece
    offset, width = offset + taken, width - taken
  end
  return value
end

local function write(field, offset, width, value)
  while width > 0 do
    local within = offset & 7
    local taken = math.min(8 - within, width)
    local shift, mask = 8 - within - taken, (1 << taken) - 1
    local position = (offset >> 3) + 1
    local piece = value >> (width - taken) & mask
    field.changed[position] = byte_at(field, position) & ~(mask << shift) | piece << shift
    field.size = math.max(field.size, position)
    offset, width = offset + taken, width - taken
  end
end

-- The string with its changes.
local function whole(field)
  local positions, pieces, at = {}, {}, 1
  for position in pairs(field.changed) do
    positions[#positions + 1] = position
  end
  table.sort(positions)
  local text = field.text .. ("\0"):rep(field.size - #field.text)
  for _, position in ipairs(positions) do
    pieces[#pieces + 1] = text:sub(at, position - 1)
    pieces[#pieces + 1] = string.char(field.changed[position])
    at = position + 1
  end
  pieces[#pieces + 1] = text:sub(at)
  return table.concat(pieces)
end

-- ---- integers

local function signed(value, width)
  if width < 64 and value >> (width - 1) & 1 == 1 then
    return value | -1 << width
  end
  return value
end

-- value + by as an integer of this type: (sum, the side on which it does not fit: -1, 0, 1). Where it does not, the
-- sum is what `overflow` makes of it. The differences wrap around at 64 bits, as Redis's do.
local function add_unsigned(value, by, width, overflow)
  local most = (1 << width) - 1
  if math.ult(most, value) or by > 0 and by > most - value then
    return overflow == "SAT" and most or value + by & most, 1
  elseif by < 0 and by < -value then
    return overflow == "SAT" and 0 or value + by & most, -1
  end
  return value + by, 0
end

local function add_signed(value, by, width, overflow)
  local most = width == 64 and math.maxinteger or (1 << (width - 1)) - 1
  local least = -most - 1
  local up, down = most - value, least - value
  local narrow = width < 64
  local sum = narrow and signed(value + by & (1 << width) - 1, width) or value + by
  if value > most or narrow and by > up or value >= 0 and by > 0 and by > up then
    return overflow == "SAT" and most or sum, 1
  elseif value < least or narrow and by < down or value < 0 and by < 0 and by < down then
    return overflow == "SAT" and least or sum, -1
  end
  return sum, 0
end

-- ---- operations

---@class lunode.kv.bitfield_operation
---@field name "GET"|"SET"|"INCRBY"
---@field is_signed boolean
---@field width integer
---@field offset integer
---@field value integer?
---@field overflow "WRAP"|"SAT"|"FAIL"

local function parse_type(text)
  local sign, width = text:sub(1, 1), numbers.parse(text:sub(2))
  if sign ~= "i" and sign ~= "u" or not width or width < 1 or width > (sign == "i" and 64 or 63) then
    error(BAD_TYPE, 0)
  end
  return sign == "i", width
end

local ARGUMENTS = { GET = 2, SET = 3, INCRBY = 3, OVERFLOW = 1 } -- that follow
local OVERFLOWS = { WRAP = true, SAT = true, FAIL = true }

-- The operations behind the key, and whether there are any that write.
local function parse(args)
  local list, writes, overflow, i = {}, false, "WRAP", 2
  while i <= #args do
    local name = args[i]:upper()
    local following = ARGUMENTS[name]
    if not following or i + following > #args then
      error(errors.SYNTAX, 0)
    elseif name == "OVERFLOW" then
      overflow = args[i + 1]:upper()
      if not OVERFLOWS[overflow] then
        error(BAD_OVERFLOW, 0)
      end
    else
      local is_signed, width = parse_type(args[i + 1])
      local offset = bit_commands.offset(args[i + 2], width)
      local value = name ~= "GET" and numbers.integer(args[i + 3]) or nil
      writes = writes or name ~= "GET"
      list[#list + 1] = {
        name = name, is_signed = is_signed, width = width, offset = offset, value = value, overflow = overflow,
      }
    end
    i = i + following + 1
  end
  return list, writes
end

-- How a call uses its key: where it cannot be read, as if it wrote.
local function keys_of_call(args)
  local access, i = "RO access", 2
  while i <= #args do
    local name = args[i]:upper()
    local following = ARGUMENTS[name]
    if not following or i + following > #args or name == "SET" or name == "INCRBY" then
      access = "RW access update"
      break
    end
    i = i + following + 1
  end
  return { { at = 1, access = access } }
end

local function perform(field, operation)
  local width, offset = operation.width, operation.offset
  local old = read(field, offset, width)
  if operation.is_signed then
    old = signed(old, width)
  end
  if operation.name == "GET" then
    return old
  end
  local sets = operation.name == "SET"
  local add = operation.is_signed and add_signed or add_unsigned
  local new, side = add(sets and operation.value or old, sets and 0 or operation.value, width, operation.overflow)
  if side ~= 0 and operation.overflow == "FAIL" then
    return null
  end
  write(field, offset, width, new)
  field.told = field.told or new ~= old or field.size > #field.text
  return sets and old or new
end

local function perform_all(field, operations)
  local replies = {}
  for i, operation in ipairs(operations) do
    replies[i] = perform(field, operation)
  end
  return replies
end

-- The string becomes as long as all that may be written needs, also where nothing is.
local function size_for(operations, size)
  for _, operation in ipairs(operations) do
    if operation.name ~= "GET" then
      size = math.max(size, (operation.offset + operation.width - 1 >> 3) + 1)
    end
  end
  return size
end

local function new_field(text)
  return { text = text, changed = {}, size = #text, told = false } -- told: not where it only grew, as Redis has it
end

command.command("BITFIELD", {
  arity = -2, variadic = true, flags = { "write", "denyoom" }, keys = KEY, access = "RW access update variable_flags",
  notes = "This command allows both access and modification of the key", group = "bitmap", since = "3.2.0",
  getkeys = keys_of_call,
  complexity = "O(1) for each subcommand specified",
  summary = "Perform arbitrary bitfield integer operations on strings",
  run = function(ctx, args)
    local operations, writes = parse(args)
    local db = ctx.db
    local row, old = db:find(args[1])
    local field = new_field(db:text(old))
    field.size = size_for(operations, field.size)
    local replies = perform_all(field, operations)
    local text = writes and whole(field) or field.text
    if text ~= field.text then
      db:put(row, old, keys.string_value(text, old and keys.expiry(old)))
    end
    if field.told then
      ctx:notify("$", "setbit", args[1])
    end
    return replies
  end,
})

command.command("BITFIELD_RO", {
  arity = -2, variadic = true, flags = { "readonly", "fast" }, keys = KEY, access = "RO access", group = "bitmap",
  since = "6.0.0", complexity = "O(1) for each subcommand specified",
  summary = "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD",
  run = function(ctx, args)
    local operations, writes = parse(args)
    if writes then
      return ONLY_GET
    end
    return perform_all(new_field(ctx.db:get(args[1]) or ""), operations)
  end,
})
