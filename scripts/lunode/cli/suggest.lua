-- Finds what somebody probably meant to type. Does not decide whether that is wise to do.

local M = {}

---Damerau-Levenshtein distance in its optimal string alignment form: the least number of letters inserted,
---deleted, replaced, or swapped with their neighbour (Damerau 1964).
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local before, previous -- the rows above the current one
  local current = {}
  for j = 0, #b do
    current[j] = j
  end
  for i = 1, #a do
    before, previous = previous, current
    current = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local cost = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        cost = math.min(cost, before[j - 2] + 1)
      end
      current[j] = cost
    end
  end
  return current[#b]
end

---The candidate nearest to `word` (the first of equals), if it is near: at most a third of its letters differ, and
---two in short ones. The beginning of a candidate is always near it.
---@param word string
---@param candidates string[]
---@return string?
function M.nearest(word, candidates)
  word = word:lower():sub(1, 64)
  local best, best_distance
  for _, candidate in ipairs(candidates) do
    local limit = math.max(2, #candidate // 3)
    local distance = M.distance(word, candidate:lower())
    if #word >= 2 and candidate:lower():sub(1, #word) == word then
      distance = math.min(distance, 1)
    end
    if distance <= limit and distance < #candidate and (not best or distance < best_distance) then
      best, best_distance = candidate, distance
    end
  end
  return best
end

---The end of a message about an unknown word: "; did you mean …?", or all there is.
---@param word string
---@param candidates string[]
---@return string
function M.hint(word, candidates)
  local near = M.nearest(word, candidates)
  if near then
    return ("; did you mean %s?"):format(near)
  end
  return "; known are " .. table.concat(candidates, ", ")
end

return M
