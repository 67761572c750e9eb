-- How two texts differ, line by line, for people. Not a patch format.
--
--   print(diff.lines("a\nb\n", "a\nc\n", "expected", "got"))

local M = {}

local CONTEXT = 3
local MAX_CELLS = 4000000 -- of the table of common subsequences
local MAX_LINES = 200 -- shown

local function split(text)
  local lines = {}
  for line in (text:sub(-1) == "\n" and text or text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line
  end
  return lines
end

-- length[i][j]: of the longest common subsequence of a from i and b from j (Wagner and Fischer 1974).
local function common(a, b, from, a_end, b_end)
  local length = { [a_end + 1] = {} }
  for i = a_end, from, -1 do
    local row, below = {}, length[i + 1]
    for j = b_end, from, -1 do
      if a[i] == b[j] then
        row[j] = (below[j + 1] or 0) + 1
      else
        row[j] = math.max(below[j] or 0, row[j + 1] or 0)
      end
    end
    length[i] = row
  end
  return length
end

-- Calls put(sign, line) for the differing middle of the two lists.
local function middle(a, b, from, a_end, b_end, put)
  local i, j = from, from
  if (a_end - from + 1) * (b_end - from + 1) <= MAX_CELLS then
    local length = common(a, b, from, a_end, b_end)
    while i <= a_end and j <= b_end do
      if a[i] == b[j] then
        put(" ", a[i])
        i, j = i + 1, j + 1
      elseif (length[i + 1][j] or 0) >= (length[i][j + 1] or 0) then
        put("-", a[i])
        i = i + 1
      else
        put("+", b[j])
        j = j + 1
      end
    end
  end
  for k = i, a_end do
    put("-", a[k])
  end
  for k = j, b_end do
    put("+", b[k])
  end
end

local function edits(a, b)
  local list = {}
  local function put(sign, line)
    list[#list + 1] = { sign, line }
  end
  local from, a_end, b_end = 1, #a, #b
  while from <= a_end and from <= b_end and a[from] == b[from] do
    put(" ", a[from])
    from = from + 1
  end
  while a_end >= from and b_end >= from and a[a_end] == b[b_end] do
    a_end, b_end = a_end - 1, b_end - 1
  end
  middle(a, b, from, a_end, b_end, put)
  for k = a_end + 1, #a do
    put(" ", a[k])
  end
  return list
end

-- Whether a change is so near that the line is shown.
local function is_near(list, position)
  for k = math.max(1, position - CONTEXT), math.min(#list, position + CONTEXT) do
    if list[k][1] ~= " " then
      return true
    end
  end
  return false
end

---The lines that differ, with some around them; nil where none does.
---@param a string
---@param b string
---@param a_name string  what "-" means
---@param b_name string  what "+" means
---@return string?
function M.lines(a, b, a_name, b_name)
  if a == b then
    return nil
  end
  local list = edits(split(a), split(b))
  local shown, skipped = { ("- %s, + %s:"):format(a_name, b_name) }, false
  for position, edit in ipairs(list) do
    if #shown > MAX_LINES then
      shown[#shown + 1] = "  … (more differs)"
      break
    elseif is_near(list, position) then
      if skipped then
        shown[#shown + 1] = "  …"
      end
      skipped = false
      shown[#shown + 1] = edit[1] .. " " .. edit[2]
    else
      skipped = true
    end
  end
  if #shown == 1 or (#shown == 2 and shown[2] == "  …") then
    shown[#shown + 1] = "  (only in the last line's end)"
  end
  return table.concat(shown, "\n")
end

-- luassert marks in tables what differs, and that makes lines differ that are equal otherwise.
local function unmarked(text)
  return (text:gsub("%(table: 0x%x+%)", "(table)"):gsub("\n( *)%*", "\n%1 "))
end

---luassert shows the two values one after the other; where they are long, what differs is easier to see line by line.
---@param message string  of a failed assertion
---@return string  with the differing lines, where that helps
function M.explain(message)
  local got, expected = message:match "Passed in:\n(.-)\nExpected:\n(.*)$"
  if not got or not (got .. expected):find "\n.*\n.*\n.*\n" then
    return message
  end
  local changes = M.lines(unmarked(expected), unmarked(got), "expected", "got")
  return changes and message .. "\n" .. changes or message
end

return M
