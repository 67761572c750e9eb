"""What people do with python3-redis in its cluster mode, against the member at HOST PORT. Says "ok" at the end."""
import sys

from redis.cluster import ClusterNode, RedisCluster

host, port = sys.argv[1], int(sys.argv[2])
r = RedisCluster(startup_nodes=[ClusterNode(host, port)], decode_responses=True, socket_timeout=20)

types = sorted(node.server_type for node in r.get_nodes())
assert types == ["primary", "replica", "replica"], types
for i in range(50):
    assert r.set("key%d" % i, i)
assert sum(int(r.get("key%d" % i)) for i in range(50)) == sum(range(50))
assert r.incr("n") == 1
assert r.rpush("l", "a", "b") == 2 and r.lrange("l", 0, -1) == ["a", "b"]
assert r.cluster_info()["cluster_state"] == "ok" and len(r.cluster_nodes()) == 3
assert r.cluster_keyslot("foo") == 12182
with r.pipeline() as pipe:
    assert pipe.set("{p}a", "1").get("{p}a").incr("{p}a").execute() == [True, "1", 2]

# from replicas: their state may be older
replicas = RedisCluster(startup_nodes=[ClusterNode(host, port)], decode_responses=True, read_from_replicas=True)
for i in range(50):
    assert replicas.get("key%d" % i) in (str(i), None)
print("ok")
