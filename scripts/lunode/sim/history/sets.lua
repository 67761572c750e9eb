-- Sets of small positive integers of which equal ones are the same table: comparing is free, and they serve as keys.
-- They never change, and none is ever forgotten; drop the family when done.

local M = {}

---@class lunode.sim.history.set
---@field size integer
---@field words integer[]  the members as bits, 64 a word; the last word is never 0
---@field private more table<integer, lunode.sim.history.set>  this set with one member more
---@field private less table<integer, lunode.sim.history.set>  and with one less

local function make(family, words)
  while words[#words] == 0 do
    words[#words] = nil
  end
  local key = string.pack(("j"):rep(#words), table.unpack(words))
  local set = family[key]
  if not set then
    local size = 0
    for _, word in ipairs(words) do
      while word ~= 0 do
        word, size = word & (word - 1), size + 1
      end
    end
    set = { size = size, words = words, more = {}, less = {} }
    family[key] = set
  end
  return set
end

---@param set lunode.sim.history.set
---@param member integer
---@return boolean
function M.has(set, member)
  local word = set.words[(member >> 6) + 1]
  return word ~= nil and word >> (member & 63) & 1 == 1
end

---Does `set` contain every member of `part`?
---@param set lunode.sim.history.set
---@param part lunode.sim.history.set
---@return boolean
function M.contains(set, part)
  if set == part or part.size == 0 then
    return true
  end
  local words = set.words
  for i, word in ipairs(part.words) do
    if word & ~(words[i] or 0) ~= 0 then
      return false
    end
  end
  return true
end

---A family of sets: equal ones of the same family are the same table.
---@return table family  empty; of(members) → set; with(set, member) → set; without(set, member) → set
function M.family()
  local known = {}
  local family = { empty = make(known, {}) }

  function family.of(members)
    local words = {}
    for _, member in ipairs(members) do
      local at = (member >> 6) + 1
      for i = #words + 1, at do
        words[i] = 0
      end
      words[at] = words[at] | 1 << (member & 63)
    end
    return make(known, words)
  end

  function family.with(set, member)
    local result = set.more[member]
    if not result then
      local words, at = table.move(set.words, 1, #set.words, 1, {}), (member >> 6) + 1
      for i = #words + 1, at do
        words[i] = 0
      end
      words[at] = words[at] | 1 << (member & 63)
      result = make(known, words)
      set.more[member] = result
    end
    return result
  end

  function family.without(set, member)
    local result = set.less[member]
    if not result then
      local words, at = table.move(set.words, 1, #set.words, 1, {}), (member >> 6) + 1
      if words[at] then
        words[at] = words[at] & ~(1 << (member & 63))
      end
      result = make(known, words)
      set.less[member] = result
    end
    return result
  end

  return family
end

return M
