-- What Raft's core costs by itself: three of them in one process, messages and writes done at once. Measures no
-- network, no disk and no driver.
--
--   lunode run bench/raft_core.lua [BATCH [ENTRIES]]      BATCH entries a proposal (default 1), of 100 bytes

local core = require "lunode.raft.core"
local config = require "lunode.raft.config"
local memory_log = require "lunode.raft.memory_log"

local BATCH, TOTAL = tonumber(arg[1] or 1), tonumber(arg[2] or 200000)
local PEERS = { "n1", "n2", "n3" }

local members = {}
for i, id in ipairs(PEERS) do
  members[i] = { id = id, voter = true }
end

local nodes, queue, first, last, steps = {}, {}, 1, 0, 0
for _, id in ipairs(PEERS) do
  local log = memory_log.new()
  nodes[id] = { log = log, applied = 0, core = core.new {
    id = id, config = assert(config.new(members)), log = log, now = 0, random = function()
      return 0
    end,
  } }
end

local function post(messages)
  for i = 1, messages and #messages or 0 do
    last = last + 1
    queue[last] = messages[i]
  end
end

local function step(node, event)
  steps = steps + 1
  local update = node.core:step(event)
  if update.entries then
    node.log:append(update.entries)
  end
  post(update.messages)
  post(update.messages_after)
  if update.persisted then
    step(node, update.persisted)
  end
  if update.committed then
    node.applied = update.committed[#update.committed].index
    step(node, { type = "applied", index = node.applied })
    if node.applied % 1000 < BATCH then
      node.log:truncate_prefix(node.applied)
      step(node, { type = "snapshot_saved", index = node.applied })
    end
  end
end

local function deliver()
  while first <= last do
    local message = queue[first]
    queue[first] = nil
    first = first + 1
    step(nodes[message.to], { type = "message", message = message })
  end
end

step(nodes.n1, { type = "campaign" })
deliver()
assert(nodes.n1.core.role == "leader")

local entries = {}
for i = 1, BATCH do
  entries[i] = ("x"):rep(100)
end

local proposals = TOTAL // BATCH
steps = 0
collectgarbage()
local start = os.clock()
for _ = 1, proposals do
  step(nodes.n1, { type = "propose", entries = entries })
  deliver()
end
local seconds = os.clock() - start
assert(nodes.n3.applied == proposals * BATCH + 1)
print(("%d entries a proposal: %.0f entries/s, %.0f proposals/s; %.1f steps a proposal, %.2f us of CPU a step"):format(
  BATCH, proposals * BATCH / seconds, proposals / seconds, steps / proposals, seconds / steps * 1e6))
