// What people do with Debian's node-redis in its cluster mode, against the member at HOST PORT. Prints "ok" at the end.
const assert = require('assert');
const { createCluster } = require('redis');

const [host, port] = process.argv.slice(2);

async function main() {
  const cluster = createCluster({ rootNodes: [{ socket: { host, port: Number(port) } }] });
  cluster.on('error', (err) => { throw err; });
  await cluster.connect();
  let sum = 0;
  for (let i = 0; i < 50; i++) {
    assert.equal(await cluster.set(`key${i}`, String(i)), 'OK');
    sum += Number(await cluster.get(`key${i}`));
  }
  assert.equal(sum, 1225);
  assert.deepEqual(await cluster.multi().set('{p}a', '1').incr('{p}a').exec(), ['OK', 2]);
  await cluster.quit();
  console.log('ok');
}

main();
