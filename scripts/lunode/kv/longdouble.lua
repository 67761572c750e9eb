-- The x87 long double that Redis's INCRBYFLOAT computes with: parse (strtold), add, format ("%.17Lf", zeros trimmed).
-- Lua has doubles only, so this is exact integer arithmetic: the same digits as Redis on x86-64. It does nothing else.
--
-- A value is {negative, m, q}: m × 2^q with m an unsigned 64-bit integer, or {infinite = true}.
-- A big number is a list of 24-bit limbs, the least significant one first, without zeros at its end.
local M = {}

local LIMB, BASE, MASK = 24, 1 << 24, (1 << 24) - 1
local MIN_Q, MAX_Q = -16445, 16383 - 63 -- of the smallest denormal, and of the largest finite numbers
local MAX_TEXT = 5 * 1024 -- Redis's MAX_LONG_DOUBLE_CHARS

-- ---- big numbers

local function big(n) -- from an unsigned 64-bit integer
  local a = {}
  while n ~= 0 do
    a[#a + 1] = n & MASK
    n = n >> LIMB
  end
  return a
end

local function multiply_add(a, factor, carry) -- in place; factor, carry < 2^38
  for i = 1, #a do
    local x = a[i] * factor + carry
    a[i] = x & MASK
    carry = x >> LIMB
  end
  while carry ~= 0 do
    a[#a + 1] = carry & MASK
    carry = carry >> LIMB
  end
  return a
end

local function multiply_power10(a, n)
  while n >= 7 do
    multiply_add(a, 10000000, 0)
    n = n - 7
  end
  return multiply_add(a, math.tointeger(10 ^ n), 0)
end

local function from_digits(digits)
  local a = {}
  local first = (#digits - 1) % 7 + 1
  multiply_add(a, 1, tonumber(digits:sub(1, first)))
  for i = first + 1, #digits, 7 do
    multiply_add(a, 10000000, tonumber(digits:sub(i, i + 6)))
  end
  return a
end

local function shift_left(a, bits)
  local r = {}
  for i = 1, bits // LIMB do
    r[i] = 0
  end
  local offset, by, carry = #r, bits % LIMB, 0
  for i = 1, #a do
    local x = a[i] << by | carry
    r[offset + i] = x & MASK
    carry = x >> LIMB
  end
  if carry ~= 0 then
    r[#r + 1] = carry
  end
  return #a > 0 and r or a
end

local function bit_length(a)
  local n, top = (#a - 1) * LIMB, a[#a]
  if top == nil then
    return 0
  end
  while top ~= 0 do
    n, top = n + 1, top >> 1
  end
  return n
end

local function compare(a, b)
  if #a ~= #b then
    return #a - #b
  end
  for i = #a, 1, -1 do
    if a[i] ~= b[i] then
      return a[i] - b[i]
    end
  end
  return 0
end

local function subtract(a, b) -- a - b in place; a >= b
  local borrow = 0
  for i = 1, #a do
    local x = a[i] - (b[i] or 0) - borrow
    borrow = x < 0 and 1 or 0
    a[i] = x + borrow * BASE
  end
  while a[#a] == 0 do
    a[#a] = nil
  end
  return a
end

local function add_big(a, b) -- in place
  local carry = 0
  for i = 1, math.max(#a, #b) do
    local x = (a[i] or 0) + (b[i] or 0) + carry
    a[i] = x & MASK
    carry = x >> LIMB
  end
  if carry ~= 0 then
    a[#a + 1] = carry
  end
  return a
end

-- Bits [from, from + 64) as an unsigned integer.
local function bits_at(a, from)
  local i, by = from // LIMB + 1, from % LIMB
  local r = (a[i] or 0) >> by
  local have = LIMB - by
  while have < 64 do
    i = i + 1
    r = r | (a[i] or 0) << have
    have = have + LIMB
  end
  return r
end

local function any_below(a, bit)
  local whole = bit // LIMB
  for i = 1, math.min(whole, #a) do
    if a[i] ~= 0 then
      return true
    end
  end
  return (a[whole + 1] or 0) & ((1 << bit % LIMB) - 1) ~= 0
end

-- a / 2^bits, to nearest, ties to even: (the low 64 bits of it, whether it became 2^64).
local function rounded_shift(a, bits, sticky)
  local r = bits_at(a, bits)
  if bits > 0 and bits_at(a, bits - 1) & 1 == 1 and (r & 1 == 1 or sticky or any_below(a, bits - 1)) then
    r = r + 1
    return r, r == 0
  end
  return r, false
end

local function to_digits(a)
  local chunks = {}
  while #a > 0 do
    local rest = 0
    for i = #a, 1, -1 do
      local x = rest << LIMB | a[i]
      a[i] = x // 10000000
      rest = x % 10000000
    end
    while a[#a] == 0 do
      a[#a] = nil
    end
    table.insert(chunks, 1, ("%07d"):format(rest))
  end
  return (table.concat(chunks):gsub("^0+", ""))
end

-- ---- values

local ZERO = { negative = false, m = 0, q = 0 }
local INFINITE = { infinite = true }

-- a × 2^q as a long double. With `sticky`, the exact value lies a little above (then a has more than 65 bits).
local function round(negative, a, q, sticky)
  local drop = math.max(bit_length(a) - 64, MIN_Q - q, 0)
  local m, carried = rounded_shift(a, drop, sticky)
  q = q + drop
  if carried then
    m, q = 1 << 63, q + 1
  end
  if q > MAX_Q and bit_length(big(m)) + q > MAX_Q + 64 then
    return INFINITE
  end
  return { negative = negative, m = m, q = q }
end

-- n / d with 67 or more significant bits: (quotient, its exponent, whether there is a rest).
local function divide(n, d)
  local shift = 67 + bit_length(d) - bit_length(n)
  if shift > 0 then
    n = shift_left(n, shift)
  else
    shift = 0
  end
  local quotient, bits = {}, bit_length(n) - bit_length(d)
  local rest = n
  local step = shift_left(d, bits)
  for bit = bits, 0, -1 do
    if compare(rest, step) >= 0 then
      subtract(rest, step)
      local i = bit // LIMB + 1
      quotient[i] = (quotient[i] or 0) | 1 << bit % LIMB
    end
    for i = bit // LIMB + 1, 1, -1 do
      quotient[i] = quotient[i] or 0
    end
    -- halve the step: the bits that fall out are zeros, for it is d shifted left
    for i = 1, #step do
      step[i] = step[i] >> 1 | ((step[i + 1] or 0) & 1) << (LIMB - 1)
    end
    if step[#step] == 0 then
      step[#step] = nil
    end
  end
  while quotient[#quotient] == 0 do
    quotient[#quotient] = nil
  end
  return quotient, -shift, #rest > 0
end

local function parse_decimal(negative, whole, fraction, exponent)
  local digits = (whole .. fraction):gsub("^0+", "")
  if digits == "" then
    return ZERO
  end
  if #exponent:gsub("^[+-]?0*", "") > 6 then
    return nil
  end
  local e = (tonumber(exponent) or 0) - #fraction
  if #digits + e > 4940 or #digits + e < -4960 then
    return nil
  end
  if e >= 0 then
    return round(negative, multiply_power10(from_digits(digits), e), 0)
  end
  local quotient, q, rest = divide(from_digits(digits), multiply_power10({ 1 }, -e))
  return round(negative, quotient, q, rest)
end

local function parse_hex(negative, whole, fraction, exponent)
  local a = {}
  for digit in (whole .. fraction):gmatch(".") do
    multiply_add(a, 16, tonumber(digit, 16))
  end
  if #a == 0 then
    return ZERO
  elseif #exponent:gsub("^[+-]?0*", "") > 6 then
    return nil
  end
  return round(negative, a, (tonumber(exponent) or 0) - 4 * #fraction)
end

---Reads what strtold reads: decimal, hexadecimal (0x1.8p3), inf. Anything else, also out of range: nil.
---@param text string
---@return table? value
function M.parse(text)
  if #text == 0 or #text >= MAX_TEXT then
    return nil
  end
  local sign, body = text:match("^([+-]?)(.*)$")
  local negative = sign == "-"
  body = body and body:lower() or ""
  local value
  local whole, fraction, exponent = body:match("^(%d*)%.?(%d*)(.*)$")
  if body == "inf" or body == "infinity" then
    return INFINITE
  elseif body:find("^0x") then
    whole, fraction, exponent = body:match("^0x(%x*)%.?(%x*)(.*)$")
    if whole .. fraction ~= "" and (exponent == "" or exponent:find("^p[+-]?%d+$")) then
      value = parse_hex(negative, whole, fraction, exponent:sub(2))
    end
  elseif whole .. fraction ~= "" and (exponent == "" or exponent:find("^e[+-]?%d+$")) then
    value = parse_decimal(negative, whole, fraction, exponent:sub(2))
  end
  -- what overflowed, and what was rounded to zero, was out of range
  if value == INFINITE or value ~= ZERO and value and value.m == 0 then
    return nil
  end
  return value
end

---@param value table  finite
---@return number  the nearest double
function M.to_number(value)
  local m = value.m >= 0 and value.m + 0.0 or (value.m >> 1 | value.m & 1) * 2.0 -- it is unsigned
  local n = m * 2.0 ^ value.q
  return value.negative and -n or n
end

---@param a table
---@param b table
---@return table? sum  nil where it is infinite or not a number
function M.add(a, b)
  if a.infinite or b.infinite then
    return nil
  elseif a.m == 0 then
    return b
  elseif b.m == 0 then
    return a
  end
  if a.q < b.q then
    a, b = b, a
  end
  -- a is the one with the higher exponent, but maybe the smaller number: m need not be normalised
  local gap = a.q - b.q
  local x, y = big(a.m), big(b.m)
  if gap > 200 then -- y cannot change how x is rounded
    return a
  end
  x = shift_left(x, gap)
  local sum
  if a.negative == b.negative then
    sum = round(a.negative, add_big(x, y), b.q)
  elseif compare(x, y) >= 0 then
    sum = round(a.negative, subtract(x, y), b.q)
  else
    sum = round(b.negative, subtract(y, x), b.q)
  end
  return not sum.infinite and sum or nil
end

---As Redis writes it: at most 17 decimals, no trailing zeros, never "-0".
---@param value table
---@return string
function M.format(value)
  local m, q = value.m, value.q
  local text
  if q >= 0 then
    text = to_digits(shift_left(big(m), q))
  else
    local whole = q > -64 and m >> -q or 0
    local fraction = q > -64 and m & ((1 << -q) - 1) or m
    local tail = -q < 200 and rounded_shift(multiply_power10(big(fraction), 17), -q) or 0
    if tail == 100000000000000000 then
      whole, tail = whole + 1, 0
    end
    text = ("%d.%017d"):format(whole, tail):gsub("%.?0+$", "", 1)
    if tail == 0 then
      text = ("%d"):format(whole)
    end
  end
  if text == "" then
    text = "0"
  end
  return value.negative and text ~= "0" and "-" .. text or text
end

return M
