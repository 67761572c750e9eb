// echo_node.js HOST:PORT: an echo server as one writes it with Node.js, to measure ours against.
const net = require('net');

const [, host, port] = process.argv[2].match(/^(.+):(\d+)$/);
const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => socket.write(data));
  socket.on('error', () => socket.destroy());
});
server.listen({ host, port: Number(port), backlog: 511 }, () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});
