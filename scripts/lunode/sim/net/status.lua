-- What fails in the simulated network, in the words of the real one: codes and texts as core/status has them. Decides
-- nothing.

local M = {}

---@type table<string, string>  by the code that scripts see
local texts = {
  EACCES = "Permission denied",
  EADDRINUSE = "Address already in use",
  EADDRNOTAVAIL = "Cannot assign requested address",
  EAGAIN = "Resource temporarily unavailable",
  ECALLBACK = "a callback raised an error",
  ECANCELED = "Operation canceled",
  ECONNREFUSED = "Connection refused",
  ECONNRESET = "Connection reset by peer",
  EHOSTUNREACH = "No route to host",
  EINVAL = "Invalid argument",
  ENETUNREACH = "Network is unreachable",
  ENOBUFS = "No buffer space available",
  ENOENT = "No such file or directory",
  ENOTCONN = "Transport endpoint is not connected",
  ENOTFOUND = "name not found",
  EPIPE = "Broken pipe",
  EPROTO = "Protocol error",
  ETIMEDOUT = "Connection timed out",
}

-- Several of ours share a code of errno's, with a text of their own; each is named here by more than its code.
local own = {
  CONNECT_TIMEOUT = { "ETIMEDOUT", "connect timeout: no address answered" },
  IDLE_TIMEOUT = { "ETIMEDOUT", "idle timeout: nothing was sent or received" },
  READ_TIMEOUT = { "ETIMEDOUT", "read timeout: nothing was received" },
  WRITE_TIMEOUT = { "ETIMEDOUT", "write timeout: the peer took nothing" },
  LOOKUP_TIMEOUT = { "ETIMEDOUT", "lookup timeout: no name server answered" },
  TRY_AGAIN = { "EAGAIN", "temporary failure in name resolution" },
  NO_LOOKUP = {
    "ENOTFOUND",
    "listening looks no names up: it needs a numeric address, localhost or unix:/path",
  },
  UNIX_LONG = { "ENAMETOOLONG", "the path of a Unix socket is too long: 107 bytes at most" },
  UNIX_EMPTY = { "EINVAL", "unix: needs a path, as in unix:/run/node.sock" },
  UNIX_LIVE = { "EADDRINUSE", "a server is listening on that socket already" },
}

---@param status string  a code, or the name of one of ours
---@return string
function M.text(status)
  local special = own[status]
  return special and special[2] or assert(texts[status], status)
end

---@param status string
---@return string code
function M.code(status)
  local special = own[status]
  return special and special[1] or status
end

---What a function of the API returns for a failure.
---@param status string
---@return nil, string text, string code
function M.failure(status)
  return nil, M.text(status), M.code(status)
end

return M
