---@meta
-- What the C modules give to Lua: types, units, errors. A spec compares it with the tables in bindings/*.c.
--
-- Times are seconds (floats). Misuse raises at the caller. Failures of the world return `nil, message, code`,
-- with `code` a name such as "ECONNREFUSED".

---@alias lunode.code string  a status name: "ECONNREFUSED", "ETIMEDOUT", "ENOBUFS", "ECANCELED", "EOF", …

-- ---------------------------------------------------------------- lunode.loop

---@class lunode.loop
local loop = {}

---Monotonic time of this iteration; never goes back.
---@return number seconds
function loop.now() end

---Wall-clock time since the Unix epoch, read anew at each call.
---@return number seconds
function loop.time() end

---Calls `fn(timer)` after `delay` seconds, and then every `interval` seconds where one is given.
---@param delay number
---@param fn fun(timer: lunode.timer)
---@param interval? number
---@return lunode.timer
function loop.timer(delay, fn, interval) end

---Calls `fn()` once, after the caller has returned: later in this turn from a timer, else in the next one. What a
---deferred call defers waits for the next turn.
---@param fn fun()
function loop.defer(fn) end

---Calls `fn()` in every turn after its callbacks and before buffered output is sent: the place for group commit.
---@param fn fun()
---@return lunode.hook
function loop.before_sleep(fn) end

---Calls `fn(name)` when the process receives the signal ("TERM", "INT", "HUP", "USR1", "USR2", "WINCH", …). Does not keep the loop alive.
---@param name string
---@param fn fun(name: string)
---@return lunode.signal
function loop.signal(name, fn) end

---A uniformly distributed integer in [low, high], from the kernel's generator.
---@param low integer
---@param high integer
---@return integer
function loop.random(low, high) end

---This process: how many descriptors it may have; bytes in memory, now and at most; bytes that the machine has; seconds that
---processors have spent in it and, for it, in the kernel. In a simulated world its `pid` counts the lives of its node, and
---it uses nothing.
---@return {pid: integer, max_files: integer, rss: integer, peak_rss: integer, system_memory: integer, user: number, system: number}
function loop.process() end

---Gives memory that is free in this process back to the system. Where that is much it takes a while, a tenth of a second for a gigabyte;
---in a simulated world, it does nothing.
function loop.trim() end

---Runs until nothing is active or `stop` is called.
function loop.run() end

---One turn of the loop; sleeps at most `seconds` (default 0) when there is nothing to do.
---@param seconds? number
---@return boolean alive  false when nothing is active any more
function loop.step(seconds) end

---Makes `run` return at the end of this turn.
function loop.stop() end

---Is called with every error that a callback raises, with its traceback. Without one, it goes to stderr. Returns the one it replaces.
---@param fn? fun(traceback: string)
---@return fun(traceback: string)?
function loop.on_error(fn) end

---Gives an error to `on_error` as if a callback had raised it: for what catches errors that nobody else would see.
---@param traceback string
function loop.report(traceback) end

---What is active now: timers, connections (until `on_close`), servers, hooks, signals; in no particular order. The `__name` of
---an object's metatable tells its kind. For finding what was left open.
---@return userdata[]
function loop.handles() end

---@class lunode.timer
local timer = {}

---Stops it; `again` starts it anew.
function timer:close() end

---Starts the delay anew, with another one where given.
---@param delay? number
function timer:again(delay) end

---Whether it is still to fire.
---@return boolean
function timer:is_active() end

---@class lunode.hook
local hook = {}

---Is not called any more.
function hook:close() end

---@class lunode.signal
local signal = {}

---Is not called any more.
function signal:close() end

-- ---------------------------------------------------------------- lunode.tcp_client, lunode.tcp_server

---One TCP connection, from either side.
---@class lunode.conn
---@field data any  for the script's own use
local conn = {}

---Queues bytes; they leave at the end of this turn, in order.
---@param data string|string[]  a list holds strings only, and is queued whole or not at all
---@return boolean? room  false once the queue is above the high watermark (`on_writable` tells when it is below the low one again)
---@return string? err, lunode.code? code  nil, "…", "ENOBUFS": past the hard cap, nothing was queued and the connection closes; "EPIPE", "ENOTCONN": closed or shut down
function conn:write(data) end

---Sends what is queued, then closes; reads nothing more. `on_close` follows, never within this call.
function conn:close() end

---Closes at once and drops what is queued.
function conn:abort() end

---Sends what is queued, then ends our sending side (FIN); the peer can go on sending.
function conn:shutdown() end

---Stops reading, also within a batch of decoded messages: what has arrived is kept.
function conn:pause() end

---Reads again.
function conn:resume() end

---@class lunode.conn_options
---@field low? integer   bytes: below it `on_writable` fires (default 64 KiB)
---@field high? integer  bytes: above it `write` returns false (default 1 MiB)
---@field cap? integer   bytes: past it `write` fails and the connection closes (default 64 MiB)
---@field nodelay? boolean  (default true)
---@field idle_timeout? number|false   seconds without a byte in either direction; then on_close hears "idle timeout …", "ETIMEDOUT" (default: none)
---@field read_timeout? number|false   seconds without a byte received, while reading is not paused (default: none)
---@field write_timeout? number|false  seconds in which the peer takes nothing of what is queued (default: none)
---@field keepalive? number|false|{idle: integer?, interval: integer?, count: integer?}  TCP keepalive: seconds of silence before the first probe, between probes, and how many (default: off)
---@field user_timeout? number  seconds that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT; default: the system's)
---@field protocol? 2|3   of the replies that `on_message` returns and of `resp.reply` (default 2)
---@field authenticated? boolean  decoder "resp": false for Redis's limits before authentication, 10 arguments of 16 KiB (default true)
---@field max_args? integer  decoder "resp": arguments of one command (default 1,048,576)
---@field max_bulk? integer  decoder "resp": bytes of one argument (default 512 MiB)
---@field max_line? integer  decoder "line": bytes of one line, without its end (default 64 KiB)
---@field max_message? integer  other decoders: bytes of one message, at most 512 MiB (default 64 MiB; 64 KiB where the decoder is a function)
---@field max_values? integer  decoder "msgpack": values in one message, as small ones cost more memory than bytes (default 1,048,576)

---Changes options on the way: all of them, or none where one is wrong. Does nothing once closed.
---@param options lunode.conn_options
function conn:set(options) end

---The other end's address. Unix sockets: "unix:/path" ("unix:" where it is bound to none) and port 0.
---@return string? host, integer|string port_or_message, lunode.code? code
function conn:peer() end

---Our end's address, as `peer`.
---@return string? host, integer|string port_or_message, lunode.code? code
function conn:sock() end

---Who is at the other end of a Unix socket, as the kernel knows it (SO_PEERCRED): who connected, or who listened.
---@return integer? pid
---@return integer|string uid, integer|lunode.code gid  or what went wrong: "EOPNOTSUPP" over TCP, "ENOTCONN"
function conn:credentials() end

---`queued`: output not yet sent; `kept`: input that no message has consumed yet; `fd`: -1 while there is none.
---@return {bytes_read: integer, bytes_written: integer, queued: integer, kept: integer, fd: integer, state: "connecting"|"open"|"closing"|"closed"}
function conn:stats() end

---Whether it is connected, and not closing.
---@return boolean
function conn:is_open() end

---Length-prefixed frames: the payload's length, then the payload.
---@class lunode.length
---@field length 1|2|4|8  bytes of the length
---@field endian? "big"|"little"  (default "big")
---@field max? integer  bytes of a payload, checked before any of it is kept (default: `max_message`, else 64 MiB)

---How bytes become messages, and what `on_message` returns becomes bytes. A message is taken as soon as its last byte is there, however
---they were cut; what is not yet a whole message is kept (`stats().kept`), and at the end of the stream it is dropped: never given to
---`on_message`, and still to be seen in `on_end`. Input that a decoder refuses goes to `on_bad_message`; then the connection closes with EPROTO.
---
---* `"line"`: `(conn, line)`, ended by LF or CRLF, which are taken off. Returned: a string, which is written with "\n" behind it.
---* `{length = …}`: `(conn, payload)`. Returned: a string, which is written as a frame.
---* `"msgpack"`: `(conn, value)` for each top-level value, decoded as `msgpack.decode` does. Returned: a value, which is encoded (`msgpack.null` for nil).
---* `"resp"`: `(conn, name, arg, …)` for each command. Returned: the reply, nil included (see lunode.resp).
---* a function: `(conn, value)`. Returned: a string, which is written as it is.
---
---But for "resp", returning nothing, or nil, writes nothing.
---
---A function is called with all bytes that are kept, and the position where the next message begins. It returns the message (not nil)
---and the position behind it; or nil when more bytes are needed, and beside it, best, how many bytes the message takes in all: before
---they are there it is not asked again. Without that it is asked at each arrival, at the cost of a copy of what is kept: then keep
---`max_message` small. Or nil and a text: the bytes are malformed. What it raises goes to loop.on_error, and the connection closes with ECALLBACK.
---@alias lunode.decoder_function fun(bytes: string, position: integer): any, (integer|string)?

---@class lunode.conn_callbacks : lunode.conn_options
---@field on_read? fun(conn: lunode.conn, data: string)
---@field on_writable? fun(conn: lunode.conn)  the queue fell below the low watermark after `write` had returned false
---@field on_end? fun(conn: lunode.conn)  the peer shut down its sending side; without it the connection then closes by itself once its queue is sent
---@field on_close? fun(conn: lunode.conn, err: string?, code: lunode.code?)  always, exactly once, last; "ECALLBACK" after a callback raised
---@field decoder? "line"|"resp"|"msgpack"|lunode.length|lunode.decoder_function  bytes become messages, see lunode.decoder_function
---@field on_message? fun(conn: lunode.conn, ...): any  once for each message, in order; not while paused. What it returns is written, as the decoder has it; above the high watermark no more messages are taken until the queue is short again
---@field on_long_message? fun(conn: lunode.conn, name: string, args: string[]): any  as on_message, for commands of more than 4096 words; without it the decoder refuses them
---@field on_short_message? fun(conn: lunode.conn, value: any, a: any, b: any, c: any): any  as on_message, for commands of up to three arguments whose name is bound in `names`, which gives the value
---@field names? lunode.resp.names  decoder "resp"
---@field ahead? lunode.rows  with `names`: where the first arguments of commands that take views are keys. Those of commands that come together are fetched into the processor's cache together, and so are members of one collection
---@field on_error? fun(conn: lunode.conn, err: any): any  on_message raised `err` (a string comes with its traceback, another value as it is); what it returns is the reply, and the connection goes on. Without it, the connection closes with code ECALLBACK
---@field on_bad_message? fun(conn: lunode.conn, err: string)  the decoder refused the input; a last answer can be written here; then the connection closes with code EPROTO

---@class lunode.tcp_client
local tcp_client = {}

---@class lunode.client_options : lunode.conn_callbacks
---@field connect_timeout? number  seconds (default 5)
---@field on_connect? fun(conn: lunode.conn, err: string?, code: lunode.code?)  exactly once, never within `connect`; nil on success

---Starts to connect and returns at once; every outcome reaches `on_connect`. A failed connect also reaches `on_close`.
---A name is looked up off the loop; its addresses are tried in turn, IPv6 and IPv4 by turns, each with a head start of
---250 ms, or until it fails (RFC 8305): the first to succeed is the connection. `connect_timeout` covers all of it.
---Names fail with "ENOTFOUND", "EAGAIN" (no name server answers), "EDNS" (it refuses), "ENOBUFS" (a thousand are waiting).
---@param host string  a name, numeric IPv4 or IPv6 ("fe80::1%eth0"), "localhost", "unix:/path" or "unix:@abstract"
---@param port? integer  not for Unix sockets
---@param options lunode.client_options
---@return lunode.conn
function tcp_client.connect(host, port, options) end

---@class lunode.tcp_server
local tcp_server = {}

---@class lunode.server_options : lunode.conn_callbacks
---@field backlog? integer  (default 511)
---@field reuseport? boolean  SO_REUSEPORT: several processes may listen on one port (default false)
---@field ipv6_only? boolean  "::" takes no IPv4 (default false)
---@field mode? string  of a Unix socket's file, octal digits as in "0600" (default: what the umask leaves)
---@field max_connections? integer  past it, new connections wait in the backlog (default: no limit)
---@field on_connect? fun(conn: lunode.conn)

---A Unix socket's file is removed when the server closes. A stale one is replaced, one that a server listens on refused
---with "EADDRINUSE", one that is not a socket with "ENOTSOCK": it is never deleted.
---@param host string  numeric IPv4 or IPv6, "localhost" (its IPv4 address), "unix:/path" or "unix:@abstract"; other names are refused
---@param port? integer  0 lets the kernel choose; not for Unix sockets
---@param options lunode.server_options
---@return lunode.server? server
---@return string? err, lunode.code? code
function tcp_server.listen(host, port, options) end

---@class lunode.server
local server = {}

---Stops listening. Its connections go on.
function server:close() end

---Where it listens: the port, too, that the kernel has chosen.
---@return string? host, integer|string port_or_message, lunode.code? code
function server:sock() end

---How many connections it has.
---@return integer count  open connections of this server
function server:connections() end

---A gate for what its connections send, where a reply answers for something that is not safe yet: what they have queued
---in this turn of the loop and what they queue after it leaves only once `release` was called with this mark, or a higher one. What
---was queued in turns before is as it was. Also a connection that closes sends what it holds first. To be called before
---the turn ends: in `loop.before_sleep` at the latest.
---@param mark integer  not negative; a lower one than before changes nothing
function server:hold(mark) end

---Lets go what waits for this mark, or for a lower one.
---@param mark integer
function server:release(mark) end

-- ---------------------------------------------------------------- lunode.decoder

---The decoders of connections without a socket: pure functions of bytes, for scripts that get their bytes elsewhere, and for
---the simulator, whose connections so decode exactly as real ones.
---@class lunode.decoder_module
local decoder = {}

---@class lunode.decoder_options
---@field decoder "line"|"resp"|"msgpack"|lunode.length|lunode.decoder_function  what the bytes mean
---@field long_messages? boolean  decoder "resp": take commands of more than 4096 words (default false: refuse them)
---@field protocol? 2|3  as the option of a connection; so are those that follow
---@field authenticated? boolean
---@field max_args? integer
---@field max_bulk? integer
---@field max_line? integer
---@field max_message? integer
---@field max_values? integer

---@param options lunode.decoder_options
---@return lunode.decoder_object
function decoder.new(options) end

---Whether a connection's option is one that the decoders know (`decoder` and those behind it in lunode.decoder_options), and
---whether it may have that value.
---@param key string
---@param value any
---@return boolean? known  false: none of theirs; nil: theirs, but the value is wrong
---@return string? err
function decoder.check(key, value) end

---@class lunode.decoder_object
local decoder_object = {}

---Bytes have arrived: they join those that are kept.
---@param bytes string
function decoder_object:feed(bytes) end

---Takes the next message from the bytes that are kept. What a decoder function raises goes through; then it cannot be asked again.
---@return "message"|"long"|nil kind  "long": name and list of a long command; nil: more bytes are needed, or they are refused
---@return any ...  the values, as `on_message` gets them; where they are refused: why
function decoder_object:next() end

---What is written for the value that `on_message` returned. Raises where the protocol has none for it.
---@param value any
---@return string? bytes  nothing where nothing is to be written
function decoder_object:encode(value) end

---Changes limits and protocol: all of them, or none where one is wrong.
---@param options lunode.decoder_options  without `decoder` and `long_messages`
function decoder_object:set(options) end

---@return integer bytes  that no message has consumed yet
function decoder_object:kept() end

---Frees it. A decoder that is a function, and refers to its object, is not collected before.
function decoder_object:close() end

-- ---------------------------------------------------------------- lunode.resp

---The Redis protocol. Lua values become replies: a string a bulk string, an integer an integer, nil or `null` the null,
---a boolean (RESP3 `#t`, RESP2 `:1`), a float a double (RESP2: bulk), a list an array (nested as it is), and the tagged values below.
---@class lunode.resp
---@field null userdata        null inside of arrays (`$-1`, RESP3 `_`)
---@field null_array userdata  the null array (`*-1`, RESP3 `_`)
---@field OK lunode.resp.raw   `+OK`
local resp = {}

---The names of commands and what they stand for. Connections that have them as their option `names` look up the name of a
---command in the bytes that came, in any case, and call on_short_message with the value: no string is made of the name.
---@class lunode.resp.names
local names = {}

---An empty one.
---@return lunode.resp.names
function resp.names() end

---Binds a name, in place of what it was bound to. With `views`, arguments come as views instead of strings: opaque values that
---`words`, `batch:add` and `rows` take like strings, and that can be returned as a reply. They end with the command:
---using one later raises. With "list", all arguments come as one view, which stands for a list of strings where `words`, `count`,
---`batch:add` and `rows:put_list` take one.
---@param name string  of 64 bytes at most, in any case
---@param value any
---@param min integer  arguments, from 0 to 3, with "list" to 255
---@param max integer
---@param views? boolean|integer|"list"  true: all arguments; a number: from that one on
---@param member? integer  the argument, from 1 on, that names a member of the key's collection: see the connections' option `ahead`
function names:bind(name, value, min, max, views, member) end

---@param name string
function names:unbind(name) end

---@param name string
---@param count integer  arguments
---@return any value  nil where the name is not bound, or not for so many
---@return boolean? listed  its arguments come as a list
function names:find(name, count) end

---Strings of views; strings stay as they are.
---@param ... any  strings and views, and lists of strings and views of such, of which all are told
---@return string ...
function resp.words(...) end

---How many strings `words` would make.
---@param words any  a string, a view, a list of strings or a view of one
---@return integer
function resp.count(words) end

---The integer that a string or a view spells as Redis reads it: no sign but "-", no spaces, no leading zeros, within 64 bits.
---@param text any  a string or a view
---@return integer? n  nil where it is anything else
function resp.integer(text) end

---A value with its encoding made in advance, or one whose RESP type Lua cannot tell.
---@class lunode.resp.raw

---`+text`.
---@param text string
---@return lunode.resp.raw
function resp.status(text) end

---`-text`. Line breaks become spaces.
---@param text string  "ERR …", with its code in front
---@return lunode.resp.raw
function resp.error(text) end

---Bytes that are replies already: any number of them, "" for a command that is answered later, or not at all.
---@param bytes string
---@return lunode.resp.raw
function resp.raw(bytes) end

---RESP3 map from a flat list {key, value, …}; RESP2: the flat array.
---@param list any[]
---@return table
function resp.map(list) end

---RESP3 set; RESP2: array.
---@param list any[]
---@return table
function resp.set(list) end

---RESP3 push; RESP2: array.
---@param list any[]
---@return table
function resp.push(list) end

---RESP3 verbatim string ("txt"); RESP2: bulk.
---@param text string
---@return table
function resp.verbatim(text) end

---Encodes one value as reply bytes. Raises for what has no encoding (functions, other userdata), and past 32 lists inside of each other.
---@param value any
---@param protocol? 2|3  (default 2)
---@return string
function resp.encode(value, protocol) end

---Encodes one value straight into the connection's queue; else as `conn:write(resp.encode(value, protocol))`.
---@param conn lunode.conn
---@param value any
---@param protocol? 2|3  (default: the connection's, or what its metamethod `__protocol` returns; else 2)
---@return boolean? room
---@return string? err, lunode.code? code
function resp.reply(conn, value, protocol) end

---Encodes a command as an array of bulk strings (numbers are turned into strings).
---@param ... string|number
---@return string
function resp.command(...) end

---Reads one reply from `bytes` at `position` (default 1).
---Errors come as `{err = "ERR …"}`, statuses as `{ok = "PONG"}`, null as `resp.null`, maps/sets/pushes as flat lists with `kind = "map"|"set"|"push"`, doubles as floats, big numbers as strings of digits. Attributes are passed over.
---@param bytes string
---@param position? integer
---@return any value  nil when more bytes are needed
---@return integer|string next_or_message  where the next reply starts, or what is wrong with this one (then value is nil)
---@return lunode.code? code  "EPROTO" where the bytes are malformed
function resp.decode(bytes, position) end

-- ---------------------------------------------------------------- lunode.msgpack

---MessagePack. Lua values are encoded in the shortest format: a string as str, an integer as int, a float as float (32 bits where
---nothing gets lost; there is one NaN), nil and `null` as nil, a boolean as such. A table whose keys are 1 … n is an array, an empty one,
---too; every other is a map, whose pairs are in the order of the bytes of their encoded keys, so that equal tables give equal bytes.
---Metatables other than the tags below are not looked at. Arrays and maps nest at most 32 deep.
---@class lunode.msgpack
---@field null userdata  nil inside of arrays and maps, and what nil is decoded to
local msgpack = {}

---A string of bytes that encodes as bin. `tostring(bin)` and `bin.data` give it back.
---@class lunode.msgpack.bin
---@field data string

---@class lunode.msgpack.ext
---@field type integer  -128 … 127; those below 0 are MessagePack's own (-1: timestamp)
---@field data string

---Tags the table, and returns it, to be an array: of `#table` values, or of `table.n` where that is an integer, as `table.pack` has it (then holes are nil).
---@generic T: table
---@param table T
---@return T table
function msgpack.array(table) end

---Tags the table, and returns it, to be a map, whatever its keys.
---@generic T: table
---@param table T
---@return T table
function msgpack.map(table) end

---@param data string
---@return lunode.msgpack.bin
function msgpack.bin(data) end

---@param type integer  -128 … 127
---@param data string
---@return lunode.msgpack.ext
function msgpack.ext(type, data) end

---Raises for what has no encoding: functions, other userdata, tables nested too deeply or inside of themselves, more than 1 GiB.
---@param value any
---@return string
function msgpack.encode(value) end

---Encodes the value straight into the connection's queue; else as `conn:write(msgpack.encode(value))`.
---@param conn lunode.conn
---@param value any
---@return boolean? room
---@return string? err, lunode.code? code
function msgpack.write(conn, value) end

---@class lunode.msgpack.decode_options
---@field bin? boolean  true: bin as lunode.msgpack.bin; else as a string, like str
---@field max_message? integer  bytes of the value (default 64 MiB)
---@field max_values? integer   values in it (default 1,048,576)

---Reads one value from `bytes` at `position` (default 1). Integers above 2^63 - 1 come as the nearest float; nil as `null`; ext as
---lunode.msgpack.ext. A map that would encode as an array (an empty one, say) comes with the tag of `msgpack.map`. Of equal keys the last counts.
---@param bytes string
---@param position? integer
---@param options? lunode.msgpack.decode_options
---@return any value  nil when more bytes are needed
---@return integer|string|nil next_or_message  where the next value starts, or what is wrong with this one (then value is nil)
---@return lunode.code? code  "EPROTO" where the bytes are malformed, or past a limit
function msgpack.decode(bytes, position, options) end

-- ---------------------------------------------------------------- lunode.store

---The ordered store: byte strings to byte strings, ordered as memcmp orders them.
---Writes gather in memory and are seen by reads at once. Under a log, `advance` after each entry, and a thread brings them
---to disk in the background. Alone, `commit` makes them one atomic, durable batch.
---@class lunode.store
local store = {}

---@class lunode.store_options
---@field create? boolean    make the directory where it is missing (default true)
---@field cache? integer     bytes of cache, a quarter for rows, the rest for the engine's blocks (default 64 MiB); ranges that are read again take up to a quarter beside it, the pieces of replies made of them an eighth
---@field engine? string     "leveldb", "rocksdb" or "memory" (default: that of the directory, "leveldb" for a new one)
---@field overlay? integer   bytes of writes in memory at which they are flushed (default 32 MiB)
---@field limit? integer     bytes of writes in memory past which there is no `room` (default 96 MiB)
---@field max_age? number    seconds after which writes are flushed at the next `advance` (default 30)
---@field on_flushed? fun(err?: string, code?: lunode.code, index: integer)  all up to index is on disk, and the log's prefix may go; or with err: the flush failed, for good. The engine "memory" never calls it
---@field on_room? fun()     there is room again, after `room` said no

---Opens the store in a directory. One process at a time may have it.
---@param dir? string  nil only for the engine "memory", which then touches no disk
---@param options? lunode.store_options
---@return lunode.store_handle? store
---@return string? err, lunode.code? code  "ELOCKED" another process has it; "EVERSION" made by a newer lunode; "EFOREIGN" holds something else; "EENGINE" another engine's; "EINVAL" no such engine; "ENOSYS" left out of this build; "ECORRUPT"; "EACCES", "ENOSPC", …
function store.open(dir, options) end

---@class lunode.store_info
---@field format integer
---@field engine string
---@field locked boolean  a process has it open
---@field pid integer?    which one, where that is known

---Looks at a data directory, and neither opens nor changes it.
---@param dir string
---@return lunode.store_info? info
---@return string? err, lunode.code? code  "ENOENT" there is none, or nothing in it; else as `open`
function store.inspect(dir) end

---Deletes a data directory: what the store and a log in its `log` have put there, what a member of a cluster has in `data-0` and `data-1`, and the directory.
---@param dir string
---@param keep? boolean  let the directory itself stay, empty (default false)
---@return boolean? ok
---@return string? err, lunode.code? code  "ELOCKED" a process has it open; "EFOREIGN" not lunode's: nothing is deleted; "ENOTEMPTY" something else is in it, which stays; "ENOENT", …
function store.remove(dir, keep) end

---@class lunode.store_handle
local handle = {}

---What is stored there; nil alone where nothing is.
---@param key string
---@return string? value
---@return string? err, lunode.code? code
function handle:get(key) end

---Stores a row, in place of the one that is there. Raises once a flush has failed.
---@param key string
---@param value string
function handle:put(key, value) end

---Deletes a row, if it is there.
---@param key string
function handle:delete(key) end

---Deletes all rows of a range, however many, with one marker: from now on no read sees them. The engine's rows go in the background.
---@param from string  first key, inclusive
---@param to? string   end, exclusive (default: no end)
function handle:delete_range(from, to) end

---Marks where `rollback` returns to. There is one mark: marks do not nest.
function handle:begin() end

---Undoes the writes since the last `begin`, `advance`, `commit`, `flush` or `snapshot`: what those saw stays.
function handle:rollback() end

---Walks the rows in order: `for key, value in s:scan(from, to) do`. Each step gives the next row of the store as it then is,
---so writing, flushing and committing meanwhile is allowed. Raises where a row cannot be read, or the store was closed.
---@param from string  first key, inclusive
---@param to? string   end, exclusive (default: no end)
---@param options? {reverse?: boolean}  reverse: from the last row to the first
---@return fun(): string?, string?
function handle:scan(from, to, options) end

---The rows of a range as one list, in order: for those who want them all, at a fraction of what a scan costs.
---@param from string    first key, inclusive
---@param to? string     end, exclusive (default: no end)
---@param what? string   "keys", "values", or "both": key, value, key, value … (default "both")
---@param limit? integer at most so many rows (default: all)
---@param skip? integer  bytes left out at the start of each key (default 0)
---@param reverse? boolean  from the last row to the first (default false)
---@param offset? integer  rows left out before the first one (default 0)
---@return string[]
function handle:collect(from, to, what, limit, skip, reverse, offset) end

---Tells that parts of a range are asked for again and again. If they are not too many, its rows are brought into memory, at the second
---time, and stay there up to the next flush but one: what then asks for a part of it asks the disk no more.
---@param from string    first key, inclusive
---@param to string      end, exclusive
---@param count integer  rows of it, about
---@return boolean loaded  memory has them all
function handle:load(from, to, count) end

---Tells that there are no rows with this prefix but those that will be written from now on: reads of such rows and walks over
---them do without the engine as long as memory has them all, up to some flushes later.
---@param prefix string  of 16 bytes at most, else nothing is remembered
function handle:fresh(prefix) end

---The rows of a range as the reply to a command, as a view: it is for one reply, and ends with the next one that is made. What is in
---it is what `collect` gives, without a string of Lua's for each.
---@param from string      first key, inclusive
---@param to? string       end, exclusive (default: no end)
---@param what? string     "keys", "values", "both"; or "scores": of keys that are a score and a member, both (default "both")
---@param kind? string     "array", "set", or "map": what it is in RESP3 (default "array")
---@param known? integer   how many rows the range has: where memory has them all, the disk is not asked (default: nobody knows)
---@param skip? integer    bytes left out at the start of each key (default 0)
---@param reverse? boolean from the last row to the first (default false)
---@param limit? integer   at most so many rows (default: all)
---@param offset? integer  rows left out before the first one (default 0)
---@param protocol? 2|3    of scores (default 2)
---@return any view
function handle:reply(from, to, what, kind, known, skip, reverse, limit, offset, protocol) end

---The rows of a range as one string: keys, values or both, each with its length in front, u32be.
---@param from string    first key, inclusive
---@param to string      end, exclusive
---@param what string    as in `collect`
---@param skip integer   bytes left out at the start of each key
---@param most integer   bytes of the string, at most
---@param head string    what it begins with, which does not count
---@return string? packed  nothing: it would be longer
function handle:pack(from, to, what, skip, most, head) end

---How many rows a range has; it walks over them.
---@param from string     first key, inclusive
---@param to? string      end, exclusive (default: no end)
---@param limit? integer  it stops there (default: none)
---@return integer
function handle:count(from, to, limit) end

---The rows as they are now, whatever is written later. Costs memory up to the next flush, then disk space, until it is closed or collected.
---@return lunode.snapshot? snapshot
---@return string? err, lunode.code? code  "EINVAL" in the middle of an entry; "EAGAIN" too many were taken while the flush was behind
function handle:snapshot() end

---The users' keys of one kind, for the hot paths: each key's row is the one that `slot.row(kind, key)` gives, and its value begins with
---a head of one byte, so that neither has to be made in Lua.
---@param kind string  one byte
---@return lunode.rows
function handle:rows(kind) end

---The rows of numbered elements, for the hot paths: each is `prefix index:u64be`, put together without a string of Lua's.
---@return lunode.elements
function handle:elements() end

---The rows of members, for the hot paths: each is `prefix hash:u32be member`, with hash = XXH32(member, 0), put together without a
---string of Lua's.
---@return lunode.members
function handle:members() end

---Puts the rows of one prefix under another, too, which has none. Prefixes have a byte other than FF. Raises where a row cannot be read
---or written.
---@param from string  a prefix
---@param to string    a prefix
function handle:copy(from, to) end

---What comes of several sets, which are rows `prefix hash:u32be member`. Raises where a row cannot be read or written.
---@param how "union"|"intersection"|"difference"  the last one: what the first set has, and no other
---@param sets any[]  a flat list: a prefix, and how many rows there are, about. The first one of an intersection or a difference is walked over, so it
---  had better be the smallest
---@param into? string|false  a prefix that has no rows: there the result is put, each row without a value; false: it is only counted
---@param limit? integer  of members (default: none)
---@return any result  how many; without `into`, a reply, as a view (see `reply`), in the order of the hashes
function handle:combine(how, sets, into, limit) end

---Members with scores in memory, none yet: on their way into a sorted set, or into a reply.
---@return lunode.scored
function handle:scored() end

---How much waits for `commit`, or for the flush.
---@return integer count  writes in memory only
function handle:pending() end

---Writes all that is pending as one atomic batch, and waits for it; with `sync`, until it and all earlier batches are on disk.
---After a failure the writes are still pending, and every later write fails alike: close, and open anew. Only on a full disk a later commit tries again.
---@param sync? boolean
---@return boolean? ok
---@return string? err, lunode.code? code  "EINVAL" in the middle of a log's entry: `advance` first
function handle:commit(sync) end

---Says that all writes so far belong to the log's entries up to index. What reaches the disk is always a whole number of entries. Raises where index is not greater than the one before.
---@param index integer
---@return boolean? ok
---@return string? err, lunode.code? code  what a flush has failed with
function handle:advance(index) end

---The index of the last `advance`; after open, of what is on disk: there the log's replay starts. 0: none.
---@return integer index
function handle:applied() end

---Whether to write on. Writes are taken all the same, as entries that are in a log have to be applied: it is for the caller to stop proposing until `on_room`.
---@return boolean room
---@return string? err, lunode.code? code  "EAGAIN" the flush is behind; "ENOSPC" the disk is full, and the flush tries again by itself; else what it has failed with, for good
function handle:room() end

---Has everything that is written by now brought to disk, and then calls fn; the loop stays alive until then.
---@param fn? fun(err?: string, code?: lunode.code, index: integer)  once; "ECANCELED" where the store was closed before
---@return boolean? ok
---@return string? err, lunode.code? code  and fn is not called
function handle:flush(fn) end

---@class lunode.store_stats
---@field pending integer        rows and ranges in memory only
---@field pending_bytes integer  of their keys and values
---@field overlay_bytes integer  of memory that they take
---@field frozen integer         overlays that are being flushed, or wait for it
---@field batches integer        flushed or committed since open
---@field applied integer        index of the last `advance`
---@field durable integer        index up to which all is on disk
---@field flushed_bytes integer  keys and values, since open
---@field flush_time number      seconds that the last flush took
---@field purged integer         rows that deleted ranges took out of the engine
---@field cache_hits integer
---@field cache_misses integer
---@field cache_rows integer
---@field cache_bytes integer  of rows, of ranges that are read again, and of the pieces of replies made of them
---@field disk_bytes integer     about; the engine's own log is not counted
---@field engine string
---@field full boolean           it waits for disk space

---Counters of the store and of its engine.
---@return lunode.store_stats
function handle:stats() end

---Closes the store. What is neither flushed nor committed is dropped.
function handle:close() end

---Of an open store; once that is closed, its methods raise.
---@class lunode.rows
local rows = {}

---The value of a key behind its head, where that head is the expected one. Raises where the row cannot be read.
---@param key string
---@param head integer   0 to 255
---@return string? text   nil: no such row, or another head
---@return string? value  the whole value of one with another head
function rows:get(key, head) end

---Stores a key's value, unless there is one whose head has certain bits. Raises where the row cannot be read or written.
---@param key string
---@param head integer    0 to 255
---@param text string
---@param unless? integer (default 0) bits: where the head there has one of them, nothing is written
---@return integer? head  of the value that was there; -1 where that was empty; nil: there was no row
function rows:put(key, head, text, unless) end

---`put` for each pair of a list, {key, text, key, text, …}, up to the first key whose value's head has one of the bits.
---@param list any  of strings, or a view of such a list
---@param first integer   the place of the first pair's key
---@param head integer    0 to 255
---@param unless? integer (default 0) bits
---@return integer next     the place of the key that it has ended at; past the last pair: all are written
---@return integer created  how many of them had no row
function rows:put_list(list, first, head, unless) end

---The values of keys behind their heads as the reply to a command: a view, as `handle:reply` makes one; null where there is no row.
---Raises as `get` does.
---@param list any  of strings, or a view of such a list
---@param head integer     0 to 255
---@param protocol? 2|3    of the nulls (default 2)
---@return any view  nothing: one of the values has another head
function rows:reply(list, head, protocol) end

---Adds to the integer that a key's value spells behind its head; where there is no row, to 0. Raises as `put` does.
---@param key string
---@param head integer  0 to 255
---@param by integer
---@return integer? sum  nothing: the value has another head, spells no integer, or the sum is past 64 bits; it is as it was
---@return boolean? created
function rows:add(key, head, by) end

---Of an open store; once that is closed, its methods raise. They raise, too, where a row cannot be read or written.
---@class lunode.elements
local elements = {}

---@param prefix string  at most 64 bytes
---@param index integer
---@return string? value  nothing: there is no such row
function elements:get(prefix, index) end

---@param prefix string
---@param index integer
---@param value any  a string or a view
function elements:put(prefix, index, value) end

---As `put`, of a row that is not there, which the caller has to know: else an older value may come back when it is deleted. One that is deleted
---before the store has flushed it leaves no trace.
---@param prefix string
---@param index integer
---@param value any  a string or a view
function elements:add(prefix, index, value) end

---As `get`, and deletes the row.
---@param prefix string
---@param index integer
---@param view? boolean
---@return any value  a string; with `view`, perhaps a view; nothing: there is no such row
function elements:take(prefix, index, view) end

---The values of rows that follow each other, as the reply to a command: a view, as `handle:reply` makes one.
---@param prefix string
---@param first integer  at least 0
---@param count integer
---@return any view  nothing: not all of them are there
function elements:reply(prefix, first, count) end

---Where a value is among rows that follow each other.
---@param prefix string
---@param first integer    the index that is looked at first
---@param count integer    so many are looked at
---@param value string
---@param limit integer    so many are found at most; 0: all
---@param reverse? boolean downwards from `first`
---@return integer[]? indices  in the order in which they were met; nothing: not all rows are there
function elements:find(prefix, first, count, value, limit, reverse) end

---Gives rows that follow each other other indices, in place of what is there. Where they were, values stay that are nobody's any more, unless some of
---these have come there.
---@param prefix string
---@param first integer
---@param count integer
---@param by integer  what is added to each index
---@return boolean moved  false: not all of them are there; and some may have moved
function elements:move(prefix, first, count, by) end

---`add` for each string of a list.
---@param prefix string
---@param index integer  the first one's
---@param list string[]
function elements:add_list(prefix, index, list) end

---`add` for each string of those that `pack` of the store has made one of.
---@param prefix string
---@param index integer   the first one's
---@param content string
---@param first? integer  where they begin (default 1)
---@return integer? count  nothing: it is damaged, or there is none; and some may have been added
function elements:unpack(prefix, index, content, first) end

---The values of rows that follow each other, up to the first one that is not there.
---@param prefix string
---@param first integer
---@param count integer
---@param reverse? boolean  downwards from `first`
---@return string[]
function elements:range(prefix, first, count, reverse) end

---Of an open store; once that is closed, its methods raise. They raise, too, where a row cannot be read or written.
---@class lunode.members
local members = {}

---@param prefix string
---@param member any  a string or a view
---@return string? value  nothing: there is no such member; of a view, perhaps a view
function members:get(prefix, member) end

---@param prefix string
---@param member any  a string or a view
---@return boolean exists
---@return integer hash
function members:has(prefix, member) end

---Stores a member's value, in place of the one that is there.
---@param prefix string
---@param member any  a string or a view
---@param value any  a string or a view
---@return boolean existed
---@return integer hash
function members:put(prefix, member, value) end

---As `put`, and gives the value that was there.
---@param prefix string
---@param member any  a string or a view
---@param value any  a string or a view
---@return string? old
---@return integer hash
function members:swap(prefix, member, value) end

---As `swap`, and keeps an index of the members by their values: the row `index value member` takes the place of the one with the old
---value. Values have 64 bytes at most.
---@param prefix string
---@param member any  a string or a view
---@param index string  a prefix, too
---@param value string
---@return string? old
---@return integer hash
function members:index(prefix, member, index, value) end

---Deletes a member that `index` has put, and its row of the index.
---@param prefix string
---@param member any  a string or a view
---@param index string  a prefix, too
---@return string? old  nil: there is no such member
---@return integer hash
function members:unindex(prefix, member, index) end

---As `unindex`, for who has met the row of the index: nobody looks whether it is there.
---@param prefix string
---@param entry string  what follows the index's prefix there: value and member
---@param index string
---@param value_bytes integer
---@return string member
---@return integer hash
function members:pop(prefix, entry, index, value_bytes) end

---Stores a member's value, unless it is there already.
---@param prefix string
---@param member any  a string or a view
---@param value any  a string or a view
---@return boolean added
---@return integer hash
function members:add(prefix, member, value) end

---@param prefix string
---@param member any  a string or a view
---@param known? boolean  the caller has met it: nobody looks whether it is there
---@return boolean existed
---@return integer hash
function members:delete(prefix, member, known) end

---Deletes the members that rows of an index name, and these rows, as they follow each other: see `index`.
---@param prefix string
---@param index string         a prefix, too: that of the range
---@param from string          first key of the index, inclusive
---@param to string            end, exclusive
---@param value_bytes integer  of a value in the index: 64 at most
---@param limit? integer       so many at most (default: all)
---@param offset? integer      rows left out before the first one (default 0)
---@param reverse? boolean     from the last row to the first (default false)
---@return integer count
---@return string? lowest, string? highest  what followed the index's prefix in the first row and in the last one
function members:cut(prefix, index, from, to, value_bytes, limit, offset, reverse) end

---Puts members, and perhaps values, that `pack` of the store has made one string of, under a prefix that has no rows.
---@param prefix string
---@param content string
---@param first? integer   where they begin (default 1)
---@param paired? boolean  each member is followed by its value
---@return integer? count  nothing: it is damaged, there is none, or one is there twice; and some may have been put
function members:unpack(prefix, content, first, paired) end

---Of an open store; once that is closed, its methods raise, but `close`. They raise, too, where a row cannot be read or written.
---@class lunode.scored
local scored = {}

---Adds what comes of several sets, as `combine` of the store; a row's value is the member's score, if it has 8 bytes; else that is 1.
---@param how "union"|"intersection"|"difference"  the last one: with the first set's scores
---@param sets any[]  a flat list: a prefix, how many rows there are, about, and the weight, with which scores are multiplied
---@param aggregate? "sum"|"min"|"max"  what becomes of several scores, in the order of the sets (default "sum")
function scored:combine(how, sets, aggregate) end

---Adds the members of rows whose keys are a score and a member, behind so many bytes.
---@param from string      first key, inclusive
---@param to string        end, exclusive
---@param skip integer     bytes
---@param limit? integer   at most so many rows (default: all)
---@param offset? integer  rows left out before the first one (default 0)
---@param reverse? boolean from the last row to the first (default false)
function scored:collect(from, to, skip, limit, offset, reverse) end

---Adds the members of a string: each `length:u32be member 8:u32be score`, where the score is as lunode.score has it.
---@param content string
---@param first? integer  where they begin (default 1)
---@return boolean ok  false: there is none, it is damaged, or a member is there twice. Then who knows what was added
function scored:unpack(content, first) end

---@return integer
function scored:count() end

---Members in the order of their scores, and where these are the same, in their own; as the reply to a command: a view, as `reply` of the store
---makes one.
---@param scores? boolean  members and scores
---@param protocol? 2|3    (default 2)
---@return any view
function scored:reply(scores, protocol) end

---Puts the rows of a sorted set, of which there are none: `members hash:u32be member` with the score, `scores score member` without a value, and for
---those whose hash ends with a byte 0, `nodes score member` with the number of members from this one to the next of those, u32be.
---@param members string  a prefix
---@param scores string   a prefix
---@param nodes string    a prefix
---@return integer count  of the last ones
function scored:put(members, scores, nodes) end

---Forgets all of them, and gives their memory back.
function scored:close() end

---@class lunode.snapshot
local snapshot = {}

---As `get` of the store. "ESTALE" where a full disk has taken the snapshot.
---@param key string
---@return string? value
---@return string? err, lunode.code? code
function snapshot:get(key) end

---As `scan` of the store.
---@param from string  first key, inclusive
---@param to? string   end, exclusive (default: no end)
---@param options? {reverse?: boolean}
---@return fun(): string?, string?
function snapshot:scan(from, to, options) end

---The index that it stands at.
---@return integer index
function snapshot:applied() end

---Closes the snapshot, and ends its scans.
function snapshot:close() end

-- ---------------------------------------------------------------- lunode.log

---The durable log: entries with consecutive indexes from 1 on, each with a term, a small type and a payload, in segment files of
---one directory; beside them a hard state, a term and a vote. Changes gather in memory and leave in one write a turn; what a
---completed `sync` covers survives a power cut. After a crash the log is what it was after some prefix of the calls.
---@class lunode.log
local log = {}

---@class lunode.log_options
---@field create? boolean        make the directory where it is missing (default true)
---@field segment_size? integer  bytes, 4 KiB … 1 GiB (default 32 MiB)
---@field memory? integer        bytes of the newest entries that are read from memory (default 1 MiB)

---Opens the log of a directory. One process at a time may have it. A torn tail is cut off; other damage is refused, and nothing changed.
---@param dir string
---@param options? lunode.log_options
---@return lunode.log_handle? log
---@return string? err, lunode.code? code  "ELOCKED"; "ECORRUPT", with segment and offset; "EVERSION" made by a newer lunode; "EINVAL" segment_size; "ENOSPC", "EACCES", …
function log.open(dir, options) end

---@class lunode.log_report
---@field ok boolean       nothing is damaged
---@field torn boolean     there is an unfinished write at the end, which opening cuts off
---@field segments integer
---@field records integer  entries, truncations and states
---@field entries integer
---@field bytes integer
---@field first integer    index of the first entry of the log
---@field last integer     index of the last
---@field state_term integer
---@field damages lunode.log_finding[]

---@class lunode.log_finding
---@field kind "segment"|"entry"|"state"|"truncate suffix"|"truncate prefix"|"reset"|"close"|"torn"|"unused"|"damage"
---@field segment integer   number of the segment: the file's name, in hexadecimal
---@field offset integer    in the segment
---@field what? string      of what is no record: a sentence
---@field index? integer    of a record, and so the rest
---@field term? integer
---@field type? integer     above 127: the log's own
---@field payload? string

---Reads every record of a log, and changes nothing; another process may have it open. Calls `fn` with all that it finds, in order. What `fn` raises ends the check.
---@param dir string
---@param fn? fun(finding: lunode.log_finding)
---@return lunode.log_report? report
---@return string? err, lunode.code? code  "ENOENT", "EACCES", "EVERSION", …
function log.check(dir, fn) end

---Once a write or a sync has failed the log has ended: every method but `close` fails with the same code. A full disk is no such failure: what needs
---room fails with "ENOSPC" and changes nothing, and works again when there is space. Truncations and states have room in reserve.
---@class lunode.log_handle
local log_handle = {}

---Appends an entry.
---@param type integer  0 … 127, yours to give a meaning
---@param payload string  at most 1 GiB
---@param term? integer  never less than the last one's (default: that)
---@return integer? index
---@return string? err, lunode.code? code  "ENOSPC", "EINVAL" the term goes back, "EMSGSIZE", …
function log_handle:append(type, payload, term) end

---Makes sure that an entry with so many bytes of payload can be appended next: for who has to know before doing what is to be logged.
---@param bytes integer
---@param wait? boolean  for a segment that the log's thread is still making (default true)
---@return boolean? ok
---@return string? err, lunode.code? code  as `append`; "EAGAIN" without `wait`: soon
function log_handle:room(bytes, wait) end

---Index of the first entry; `last() + 1` where there is none.
---@return integer index
function log_handle:first() end

---Index of the last entry.
---@return integer index
function log_handle:last() end

---Up to this index, the log as it is now is on disk.
---@return integer index
function log_handle:synced() end

---The term of an entry, or of the one before the first.
---@param index integer
---@return integer? term
---@return string? err, lunode.code? code  "ERANGE"
function log_handle:term(index) end

---Drops the entry `index` and all behind it; nothing where there is none.
---@param index integer  not before the first: "EINVAL"
---@return boolean? ok
---@return string? err, lunode.code? code
function log_handle:truncate_suffix(index) end

---Drops the entries up to `index`, that one included. Where the log has no entry of that index and term, all of them go, and the next one follows `index`.
---@param index integer
---@param term? integer  (default: that of the log's own entry; needed past the end)
---@return boolean? ok
---@return string? err, lunode.code? code
function log_handle:truncate_prefix(index, term) end

---The hard state: 0 and nothing where none was set.
---@return integer term, string? vote
function log_handle:state() end

---Sets the hard state. It is durable with the next sync, and in order: if an entry that is appended later is durable, this is, too.
---@param term integer
---@param vote? string  at most 128 bytes, yours to give a meaning (default: none)
---@return boolean? ok
---@return string? err, lunode.code? code
function log_handle:set_state(term, vote) end

---Writes what has gathered; else that happens at the end of the turn, in no certain order with the output of connections: before a reply that rests on
---an entry leaves, flush in a `before_sleep` hook. What is written survives the process, not a power cut.
---@return boolean? ok
---@return string? err, lunode.code? code
function log_handle:flush() end

---Calls `fn` once all changes so far are on disk, never within this call; with `err` where the log has ended. Callbacks come in the order of the calls; one
---sync of the disk serves all who asked while another was under way.
---@param fn fun(err: string?, code: lunode.code?, index: integer)  index: as `synced` says
---@return boolean? ok
---@return string? err, lunode.code? code  then `fn` is not called
function log_handle:sync(fn) end

---@class lunode.log_entry
---@field index integer
---@field term integer
---@field type integer
---@field payload string

---Entries in order: as many as `max_bytes` of payload hold, and at least one where there is one.
---@param from integer
---@param to? integer  inclusive (default: the end)
---@param max_bytes? integer  (default 1 MiB)
---@return lunode.log_entry[]? entries
---@return string? err, lunode.code? code  "ERANGE" `from` was dropped; "ECORRUPT", "EIO"
function log_handle:read(from, to, max_bytes) end

---Walks the entries in order, quickly: `for index, payload, type, term in log:entries(from, to) do`. Raises where one cannot be read, or the log was closed.
---@param from? integer  (default: the first)
---@param to? integer  inclusive (default: the end, wherever that is by then)
---@return fun(): integer?, string?, integer?, integer?
function log_handle:entries(from, to) end

---Counters since the log was opened, and what lies on disk. `waits`: how often an append waited for a new segment; `full`: there is no room for another.
---@return {segments: integer, disk_bytes: integer, appends: integer, writes: integer, written_bytes: integer, syncs: integer, synced_bytes: integer, last_sync_seconds: number, unwritten_bytes: integer, unsynced_bytes: integer, waits: integer, full: boolean}
function log_handle:stats() end

---Writes and syncs all, waiting for the disk, and closes. Syncs under way end with their callbacks.
---@return boolean? ok
---@return string? err, lunode.code? code
function log_handle:close() end

-- ---------------------------------------------------------------- lunode.slot

---Where a user's key lives: pure functions, no door to the world.
---@class lunode.slot
local slot = {}

---Redis Cluster's slot of a key: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.
---@param key string
---@return integer slot  0 … 16383
function slot.of(key) end

---The store's row of a key: `slot:u16be kind:u8 hash:u32be key`, with hash = XXH32(key, 0).
---@param kind string  one byte
---@param key string
---@return string
function slot.row(kind, key) end

-- ---------------------------------------------------------------- lunode.score

---Scores of sorted sets, as text, as numbers, and as 8 bytes that are in the order of the numbers: pure functions. There is one zero.
---@class lunode.score
local score = {}

---The double that a text spells, as C's strtod reads it, but all of the text and nothing before it.
---@param text string
---@return number? value  nil where it is something else, NaN, or past a double's range
function score.parse(text) end

---As strtod reads it: spaces may come before, a NUL ends it, nothing is 0, and what is past the range infinite.
---@param text string
---@return number? value  nil where it is something else, or NaN
function score.bound(text) end

---@param value number
---@return string bytes
function score.encode(value) end

---As `parse`, then `encode`.
---@param text any  a string or a view
---@return string? bytes
function score.read(text) end

---@param bytes string  that begin with a score
---@return number
function score.decode(bytes) end

---Parts strings that begin with a score.
---@param list string[]
---@return table  what follows the score of the first one, the score, what follows that of the second one …
function score.split(list) end

---Numbers that SORT sorts by, as Redis reads them.
---@param texts any[]  strings; false counts as 0
---@return number[]? numbers  nothing: one is none
function score.weights(texts) end

---A list in the order of numbers or strings; where these are the same, in that of its strings.
---@param list string[]
---@param weights any[]  numbers, or strings; false comes before all of those
---@param descending? boolean
---@return string[] ordered  another list
function score.order(list, weights, descending) end

-- ---------------------------------------------------------------- lunode.nearby

---Members of a set by their hashes, in memory, as far as they were read: for who chooses some at random. The space of hashes is cut
---into segments of some dozens of members, numbered from 0.
---@class lunode.nearby
local nearby = {}

---@param count integer  of the set's members: none of them is read yet
---@return lunode.nearby_members
function nearby.new(count) end

---@class lunode.nearby_members
local nearby_members = {}

---The set has so many members now: segments are joined where they have become few.
---@param count integer
---@return boolean fits  false: they have become so many that it is time for a new one
function nearby_members:fit(count) end

---@return integer
function nearby_members:bytes() end

---@param segment integer
---@return integer from   the first hash that lies in it
---@return integer? past  the first one behind it; nil: it is the last segment
function nearby_members:range(segment) end

---A segment has been read.
---@param segment integer
---@param rows string[]  all that lie in it, in their order: `hash:u32be member`
function nearby_members:read(segment, rows) end

---The member that is `offset` behind the first one from `hash` on.
---@param hash integer
---@param offset integer
---@param view? boolean  perhaps a view
---@return any member  nil: there are not so many, or
---@return integer? segment  … this one is to be read first
function nearby_members:find(hash, offset, view) end

---@return string[]? members  in the order of their hashes
---@return integer? segment   that is to be read first
function nearby_members:all() end

---A member has come. What lies in a segment that was not read is not noted.
---@param hash integer
---@param member any  a string or a view
function nearby_members:add(hash, member) end

---A member has gone.
---@param hash integer
---@param member any  a string or a view
function nearby_members:remove(hash, member) end

-- ---------------------------------------------------------------- lunode.ranks

---Where members of a large sorted set stand: some of them are nodes, each with its span, the number of members from it up to the next
---node. In memory only; a key is a score's bytes and a member. Changes raise where they do not add up.
---@class lunode.ranks
local ranks = {}

---@return lunode.ranks_nodes
function ranks.new() end

---@class lunode.ranks_nodes
local ranks_nodes = {}

---The nodes as the store has them.
---@param rows string[]  key, span:u32be, key …
function ranks_nodes:load(rows) end

---A member that is no node comes, goes or moves.
---@param command integer  who changes that, for `rollback`: what came before this command cannot be undone any more
---@param member any       a string or a view
---@param old string?      its score
---@param new string?
function ranks_nodes:move(command, member, old, new) end

---Adds to the span that `key` lies in; before all nodes, nothing is to be done.
---@param command integer
---@param key string
---@param by integer
function ranks_nodes:add(command, key, by) end

---@param command integer
---@param key string  of a new node
---@param span integer
function ranks_nodes:insert(command, key, span) end

---@param command integer
---@param key string  of a node
---@return integer span
function ranks_nodes:remove(command, key) end

---Undoes what this command has changed.
---@param command integer
function ranks_nodes:rollback(command) end

---The last node at or before `key`; nothing: there is none.
---@param key string
---@return string? node, integer before, integer span  before: the spans of all nodes before it, together
function ranks_nodes:at(key) end

---The node whose span has the member of this rank, counted from the first node; nothing: that is past them.
---@param rank integer
---@return string? node, integer before, integer span
function ranks_nodes:with(rank) end

---The spans of all nodes.
---@return integer
function ranks_nodes:sum() end

---The nodes that have come or whose spans have changed since `load` or `saved`.
---@param prefix string   what their rows begin with
---@return string[] rows  row, span:u32be, row …
function ranks_nodes:unsaved(prefix) end

---They are in the store.
function ranks_nodes:saved() end

-- ---------------------------------------------------------------- lunode.bits

---Bits in strings: pure functions. Bit 0 is the highest one of the first byte.
---@class lunode.bits
local bits = {}

---How many of the bits are set.
---@param text string
---@param first integer
---@param last integer  included; before `first`: none
---@return integer
function bits.count(text, first, last) end

---The first of the bits that is so.
---@param text string
---@param bit 0|1
---@param first integer
---@param last integer  included; before `first`: none
---@return integer? at  nil where there is none
function bits.find(text, bit, first, last) end

---Combines strings bit by bit. All count as followed by zeros, up to the length of the longest one.
---@param op "and"|"or"|"xor"
---@param text string
---@param ... string
---@return string
function bits.combine(op, text, ...) end

---The string with all bits turned over.
---@param text string
---@return string
function bits.invert(text) end

-- ---------------------------------------------------------------- lunode.lcs

---The longest common subsequence of two strings: a pure function.
---@class lunode.lcs
local lcs = {}

---Finds the subsequence that Redis's LCS finds. It is made of runs: bytes that both strings have in a row. Takes a bit of memory for each
---pair of bytes, and as long as it takes to look at each pair. Raises where the strings are past 4 GiB, or there are more than 2^47 pairs.
---@param a string
---@param b string
---@return integer length
---@return integer[] runs  the last one first, each three numbers: where it begins in a, where in b, how long it is
function lcs.of(a, b) end

-- ---------------------------------------------------------------- lunode.hash

---Hashes of values, for seeds and traces. Not against people who want collisions.
---@class lunode.hash
local hash = {}

---XXH3 of the values, one folded into the other, so that their order, their number and their types count.
---@param seed integer
---@param ... string|number|boolean|nil
---@return integer  64 bits
function hash.of(seed, ...) end

-- ---------------------------------------------------------------- lunode.mac

---Message authentication codes: who knows a secret, without saying it. The binary has it; lunode.so for a stock Lua does not.
---@class lunode.mac
local mac = {}

---HMAC with SHA-256 (RFC 2104), by libsodium.
---@param secret string  of any length; at least 16 bytes that nobody can guess
---@param text string
---@return string  32 bytes
function mac.of(secret, text) end

---Whether two strings are the same, in a time that does not tell where they differ (but their lengths may show).
---@param a string
---@param b string
---@return boolean
function mac.equal(a, b) end

-- ---------------------------------------------------------------- lunode.watchdog

---Ends Lua code that runs too long, at no cost while it does not. For those who run the code of others: simulators, prompts.
---@class lunode.watchdog
local watchdog = {}

---From now on each `call` has a budget of processor time, which is looked at four times in it. Starts are counted: the first one's
---budget holds until the last `stop`. Takes the signal SIGVTALRM.
---@param seconds number  0.001 … 1e6
function watchdog.start(seconds) end

---No budgets any more, once it was called as often as `start`.
function watchdog.stop() end

---Calls a function as xpcall does. Once its budget is spent, an error is raised at each further instruction until it has returned: no
---pcall and no coroutine can swallow that. What runs inside of one C function for ten budgets ends the process, with a line on stderr.
---@param what string  who is called: for that line
---@param handler fun(err: any): any
---@param fn function
---@param ... any
---@return boolean ok
---@return any ...  its results; else what the handler returned, or the reason's text
---@return "budget"|"cancelled"|nil reason  after a text: why it was ended
---@return string? traceback  where it was
function watchdog.call(what, handler, fn, ...) end

---Ends the innermost `call` from within, as a spent budget does. Does not return.
---@param value any  what `call` returns after false
function watchdog.cancel(value) end

---Whether the innermost `call` is being ended: then a handler of xpcall has to return at once.
---@return boolean
function watchdog.ending() end

---As coroutine.resume; budgets reach into the coroutine.
---@param thread thread
---@param ... any
---@return boolean ok
---@return any ...
function watchdog.resume(thread, ...) end

---As coroutine.wrap; budgets reach into the coroutine.
---@param fn function
---@return function
function watchdog.wrap(fn) end

---As coroutine.close; budgets reach into what it closes.
---@param thread thread
---@return boolean ok
---@return any? err
function watchdog.close(thread) end

-- ---------------------------------------------------------------- lunode.batch

---Commands packed into one string, the payload of a log entry, and read back: pure functions, no door to the world. The grammar is
---in core/batch.h.
---@class lunode.batch
local batch = {}

---@class lunode.batch_builder
local builder = {}

---An empty batch.
---@return lunode.batch_builder
function batch.new() end

---Reads the command at `position` (default 1).
---@param bytes string
---@param position? integer
---@return integer? next     where the next command begins; nil alone at the end
---@return string name_or_err  the command's name, or what is wrong
---@return string|string[]|lunode.code? ...  its arguments; those of a command of more than 4096 words as one list. "EPROTO" where the bytes are malformed
function batch.next(bytes, position) end

---Adds a command.
---@param name string
---@param ... any  strings and views; a list of strings, or a view of one, for all that are in it; nil at the end: none
---@return integer bytes  of the batch
function builder:add(name, ...) end

---Adds a command whose arguments are a list.
---@param name string
---@param args string[]
---@return integer bytes  of the batch
function builder:add_list(name, args) end

---Takes the command back that was added last.
function builder:undo() end

---@return integer
function builder:bytes() end

---How many it holds.
---@return integer
function builder:commands() end

---The batch as a string behind `head` (default ""); it is empty then.
---@param head? string
---@return string
function builder:take(head) end

-- ---------------------------------------------------------------- lunode.budget

---Ends code that does not end by itself: for what people type. It cannot look into one long call of C's (`string.rep`), nor
---into the message handler of an `xpcall`.
---@class lunode.budget
local budget = {}

---From here on, code in the calling coroutine, and in those made in it, raises when the loop's turn has taken too long, or at Ctrl-C.
---Code that catches this and goes on is ended all the same. Instructions cost a few times as much.
function budget.arm() end

---Calls fn(…), armed for as long as that takes: for callbacks, which run in a coroutine that is not theirs. `fn` cannot wait.
---@param fn fun(...): ...
---@param ... any
---@return boolean ok, any ...  what fn returned; or false, and its error with the traceback
function budget.call(fn, ...) end

---From its next instruction on the coroutine raises, at each one, until it has unwound.
---@param thread thread
function budget.kill(thread) end

---What ends it, for the whole state.
---@param seconds? number  of a turn of the loop (default: no limit)
---@param interrupt? boolean  a SIGINT that waits to be delivered does, too (default false)
function budget.set(seconds, interrupt) end

-- ---------------------------------------------------------------- lunode.edit

---The terminal, for prompts: lines edited with libedit while the loop goes on. In the binary only, and loaded by the first `require`.
---@class lunode.edit
local edit = {}

---What an editor wants next. "waits": more input, for `feed`. "line": it is complete; beside it, its text. "complete": Tab was pressed, so
---`answer`; beside it, the text and how many of its bytes lie before the cursor. "end": Ctrl-D on an empty line. "idle": no line is being edited,
---so `begin`.
---@alias lunode.editor.event "waits"|"line"|"complete"|"cancelled"|"end"|"idle"

---Opens the editor on the standard input and output. Until it is closed nothing is echoed but what it draws; Ctrl-C and Ctrl-Z
---are signals. After every end of the process but SIGKILL the terminal is as it was before.
---@return lunode.editor? editor
---@return string? err, lunode.code? code  "ENOTTY"; "EBUSY": there is one already
function edit.open() end

---Calls `fn(bytes)` with what arrives on the standard input, and `fn(nil, err)` once at its end. It keeps the loop alive.
---@param fn fun(bytes: string?, err: string?)
---@return lunode.watcher? watcher
---@return string? err, lunode.code? code
function edit.watch(fn) end

---Of the terminal on the standard output; 80 and 24 where it is none.
---@return integer columns, integer rows
function edit.size() end

---@param fd integer  0, 1 or 2
---@return boolean
function edit.is_terminal(fd) end

---Opens a file to read and to append to, with mode 0600 from its beginning; one that is there gets that mode.
---@param path string
---@return file*? file
---@return string? err, lunode.code? code  "EINVAL": it is no file
function edit.private_file(path) end

---@class lunode.editor
local editor = {}

---Begins a line.
---@param prompt string  bytes between two \1 take no room: colours
---@return lunode.editor.event event, string? text, integer? cursor
function editor:begin(prompt) end

---Gives it what was typed. What lies behind the end of the line is for the next one.
---@param bytes string
---@return lunode.editor.event event, string? text, integer? cursor
function editor:feed(bytes) end

---After "complete": inserts the text at the cursor, or beeps.
---@param text? string
---@return lunode.editor.event event, string? text, integer? cursor
function editor:answer(text) end

---Drops the line, as Ctrl-C does.
---@return lunode.editor.event event
function editor:cancel() end

---Takes the line off the screen, so that whole lines can be printed in its place.
function editor:hide() end

---Draws the line again.
function editor:show() end

---Tells that the terminal's size has changed (SIGWINCH).
function editor:resize() end

---Stops the process as Ctrl-Z does, and returns when it goes on (SIGCONT).
function editor:suspend() end

---Adds a line to those that the arrow keys bring back.
---@param line string
function editor:remember(line) end

---Gives the terminal back.
function editor:close() end

---@class lunode.watcher
local watcher = {}

---Reads no more for now.
function watcher:pause() end

---Reads again.
function watcher:resume() end

---Reads no more, and keeps the loop alive no longer.
function watcher:close() end

return {
  batch = batch,
  bits = bits,
  budget = budget,
  decoder = decoder,
  edit = edit,
  hash = hash,
  lcs = lcs,
  log = log,
  loop = loop,
  mac = mac,
  msgpack = msgpack,
  nearby = nearby,
  ranks = ranks,
  resp = resp,
  score = score,
  slot = slot,
  store = store,
  tcp_client = tcp_client,
  tcp_server = tcp_server,
  watchdog = watchdog,
}
