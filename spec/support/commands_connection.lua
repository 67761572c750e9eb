-- The exchanges of spec/kv/fixed_differential_spec.lua about connections: the protocol, transactions, subscriptions.
-- As spec.support.commands_fixed reads them: {what it is about, its lines}.

return {
  { "inline commands, and how they are quoted", [[
    ! "PING\r\n"
    ! "ping\n"
    ! "  PING  \r\n"
    ! "\r\n\r\nPING\r\n"
    ! "SET a b\r\n"
    ! "SET a \"b c\"\r\n"
    GET a
    ! "GET \"a\"\r\n"
    ! "SET a \"b\\x41\\n\\r\\t\\b\\a\\q\\\"\"\r\n"
    GET a
    ! "SET a 'b\\'c\"\\x41'\r\n"
    GET a
    ! "SET a \"\"\r\n"
    GET a
    ! "SET a b\"c\"\r\n"
    GET a
    ! "SET\ta\tx\r\n"
    ! "FOO\r\n"
    ! "\"\"\r\n"
    ! "\"\" x\r\n"
    ! "FOO \"bar baz\" qux\r\n"
    ! "+OK\r\n"
    ! "$4\r\n"
    ! ":1\r\n"
    ! "-ERR\r\n"
    ! "GET / HTTP/1.0\r\n"
    ! "SET a \"b\r\n"
    x
    ! "SET a 'b\r\n"
    x
    ! "SET a \"b\"c\r\n"
    x
    ! "SET a 'b'c\r\n"
    x
    !> "POST / HTTP/1.0\r\n"
    x
    !> "Host: x\r\n"
    x
    !> "*1\r\n$4\r\npost\r\n"
    x
    !> "*2\r\n$5\r\nHOST:\r\n$1\r\nx\r\n"
    x
  ]] },

  { "bytes that are no command", [[
    ! "*0\r\nPING\r\n"
    ! "*-1\r\nPING\r\n"
    ! "*x\r\n"
    x
    ! "*1\r\n$x\r\n"
    x
    ! "*1\r\n$-1\r\n"
    x
    ! "*1\r\n$536870913\r\n"
    x
    ! "*2147483648\r\n"
    x
    ! "*+1\r\n"
    x
    ! "* 1\r\n"
    x
    ! "*01\r\n"
    x
    ! "*1\r\n$04\r\n"
    x
    ! "*1\r\n:1\r\n"
    x
    ! "*1\r\n\r\n"
    x
    ! "*1\r\n$\r\n"
    x
    ! "*\r\n"
    x
    ! "*1\r\n$0\r\n\r\n"
    ! "*2\r\n$0\r\n\r\n$1\r\na\r\n"
    ! "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"
    <
  ]] },

  { "MULTI, EXEC, DISCARD, WATCH out of place", [[
    EXEC
    DISCARD
    EXEC x
    DISCARD x
    MULTI x
    MULTI
    MULTI
    WATCH a
    GET
    EXEC
    EXEC
    MULTI
    FOO
    SET a 1
    EXEC
    GET a
    MULTI
    SET a
    DISCARD
    MULTI
    SET a 1
    EXEC x
    EXEC
    GET a
    MULTI
    SET a 1
    DISCARD x
    EXEC
    UNWATCH x
    WATCH
    MULTI
    EXEC
  ]] },

  { "errors of single commands in a transaction", [[
    MULTI
    SET a x
    LPUSH a x
    INCR a
    GET nosuch
    SELECT 5
    CONFIG GET timeout
    HELLO 4
    AUTH x
    AUTH default x
    UNWATCH
    CLIENT SETNAME abc
    CLIENT GETNAME
    PUBLISH a b
    CLIENT KILL TYPE pubsub
    MONITOR
    SORT a
    OBJECT FREQ a
    EXEC
    GET a
  ]] },

  { "commands that block, in a transaction", [[
    MULTI
    BLPOP nosuch 0
    BRPOP nosuch 0
    BZPOPMIN nosuch 0
    BZPOPMAX nosuch 0
    BLMOVE nosuch b LEFT LEFT 0
    BLMPOP 0 1 nosuch LEFT
    BZMPOP 0 1 nosuch MIN
    BRPOPLPUSH nosuch b 0
    WAIT 1 0
    EXEC
  ]] },

  { "what is refused inside of a transaction, and what ends it", [[
    MULTI
    SHUTDOWN
    EXEC
    MULTI
    RESET
    EXEC
    MULTI
    SUBSCRIBE x
    EXEC
    GET a
    UNSUBSCRIBE x
    ~ HELLO 3
    MULTI
    SUBSCRIBE x
    GET a
    EXEC
    MULTI
    QUIT
    x
  ]] },

  { "keys that are watched", [[
    WATCH a
    1: SET a 5
    MULTI
    GET a
    EXEC
    WATCH a
    1: SET a 6
    UNWATCH
    MULTI
    GET a
    EXEC
    WATCH a
    1: SET a 7
    MULTI
    DISCARD
    MULTI
    GET a
    EXEC
    WATCH a
    1: SET a 8
    EXEC x
    MULTI
    GET a
    EXEC
    WATCH b
    1: SET b x
    1: DEL b
    MULTI
    EXEC
    WATCH a
    1: FLUSHALL
    MULTI
    EXEC
    WATCH a
    1: FLUSHALL
    MULTI
    EXEC
    WATCH a
    1: SET a 1 PX 1 GET
    RESET
    MULTI
    EXEC
  ]] },

  { "CLIENT REPLY", [[
    CLIENT REPLY
    CLIENT REPLY foo
    CLIENT REPLY on
    CLIENT REPLY ON x
    > CLIENT REPLY SKIP
    > PING
    ECHO a
    > CLIENT REPLY SKIP
    > CLIENT REPLY SKIP
    > PING
    ECHO b
    > CLIENT REPLY OFF
    > CLIENT REPLY foo
    > CLIENT REPLY
    > CLIENT REPLY SKIP
    > NOSUCH
    > GET
    > SET a x
    > LPUSH a x
    > BLPOP nosuch 0.001
    CLIENT REPLY ON
    > CLIENT REPLY SKIP
    > CLIENT REPLY foo
    PING
    > CLIENT REPLY SKIP
    CLIENT REPLY ON
    PING
    > CLIENT REPLY SKIP
    > MULTI
    PING
    EXEC
    > CLIENT REPLY SKIP
    > BLPOP nosuch 0.001
    PING
    > CLIENT REPLY OFF
    RESET
    > CLIENT REPLY SKIP
    > RESET
    LPUSH a x
    PING
    > CLIENT REPLY OFF
    SUBSCRIBE z
    > CLIENT REPLY ON
    UNSUBSCRIBE z
    CLIENT REPLY ON
    > CLIENT REPLY OFF
    > HELLO 3
    SUBSCRIBE x
    1: PUBLISH x hi
    <
    > PING
    > SUBSCRIBE
    CLIENT REPLY ON
    PING
  ]] },

  { "CLIENT REPLY in a transaction", [[
    MULTI
    PING
    CLIENT REPLY foo
    CLIENT REPLY ON
    EXEC
    MULTI
    CLIENT REPLY SKIP
    ! "*1\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n"
  ]] },

  { "subscribers of RESP2 may send little", [[
    SUBSCRIBE c1 c2
    <
    PING
    PING x
    PING x y
    GET a
    SET a
    FOO
    ECHO x
    MULTI
    EXEC
    EXEC x
    DISCARD
    HELLO 3
    CLIENT ID
    CLIENT FOO
    CLIENT REPLY ON
    CONFIG GET timeout
    SHUTDOWN
    AUTH x
    COMMAND COUNT x
    SUBSCRIBE
    PSUBSCRIBE
    UNSUBSCRIBE c1
    PSUBSCRIBE p*
    SSUBSCRIBE s
    UNSUBSCRIBE
    PUNSUBSCRIBE
    GET a
    SUNSUBSCRIBE
    GET a
    UNSUBSCRIBE
    PUNSUBSCRIBE
    SUNSUBSCRIBE
    UNSUBSCRIBE a b
    <
    PUNSUBSCRIBE a
    SUNSUBSCRIBE a
    PSUBSCRIBE p*
    RESET
    PING
    SUBSCRIBE a a
    <
    1: PUBLISH a x
    <
    QUIT
    x
  ]] },

  { "subscribers of RESP3 may send all", [[
    ~ HELLO 3
    SUBSCRIBE a
    PING
    PING x
    PING x y
    GET nosuch
    1: PUBLISH a x
    <
    PSUBSCRIBE a*
    1: PUBLISH a y
    <
    <
    UNSUBSCRIBE
    UNSUBSCRIBE
    PUNSUBSCRIBE
    SUNSUBSCRIBE
    SUBSCRIBE a
    ~ HELLO 2
    PING
    GET a
    UNSUBSCRIBE
    GET a
  ]] },

  { "PUBSUB", [[
    PUBSUB
    PUBSUB FOO
    PUBSUB CHANNELS
    PUBSUB CHANNELS a b
    PUBSUB NUMSUB
    PUBSUB NUMSUB a a
    PUBSUB NUMPAT
    PUBSUB NUMPAT x
    PUBSUB SHARDCHANNELS
    PUBSUB SHARDCHANNELS a b
    PUBSUB SHARDNUMSUB
    PUBSUB SHARDNUMSUB a
    PUBSUB HELP x
    PUBLISH
    PUBLISH a
    PUBLISH a b c
    PUBLISH a b
    SPUBLISH a b
    s: SUBSCRIBE a
    s: PSUBSCRIBE a* b*
    s: <
    s: SSUBSCRIBE x
    PUBSUB CHANNELS
    PUBSUB CHANNELS b*
    PUBSUB CHANNELS A*
    PUBSUB NUMSUB a b
    PUBSUB NUMPAT
    PUBSUB SHARDCHANNELS
    PUBSUB SHARDNUMSUB x y
    SPUBLISH x m
    s: <
    PUBLISH a m
    s: <
    s: <
  ]] },

  { "HELLO, AUTH, SELECT, PING, ECHO, RESET, QUIT", [[
    AUTH
    AUTH a
    AUTH a b
    AUTH a b c
    AUTH default x
    AUTH default ""
    HELLO x
    HELLO 1
    HELLO 4
    HELLO 99999999999999999999
    HELLO 3 FOO
    HELLO 3 AUTH
    HELLO 3 AUTH a
    HELLO 3 AUTH a b
    HELLO 3 SETNAME
    HELLO 3 SETNAME "a b"
    HELLO 2 SETNAME a SETNAME "b c"
    CLIENT GETNAME
    HELLO 2 SETNAME b FOO
    CLIENT GETNAME
    ~ HELLO 2 setname c
    CLIENT GETNAME
    ~ HELLO
    SELECT
    SELECT x
    SELECT -1
    SELECT 1
    SELECT 16
    SELECT 2147483648
    SELECT 99999999999
    SELECT 0 1
    SELECT 00
    SELECT 0
    PING a b
    PING ""
    ECHO
    ECHO a b
    RESET x
    RESET
    CLIENT GETNAME
    QUIT x
    x
  ]] },

  { "a password that is required", [[
    CONFIG SET requirepass secret
    PING
    1: PING
    1: EXEC
    1: EXEC x
    1: MULTI
    1: NOSUCH
    1: GET
    1: CLIENT FOO
    1: HELLO
    1: HELLO 3
    1: HELLO 3 AUTH default wrong
    1: RESET
    1: AUTH wrong
    1: AUTH default wrong
    1: AUTH other secret
    1: ! "*11\r\n"
    1: x
    1: ! "*1\r\n$16385\r\n"
    1: x
    1: AUTH secret
    1: PING
    1: RESET
    1: PING
    1: AUTH default secret
    1: AUTH wrong
    1: PING
    1: RESET
    ~ 1: HELLO 3 AUTH default secret
    1: PING
    1: RESET
    1: QUIT
    1: x
    CONFIG GET requirepass
    CONFIG SET requirepass ""
    1: PING
  ]] },
}
