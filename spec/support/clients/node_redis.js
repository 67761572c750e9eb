// What people do with Debian's node-redis, against the node at HOST PORT. Prints "ok" at the end.
const assert = require('assert');
const { createClient, commandOptions, WatchError } = require('redis');

const [host, port] = process.argv.slice(2);

async function connect() {
  const client = createClient({ socket: { host, port: Number(port) } });
  client.on('error', (err) => { throw err; });
  await client.connect();
  return client;
}

async function main() {
  const client = await connect();
  const other = await connect();

  // plain
  assert.equal(await client.set('a', '1'), 'OK');
  assert.equal(await client.get('a'), '1');
  assert.equal(await client.get('nothing'), null);
  assert.equal(await client.incrBy('a', 41), 42);
  assert.equal(await client.hSet('h', { f: '1', g: '2' }), 2);
  assert.deepEqual({ ...await client.hGetAll('h') }, { f: '1', g: '2' });
  assert.equal(await client.zAdd('z', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]), 2);
  assert.deepEqual(await client.zRangeWithScores('z', 0, -1), [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }]);
  await assert.rejects(client.lPush('a', 'x'), /WRONGTYPE/);
  const keys = [];
  for await (const key of client.scanIterator()) keys.push(key);
  assert.deepEqual(keys.sort(), ['a', 'h', 'z']);

  // pipelined: what is sent in one turn of its loop
  const replies = await Promise.all([...Array(100).keys()].map((i) => client.set(`p:${i}`, `${i}`)));
  assert(replies.every((reply) => reply === 'OK'));

  // transactions
  assert.deepEqual(await client.multi().set('n', '1').incr('n').get('n').exec(), ['OK', 2, '2']);
  await client.executeIsolated(async (own) => {
    await own.watch('n');
    await other.incr('n');
    await assert.rejects(own.multi().set('n', '0').exec(), WatchError);
  });
  assert.equal(await client.get('n'), '3');

  // blocking
  const popped = client.blPop(commandOptions({ isolated: true }), 'queue', 10);
  setTimeout(() => other.rPush('queue', 'job'), 50);
  assert.deepEqual({ ...await popped }, { key: 'queue', element: 'job' });

  // pub/sub
  const subscriber = client.duplicate();
  await subscriber.connect();
  const heard = [];
  await subscriber.subscribe('news', (message, channel) => heard.push([channel, message]));
  const done = new Promise((resolve) => subscriber.pSubscribe('n*', (message, channel) => {
    heard.push([channel, message]);
    resolve();
  }).then(() => other.publish('news', 'hello')));
  await done;
  assert.deepEqual(heard, [['news', 'hello'], ['news', 'hello']]);
  await subscriber.unsubscribe();
  await subscriber.pUnsubscribe();
  assert.equal(await subscriber.ping(), 'PONG');

  await Promise.all([client.quit(), other.quit(), subscriber.quit()]);
  console.log('ok');
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
