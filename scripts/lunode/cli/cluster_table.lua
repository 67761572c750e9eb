-- What `lunode cluster status` shows, as text: a line about the cluster, and a table of its members. Asks nobody.

local M = {}

-- Title, field of a member, on the right?
local COLUMNS = {
  { "ID", "id" }, { "ROLE", "role" }, { "ADDRESS", "address" }, { "CLIENTS", "client" }, { "TERM", "term", true },
  { "APPLIED", "applied", true }, { "LAG", "lag", true }, { "CONTACT", "contact", true }, { "STATE", "state" },
}

---A time that has passed, in a few characters.
---@param ms integer  -1: not known
---@return string
function M.contact(ms)
  if ms < 0 then
    return "-"
  elseif ms < 1000 then
    return ("%d ms"):format(ms)
  elseif ms < 120000 then
    return ("%.1f s"):format(ms / 1000)
  end
  return ("%d min"):format(ms // 60000)
end

local function width_of(text)
  return utf8.len(text) or #text
end

---Lines of columns that line up, two blanks apart.
---@param rows string[][]  the first one has the titles
---@param right table<integer, boolean>  columns that are on the right
---@return string[]
function M.align(rows, right)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, width_of(cell))
    end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local gap = (" "):rep(widths[i] - width_of(cell))
      cells[i] = right[i] and gap .. cell or cell .. gap
    end
    lines[n] = table.concat(cells, "  "):gsub(" +$", "")
  end
  return lines
end

local function cell_of(member, field)
  if field == "contact" then
    return member.role == "leader" and "-" or M.contact(member["last-contact-ms"])
  elseif field == "applied" or field == "lag" or field == "term" then
    return member.state == "unreachable" and field == "term" and "-" or ("%d"):format(member[field])
  end
  local text = tostring(member[field])
  return text ~= "" and text or "-"
end

local function headline(status)
  if status.voters == 0 then
    return ("%s waits to be added to a cluster"):format(status.id)
  end
  local count = ("%d voter%s, quorum %d"):format(status.voters, status.voters == 1 and "" or "s", status.quorum)
  if status.leader == "" then
    return ("cluster %s: no leader is known to %s; %s"):format(status.group, status.id, count)
  end
  return ("cluster %s: %s leads in term %d; %s; committed up to %d"):format(status.group, status.leader, status.term,
    count, status.commit)
end

---@param status table  what RAFT STATUS says
---@return string
function M.render(status)
  local rows, right = { {} }, {}
  for i, column in ipairs(COLUMNS) do
    rows[1][i], right[i] = column[1], column[3]
  end
  for n, member in ipairs(status.members) do
    rows[n + 1] = {}
    for i, column in ipairs(COLUMNS) do
      rows[n + 1][i] = cell_of(member, column[2])
    end
  end
  local lines = rows[2] and M.align(rows, right) or {}
  table.insert(lines, 1, headline(status))
  if status.removed[1] then
    lines[#lines + 1] = "removed for good: " .. table.concat(status.removed, ", ")
  end
  return table.concat(lines, "\n")
end

return M
