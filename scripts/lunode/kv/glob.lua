-- Glob patterns as KEYS, SCAN and CONFIG GET match them (Redis's stringmatchlen): ? * [a-c] [^x] \x.
-- It remembers only the last star, so that a*a*a*a*b costs at most pattern × string, never exponentially.
local byte = string.byte

local M = {}

local STAR, ANY, OPEN, CLOSE, CARET, BACKSLASH, DASH = byte("*?[]^\\-", 1, -1)

local function lower(c)
  if c >= 65 and c <= 90 then
    return c + 32
  end
  return c
end

local function signed(c) -- Redis compares ranges as signed chars
  return c < 128 and c or c - 256
end

-- Matches c with the class whose first byte after "[" is at p: (matched, position of its last byte).
-- A class that is not closed ends with the pattern; `[a-]` is a range from "a" to "]".
local function class(pattern, p, c, nocase)
  local negated = byte(pattern, p) == CARET
  if negated then
    p = p + 1
  end
  local last = #pattern
  if nocase then
    c = lower(c)
  end
  local matched = false
  while true do
    local first = byte(pattern, p)
    if first == BACKSLASH and p < last then
      p = p + 1
      -- as in Redis, an escaped byte is compared as it is
      matched = matched or byte(pattern, p) == c
    elseif first == CLOSE then
      break
    elseif first == nil then
      p = last
      break
    elseif p + 2 <= last and byte(pattern, p + 1) == DASH then
      local low, high = signed(first), signed(byte(pattern, p + 2))
      if low > high then
        low, high = high, low
      end
      if nocase then
        low, high = lower(low), lower(high)
      end
      local at = signed(c)
      matched = matched or at >= low and at <= high
      p = p + 2
    else
      matched = matched or (nocase and lower(first) or first) == c
    end
    p = p + 1
  end
  return matched ~= negated, p
end

---@param pattern string
---@param text string
---@param nocase? boolean  ignore the case of ASCII letters
---@return boolean
function M.match(pattern, text, nocase)
  local pattern_end, text_end = #pattern, #text
  if text_end == 0 then
    return pattern_end == 0 -- in Redis not even "*" matches the empty string; callers treat "*" as "all"
  end
  local p, t = 1, 1
  local star, star_t -- the last star, and the text position that it gave back last
  while t <= text_end do
    local c = byte(pattern, p)
    local matched
    if c == STAR then
      if p == pattern_end then
        return true
      end
      star, star_t = p, t
      p = p + 1
      goto continue
    elseif c == ANY then
      matched = true
    elseif c == OPEN then
      matched, p = class(pattern, p + 1, byte(text, t), nocase)
    elseif c ~= nil then
      if c == BACKSLASH and p < pattern_end then
        p = p + 1
        c = byte(pattern, p)
      end
      local d = byte(text, t)
      matched = c == d or nocase and lower(c) == lower(d)
    end
    if matched then
      p, t = p + 1, t + 1
    elseif star then
      star_t = star_t + 1
      p, t = star + 1, star_t
    else
      return false
    end
    ::continue::
  end
  while byte(pattern, p) == STAR do
    p = p + 1
  end
  return p > pattern_end
end

return M
