-- A calculator, and those who ask it. Anything that speaks MessagePack-RPC may ask, Neovim for one.
--
--   lunode run examples/rpc_calculator.lua serve 127.0.0.1:7000
--   lunode run examples/rpc_calculator.lua call 127.0.0.1:7000 add 1 2
local rpc = require "lunode.rpc"
local task = require "lunode.task"

local verb, address, method = arg[1], arg[2], arg[3]

-- A method gets a context and the arguments; what it returns is the result. It runs in a task, so it may wait.
local methods = {
  add = function(_, a, b) return a + b end,
  sub = function(_, a, b) return a - b end,
  mul = function(_, a, b) return a * b end,

  -- An error with a code is for the caller; any other one is a bug of ours, and our log gets its traceback.
  div = function(_, a, b)
    if b == 0 then error { code = "EDOM", message = "cannot divide by zero" } end
    return a / b
  end,

  -- Numbers of which the caller need not know how many there are: they come as a stream.
  sum = function(ctx)
    local sum = 0
    for chunk in ctx:chunks() do sum = sum + tonumber(chunk) end
    return sum
  end,
}

local function serve()
  local server, err = rpc.serve(address, methods)
  if not server then
    io.stderr:write(("cannot listen on %s: %s\n"):format(address, err))
    os.exit(1)
  end
  print("listening on " .. server:address())
end

local function call()
  local peer <close> = rpc.peer(address)
  local numbers = { table.unpack(arg, 4) }
  local result, err
  if method == "sum" then
    local stream = assert(peer:open "sum")
    for _, number in ipairs(numbers) do assert(stream:send(number)) end
    result, err = stream:close()
  else
    for i, number in ipairs(numbers) do numbers[i] = tonumber(number) or number end
    result, err = peer:call(method, numbers, { timeout = 2 })
  end
  if err then
    -- It tells whether it may have happened all the same: `definite` errors have not, and may be tried again.
    io.stderr:write(("%s%s\n"):format(err.message, err.definite and "" or " (it may have been calculated)"))
    os.exit(1)
  end
  print(result)
end

if verb == "serve" and address then
  serve()
elseif verb == "call" and method then
  task.run(call)
else
  io.stderr:write("usage: lunode run rpc_calculator.lua serve HOST:PORT | call HOST:PORT METHOD [NUMBER…]\n")
  os.exit(2)
end
