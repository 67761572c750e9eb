-- The exchanges of spec/kv/fixed_differential_spec.lua, as spec.support.commands_fixed reads them: {what it is about,
-- its lines}. Here the commands about the server; spec.support.commands_connection and commands_client have the others.

-- A command with so many arguments, each `format` of its number.
local function long(command, count, format)
  local list = {}
  for i = 1, count do
    list[i] = format:format(i, i)
  end
  return command .. " " .. table.concat(list, " ") .. "\n"
end

local function encodings()
  local lines = {}
  for _, text in ipairs {
    "1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "01", '" 1"',
    '""', "1.5", ("4"):rep(44), ("x"):rep(44), ("x"):rep(45),
  } do
    lines[#lines + 1] = ("SET a %s\nOBJECT ENCODING a\n"):format(text)
  end
  for _, case in ipairs {
    { "SADD", "%d", 1, 512, 513 }, { "SADD", "m%d", 1, 513 }, { "HSET", "f%d v", 1, 512, 513 },
    { "ZADD", "%d m%d", 1, 128, 129 }, { "RPUSH", "%d", 1, 3000 },
  } do
    for i = 3, #case do
      lines[#lines + 1] = "DEL a\n" .. long(case[1] .. " a", case[i], case[2]) .. "OBJECT ENCODING a\n"
    end
  end
  for _, length in ipairs { 64, 65 } do
    local word = ("x"):rep(length)
    lines[#lines + 1] = ("DEL a\nHSET a f %s\nOBJECT ENCODING a\nDEL a\nHSET a %s v\nOBJECT ENCODING a\n"
      .. "DEL a\nZADD a 1 %s\nOBJECT ENCODING a\nDEL a\nSADD a %s\nOBJECT ENCODING a\nDEL a\nRPUSH a %s\n"
      .. "OBJECT ENCODING a\n"):format(word, word, word, word, word)
  end
  lines[#lines + 1] = [[
    FLUSHALL
    SADD s 9223372036854775807 -9223372036854775808
    OBJECT ENCODING s
    SADD t 9223372036854775808
    OBJECT ENCODING t
    SADD u 01
    OBJECT ENCODING u
    INCR n
    OBJECT ENCODING n
    APPEND p 12
    OBJECT ENCODING p
    SADD v a b
    SUNIONSTORE w s v
    OBJECT ENCODING w
    SDIFFSTORE w w v
    OBJECT ENCODING w
    ZUNIONSTORE z 2 s v
    OBJECT ENCODING z
    ZRANGESTORE y z 0 -1
    OBJECT ENCODING y
    SORT s STORE l
    OBJECT ENCODING l
    COPY s s2
    OBJECT ENCODING s2
    OBJECT ENCODING nosuch
    OBJECT ENCODING
    OBJECT ENCODING a b
  ]]
  return table.concat(lines)
end

-- What each part of the slow log is cut to.
local function slow_log()
  local lines = { "CLIENT SETNAME me\nCONFIG SET slowlog-log-slower-than 0\nKEYS x\n~ SLOWLOG GET 1\n" }
  for _, count in ipairs { 31, 32, 40 } do
    lines[#lines + 1] = long("SUNION", count, "k%d") .. "~ SLOWLOG GET 1\n"
  end
  for _, length in ipairs { 128, 129, 300 } do
    lines[#lines + 1] = ("KEYS %s\n~ SLOWLOG GET 1\n"):format(("x"):rep(length))
  end
  lines[#lines + 1] = "MULTI\nKEYS y\nEXEC\n~ SLOWLOG GET 1\n"
  lines[#lines + 1] = "CONFIG SET slowlog-log-slower-than -1\nSLOWLOG RESET\nKEYS x\nSLOWLOG LEN\nSLOWLOG GET\n"
  lines[#lines + 1] = "CONFIG RESETSTAT\nKEYS a\nKEYS b\n~ LATENCY HISTOGRAM KEYS nosuch\n~ HELLO 3\n"
  lines[#lines + 1] = "~ LATENCY HISTOGRAM keys\nLATENCY HISTOGRAM lrange\n"
  return table.concat(lines)
end

return {
  { "what the slow log and the histograms keep", slow_log() },

  { "how values are encoded, on both sides of each border", encodings() },

  { "what else OBJECT tells", [[
    OBJECT
    OBJECT FOO
    OBJECT FOO x
    OBJECT REFCOUNT nosuch
    OBJECT FREQ nosuch
    OBJECT IDLETIME nosuch
    SET n 9999
    OBJECT REFCOUNT n
    OBJECT FREQ n
    ~ OBJECT IDLETIME n
    SET n 10000
    OBJECT REFCOUNT n
    SET n -1
    OBJECT REFCOUNT n
    SET n x
    OBJECT REFCOUNT n
    RPUSH l a
    OBJECT REFCOUNT l
    OBJECT HELP x
  ]] },

  { "COMMAND INFO, LIST, DOCS, COUNT, and their errors", [[
    COMMAND FOO
    COMMAND HELP x
    COMMAND COUNT x
    COMMAND INFO get nosuch config|get
    COMMAND INFO config|nope "config|" "|get" "|" ""
    COMMAND INFO GET Get
    COMMAND DOCS nosuch
    COMMAND LIST FOO
    COMMAND LIST FILTERBY
    COMMAND LIST FILTERBY PATTERN
    COMMAND LIST FILTERBY PATTERN a b
    COMMAND LIST FILTERBY FOO x
    COMMAND LIST FILTERBY MODULE nothing
    COMMAND LIST FILTERBY ACLCAT nothing
    ~ COMMAND LIST FILTERBY ACLCAT transaction
    ~ COMMAND LIST FILTERBY ACLCAT bitmap
    ~ COMMAND LIST FILTERBY ACLCAT pubsub
    ~ COMMAND LIST FILTERBY ACLCAT LIST
    ~ COMMAND LIST FILTERBY ACLCAT hash
    ~ COMMAND LIST FILTERBY ACLCAT set
    ~ COMMAND LIST FILTERBY ACLCAT sortedset
    ~ COMMAND LIST FILTERBY ACLCAT string
    ~ COMMAND LIST FILTERBY PATTERN zrem*
    ~ command list filterby pattern CONFIG*
    COMMAND LIST FILTERBY PATTERN GETEX
    COMMAND LIST FILTERBY PATTERN xyz
  ]] },

  { "COMMAND GETKEYS and GETKEYSANDFLAGS", [[
    COMMAND GETKEYS
    COMMAND GETKEYS get
    COMMAND GETKEYS get a
    COMMAND GETKEYS nosuch a
    COMMAND GETKEYS config
    COMMAND GETKEYS config get x
    COMMAND GETKEYS config nope x
    COMMAND GETKEYS object encoding a
    COMMAND GETKEYS SORT a BY x STORE b
    COMMAND GETKEYS SORT a STORE
    COMMAND GETKEYS SORT a GET STORE STORE b
    COMMAND GETKEYS SORT a STORE b STORE c
    COMMAND GETKEYS SORT a LIMIT 0 STORE store b
    COMMAND GETKEYS ZUNIONSTORE d 2 a b
    COMMAND GETKEYS ZUNIONSTORE d 3 a b
    COMMAND GETKEYS ZUNION 2 a b
    COMMAND GETKEYS ZUNION 0 a b
    COMMAND GETKEYS ZUNION -1 a b
    COMMAND GETKEYS ZUNION x a b
    COMMAND GETKEYS LMPOP 1 a LEFT
    COMMAND GETKEYS BLMPOP 0 1 a LEFT
    COMMAND GETKEYS BZMPOP 0 2 a b MIN
    COMMAND GETKEYS SINTERCARD 2 a b
    COMMAND GETKEYS SINTERCARD 9999999999999 a b
    COMMAND GETKEYS BITOP AND d a b
    COMMAND GETKEYS SET a b GET
    COMMAND GETKEYS MSET a 1 b 2 c
    COMMAND GETKEYS MSET a 1 b 2
    COMMAND GETKEYS MSETNX a 1 b
    COMMAND GETKEYS LCS a b
    COMMAND GETKEYS LCS a
    COMMAND GETKEYS PING
    COMMAND GETKEYS PING x
    COMMAND GETKEYS SUBSCRIBE a
    COMMAND GETKEYS SSUBSCRIBE a b
    COMMAND GETKEYS SPUBLISH a b
    COMMAND GETKEYS PUBLISH a b
    COMMAND GETKEYS MEMORY USAGE a
    COMMAND GETKEYS COPY a b
    COMMAND GETKEYS BLPOP a b 0
    COMMAND GETKEYS BLPOP a
    COMMAND GETKEYS WATCH a b
    COMMAND GETKEYS RESTORE a 0 x
    COMMAND GETKEYSANDFLAGS
    COMMAND GETKEYSANDFLAGS get
    COMMAND GETKEYSANDFLAGS ping
    COMMAND GETKEYSANDFLAGS nosuch a b
    COMMAND GETKEYSANDFLAGS get a
    COMMAND GETKEYSANDFLAGS set a b
    COMMAND GETKEYSANDFLAGS set a b NX
    COMMAND GETKEYSANDFLAGS set a b ex 10 get
    COMMAND GETKEYSANDFLAGS set a get
    COMMAND GETKEYSANDFLAGS bitfield a
    COMMAND GETKEYSANDFLAGS bitfield a get u8 0
    COMMAND GETKEYSANDFLAGS bitfield a GET u8 0 get u4 1
    COMMAND GETKEYSANDFLAGS bitfield a get u8 0 set u8 0 1
    COMMAND GETKEYSANDFLAGS bitfield a get u8
    COMMAND GETKEYSANDFLAGS bitfield a overflow sat
    COMMAND GETKEYSANDFLAGS bitfield a foo
    COMMAND GETKEYSANDFLAGS bitfield a incrby u8 0 1
    COMMAND GETKEYSANDFLAGS bitfield_ro a get u8 0
    COMMAND GETKEYSANDFLAGS del a b
    COMMAND GETKEYSANDFLAGS lmove a b left right
    COMMAND GETKEYSANDFLAGS sort a store b
    COMMAND GETKEYSANDFLAGS sort_ro a
    COMMAND GETKEYSANDFLAGS zunionstore d 1 a
    COMMAND GETKEYSANDFLAGS lmpop 1 a left
    COMMAND GETKEYSANDFLAGS mset a 1 b 2
    COMMAND GETKEYSANDFLAGS getex a
    COMMAND GETKEYSANDFLAGS exists a
    COMMAND GETKEYSANDFLAGS rename a b
    COMMAND GETKEYSANDFLAGS copy a b
    COMMAND GETKEYSANDFLAGS sinterstore a b c
    COMMAND GETKEYSANDFLAGS object encoding a
    COMMAND GETKEYSANDFLAGS spublish a b
    COMMAND GETKEYSANDFLAGS ssubscribe a b
    COMMAND GETKEYSANDFLAGS watch a
    COMMAND GETKEYSANDFLAGS smove a b c
    ~ HELLO 3
    COMMAND GETKEYSANDFLAGS getset a b
    COMMAND INFO set bitfield sort
  ]] },

  { "CONFIG GET of several names and patterns", [[
    CONFIG
    CONFIG FOO
    CONFIG GET
    CONFIG GET nothing
    CONFIG GET ""
    CONFIG GET [a
    CONFIG GET APPENDFSYNC
    CONFIG GET appendfsync appendfsync
    CONFIG GET appendfsync APPENDFSYNC
    CONFIG GET appendfsyn? appendfsync
    CONFIG GET appendfsync appendfsyn?
    ~ CONFIG GET appendfsync maxmemory
    ~ CONFIG GET slowlog-*
    ~ CONFIG GET SLOWLOG-MAX-LEN slowlog-*
    ~ CONFIG GET slowlog-* SLOWLOG-MAX-LEN
    ~ CONFIG GET *max-listpack*
    ~ CONFIG GET *max-ziplist*
    CONFIG GET client-output-buffer-limit
    CONFIG GET notify-keyspace-events
    CONFIG GET maxclients
    CONFIG GET proto-max-bulk-len
    CONFIG GET client-query-buffer-limit
    CONFIG GET set-max-intset-entries
    CONFIG GET databases
    CONFIG GET save
    CONFIG GET timeout
    CONFIG GET tcp-keepalive
  ]] },

  { "CONFIG SET of several at once, one of them bad: none is set", [[
    CONFIG SET
    CONFIG SET timeout
    CONFIG SET timeout 10
    CONFIG GET timeout
    CONFIG SET timeout 20 nothing 1
    CONFIG SET timeout 20 slowlog-max-len x
    CONFIG SET slowlog-max-len x timeout 20
    CONFIG SET timeout 20 timeout 30
    CONFIG SET timeout 20 TIMEOUT 30
    CONFIG SET timeout 20 slowlog-max-len
    CONFIG SET timeout 20 client-output-buffer-limit "pubsub 1 2"
    CONFIG SET timeout 20 databases 2
    CONFIG GET timeout
    CONFIG SET TIMEOUT 20 slowlog-max-len 64
    CONFIG GET slowlog-max-len
    CONFIG GET timeout
    CONFIG SET a b c d
    CONFIG SET "a\x00b" c
    CONFIG SET "" c
    CONFIG SET databases 1
    CONFIG SET cluster-enabled yes
    CONFIG RESETSTAT x
    CONFIG RESETSTAT
    CONFIG REWRITE
    CONFIG REWRITE x
  ]] },

  { "CONFIG SET of each parameter, and what it refuses", [[
    CONFIG SET timeout -1
    CONFIG SET timeout 2147483648
    CONFIG SET timeout 1.5
    CONFIG SET timeout ""
    CONFIG SET timeout " 1"
    CONFIG SET timeout 1kb
    CONFIG SET slowlog-log-slower-than -1
    CONFIG SET slowlog-log-slower-than -2
    CONFIG SET slowlog-log-slower-than x
    CONFIG SET slowlog-max-len -1
    CONFIG SET slowlog-max-len 9223372036854775808
    CONFIG SET slowlog-max-len 9223372036854775807
    CONFIG SET latency-monitor-threshold -1
    CONFIG SET latency-monitor-threshold 5
    CONFIG SET latency-tracking maybe
    CONFIG SET latency-tracking NO
    CONFIG GET latency-tracking
    CONFIG SET notify-keyspace-events xyz
    CONFIG SET notify-keyspace-events KEA
    CONFIG GET notify-keyspace-events
    CONFIG SET notify-keyspace-events KEAmn
    CONFIG GET notify-keyspace-events
    CONFIG SET notify-keyspace-events lshKE
    CONFIG GET notify-keyspace-events
    CONFIG SET notify-keyspace-events g$lshzxetd
    CONFIG GET notify-keyspace-events
    CONFIG SET notify-keyspace-events ""
    CONFIG GET notify-keyspace-events
    CONFIG SET client-output-buffer-limit "normal"
    CONFIG SET client-output-buffer-limit "normal 1 2"
    CONFIG SET client-output-buffer-limit "foo 1 2 3"
    CONFIG SET client-output-buffer-limit "normal x 2 3"
    CONFIG SET client-output-buffer-limit "normal 1 2 -3"
    CONFIG SET client-output-buffer-limit "normal -1 2 3"
    CONFIG SET client-output-buffer-limit "master 1 2 3"
    CONFIG SET client-output-buffer-limit "slave 1g 1gb 0x10"
    CONFIG SET client-output-buffer-limit ""
    CONFIG GET client-output-buffer-limit
    CONFIG SET client-output-buffer-limit "pubsub 1k 1kb 60 normal 0 0 0"
    CONFIG SET client-output-buffer-limit "Replica 1mb 2M 7"
    CONFIG GET client-output-buffer-limit
    CONFIG SET loglevel foo
    CONFIG SET loglevel nothing
    CONFIG SET loglevel WARNING
    CONFIG GET loglevel
    CONFIG SET loglevel VERBOSE
    CONFIG GET loglevel
    CONFIG SET loglevel debug
    CONFIG GET loglevel
    CONFIG SET tcp-keepalive -1
    CONFIG SET tcp-keepalive x
    CONFIG SET tcp-keepalive 100
    CONFIG SET protected-mode maybe
    CONFIG SET appendfsync foo
    CONFIG SET appendfsync ALWAYS
    CONFIG GET appendfsync
    CONFIG SET maxclients 0
    CONFIG SET maxclients x
    CONFIG SET maxclients 4294967296
    CONFIG SET maxmemory 0
    CONFIG SET maxmemory 0mb
    CONFIG SET maxmemory-policy noeviction
    CONFIG SET hash-max-listpack-entries 512
    CONFIG SET hash-max-ziplist-entries 512
    CONFIG SET proto-max-bulk-len 512mb
    CONFIG SET client-query-buffer-limit 1gb
    CONFIG SET save ""
    CONFIG SET requirepass ""
  ]] },

  { "SLOWLOG", [[
    CONFIG SET slowlog-log-slower-than -1
    SLOWLOG
    SLOWLOG FOO
    SLOWLOG RESET
    SLOWLOG LEN
    SLOWLOG GET
    SLOWLOG GET x
    SLOWLOG GET -1
    SLOWLOG GET -2
    SLOWLOG GET 0
    SLOWLOG GET 5
    SLOWLOG GET 9223372036854775807
    SLOWLOG GET 9223372036854775808
    SLOWLOG GET 1.5
    SLOWLOG GET 1 2
    SLOWLOG LEN x
    SLOWLOG RESET x
  ]] },

  { "LATENCY", [[
    LATENCY
    LATENCY FOO
    LATENCY RESET
    LATENCY LATEST
    LATENCY LATEST x
    LATENCY HISTORY
    LATENCY HISTORY nosuch
    LATENCY HISTORY a b
    LATENCY RESET nosuch
    LATENCY RESET a b
    LATENCY GRAPH
    LATENCY GRAPH nosuch
    LATENCY GRAPH command x
    LATENCY DOCTOR x
    LATENCY HISTOGRAM nosuch
    LATENCY HISTOGRAM nosuch get|x config|nope
    ~ HELLO 3
    LATENCY LATEST
    LATENCY HISTORY nosuch
    LATENCY HISTOGRAM nosuch
    LATENCY GRAPH nosuch
  ]] },

  { "MEMORY", [[
    MEMORY
    MEMORY FOO
    MEMORY USAGE
    MEMORY USAGE nosuch
    MEMORY USAGE nosuch SAMPLES
    MEMORY USAGE nosuch SAMPLES x
    MEMORY USAGE nosuch SAMPLES -1
    MEMORY USAGE nosuch SAMPLES 0
    MEMORY USAGE nosuch samples 5
    MEMORY USAGE nosuch FOO 5
    MEMORY USAGE nosuch SAMPLES 5 SAMPLES 6
    MEMORY USAGE nosuch SAMPLES 5 SAMPLES x
    MEMORY USAGE nosuch SAMPLES 5 x
    MEMORY USAGE nosuch SAMPLES 9223372036854775807
    MEMORY USAGE nosuch SAMPLES 9223372036854775808
    MEMORY PURGE
    MEMORY PURGE x
    MEMORY DOCTOR x
    MEMORY STATS x
    MEMORY MALLOC-STATS x
    ~ HELLO 3
    MEMORY USAGE nosuch
  ]] },

  { "the rest of the server's commands, and how they refuse", [[
    ROLE
    ROLE x
    ~ LASTSAVE
    LASTSAVE x
    SAVE x
    BGSAVE x
    BGSAVE SCHEDULE x
    BGSAVE SCHEDULE
    DBSIZE
    DBSIZE x
    TIME x
    LOLWUT VERSION x
    WAIT
    WAIT x 1
    WAIT 1 x
    WAIT 0 0
    WAIT 0 -1
    WAIT -1 0
    WAIT 0 1.5
    SWAPDB 0 0
    SWAPDB 0 1
    SWAPDB x 0
    SWAPDB 0 x
    SWAPDB 0 99999999999
    MOVE a 0
    MOVE a 1
    MOVE a x
    MOVE a 99999999999
    COPY a b DB 99999999999
    COPY a b DB 1
    READONLY
    READWRITE
    ASKING
    CLUSTER
    CLUSTER INFO
    CLUSTER MYID
    CLUSTER NOPE
    CLUSTER KEYSLOT a
    CLUSTER HELP
    CLUSTER HELP x
    CLUSTER SHARDS x
    CLUSTER SHARDS
    CLUSTER SLOTS
    CLUSTER NODES
    CLUSTER LINKS
    CLUSTER REPLICAS x
    CLUSTER SLAVES x
    CLUSTER COUNTKEYSINSLOT 1
    CLUSTER COUNTKEYSINSLOT
    CLUSTER GETKEYSINSLOT 1 2
    CLUSTER GETKEYSINSLOT 1
    SHUTDOWN FOO
    SHUTDOWN ABORT
    SHUTDOWN NOSAVE SAVE
    SHUTDOWN FORCE ABORT
    SHUTDOWN NOW ABORT
    INFO nosuch
    FLUSHALL FOO
    FLUSHDB SYNC ASYNC
    FLUSHDB SYNC
  ]] },
}
