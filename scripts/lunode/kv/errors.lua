-- The error replies that several commands share, made once. A handler refuses by raising one of them (or any
-- resp.error): `error(errors.SYNTAX, 0)`. The dispatcher undoes what the command wrote and sends it. No logic here.
local resp = require "lunode.resp"

return {
  WRONGTYPE = resp.error("WRONGTYPE Operation against a key holding the wrong kind of value"),
  SYNTAX = resp.error("ERR syntax error"),
  NOT_INTEGER = resp.error("ERR value is not an integer or out of range"),
  NOT_FLOAT = resp.error("ERR value is not a valid float"),
  NO_SUCH_KEY = resp.error("ERR no such key"),
  TOO_LONG = resp.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
  NOAUTH = resp.error("NOAUTH Authentication required."),
  WRONGPASS = resp.error("WRONGPASS invalid username-password pair or user is disabled."),
}
