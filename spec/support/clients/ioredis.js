// What people do with npm's ioredis, against the node at HOST PORT. It speaks RESP2.
const assert = require('assert');
const Redis = require('ioredis');
const { event, run, tell, till } = require('./steps');

const [host, port] = process.argv.slice(2);

function connect(options) {
  const patient = { retryStrategy: () => 20, maxRetriesPerRequest: null };
  const client = new Redis({ host, port: Number(port), ...patient, ...options });
  client.on('error', () => {}); // a lost connection, which it makes anew
  return client;
}

async function all(stream) {
  const list = [];
  for await (const page of stream) list.push(...page);
  return list;
}

const values = (replies) => replies.map(([err, value]) => (err ? err.message.split(' ')[0] : value));
const evens = (list) => list.filter((_, i) => i % 2 === 0).sort();

const client = connect({ connectionName: 'first' });
const other = connect();

run({
  connect: async () => {
    assert.equal(await client.ping(), 'PONG'); // its own ready check asked INFO before
    assert.equal(await client.client('GETNAME'), 'first');
    assert.equal(client.status, 'ready');
    const url = new Redis(`redis://${host}:${port}/0`);
    assert.equal(await url.echo('hello'), 'hello');
    assert.equal(await url.quit(), 'OK');
  },

  'strings and keys': async () => {
    assert.equal(await client.set('a', 1, 'EX', 100, 'NX'), 'OK');
    assert.equal(await client.set('a', 2, 'NX'), null);
    assert.equal(await client.set('a', 2, 'KEEPTTL', 'GET'), '1');
    const ttl = await client.ttl('a');
    assert(ttl > 90 && ttl <= 100);
    assert.equal(await client.incrby('a', 40), 42);
    assert.equal(await client.incrbyfloat('a', 0.5), '42.5');
    assert.deepEqual(await client.mget('a', 'nothing'), ['42.5', null]);
    assert.equal(await client.mset(new Map([['x', 1], ['y', 2]])), 'OK');
    assert.equal(await client.setbit('bits', 7, 1), 0);
    assert.deepEqual(await client.bitfield('bits', 'GET', 'u8', 0), [1]);
    assert.equal(await client.exists('a', 'x', 'nothing'), 2);
    const bytes = Buffer.from([0, 13, 10, 255, 128]);
    await client.set(Buffer.from('bytes'), bytes);
    assert.deepEqual(await client.getBuffer('bytes'), bytes);
    await client.set('large', 'x'.repeat(3000000));
    assert.equal((await client.get('large')).length, 3000000);
  },

  'hashes, lists and sets': async () => {
    assert.equal(await client.hset('h', { f: 1, g: 2 }), 2);
    assert.deepEqual(await client.hgetall('h'), { f: '1', g: '2' });
    assert.deepEqual(await client.hmget('h', 'g', 'nothing'), ['2', null]);
    assert.equal((await client.hrandfield('h', 2, 'WITHVALUES')).length, 4);
    assert.equal(await client.rpush('l', ['a', 'b', 'c']), 3);
    assert.equal(await client.lmove('l', 'm', 'LEFT', 'RIGHT'), 'a');
    assert.deepEqual(await client.lmpop(2, 'm', 'l', 'LEFT', 'COUNT', 5), ['m', ['a']]);
    assert.equal(await client.linsert('l', 'BEFORE', 'c', 'bc'), 3);
    assert.deepEqual(await client.lrange('l', 0, -1), ['b', 'bc', 'c']);
    assert.equal(await client.sadd('s', 'x', 'y'), 2);
    assert.deepEqual((await client.smembers('s')).sort(), ['x', 'y']);
    assert.deepEqual(await client.smismember('s', 'x', 'z'), [1, 0]);
    assert.deepEqual(await client.sort('s', 'ALPHA', 'DESC'), ['y', 'x']);
  },

  'sorted sets': async () => {
    assert.equal(await client.zadd('z', 1, 'a', 2.5, 'b', '+inf', 'c'), 3);
    assert.deepEqual(await client.zrange('z', 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2.5', 'c', 'inf']);
    assert.deepEqual(await client.zrange('z', '(1', '+inf', 'BYSCORE'), ['b', 'c']);
    assert.equal(await client.zscore('z', 'b'), '2.5');
    assert.equal(await client.zscore('z', 'nothing'), null);
    assert.deepEqual(await client.zpopmin('z'), ['a', '1']);
    assert.equal(await client.zunionstore('u', 2, 'z', 's', 'WEIGHTS', 2, 1), 4);
  },

  scans: async () => {
    await client.flushall();
    const names = [...Array(300).keys()].map((i) => `k:${i}`).sort();
    await client.mset(...names.flatMap((name) => [name, 1]));
    await client.sadd('s', names);
    await client.hset('h', ...names.flatMap((name) => [name, 1]));
    await client.zadd('z', ...names.flatMap((name, score) => [score, name]));
    assert.deepEqual((await all(client.scanStream({ match: 'k:*', count: 50 }))).sort(), names);
    assert.deepEqual(await all(client.scanStream({ type: 'zset' })), ['z']);
    assert.deepEqual((await all(client.sscanStream('s'))).sort(), names);
    assert.deepEqual(evens(await all(client.hscanStream('h'))), names);
    assert.deepEqual(evens(await all(client.zscanStream('z'))), names);
  },

  pipelines: async () => {
    const pipeline = client.pipeline();
    for (let i = 0; i < 1000; i++) pipeline.set(`p:${i}`, i);
    assert(values(await pipeline.exec()).every((reply) => reply === 'OK'));
    const mixed = await client.pipeline().set('t', 'x').incr('t').get('t').exec();
    assert.deepEqual(values(mixed), ['OK', 'ERR', 'x']);
    const automatic = connect({ enableAutoPipelining: true });
    const replies = await Promise.all([...Array(1000).keys()].map((i) => automatic.get(`p:${i}`)));
    assert.deepEqual(replies, [...Array(1000).keys()].map(String));
    const prefixed = connect({ keyPrefix: 'p:' });
    assert.deepEqual(await prefixed.mget('1', '2'), ['1', '2']);
    await Promise.all([automatic.quit(), prefixed.quit()]);
  },

  transactions: async () => {
    assert.deepEqual(values(await client.multi().set('n', 1).incr('n').get('n').exec()), ['OK', 2, '2']);
    await client.watch('n');
    await other.incr('n');
    assert.equal(await client.multi().set('n', 0).exec(), null);
    await client.watch('n');
    assert.deepEqual(values(await client.multi().incrby('n', 10).exec()), [13]);
    assert.deepEqual(values(await client.multi().incr('n').lpush('n', 'x').exec()), [14, 'WRONGTYPE']);
    await client.multi({ pipeline: false });
    assert.equal(await client.incr('n'), 'QUEUED');
    assert.deepEqual(values(await client.exec()), [15]);
    await assert.rejects(client.multi().incr('n').call('NONSENSE').exec(), /^ReplyError: EXECABORT/);
    await client.multi({ pipeline: false });
    await client.incr('n');
    assert.equal(await client.discard(), 'OK');
    assert.equal(await client.get('n'), '15');
  },

  blocking: async () => {
    assert.equal(await client.blpop('queue', 0.05), null);
    const popped = client.blpop('none', 'queue', 20);
    await till(async () => (await other.info('clients')).includes('blocked_clients:1'));
    await other.rpush('queue', 'job', 'next');
    assert.deepEqual(await popped, ['queue', 'job']);
    assert.deepEqual(await client.brpop('queue', 20), ['queue', 'next']);
    const moved = client.blmove('queue', 'done', 'LEFT', 'RIGHT', 20);
    await other.rpush('queue', 'job');
    assert.equal(await moved, 'job');
    const least = client.bzpopmin('ranked', 20);
    await other.zadd('ranked', 1, 'one');
    assert.deepEqual(await least, ['ranked', 'one', '1']);
    const id = await client.client('ID');
    const unblocked = assert.rejects(client.blpop('nothing', 20), /^ReplyError: UNBLOCKED/);
    await till(async () => (await other.client('UNBLOCK', id, 'ERROR')) === 1);
    await unblocked;
  },

  'pub/sub': async () => {
    const subscriber = connect();
    const heard = [];
    subscriber.on('message', (channel, message) => heard.push(`${channel} ${message}`));
    subscriber.on('pmessage', (pattern, channel, message) => heard.push(`${pattern} ${channel} ${message}`));
    const sharded = connect(); // of its own: the end of its last shard channel is that of all others for ioredis
    sharded.on('smessage', (channel, message) => heard.push(`${channel} ${message}`));
    assert.equal(await subscriber.subscribe('news', 'weather'), 2);
    assert.equal(await subscriber.psubscribe('n*'), 3);
    assert.equal(await sharded.ssubscribe('shard'), 1);
    assert.equal(await other.publish('news', 'hello'), 2);
    assert.equal(await other.spublish('shard', 'part'), 1);
    await till(() => heard.length === 3);
    assert.deepEqual(heard.sort(), ['n* news hello', 'news hello', 'shard part']);
    assert.deepEqual((await other.pubsub('CHANNELS')).sort(), ['news', 'weather']);
    await assert.rejects(subscriber.get('a'), /subscriber mode/);
    assert.deepEqual(await subscriber.ping(), ['pong', '']); // of RESP2 in this mode
    assert.equal(await sharded.sunsubscribe(), 0);
    assert.equal(await subscriber.unsubscribe('news', 'weather'), 1);
    assert.equal(await subscriber.punsubscribe(), 0);
    assert.equal(await subscriber.get('nothing'), null);

    await other.config('SET', 'notify-keyspace-events', 'KEA');
    heard.length = 0;
    await subscriber.psubscribe('__key*__:e', '__keyevent@0__:*');
    await other.set('e', 1, 'PX', 20);
    await till(() => heard.length === 6);
    assert.deepEqual(heard.sort(), [
      '__key*__:e __keyspace@0__:e expire', '__key*__:e __keyspace@0__:e expired', '__key*__:e __keyspace@0__:e set',
      '__keyevent@0__:* __keyevent@0__:expire e', '__keyevent@0__:* __keyevent@0__:expired e',
      '__keyevent@0__:* __keyevent@0__:set e',
    ]);
    await other.config('SET', 'notify-keyspace-events', '');
    await Promise.all([subscriber.quit(), sharded.quit()]);
  },

  'what others see': async () => {
    const monitor = await other.monitor();
    const seen = event(monitor, 'monitor');
    await client.set('seen', 1);
    assert.deepEqual((await seen)[1], ['set', 'seen', '1']);
    monitor.disconnect();
    assert((await client.client('LIST')).includes('name=first'));
    assert((await client.info('server')).includes('redis_version:7.0.15'));
  },

  errors: async () => {
    await client.set('a', 'text');
    const err = await client.lpush('a', 'x').catch((e) => e);
    assert(err instanceof Redis.ReplyError && /^WRONGTYPE /.test(err.message));
    assert.deepEqual(err.command, { name: 'lpush', args: ['a', 'x'] });
    await assert.rejects(client.incr('a'), /ERR value is not an integer or out of range/);
    await assert.rejects(client.get(), /ERR wrong number of arguments for 'get' command/);
    await assert.rejects(client.xadd('stream', '*', 'f', 1), /ERR unknown command 'xadd'/);
    client.defineCommand('twice', { numberOfKeys: 1, lua: 'return 2' });
    await assert.rejects(client.twice('a'), /ERR unknown command 'eval'/);
    await assert.rejects(connect({ commandTimeout: 50 }).blpop('nothing', 0), /Command timed out/);
    const closed = connect();
    await closed.quit();
    await assert.rejects(closed.get('a'), /Connection is closed/);
    const nowhere = connect({ port: 1, maxRetriesPerRequest: 1 });
    await assert.rejects(nowhere.get('a'), { name: 'MaxRetriesPerRequestError' });
    nowhere.disconnect();
    assert.equal(await client.get('a'), 'text');
  },

  'a server that is killed and starts again': async () => {
    const subscriber = connect();
    const heard = [];
    subscriber.on('message', (channel, message) => heard.push(message));
    await subscriber.subscribe('news');
    await client.set('n', 1);
    const lost = event(client, 'reconnecting');
    tell('kill the server');
    await lost;
    assert.equal(await client.incr('n'), 2); // waits in its queue until there is a connection
    assert.equal(await client.client('GETNAME'), 'first');
    await till(async () => (await client.publish('news', 'again')) === 1); // it subscribes anew by itself
    await till(() => heard.length > 0);
    assert.equal(heard[0], 'again');
    await Promise.all([client.quit(), subscriber.quit()]);
  },
});
