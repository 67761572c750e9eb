-- Writes results as JUnit's XML, the dialect that build servers read. Well-formed XML 1.0, whatever the tests said.

local M = {}

local ENTITY = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;", ["\t"] = "&#9;" }

-- XML has no control characters but these: the others, and bytes that are no UTF-8, are shown as escapes.
local function is_character(code)
  return code == 9 or code == 10 or (code >= 32 and code ~= 127 and code < 0xD800)
    or (code > 0xDFFF and code < 0xFFFE) or (code > 0xFFFF and code <= 0x10FFFF)
end

local function escape_byte(char)
  return ("\\x%02x"):format(char:byte())
end

local function clean(text)
  local parts, at = {}, 1
  while at <= #text do
    local stop = select(2, text:find("^[\32-\126\n\t]+", at))
    if not stop then
      local length = (text:find("^[\xC2-\xF4][\x80-\xBF]+", at)) and utf8.offset(text, 2, at)
      local char = length and text:sub(at, length - 1)
      local fine = char and utf8.len(char) == 1 and is_character(utf8.codepoint(char))
      parts[#parts + 1] = fine and char or escape_byte(text:sub(at, at))
      at = fine and length or at + 1
    else
      parts[#parts + 1] = text:sub(at, stop)
      at = stop + 1
    end
  end
  return table.concat(parts)
end

local function attribute(text)
  return (clean(tostring(text)):gsub('[&<>"\n\t]', ENTITY))
end

local function content(text)
  return (clean(tostring(text)):gsub("[&<>]", ENTITY))
end

local function first_line(text)
  return text:match "^[^\n]*"
end

local function add_test(lines, file, test)
  local place_line = (test.place or ""):match ":(%d+)$"
  lines[#lines + 1] = ('    <testcase classname="%s" name="%s" file="%s"%s time="%.3f">'):format(
    attribute(file),
    attribute(test.name),
    attribute(file),
    place_line and (' line="%s"'):format(place_line) or "",
    test.seconds
  )
  local message = test.message or ""
  if test.status == "failed" then
    local first = attribute(first_line(message))
    lines[#lines + 1] = ('      <failure message="%s">%s</failure>'):format(first, content(message))
  elseif test.status == "skipped" then
    lines[#lines + 1] = ('      <skipped message="%s"/>'):format(attribute(first_line(message)))
  end
  lines[#lines + 1] = "    </testcase>"
end

local function counts(result)
  return ('tests="%d" failures="%d" errors="0" skipped="%d" time="%.3f"'):format(
    result.passed + result.failed + result.skipped,
    result.failed,
    result.skipped,
    result.seconds
  )
end

---@param total table  of lunode.test.runner
---@return string
function M.text(total)
  local lines = { '<?xml version="1.0" encoding="UTF-8"?>' }
  lines[#lines + 1] = ('<testsuites name="lunode test" %s>'):format(counts(total))
  for _, result in ipairs(total.files) do
    lines[#lines + 1] = ('  <testsuite name="%s" %s>'):format(attribute(result.file), counts(result))
    for _, list in ipairs { result.tests, result.troubles } do
      for _, test in ipairs(list) do
        add_test(lines, result.file, test)
      end
    end
    lines[#lines + 1] = "  </testsuite>"
  end
  lines[#lines + 1] = "</testsuites>\n"
  return table.concat(lines, "\n")
end

---@param total table
---@param path string
---@return boolean ok
---@return string? message
function M.write(total, path)
  local out, err = io.open(path, "w")
  if not out then
    return false, err
  end
  local written, why = out:write(M.text(total))
  local closed, at_close = out:close()
  if written and closed then
    return true
  end
  return false, ("%s: %s"):format(path, why or at_close)
end

return M
