-- What epoll is in the real world: tells the loop of a process about a kernel object that is ready, again and again
-- while it is (level-triggered). Such an object has a method `events() → readable, writable, trouble`. Decides nothing.

local M = {}

---Gives an object the fields of this module.
function M.init(object)
  object.loop = false -- of the process that watches
  object.on_ready = false
  object.owner = false
  object.want_in, object.want_out = false, false
  object.queued = false
  object.ready = false
end

local function make_ready(object)
  return function()
    object.queued = false
    local on_ready = object.on_ready
    if on_ready then
      local readable, writable, trouble = object:events()
      readable, writable = readable and object.want_in, writable and object.want_out
      if readable or writable or trouble then
        on_ready(object.owner, readable, writable, trouble)
        M.notify(object)
      end
    end
  end
end

---Begins to tell `on_ready(owner, readable, writable, trouble)`; trouble is told whatever is wanted.
function M.watch(object, loop, owner, on_ready, want_in, want_out)
  object.loop, object.owner, object.on_ready = loop, owner, on_ready
  object.ready = object.ready or make_ready(object)
  M.want(object, want_in, want_out)
end

function M.unwatch(object)
  object.on_ready, object.owner = false, false
  object.want_in, object.want_out = false, false
end

function M.want(object, want_in, want_out)
  object.want_in, object.want_out = want_in, want_out
  if object.on_ready then
    M.notify(object)
  end
end

---Something may have become ready.
function M.notify(object)
  if object.on_ready and not object.queued then
    local readable, writable, trouble = object:events()
    if trouble or (readable and object.want_in) or (writable and object.want_out) then
      object.queued = true
      object.loop:socket(object.ready)
    end
  end
end

return M
