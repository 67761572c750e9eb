"""What people do with python3-redis, against the node at HOST PORT. Says "ok" at the end."""
import sys
import threading
import time

import redis

host, port = sys.argv[1], int(sys.argv[2])
PATIENCE = 45  # seconds
r = redis.Redis(host, port, decode_responses=True, socket_timeout=PATIENCE, client_name="first")
other = redis.Redis(host, port, decode_responses=True, socket_timeout=PATIENCE)


def till(predicate):
    end = time.monotonic() + PATIENCE
    while not predicate():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def refused(message, run):
    try:
        run()
    except redis.ResponseError as e:
        assert message in str(e), e
    else:
        raise AssertionError("no " + message)


def later(run):
    """Runs it in a thread; gives what waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(run()), daemon=True)
    thread.start()

    def result():
        thread.join(PATIENCE)
        return results[0]

    return result


def blocked():
    return other.info("clients")["blocked_clients"] == 1


def heard(p, count):
    """So many messages, as (type, channel, data)."""
    messages = []
    till(lambda: messages.append(p.get_message(timeout=1)) or len([m for m in messages if m]) == count)
    return sorted((m["type"], m["channel"], m["data"]) for m in messages if m)


def plain():
    assert r.ping()
    assert r.client_getname() == "first"
    assert r.set("a", "1") and r.get("a") == "1"
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "1", get=True, keepttl=True) == "1"
    assert r.incr("a") == 2
    assert r.mset({"x": 1, "y": 2}) and r.mget("x", "y", "z") == ["1", "2", None]
    assert r.hset("h", mapping={"f": "1", "g": "2"}) == 2 and r.hgetall("h") == {"f": "1", "g": "2"}
    assert r.rpush("l", "a", "b", "c") == 3 and r.lrange("l", 0, -1) == ["a", "b", "c"]
    assert r.lmove("l", "m", "LEFT", "RIGHT") == "a" and r.lmpop(2, "m", "l", direction="LEFT") == ["m", ["a"]]
    assert r.sadd("s", "a", "b") == 2 and r.smembers("s") == {"a", "b"} and r.smismember("s", ["a", "z"]) == [1, 0]
    assert r.zadd("z", {"a": 1, "b": 2.5}) == 2 and r.zrange("z", 0, -1, withscores=True) == [("a", 1.0), ("b", 2.5)]
    assert r.zadd("z", {"c": float("inf")}) == 1 and r.zscore("z", "c") == float("inf")
    assert r.zrange("z", "(1", "+inf", byscore=True) == ["b", "c"] and r.zpopmin("z") == [("a", 1.0)]
    assert r.sort("s", alpha=True, desc=True) == ["b", "a"]
    assert r.expire("a", 100) and 90 <= r.ttl("a") <= 100
    assert r.setrange("bytes", 2, "x") == 3 and r.setbit("bits", 7, 1) == 0 and r.bitcount("bits") == 1
    raw = redis.Redis(host, port)
    assert raw.set(b"raw", b"\0\r\n\xff\x80") and raw.get(b"raw") == b"\0\r\n\xff\x80"
    assert r.info("server")["redis_version"] == "7.0.15"
    assert r.config_get("appendonly") == {"appendonly": "yes"}
    assert any(client["name"] == "first" for client in r.client_list())
    assert r.command_count() > 100
    assert r.slowlog_get() == []


def scans():
    names = sorted("k:%d" % i for i in range(300))
    r.mset({name: 1 for name in names})
    r.sadd("scanned:s", *names)
    r.hset("scanned:h", mapping={name: 1 for name in names})
    r.zadd("scanned:z", {name: i for i, name in enumerate(names)})
    assert sorted(r.scan_iter("k:*", count=50)) == names
    assert sorted(r.scan_iter(_type="zset")) == ["scanned:z", "z"]
    assert sorted(r.sscan_iter("scanned:s")) == names
    assert sorted(dict(r.hscan_iter("scanned:h"))) == names
    assert sorted(dict(r.zscan_iter("scanned:z"))) == names


def pipelines():
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"p:{i}", i)
        assert p.execute() == [True] * 1000
    with r.pipeline() as p:
        p.incr("n").incr("n").lpush("n", "x").get("n")
        replies = p.execute(raise_on_error=False)
        assert replies[:2] == [1, 2] and isinstance(replies[2], redis.ResponseError) and replies[3] == "2", replies


def transactions():
    attempts = []

    def add_ten(p):
        attempts.append(1)
        value = int(p.get("n"))
        if len(attempts) == 1:
            other.incr("n")
        p.multi()
        p.set("n", value + 10)

    # one that another client gets into the way of is tried again
    assert r.transaction(add_ten, "n") == [True] and len(attempts) == 2 and r.get("n") == "13"
    with r.pipeline() as p:
        p.watch("n")
        other.incr("n")
        p.multi()
        p.set("n", 0)
        try:
            p.execute()
            raise AssertionError("no WatchError")
        except redis.WatchError:
            pass
    assert r.get("n") == "14"
    refused("unknown command", lambda: r.pipeline().incr("n").execute_command("NONSENSE").execute())
    assert r.get("n") == "14"


def blocking():
    assert r.blpop("queue", timeout=0.05) is None
    popped = later(lambda: r.blpop(["none", "queue"], timeout=PATIENCE))
    till(blocked)
    other.rpush("queue", "job", "next")
    assert popped() == ("queue", "job") and r.brpop("queue", timeout=PATIENCE) == ("queue", "next")
    moved = later(lambda: r.blmove("queue", "done", PATIENCE))
    till(blocked)
    other.rpush("queue", "job")
    assert moved() == "job"
    least = later(lambda: r.bzpopmin("ranked", timeout=PATIENCE))
    till(blocked)
    other.zadd("ranked", {"one": 1})
    assert least() == ("ranked", "one", 1.0)


def publish():
    p = r.pubsub()
    p.subscribe("news")
    p.psubscribe("n*")
    assert [p.get_message(timeout=PATIENCE)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    assert r.publish("news", "hello") == 2
    assert heard(p, 2) == [("message", "news", "hello"), ("pmessage", "news", "hello")]
    assert r.pubsub_channels() == ["news"] and r.pubsub_numpat() == 1 and r.pubsub_numsub("news") == [("news", 1)]
    p.close()

    r.config_set("notify-keyspace-events", "KEA")
    p = r.pubsub(ignore_subscribe_messages=True)
    p.psubscribe("__key*__:e", "__keyevent@0__:*")
    till(lambda: r.pubsub_numpat() == 2)
    r.set("e", 1, px=20)
    assert heard(p, 6) == [
        ("pmessage", "__keyevent@0__:expire", "e"), ("pmessage", "__keyevent@0__:expired", "e"),
        ("pmessage", "__keyevent@0__:set", "e"), ("pmessage", "__keyspace@0__:e", "expire"),
        ("pmessage", "__keyspace@0__:e", "expired"), ("pmessage", "__keyspace@0__:e", "set"),
    ]
    r.config_set("notify-keyspace-events", "")
    p.close()


def what_others_see():
    with r.monitor() as m:
        r.set("seen", "1")
        assert "seen" in m.next_command()["command"]


def errors():
    r.set("a", "text")
    refused("WRONGTYPE", lambda: r.lpush("a", "1"))
    refused("value is not an integer or out of range", lambda: r.incr("a"))
    refused("wrong number of arguments for 'get' command", lambda: r.execute_command("GET"))
    refused("unknown command 'XADD'", lambda: r.xadd("stream", {"f": 1}))
    refused("unknown command 'EVALSHA'", lambda: r.register_script("return 1")())
    try:
        r.set("a", {})  # it does not leave the client
        raise AssertionError("no DataError")
    except redis.DataError:
        pass
    try:
        redis.Redis(host, port, socket_timeout=0.05).blpop("nothing")
        raise AssertionError("no TimeoutError")
    except redis.TimeoutError:
        pass
    assert r.get("a") == "text"


def restart():
    r.set("n", 1)
    p = r.pubsub(ignore_subscribe_messages=True)
    p.subscribe("news")
    started = r.info("server")["run_id"]

    def is_another():
        try:
            return r.info("server")["run_id"] != started
        except redis.ConnectionError:  # it connects anew with the next command
            return False

    print("kill the server", flush=True)
    till(is_another)
    assert r.incr("n") == 2 and r.client_getname() == "first"

    def is_heard():
        try:
            p.get_message()  # that finds the connection lost; a further one subscribes anew
        except redis.ConnectionError:
            pass
        return r.publish("news", "again") == 1

    till(is_heard)
    assert heard(p, 1)[0] == ("message", "news", "again")


for step in (plain, scans, pipelines, transactions, blocking, publish, what_others_see, errors, restart):
    step()
print("ok")
