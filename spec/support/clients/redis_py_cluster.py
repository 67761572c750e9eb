"""What people do with python3-redis in its cluster mode, by the member at HOST PORT, while the leader is killed."""
import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException

host, port = sys.argv[1], int(sys.argv[2])
PATIENCE = 45  # seconds


def connect(**options):
    nodes = [ClusterNode(host, port)]
    return RedisCluster(startup_nodes=nodes, decode_responses=True, socket_timeout=PATIENCE, **options)


def till(predicate):
    end = time.monotonic() + PATIENCE
    while not predicate():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


r = connect()


def commands():
    types = sorted(node.server_type for node in r.get_nodes())
    assert types == ["primary", "replica", "replica"], types
    for i in range(50):
        assert r.set("py:%d" % i, i)
    assert sum(int(r.get("py:%d" % i)) for i in range(50)) == sum(range(50))
    assert r.incr("py:n") == 1
    assert r.rpush("py:l", "a", "b") == 2 and r.lrange("py:l", 0, -1) == ["a", "b"]
    assert r.mset_nonatomic({"py:x": 1, "py:y": 2}) and r.mget_nonatomic("py:x", "py:y") == ["1", "2"]
    assert r.cluster_info()["cluster_state"] == "ok" and len(r.cluster_nodes()) == 3
    assert r.cluster_keyslot("foo") == 12182
    assert set(r.scan_iter("py:*")) >= {"py:%d" % i for i in range(50)}
    try:
        r.incr("py:l")
        raise AssertionError("no WRONGTYPE")
    except redis.ResponseError as e:
        assert "WRONGTYPE" in str(e), e


def pipelines():
    with r.pipeline() as p:
        assert p.set("{py}a", "1").get("{py}a").incr("{py}a").execute() == [True, "1", 2]
    with r.pipeline() as p:
        for i in range(500):
            p.set("py:p:%d" % i, i)
        assert p.execute() == [True] * 500


def read_from_replicas():  # their state may be older
    replicas = connect(read_from_replicas=True)
    for i in range(50):
        till(lambda: replicas.get("py:%d" % i) == str(i))


def blocking():
    own = r.get_redis_connection(r.get_primaries()[0])
    assert own.blpop("py:queue", timeout=0.05) is None
    r.rpush("py:queue", "job")
    assert own.blpop("py:queue", timeout=PATIENCE) == ("py:queue", "job")


def publish():
    p = r.pubsub()
    p.subscribe("py:news")
    assert p.get_message(timeout=PATIENCE)["type"] == "subscribe"
    r.publish("py:news", "hello")
    assert p.get_message(timeout=PATIENCE)["data"] == "hello"
    p.close()


def attempt(run):
    """What it gives; None after an error, and a new client: this one's own way to find the new leader may raise."""
    global r
    try:
        return run()
    except (redis.RedisError, RedisClusterException):
        try:
            r = connect()
        except (redis.RedisError, RedisClusterException):
            pass
        return None


def failover():
    """Writes from before the leader's death until the key `killed` is there, which the spec sets after it."""
    count = 0
    while count < 20 or attempt(lambda: r.get("killed")) != "1":
        till(lambda: attempt(lambda: r.set("py:failover:%d" % count, count)))
        count += 1
        if count == 20:
            print("kill the server", flush=True)
        time.sleep(0.005)  # what it writes is read again
    for i in range(count):
        till(lambda: attempt(lambda: r.get("py:failover:%d" % i)) == str(i))


for step in (commands, pipelines, read_from_replicas, blocking, publish, failover):
    step()
print("ok")
