// Runs the steps of a client's program in turn, each with a deadline. Prints "ok" at the end, or which step failed.
//
//   const { run, till, event } = require('./steps');
//   run({ 'plain commands': async () => { … }, … })
//   await till(() => heard.length === 2)       polls, as long as the step may take
//   await event(emitter, 'ready')              its arguments
//   tell('kill the server')                    a line for the spec
//   await failover({ set, get, lost })         writes while the leader is killed; `lost`, after each error, is optional
const SECONDS = 45;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

exports.tell = (line) => process.stdout.write(`${line}\n`);

exports.event = (emitter, name) => new Promise((resolve) => {
  emitter.once(name, (...args) => resolve(args));
});

exports.till = async (predicate) => {
  while (!await predicate()) await sleep(5);
};

// Writes one key after the other, each until it is acknowledged, from before the leader's death until the key `killed`
// is there, which the spec sets after it: all are there in the end.
exports.failover = async ({ set, get, lost = () => {} }) => {
  const attempt = (promise) => promise.catch(async () => {
    await Promise.resolve(lost()).catch(() => {});
  });
  const acknowledged = [];
  do {
    const key = `failover:${process.pid}:${acknowledged.length}`;
    await exports.till(async () => await attempt(set(key, key)) === 'OK');
    acknowledged.push(key);
    if (acknowledged.length === 20) exports.tell('kill the server');
    await sleep(5); // what it writes is read again
  } while (acknowledged.length < 20 || await attempt(get('killed')) !== '1');
  await Promise.all(acknowledged.map((key) => exports.till(async () => await attempt(get(key)) === key)));
};

function fail(name, err) {
  console.error(`${name}: ${(err && err.stack) || err}`);
  process.exit(1);
}

exports.run = async (steps) => {
  for (const [name, step] of Object.entries(steps)) {
    const failed = (err) => fail(name, err);
    const deadline = setTimeout(failed, SECONDS * 1000, `took more than ${SECONDS} s`);
    process.on('uncaughtException', failed);
    await step().catch(failed);
    process.removeListener('uncaughtException', failed);
    clearTimeout(deadline);
  }
  exports.tell('ok');
  process.exit(0); // what a client leaves open is not awaited
};
