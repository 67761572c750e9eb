-- LCS: the longest common subsequence of two strings. The search itself is lunode.lcs.
local command = require "lunode.kv.command"
local errors = require "lunode.kv.errors"
local keys = require "lunode.kv.keys"
local lcs = require "lunode.lcs"
local numbers = require "lunode.kv.numbers"
local resp = require "lunode.resp"

local MOST_CELLS = 512 * 1024 * 1024 // 4 -- Redis's table has four bytes each, and is as long as a string may be

local NOT_STRINGS = resp.error("ERR The specified keys must contain string values")
local TOO_MUCH = resp.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
local LENGTH_OR_INDEXES = resp.error("ERR If you want both the length and indexes, please just use IDX.")

local function string_at(db, key)
  local _, value = db:find(key)
  if value and keys.type(value) ~= keys.STRING then
    error(NOT_STRINGS, 0)
  end
  return db:text(value)
end

-- Also what it refuses comes in Redis's order: the keys first, then the options.
local function parse(...)
  local args, options, i = { ... }, { least = 0 }, 1
  while i <= #args do
    local option = args[i]:upper()
    if option == "IDX" then
      options.indexes = true
    elseif option == "LEN" then
      options.length = true
    elseif option == "WITHMATCHLEN" then
      options.with_length = true
    elseif option == "MINMATCHLEN" and args[i + 1] then
      options.least = math.max(numbers.integer(args[i + 1]), 0)
      i = i + 1
    else
      error(errors.SYNTAX, 0)
    end
    i = i + 1
  end
  if options.length and options.indexes then
    error(LENGTH_OR_INDEXES, 0)
  end
  return options
end

local function indexes(runs, length, options)
  local matches = {}
  for i = 1, #runs, 3 do
    local in_a, in_b, size = runs[i], runs[i + 1], runs[i + 2]
    if size >= options.least then
      matches[#matches + 1] = {
        { in_a - 1, in_a + size - 2 }, { in_b - 1, in_b + size - 2 }, options.with_length and size or nil,
      }
    end
  end
  return resp.map { "matches", matches, "len", length }
end

local function sequence(a, runs)
  local pieces = {}
  for i = #runs - 2, 1, -3 do
    pieces[#pieces + 1] = a:sub(runs[i], runs[i] + runs[i + 2] - 1)
  end
  return table.concat(pieces)
end

command.command("LCS", {
  arity = -3, flags = { "readonly" }, keys = { 1, 2, 1 }, access = "RO access", group = "string", since = "7.0.0",
  complexity = "O(N*M) where N and M are the lengths of s1 and s2, respectively",
  summary = "Find longest common substring",
  run = function(ctx, key_a, key_b, ...)
    local a, b = string_at(ctx.db, key_a), string_at(ctx.db, key_b)
    local options = parse(...)
    if (#a + 1) * (#b + 1) > MOST_CELLS then
      return TOO_MUCH
    end
    local length, runs = lcs.of(a, b)
    if options.indexes then
      return indexes(runs, length, options)
    end
    return options.length and length or sequence(a, runs)
  end,
})
