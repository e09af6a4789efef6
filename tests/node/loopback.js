// Loaded before the LRS: it listens on loopback only, on a free port, and says on which.
const net = require('net');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  const ready = given.find((argument) => typeof argument === 'function');
  return listen.call(this, { port: 0, host: '127.0.0.1' }, function () {
    process.stdout.write(`LISTENING ${this.address().port}\n`);
    if (ready) ready();
  });
};
