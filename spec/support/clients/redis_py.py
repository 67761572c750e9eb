"""What people do with python3-redis, against the node at HOST PORT. Says "ok" at the end; an assertion says what failed."""
import sys
import threading

import redis

host, port = sys.argv[1], int(sys.argv[2])
r = redis.Redis(host, port, decode_responses=True, socket_timeout=20)

# plain
assert r.ping()
assert r.set("a", "1") and r.get("a") == "1"
assert r.set("a", "2", nx=True) is None
assert r.incr("a") == 2
assert r.mset({"x": 1, "y": 2}) and r.mget("x", "y", "z") == ["1", "2", None]
assert r.hset("h", mapping={"f": "1", "g": "2"}) == 2 and r.hgetall("h") == {"f": "1", "g": "2"}
assert r.rpush("l", "a", "b", "c") == 3 and r.lrange("l", 0, -1) == ["a", "b", "c"]
assert r.sadd("s", "a", "b") == 2 and r.smembers("s") == {"a", "b"}
assert r.zadd("z", {"a": 1, "b": 2.5}) == 2 and r.zrange("z", 0, -1, withscores=True) == [("a", 1.0), ("b", 2.5)]
assert sorted(r.scan_iter("?")) == ["a", "h", "l", "s", "x", "y", "z"]
assert dict(r.hscan_iter("h")) == {"f": "1", "g": "2"}
assert r.expire("a", 100) and 98 <= r.ttl("a") <= 100
assert r.setrange("bytes", 2, "x") == 3
assert r.info("server")["redis_version"] == "7.0.15"
assert r.config_get("appendonly") == {"appendonly": "yes"}
assert any(client["addr"] for client in r.client_list())
assert r.command_count() > 100
assert r.slowlog_get() == []
try:
    r.lpush("a", "1")
    raise SystemExit("no WRONGTYPE")
except redis.ResponseError as e:
    assert str(e).startswith("WRONGTYPE"), e

# pipelined, and as a transaction
with r.pipeline(transaction=False) as p:
    for i in range(100):
        p.set(f"p:{i}", i)
    assert p.execute() == [True] * 100
with r.pipeline() as p:
    p.incr("n").incr("n").lpush("n", "x").get("n")
    replies = p.execute(raise_on_error=False)
    assert replies[:2] == [1, 2] and isinstance(replies[2], redis.ResponseError) and replies[3] == "2", replies

# WATCH: a transaction that another client gets into the way of is tried again
attempts = 0


def add_ten(p):
    global attempts
    attempts += 1
    value = int(p.get("n"))
    if attempts == 1:
        redis.Redis(host, port).incr("n")
    p.multi()
    p.set("n", value + 10)


assert r.transaction(add_ten, "n") == [True] and attempts == 2 and r.get("n") == "13"

# blocking
threading.Timer(0.1, lambda: redis.Redis(host, port).rpush("queue", "job")).start()
assert r.blpop("queue", timeout=10) == ("queue", "job")
assert r.blpop("queue", timeout=0.05) is None

# pub/sub
p = r.pubsub()
p.subscribe("news")
p.psubscribe("n*")
assert [p.get_message(timeout=10)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
assert r.publish("news", "hello") == 2
got = [p.get_message(timeout=10) for _ in range(2)]
assert [m["type"] for m in got] == ["message", "pmessage"] and got[0]["data"] == "hello", got
p.close()

# what others see
with r.monitor() as m:
    r.set("seen", "1")
    assert "seen" in m.next_command()["command"]
print("ok")
