// What people do with npm's ioredis in its cluster mode, against the member at HOST PORT, while the leader is killed.
const assert = require('assert');
const Redis = require('ioredis');
const { event, failover, run, till } = require('./steps');

const [host, port] = process.argv.slice(2);

function connect(options) {
  const cluster = new Redis.Cluster([{ host, port: Number(port) }], { clusterRetryStrategy: () => 20, ...options });
  cluster.on('error', () => {}); // a lost connection, which it makes anew
  return cluster;
}

const values = (replies) => replies.map(([err, value]) => (err ? err.message.split(' ')[0] : value));
const cluster = connect();

run({
  connect: async () => {
    await event(cluster, 'ready');
    assert.equal(cluster.nodes('master').length, 1);
    assert.equal(cluster.nodes('slave').length, 2);
    assert.equal(cluster.nodes().length, 3);
  },

  commands: async () => {
    const names = [...Array(50).keys()].map((i) => `io:${i}`);
    for (const name of names) assert.equal(await cluster.set(name, name), 'OK');
    assert.deepEqual(await Promise.all(names.map((name) => cluster.get(name))), names);
    assert.equal(await cluster.hset('io:h', { f: 1, g: 2 }), 2);
    assert.equal(await cluster.zadd('io:z', 1.5, 'a'), 1);
    assert.deepEqual(await cluster.mget('{io}x', '{io}y'), [null, null]);
    await assert.rejects(cluster.lpush('io:h', 'x'), /WRONGTYPE/);
  },

  'reads of replicas': async () => {
    const replicas = connect({ scaleReads: 'slave' });
    for (let i = 0; i < 50; i++) await till(async () => (await replicas.get(`io:${i}`)) === `io:${i}`); // maybe older
    assert.equal(await replicas.incr('io:counted'), 1);
    await replicas.quit();
  },

  'pipelines and transactions': async () => {
    const pipeline = cluster.pipeline();
    for (let i = 0; i < 500; i++) pipeline.set(`io:p:${i}`, i);
    assert(values(await pipeline.exec()).every((reply) => reply === 'OK'));
    const transaction = cluster.multi().set('{io}a', 1).incr('{io}a').lpush('{io}a', 'x').get('{io}a');
    assert.deepEqual(values(await transaction.exec()), ['OK', 2, 'WRONGTYPE', '2']);
    const [leader] = cluster.nodes('master'); // WATCH is for a connection
    const own = leader.duplicate();
    await own.watch('{io}a');
    await cluster.incr('{io}a');
    assert.equal(await own.multi().set('{io}a', 0).exec(), null);
    await own.watch('{io}a');
    assert.deepEqual(values(await own.multi().incr('{io}a').exec()), [4]);
    await own.quit();
  },

  blocking: async () => {
    assert.equal(await cluster.blpop('io:queue', 0.05), null);
    const other = connect();
    const popped = other.blpop('io:queue', 20);
    await cluster.rpush('io:queue', 'job');
    assert.deepEqual(await popped, ['io:queue', 'job']);
    await other.quit();
  },

  'pub/sub': async () => {
    const subscriber = connect();
    const heard = [];
    subscriber.on('message', (channel, message) => heard.push(`${channel} ${message}`));
    subscriber.on('pmessage', (pattern, channel, message) => heard.push(`${pattern} ${channel} ${message}`));
    await subscriber.subscribe('io:news');
    await subscriber.psubscribe('io:n*');
    await cluster.publish('io:news', 'hello');
    await till(() => heard.length === 2);
    assert.deepEqual(heard.sort(), ['io:n* io:news hello', 'io:news hello']);
    await subscriber.quit();
    const sharded = connect({ shardedSubscribers: true });
    const part = event(sharded, 'smessage');
    await sharded.ssubscribe('io:shard');
    await cluster.spublish('io:shard', 'part');
    assert.deepEqual((await part).slice(0, 2), ['io:shard', 'part']);
    await sharded.quit();
  },

  failover: async () => {
    await failover({ set: (key, value) => cluster.set(key, value), get: (key) => cluster.get(key) });
    cluster.disconnect();
  },
});
