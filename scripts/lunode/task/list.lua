-- First-in-first-out lists of waiters, linked through the waiters themselves, so that one in the middle leaves as fast
-- as the first. Does not know what anybody waits for.
--
-- Any table can be a list (`first`, `last`) and any can be in one list at a time (`list`, `next`, `prev`); where there
-- is none, the fields are false or nil.

local M = {}

function M.append(list, node)
  local last = list.last
  node.list, node.prev, node.next = list, last, false
  if last then
    last.next = node
  else
    list.first = node
  end
  list.last = node
end

---Takes a node out of the list it is in, if it is in one.
function M.remove(node)
  local list = node.list
  if not list then
    return
  end
  local prev, next_node = node.prev, node.next
  if prev then
    prev.next = next_node
  else
    list.first = next_node
  end
  if next_node then
    next_node.prev = prev
  else
    list.last = prev
  end
  node.list, node.prev, node.next = false, false, false
end

---Takes the first node out, and returns it; nil where the list is empty.
function M.take(list)
  local node = list.first
  if node then
    M.remove(node)
    return node
  end
end

return M
