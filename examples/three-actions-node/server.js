'use strict';

// A configurator for a Linux router that knows the three actions and nothing else.
//
// Every action is a list of commands, each with a question that tells whether it was done before, so that repeating a
// call changes nothing. Arguments go to the programs as they are, through no shell, after a check of their form.

const { execFile } = require('node:child_process');
const net = require('node:net');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const LISTEN = process.argv[2] || '127.0.0.1:8475';

class BadArgument extends Error {}

function run(command) {
  return new Promise((resolve) => {
    execFile(command[0], command.slice(1), { timeout: 10000 }, (error, stdout, stderr) => {
      resolve({ ok: !error, output: stdout.trim(), problem: stderr.trim() || (error && error.message) || '' });
    });
  });
}

// --- what an argument may look like ---------------------------------------------------------------------------------

function network(text, field) {
  const [address, length, ...rest] = text.split('/');
  if (!net.isIPv4(address) || !/^\d{1,2}$/.test(length || '') || Number(length) > 32 || rest.length) {
    throw new BadArgument(`${field}: must be IPv4 with a length, such as 10.0.0.0/24 ("${text}")`);
  }
  return text;
}

function address(text, field) {
  if (!net.isIPv4(text)) throw new BadArgument(`${field}: must be an IPv4 address ("${text}")`);
  return text;
}

function name(text, field) {
  if (!/^[A-Za-z0-9_.:@][A-Za-z0-9_.:@-]{0,14}$/.test(text)) {
    throw new BadArgument(`${field}: must be the name of an interface ("${text}")`);
  }
  return text;
}

function number(text, field) {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 0xffffffff) throw new BadArgument(`${field}: must be a decimal number from 1 ("${text}")`);
  return text;
}

// --- the actions ----------------------------------------------------------------------------------------------------

const said = (answer) => answer.ok && answer.output !== '';
const succeeded = (answer) => answer.ok;

function rule(table, chain, ...rest) {
  return {
    present: ['iptables', '-t', table, '-C', chain, ...rest],
    done: succeeded,
    add: ['iptables', '-t', table, '-A', chain, ...rest],
  };
}

function addIPToInterface(request) {
  const ip = network(request.ip, 'ip');
  const port = name(request.interface, 'interface');
  return [
    {
      present: ['ip', '-o', 'addr', 'show', 'dev', port, 'to', ip.split('/')[0]],
      done: said,
      add: ['ip', 'addr', 'add', ip, 'dev', port],
    },
  ];
}

function route(destination, nextHop, ...table) {
  const what = [destination, 'via', nextHop, ...table];
  return { present: ['ip', 'route', 'show', ...what], done: said, add: ['ip', 'route', 'add', ...what] };
}

function addRoute(request) {
  return [route(network(request.destinationNetwork, 'destinationNetwork'), address(request.nextHop, 'nextHop'))];
}

function configureNat(request) {
  const alias = network(request.localNetwork, 'localNetwork');
  const real = network(request.remoteNetwork, 'remoteNetwork');
  const port = name(request.localInterface, 'localInterface');
  const table = number(request.tableNumber, 'tableNumber');
  const mark = number(request.packetMark, 'packetMark');
  const nextHop = address(request.nextHop, 'nextHop');
  const selector = ['fwmark', mark, 'lookup', table];
  return [
    rule('nat', 'PREROUTING', '-d', alias, '-j', 'NETMAP', '--to', real),
    rule('nat', 'POSTROUTING', '-d', real, '-j', 'NETMAP', '--to', alias),
    rule('mangle', 'PREROUTING', '!', '-i', port, '-j', 'MARK', '--set-mark', mark),
    route('default', nextHop, 'table', table),
    { present: ['ip', 'rule', 'show', ...selector], done: said, add: ['ip', 'rule', 'add', ...selector] },
  ];
}

// --- serving --------------------------------------------------------------------------------------------------------

function action(steps) {
  return async (call, callback) => {
    try {
      for (const { present, done, add } of steps(call.request)) {
        if (done(await run(present))) continue;
        const answer = await run(add);
        if (!answer.ok) {
          callback(null, { success: false, message: `"${add.join(' ')}" failed: ${answer.problem}` });
          return;
        }
      }
      callback(null, { success: true, message: 'done' });
    } catch (error) {
      if (!(error instanceof BadArgument)) console.error(error);
      callback(null, { success: false, message: error.message });
    }
  };
}

const definition = protoLoader.loadSync(path.join(__dirname, 'three_actions.proto'), { keepCase: true, defaults: true });
const contract = grpc.loadPackageDefinition(definition).meetme.configurator.v1;

const server = new grpc.Server();
server.addService(contract.Configurator.service, {
  AddIPToInterface: action(addIPToInterface),
  AddRoute: action(addRoute),
  ConfigureNat: action(configureNat),
});

if (!/^(unix:|127\.|localhost:|\[::1\]:)/.test(LISTEN)) {
  console.error(`listen: in the clear only on loopback or a unix socket ("${LISTEN}")`);
  process.exit(2);
}
server.bindAsync(LISTEN, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
  console.log(`listening on ${LISTEN}`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => server.tryShutdown(() => process.exit(0)));
}
