-- Draws operations as bars over time, a lane a process, in plain text:
--
--   a  ├─ write(1) ─┤           ├─ read → 1 ─┤ ✗
--   b                 ├─ write(2) ─ ─ ─ ─ ─ ─ ─ ─
--
-- Only the order of events is to scale, not the time between them. An operation that stays open ends in dashes.

local values = require "lunode.sim.history.values"

local M = {}

local WIDEST = 110 -- columns; where labels make it wider than this, bars have numbers, and the labels go below
local WIDEST_NAME = 20
local WIDEST_LABEL = 64

local function width_of(text)
  return utf8.len(text) or #text
end

local function fit(text, width)
  if width_of(text) <= width then
    return text
  end
  return text:sub(1, utf8.offset(text, width) - 1) .. "…"
end

local function show(op)
  local words = {}
  for i = 1, op.args.n do
    words[i] = values.show(op.args[i])
  end
  return values.name(op.name) .. (op.args.n > 0 and "(" .. table.concat(words, ", ") .. ")" or "")
end

---What an operation was asked to do, and to what: `write(2) of "x"`
---@param op table  name, args, key
---@return string
function M.call(op)
  return fit(show(op) .. (op.key ~= nil and " of " .. values.show(op.key) or ""), WIDEST_LABEL)
end

---An operation and what came of it: `write(2)`, `cas(1, 2) → true`, `read → ?`
---@param op table  name, args, result, status
---@return string
function M.label(op)
  local text = show(op)
  if op.status == "unknown" or op.status == "open" then
    text = text .. " → ?"
  elseif op.status == "failed" then
    text = text .. " → failed"
  elseif op.result ~= nil or op.args.n == 0 then
    text = text .. " → " .. values.show(op.result)
  end
  return fit(text, WIDEST_LABEL)
end

---A time in seconds, without digits that nobody needs.
---@param seconds number
---@return string
function M.time(seconds)
  local text = ("%.6f"):format(seconds):gsub("0+$", ""):gsub("%.$", "")
  return (text)
end

-- The events of the operations in their order: { op, begins }. An open operation has no end.
local function events_of(ops)
  local events = {}
  for _, op in ipairs(ops) do
    events[#events + 1] = { at = op.call, op = op, begins = true }
    if op.ret ~= math.huge then
      events[#events + 1] = { at = op.ret, op = op, begins = false }
    end
  end
  table.sort(events, function(a, b)
    return a.at < b.at
  end)
  return events
end

-- Columns of beginnings and ends: as far to the left as order and labels permit.
local function place(ops, labels)
  local from, to, column = {}, {}, -1
  for _, event in ipairs(events_of(ops)) do
    column = column + 1
    if event.begins then
      from[event.op] = column
    else
      column = math.max(column, from[event.op] + width_of(labels[event.op]) + 5)
      to[event.op] = column
    end
  end
  local last = column
  for _, op in ipairs(ops) do
    last = math.max(last, to[op] or from[op] + width_of(labels[op]) + 7)
  end
  return from, to, last
end

local function bar(label, width, is_open)
  local rest = width - width_of(label) - (is_open and 4 or 5) + 1
  if is_open then
    return "├─ " .. label .. " " .. ("─ "):rep((rest + 1) // 2)
  end
  return "├─ " .. label .. " " .. ("─"):rep(rest) .. "┤"
end

-- Rows of a lane: an operation that stayed open leaves its process free to go on, in the next row.
local function rows_of(ops, from, to)
  local rows = {}
  for _, op in ipairs(ops) do
    local row
    for _, candidate in ipairs(rows) do
      row = row or candidate.free < from[op] and candidate or nil
    end
    if not row then
      row = { free = -1 }
      rows[#rows + 1] = row
    end
    row[#row + 1] = op
    row.free = to[op] or math.huge
  end
  return rows
end

local function draw_row(row, from, to, last, labels, blocked)
  local text, column = {}, 0
  for _, op in ipairs(row) do
    text[#text + 1] = (" "):rep(from[op] - column)
    text[#text + 1] = bar(labels[op], (to[op] or last) - from[op], not to[op])
    column = (to[op] or last) + 1
    if op == blocked then
      text[#text + 1], column = " ✗", column + 2
    end
  end
  return (table.concat(text):gsub("%s+$", ""))
end

local function lanes_of(ops)
  local lanes, by_process = {}, {}
  for _, op in ipairs(ops) do
    local lane = by_process[op.process]
    if not lane then
      lane = { process = op.process }
      by_process[op.process] = lane
      lanes[#lanes + 1] = lane
    end
    lane[#lane + 1] = op
  end
  return lanes
end

local function axis(ops, indent, last)
  local first, final = math.huge, -math.huge
  for _, op in ipairs(ops) do
    first, final = math.min(first, op.called_at), math.max(final, op.returned_at or op.called_at)
  end
  local left, right = M.time(first), M.time(final) .. " s"
  return (" "):rep(indent) .. left .. (" "):rep(math.max(2, last + 1 - #left - #right)) .. right
end

---@param ops table[]  in the order of invocation; call and ret (math.huge: open) give the order of events
---@param blocked? table  the one that gets a cross
---@return string  lines, each with its end
function M.draw(ops, blocked)
  local labels = {}
  for _, op in ipairs(ops) do
    labels[op] = M.label(op)
  end
  local from, to, last = place(ops, labels)
  local legend = {}
  if last > WIDEST then
    for i, op in ipairs(ops) do
      legend[i] = ("  %d: %s  %s"):format(i, values.name(op.process), labels[op])
      labels[op] = tostring(i)
    end
    from, to, last = place(ops, labels)
  end

  local lines, indent, lanes = {}, 0, lanes_of(ops)
  for _, lane in ipairs(lanes) do
    lane.title = fit(values.name(lane.process), WIDEST_NAME)
    indent = math.max(indent, width_of(lane.title) + 2)
  end
  for _, lane in ipairs(lanes) do
    for i, row in ipairs(rows_of(lane, from, to)) do
      local title = i == 1 and lane.title or ""
      lines[#lines + 1] = title .. (" "):rep(indent - width_of(title)) .. draw_row(row, from, to, last, labels, blocked)
    end
  end
  lines[#lines + 1] = axis(ops, indent, last)
  table.move(legend, 1, #legend, #lines + 1, lines)
  return table.concat(lines, "\n") .. "\n"
end

return M
