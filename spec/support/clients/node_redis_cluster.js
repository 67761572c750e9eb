// What people do with npm's redis in its cluster mode, against the member at HOST PORT, while the leader is killed.
const assert = require('assert');
const { createCluster } = require('redis');
const { failover, run, till } = require('./steps');

const [host, port] = process.argv.slice(2);
const rootNodes = [{ socket: { host, port: Number(port) } }];

function connect(options) {
  const cluster = createCluster({ rootNodes, RESP: 3, defaults: { socket: { reconnectStrategy: 20 } }, ...options });
  cluster.on('error', () => {}); // a lost connection, which it makes anew
  return cluster.connect();
}

let cluster;

run({
  connect: async () => {
    cluster = await connect({ useReplicas: true });
    assert.equal(cluster.masters.length, 1);
    assert.equal(cluster.replicas.length, 2);
  },

  'commands, read anywhere': async () => {
    const names = [...Array(50).keys()].map((i) => `nr:${i}`);
    for (const name of names) assert.equal(await cluster.set(name, name), 'OK');
    for (const name of names) await till(async () => (await cluster.get(name)) === name); // of replicas: maybe older
    assert.equal(await cluster.hSet('nr:h', { f: '1', g: '2' }), 2);
    assert.equal(await cluster.zAdd('nr:z', { score: 1.5, value: 'a' }), 1);
    await assert.rejects(cluster.lPush('nr:h', 'x'), /WRONGTYPE/);
    const replies = await Promise.all([...Array(500).keys()].map((i) => cluster.incr(`nr:n:${i % 7}`)));
    assert.equal(Math.max(...replies), 72);
  },

  transactions: async () => {
    assert.deepEqual(await cluster.multi().set('{nr}a', '1').incr('{nr}a').get('{nr}a').exec(), ['OK', 2, '2']);
    const mixed = await cluster.multi().incr('{nr}a').lPush('{nr}a', 'x').exec().catch((err) => err.replies);
    assert.equal(mixed[0], 3);
  },

  blocking: async () => {
    assert.equal(await cluster.blPop('nr:queue', 0.05), null);
    const other = await connect();
    const popped = other.blPop('nr:queue', 20);
    await cluster.rPush('nr:queue', 'job');
    assert.deepEqual({ ...await popped }, { key: 'nr:queue', element: 'job' });
    await other.close();
  },

  'pub/sub': async () => {
    const heard = [];
    const hear = (message, channel) => heard.push(`${channel} ${message}`);
    await cluster.subscribe('nr:news', hear);
    await cluster.pSubscribe('nr:n*', hear);
    await cluster.sSubscribe('nr:shard', hear);
    await cluster.publish('nr:news', 'hello');
    await cluster.sPublish('nr:shard', 'part');
    await till(() => heard.length === 3);
    assert.deepEqual(heard.sort(), ['nr:news hello', 'nr:news hello', 'nr:shard part']);
    await cluster.sUnsubscribe('nr:shard');
    await cluster.close();
  },

  // Only MOVED makes it ask anew who leads; a dead leader it awaits. So who does not want to wait makes a new client.
  failover: async () => {
    const defaults = { disableOfflineQueue: true, socket: { reconnectStrategy: false } };
    let own = await connect({ defaults });
    await failover({
      set: (key, value) => own.set(key, value),
      get: (key) => own.get(key),
      lost: async () => {
        own = await connect({ defaults }); // the old one's connection has closed by itself
      },
    });
    own.destroy();
  },
});
