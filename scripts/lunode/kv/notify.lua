-- Keyspace notifications: which classes of events are told (notify-keyspace-events), and their messages. Each node
-- tells its own subscribers, when it runs the command: on every replica, as the command is applied there.
local M = {}

local CLASSES = { "g", "$", "l", "s", "h", "z", "x", "e", "t", "d" } -- what "A" stands for
local OTHERS = { "n", "K", "E", "m" }

local KNOWN = { A = true }
for _, list in ipairs { CLASSES, OTHERS } do
  for _, class in ipairs(list) do
    KNOWN[class] = true
  end
end

---The classes that a text names; nil where it has other characters.
---@param text string
---@return table<string, boolean>?
function M.parse(text)
  local set = {}
  for class in text:gmatch(".") do
    if not KNOWN[class] then
      return nil
    end
    set[class] = true
  end
  for _, class in ipairs(CLASSES) do
    set[class] = set[class] or set.A or nil
  end
  set.A = nil
  return set
end

---As CONFIG GET shows it.
---@param set table<string, boolean>
---@return string
function M.text(set)
  local text, all = "", true
  for _, class in ipairs(CLASSES) do
    all = all and set[class]
  end
  for _, class in ipairs(all and { "A" } or CLASSES) do
    text = text .. (class ~= "A" and not set[class] and "" or class)
  end
  for i, class in ipairs(OTHERS) do
    if set[class] and not (i == 1 and all) then -- beside "A", Redis does not show "n"
      text = text .. class
    end
  end
  return text
end

---Makes a node tell what a set of classes names. Neither by key nor by event, it is off.
---@param node lunode.kv.node
---@param set table<string, boolean>
function M.set(node, set)
  local ctx, db = node.ctx, node.db
  node.notify_classes = set
  ctx.notifies = (set.K or set.E) and set or false
  node.writes:update()
  db.on_new = ctx.notifies and set.n and function(key)
    ctx:notify("n", "new", key)
  end or nil
  db.on_miss = ctx.notifies and set.m and function(key)
    ctx:notify("m", "keymiss", key)
  end or nil
end

---Sends events.
---@param node lunode.kv.node
---@param events string[]  an event, its key, …
function M.tell(node, events)
  local channels, set = node.channels, node.ctx.notifies
  for i = 1, #events, 2 do
    local event, key = events[i], events[i + 1]
    if set and set.K then
      channels:publish("__keyspace@0__:" .. key, event)
    end
    if set and set.E then
      channels:publish("__keyevent@0__:" .. event, key)
    end
  end
end

return M
