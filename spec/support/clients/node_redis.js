// What people do with npm's redis, with RESP2 and RESP3, against the node at HOST PORT.
const assert = require('assert');
const {
  createClient, createClientPool, ClientClosedError, ErrorReply, MultiErrorReply, RESP_TYPES, WatchError,
} = require('redis');
const { run, tell, till } = require('./steps');

const [host, port] = process.argv.slice(2);

async function connect(RESP, options) {
  const client = createClient({ socket: { host, port: Number(port), reconnectStrategy: 20 }, RESP, ...options });
  client.on('error', () => {}); // a lost connection, which it makes anew
  return client.connect();
}

async function all(iterator) {
  const list = [];
  for await (const page of iterator) list.push(...page);
  return list;
}

const plain = (object) => ({ ...object }); // its maps have no prototype

const steps = (RESP) => {
  let client;
  let other;
  const named = {
    connect: async () => {
      client = await connect(RESP, { name: 'first' });
      other = await connect(RESP);
      await client.flushAll();
      assert.equal(await client.clientGetName(), 'first');
      assert.equal((await client.clientInfo()).resp, RESP);
    },

    'strings and keys': async () => {
      assert.equal(await client.set('a', '1', { expiration: { type: 'EX', value: 100 }, condition: 'NX' }), 'OK');
      assert.equal(await client.set('a', '2', { condition: 'NX' }), null);
      assert.equal(await client.set('a', '2', { GET: true, expiration: 'KEEPTTL' }), '1');
      const ttl = await client.ttl('a');
      assert(ttl > 90 && ttl <= 100);
      assert.equal(await client.incrBy('a', 40), 42);
      assert.equal(Number(await client.incrByFloat('a', 0.5)), 42.5);
      assert.equal(await client.get('nothing'), null);
      assert.deepEqual(await client.mGet(['a', 'nothing']), ['42.5', null]);
      assert.equal(await client.setBit('bits', 7, 1), 0);
      assert.equal(await client.bitCount('bits'), 1);
      assert.equal(await client.type('a'), 'string');
      assert.equal(await client.copy('a', 'b'), 1);
      assert.equal(await client.del(['a', 'b', 'bits']), 3);
      const bytes = Buffer.from([0, 13, 10, 255, 128]);
      await client.set('bytes', bytes);
      const got = await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get('bytes');
      assert.deepEqual(got, bytes);
    },

    'hashes, lists and sets': async () => {
      assert.equal(await client.hSet('h', { f: '1', g: '2' }), 2);
      assert.deepEqual(plain(await client.hGetAll('h')), { f: '1', g: '2' });
      assert.deepEqual(await client.hmGet('h', ['g', 'nothing']), ['2', null]);
      assert.equal((await client.hRandFieldCountWithValues('h', 2)).length, 2);
      assert.equal(await client.rPush('l', ['a', 'b', 'c']), 3);
      assert.equal(await client.lMove('l', 'm', 'LEFT', 'RIGHT'), 'a');
      assert.deepEqual(await client.lRange('l', 0, -1), ['b', 'c']);
      assert.equal(await client.lPos('l', 'c'), 1);
      assert.deepEqual(plain(await client.lmPop(['m', 'l'], 'LEFT')), { 0: 'm', 1: ['a'] });
      assert.equal(await client.sAdd('s', ['x', 'y']), 2);
      const members = await client.sMembers('s');
      assert.deepEqual([...members].sort(), ['x', 'y']);
      assert.deepEqual((await client.smIsMember('s', ['x', 'z'])).map(Number), [1, 0]);
      assert.deepEqual(await client.sort('s', { ALPHA: true, DIRECTION: 'DESC' }), ['y', 'x']);
    },

    'sorted sets': async () => {
      const scored = [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }, { value: 'c', score: Infinity }];
      assert.equal(await client.zAdd('z', scored), 3);
      assert.deepEqual((await client.zRangeWithScores('z', 0, -1)).map(plain), scored);
      assert.deepEqual(await client.zRange('z', '(1', '+inf', { BY: 'SCORE' }), ['b', 'c']);
      assert.equal(await client.zScore('z', 'b'), 2.5);
      assert.equal(await client.zScore('z', 'nothing'), null);
      assert.equal(await client.zIncrBy('z', 0.25, 'b'), 2.75);
      assert.deepEqual(plain(await client.zPopMin('z')), { value: 'a', score: 1 });
    },

    scans: async () => {
      await client.flushAll();
      const names = [...Array(300).keys()].map((i) => `k:${i}`).sort();
      await client.mSet(Object.fromEntries(names.map((name) => [name, '1'])));
      await client.sAdd('s', names);
      await client.hSet('h', Object.fromEntries(names.map((name) => [name, '1'])));
      await client.zAdd('z', names.map((value, score) => ({ value, score })));
      assert.deepEqual((await all(client.scanIterator({ MATCH: 'k:*', COUNT: 50 }))).sort(), names);
      assert.deepEqual(await all(client.scanIterator({ TYPE: 'zset' })), ['z']);
      assert.deepEqual((await all(client.sScanIterator('s'))).sort(), names);
      assert.deepEqual((await all(client.hScanIterator('h'))).map(({ field }) => field).sort(), names);
      assert.deepEqual((await all(client.zScanIterator('z'))).map(({ value }) => value).sort(), names);
    },

    pipelines: async () => {
      // what is sent in one turn of its loop
      const replies = await Promise.all([...Array(1000).keys()].map((i) => client.set(`p:${i}`, `${i}`)));
      assert(replies.every((reply) => reply === 'OK'));
      assert.deepEqual(await client.multi().set('t', 'x').append('t', 'y').get('t').execAsPipeline(), ['OK', 2, 'xy']);
      const mixed = [client.set('t', 'x'), client.incr('t'), client.get('t')];
      const settled = await Promise.allSettled(mixed);
      assert.deepEqual(settled.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
    },

    transactions: async () => {
      assert.deepEqual(await client.multi().set('n', '1').incr('n').get('n').exec(), ['OK', 2, '2']);
      await client.watch('n');
      await other.incr('n');
      await assert.rejects(client.multi().set('n', '0').exec(), WatchError);
      await client.watch('n');
      assert.deepEqual(await client.multi().incrBy('n', 10).exec(), [13]);
      const err = await client.multi().incr('n').lPush('n', 'x').exec().catch((e) => e);
      assert(err instanceof MultiErrorReply && /^WRONGTYPE/.test(err.replies[1].message));
      assert.equal(await client.get('n'), '14');
      await assert.rejects(client.multi().incr('n').addCommand(['NONSENSE']).exec(), /EXECABORT|unknown command/);
      assert.equal(await client.get('n'), '14');
    },

    blocking: async () => {
      assert.equal(await client.blPop('queue', 0.05), null);
      const popped = client.blPop(['none', 'queue'], 20);
      await till(async () => (await other.info('clients')).includes('blocked_clients:1'));
      await other.rPush('queue', ['job', 'next']);
      assert.deepEqual(plain(await popped), { key: 'queue', element: 'job' });
      assert.deepEqual(plain(await client.brPop('queue', 20)), { key: 'queue', element: 'next' });
      const moved = client.blMove('queue', 'done', 'LEFT', 'RIGHT', 20);
      await other.rPush('queue', 'job');
      assert.equal(await moved, 'job');
      const least = client.bzPopMin('ranked', 20);
      await other.zAdd('ranked', { value: 'one', score: 1 });
      assert.deepEqual(plain(await least), { key: 'ranked', value: 'one', score: 1 });
      const id = await client.clientId();
      const unblocked = assert.rejects(client.blPop('nothing', 20), /^Error: UNBLOCKED/);
      await till(async () => (await other.sendCommand(['CLIENT', 'UNBLOCK', `${id}`, 'ERROR'])) === 1);
      await unblocked;
    },

    'pub/sub': async () => {
      const subscriber = await connect(RESP);
      const heard = [];
      const hear = (message, channel) => heard.push(`${channel} ${message}`);
      await subscriber.subscribe(['news', 'weather'], hear);
      await subscriber.pSubscribe('n*', hear);
      await subscriber.sSubscribe('shard', hear);
      assert.equal(await other.publish('news', 'hello'), 2);
      assert.equal(await other.sPublish('shard', 'part'), 1);
      await till(() => heard.length === 3);
      assert.deepEqual(heard, ['news hello', 'news hello', 'shard part']);
      assert.deepEqual((await other.pubSubChannels('*')).sort(), ['news', 'weather']);
      assert.equal(await other.pubSubNumPat(), 1);
      await subscriber.unsubscribe(['news', 'weather']); // without names it waits for the patterns' end, too
      await subscriber.pUnsubscribe();
      await subscriber.sUnsubscribe('shard');
      assert.equal(await subscriber.ping(), 'PONG');

      await other.configSet('notify-keyspace-events', 'KEA');
      heard.length = 0;
      await subscriber.pSubscribe('__key*__:e', hear);
      await subscriber.pSubscribe('__keyevent@0__:*', hear);
      await other.set('e', '1', { expiration: { type: 'PX', value: 20 } });
      await till(() => heard.length === 6);
      assert.deepEqual(heard.sort(), [
        '__keyevent@0__:expire e', '__keyevent@0__:expired e', '__keyevent@0__:set e',
        '__keyspace@0__:e expire', '__keyspace@0__:e expired', '__keyspace@0__:e set',
      ]);
      await other.configSet('notify-keyspace-events', '');
      await subscriber.close();
    },

    'pools, and what others see': async () => {
      const pool = createClientPool({ socket: { host, port: Number(port) }, RESP }, { minimum: 1, maximum: 4 });
      await pool.connect();
      await Promise.all([...Array(40).keys()].map(() => pool.incr('pooled')));
      assert.equal(await pool.get('pooled'), '40');
      assert.deepEqual(await pool.execute((own) => own.multi().incr('pooled').exec()), [41]);
      await pool.close();
      const seen = [];
      const monitor = await connect(RESP);
      await monitor.monitor((line) => seen.push(line));
      await other.set('seen', '1');
      await till(() => seen.some((line) => line.includes('"seen"')));
      monitor.destroy();
      assert((await client.clientList()).length >= 2);
    },

    errors: async () => {
      await client.set('a', 'text');
      const err = await client.lPush('a', 'x').catch((e) => e);
      assert(err instanceof ErrorReply && /^WRONGTYPE /.test(err.message));
      await assert.rejects(client.incr('a'), /^Error: ERR value is not an integer or out of range$/);
      await assert.rejects(client.eval('return 1'), /ERR unknown command 'EVAL'/);
      await assert.rejects(client.sendCommand(['GET']), /ERR wrong number of arguments for 'get' command/);
      await assert.rejects(client.xAdd('stream', '*', { f: '1' }), /ERR unknown command 'XADD'/);
      await assert.rejects(async () => client.set('a', {}), TypeError); // it does not leave the client
      assert.equal(await client.get('a'), 'text');
      const closed = await connect(RESP);
      await closed.close();
      await assert.rejects(closed.get('a'), ClientClosedError);
      const killed = await connect(RESP, { socket: { host, port: Number(port), reconnectStrategy: false } });
      const end = assert.rejects(killed.blPop('nothing', 0), /closed/i);
      let waiting;
      await till(async () => {
        waiting = (await client.clientList()).find(({ cmd }) => cmd === 'blpop');
        return waiting;
      });
      await client.clientKill({ filter: 'ID', id: waiting.id });
      await end;
    },

    'a server that is killed and starts again': async () => {
      const subscriber = await connect(RESP);
      const heard = [];
      await subscriber.subscribe('news', (message) => heard.push(message));
      await client.set('n', '1');
      let lost = false;
      client.once('reconnecting', () => { lost = true; });
      tell('kill the server');
      await till(() => lost);
      assert.equal(await client.incr('n'), 2); // waits in its queue until there is a connection
      assert.equal(await client.clientGetName(), 'first');
      await till(async () => (await other.publish('news', 'again')) === 1); // it subscribes anew by itself
      await till(() => heard.length > 0);
      assert.equal(heard[0], 'again');
      await Promise.all([client.close(), other.close(), subscriber.close()]);
    },
  };
  return Object.fromEntries(Object.entries(named).map(([name, step]) => [`${name}, RESP${RESP}`, step]));
};

const tracking = {
  'what is cached in the client': async () => {
    const client = await connect(3, { clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' } });
    const other = await connect(3);
    await other.set('cached', '1');
    assert.equal(await client.get('cached'), '1');
    assert.equal(await client.get('cached'), '1');
    assert.equal(client.clientSideCache.stats().hitCount, 1);
    await other.set('cached', '2');
    await till(async () => (await client.get('cached')) === '2');
    await Promise.all([client.close(), other.close()]);
  },
};

run({ ...steps(2), ...steps(3), ...tracking });
