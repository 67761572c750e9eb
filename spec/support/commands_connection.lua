-- The exchanges of spec/kv/fixed_differential_spec.lua about connections: the protocol, transactions, subscriptions,
-- CLIENT. As spec.support.commands_fixed reads them: {what it is about, its lines}.

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

  { "CLIENT KILL, by address and by filters", [[
    CLIENT
    CLIENT FOO
    CLIENT KILL
    CLIENT KILL 1.2.3.4:5
    CLIENT KILL foo
    CLIENT KILL ID
    CLIENT KILL ID x
    CLIENT KILL ID 0
    CLIENT KILL ID -1
    CLIENT KILL ID 99999999
    CLIENT KILL ID 99999999 ID 99999998
    CLIENT KILL ADDR 1.2.3.4:5
    CLIENT KILL LADDR 1.2.3.4:5
    CLIENT KILL USER nosuch
    CLIENT KILL USER default ID 99999999
    CLIENT KILL TYPE foo
    CLIENT KILL TYPE slave
    CLIENT KILL TYPE replica
    CLIENT KILL TYPE master
    CLIENT KILL TYPE pubsub
    CLIENT KILL SKIPME
    CLIENT KILL SKIPME maybe
    CLIENT KILL SKIPME yes TYPE pubsub
    CLIENT KILL SKIPME no ID 99999999
    CLIENT KILL FOO x
    CLIENT KILL ID 1 FOO
    CLIENT KILL ID 99999999 FOO x
    CLIENT KILL ID 99999999 TYPE
    CLIENT KILL MAXAGE 1
    CLIENT KILL ID 99999999 skipme YES addr x LADDR y type NORMAL user default
    a: PING
    CLIENT KILL TYPE normal
    a: x
    p: SUBSCRIBE c
    CLIENT KILL TYPE normal SKIPME yes
    CLIENT KILL TYPE pubsub
    p: x
    a: PING
    b: PING
    CLIENT KILL USER default
    a: x
    b: x
    a: PING
    CLIENT KILL ID @a
    a: x
    a: PING
    CLIENT KILL ID @a USER other
    CLIENT KILL ID @a TYPE pubsub
    a: CLIENT KILL ID @a
    a: CLIENT KILL ID @a SKIPME no
    a: x
    CLIENT KILL TYPE normal SKIPME no
    x
    CLIENT KILL SKIPME no
    x
    PING
  ]] },

  { "CLIENT LIST, PAUSE, UNBLOCK, NO-EVICT, SETNAME, and what they refuse", [[
    CLIENT LIST TYPE
    CLIENT LIST TYPE foo
    CLIENT LIST TYPE master
    CLIENT LIST TYPE normal x
    CLIENT LIST ID
    CLIENT LIST ID x
    CLIENT LIST ID 0
    CLIENT LIST ID 99999 99998
    CLIENT LIST FOO x
    CLIENT LIST FOO
    ~ CLIENT LIST
    ~ CLIENT LIST TYPE NORMAL
    ~ CLIENT LIST ID @a @b 99999
    ~ CLIENT INFO
    CLIENT INFO x
    CLIENT ID x
    CLIENT NO-EVICT
    CLIENT NO-EVICT ON
    CLIENT NO-EVICT off
    CLIENT NO-EVICT maybe
    CLIENT NO-EVICT on off
    CLIENT NO-TOUCH on
    CLIENT NO-TOUCH
    CLIENT SETINFO LIB-NAME x
    CLIENT SETINFO
    CLIENT PAUSE
    CLIENT PAUSE x
    CLIENT PAUSE -1
    CLIENT PAUSE 0
    CLIENT PAUSE 1 FOO
    CLIENT PAUSE 1 WRITE
    CLIENT PAUSE 1 write x
    CLIENT PAUSE 1 all
    CLIENT PAUSE 9223372036854775807
    CLIENT PAUSE 9223372036854775808
    CLIENT PAUSE 1.5
    CLIENT UNPAUSE
    CLIENT UNPAUSE x
    CLIENT UNBLOCK
    CLIENT UNBLOCK x
    CLIENT UNBLOCK 1 foo
    CLIENT UNBLOCK 99999999
    CLIENT UNBLOCK 99999999 ERROR
    CLIENT UNBLOCK 99999999 timeout
    CLIENT UNBLOCK 99999999 timeout x
    CLIENT UNBLOCK -1
    CLIENT UNBLOCK 1.5
    CLIENT GETNAME
    CLIENT GETNAME x
    CLIENT SETNAME
    CLIENT SETNAME "a b"
    CLIENT SETNAME ab c
    CLIENT SETNAME ab
    CLIENT GETNAME
    CLIENT SETNAME ""
    CLIENT GETNAME
  ]] },

  { "a pause of writes, and one of all", [[
    SET a 1
    CLIENT PAUSE 100000 WRITE
    GET a
    PING
    1: MULTI
    1: GET a
    1: EXEC
    > SET a 2
    > GET a
    1: GET a
    1: > PUBLISH c m
    2: CLIENT UNPAUSE
    <
    <
    1: <
    CLIENT PAUSE 50 ALL
    PING
    1: GET a
  ]] },

  { "CLIENT TRACKING, TRACKINGINFO, CACHING, GETREDIR", [[
    CLIENT GETREDIR
    CLIENT GETREDIR x
    CLIENT TRACKINGINFO
    CLIENT TRACKINGINFO x
    CLIENT CACHING
    CLIENT CACHING yes
    CLIENT CACHING no
    CLIENT CACHING maybe
    CLIENT TRACKING
    CLIENT TRACKING maybe
    CLIENT TRACKING on
    CLIENT TRACKING off
    CLIENT TRACKING on REDIRECT 99999999
    CLIENT TRACKING on REDIRECT x
    CLIENT TRACKING on REDIRECT 0
    CLIENT TRACKING on REDIRECT -1
    CLIENT TRACKING on REDIRECT
    CLIENT TRACKING on PREFIX a
    CLIENT TRACKING on BCAST PREFIX a PREFIX ab
    CLIENT TRACKING on BCAST PREFIX a PREFIX b
    CLIENT TRACKING on BCAST PREFIX bb
    CLIENT TRACKING on BCAST PREFIX
    CLIENT TRACKING on BCAST OPTIN
    CLIENT TRACKING on OPTIN OPTOUT
    CLIENT TRACKING on OPTIN
    CLIENT TRACKING off OPTIN
    CLIENT TRACKING on FOO
    CLIENT TRACKING on FOO x
    CLIENT TRACKING off FOO
    CLIENT TRACKING off
    CLIENT TRACKING on OPTOUT
    CLIENT TRACKING on BCAST
    CLIENT TRACKING on OPTIN
    CLIENT CACHING yes
    CLIENT CACHING no
    CLIENT TRACKINGINFO
    CLIENT TRACKING off
    CLIENT TRACKING on OPTIN NOLOOP
    CLIENT CACHING no
    CLIENT CACHING yes
    CLIENT TRACKINGINFO
    CLIENT GETNAME
    CLIENT TRACKINGINFO
    PING
    CLIENT TRACKINGINFO
    CLIENT TRACKING off
    CLIENT TRACKING on BCAST
    CLIENT TRACKING on
    CLIENT TRACKING off
    CLIENT TRACKING on BCAST NOLOOP PREFIX "" PREFIX x
    CLIENT TRACKINGINFO
    CLIENT TRACKING off
    ~ HELLO 3
    CLIENT TRACKING on NOLOOP
    CLIENT TRACKINGINFO
    CLIENT GETREDIR
    CLIENT TRACKING off
    CLIENT TRACKINGINFO
    CLIENT TRACKING on BCAST PREFIX a PREFIX b
    CLIENT TRACKINGINFO
    RESET
    CLIENT TRACKINGINFO
  ]] },

  { "what a client that tracks is told by way of another", [[

    CLIENT TRACKING on REDIRECT @c
    ~ c: HELLO 3
    CLIENT GETNAME
    GET a
    1: SET a 1
    c: <
    CLIENT TRACKING off
    CLIENT TRACKING on REDIRECT @c NOLOOP
    GET a
    SET a 2
    GET a
    1: SET a 3
    c: <
    c: QUIT
    c: x
    GET a
    1: SET a 4
    PING
  ]] },

  { "what MONITOR shows", [[
    m: MONITOR
    SET a "b\r\n\x00\xff\t\"\\"
    ~ m: <
    GET
    NOSUCH
    LPUSH a x
    ~ m: <
    HELLO 2 AUTH a b
    ~ m: <
    AUTH x
    ~ m: <
    AUTH default x
    ~ m: <
    CONFIG GET timeout
    CLIENT GETNAME
    ~ m: <
    BLPOP nosuch 0.001
    ~ m: <
    GET a
    ~ m: <
    m: SET a 1
    m: GET a
    m: RESET
    PING
  ]] },

  { "what a client that tracks is told", [[
    ~ HELLO 3
    CLIENT TRACKING on
    GET a
    1: SET a 1
    <
    1: SET a 2
    RPUSH l 2 1
    SORT_RO l
    1: RPUSH l 3
    <
    MGET a b
    1: MSET b 1
    <
    1: FLUSHALL
    <
    CLIENT TRACKING off
    CLIENT TRACKING on OPTIN
    GET a
    1: SET a 1
    CLIENT CACHING yes
    CLIENT GETNAME
    GET a
    1: SET a 2
    <
    CLIENT TRACKING off
    CLIENT TRACKING on BCAST PREFIX k
    1: SET a 1
    1: SET key 1
    <
    PING
  ]] },
}
