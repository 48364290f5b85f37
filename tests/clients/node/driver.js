// The npm clients of Consul, Eureka and etcd, unmodified, behind one line of JSON per call:
// {"id":1,"op":"consul.register",...} in, {"id":1,"ok":...} or {"id":1,"error":"..."} out.
// The end of the input ends the process without deregistering anything.
'use strict';

const http = require('http');
const readline = require('readline');
const Consul = require('consul');
const { Eureka } = require('eureka-js-client');
const { Etcd3 } = require('etcd3');

const write = process.stdout.write.bind(process.stdout);
// Libraries may print: standard output belongs to the answers.
process.stdout.write = process.stderr.write.bind(process.stderr);

const kept = new Map();
function once(key, make) {
  if (!kept.has(key)) kept.set(key, make());
  return kept.get(key);
}

const consulAt = (addr) =>
  once(`consul ${addr}`, () => {
    const [host, port] = addr.split(':');
    return new Consul({ host, port: Number(port) });
  });
const etcdAt = (addr) => once(`etcd ${addr}`, () => new Etcd3({ hosts: addr }));

const silent = { debug() {}, info() {}, warn() {}, error() {}, level() {} };

function eureka(call, registers) {
  const url = new URL(call.addr);
  return new Eureka({
    logger: silent,
    shouldUseDelta: true,
    instance: {
      instanceId: call.instance,
      app: call.app,
      hostName: call.host,
      ipAddr: call.ip,
      port: { $: call.port, '@enabled': 'true' },
      vipAddress: call.app,
      dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    },
    eureka: {
      host: url.hostname,
      port: Number(url.port),
      servicePath: '/eureka/apps/',
      registerWithEureka: registers,
      fetchRegistry: !registers,
      filterUpInstances: false,
      heartbeatInterval: 1000,
      registryFetchInterval: 1000,
      maxRetries: 1,
    },
  });
}

const rows = (entries) =>
  entries.map((e) => ({ id: e.Service.ID, address: e.Service.Address || e.Node.Address, port: e.Service.Port }));

const operations = {
  async 'consul.register'(c) {
    await consulAt(c.addr).agent.service.register({
      id: c.service,
      name: c.name,
      address: c.address,
      port: c.port,
      tags: c.tags,
      check: c.ttl ? { ttl: c.ttl } : undefined,
    });
    return true;
  },
  async 'consul.ttl'(c) {
    const check = consulAt(c.addr).agent.check;
    await check[c.status]({ id: c.check, note: c.output });
    return true;
  },
  async 'consul.maintenance'(c) {
    await consulAt(c.addr).agent.service.maintenance({ id: c.service, enable: c.enable, reason: c.reason });
    return true;
  },
  async 'consul.deregister'(c) {
    await consulAt(c.addr).agent.service.deregister(c.service);
    return true;
  },
  async 'consul.health'(c) {
    return { rows: rows(await consulAt(c.addr).health.service({ service: c.name, passing: c.passing })) };
  },
  // The library's own watch loop over blocking queries; what it last reported is kept.
  async 'consul.watch'(c) {
    const seen = { rows: null, changes: 0, error: null };
    const watch = consulAt(c.addr).watch({
      method: consulAt(c.addr).health.service,
      options: { service: c.name, passing: c.passing },
      backoffFactor: 100,
      maxAttempts: 100,
    });
    watch.on('change', (entries) => {
      seen.rows = rows(entries);
      seen.changes += 1;
    });
    watch.on('error', (problem) => {
      seen.error = String(problem);
    });
    kept.set(`watch ${c.addr} ${c.name}`, seen);
    return true;
  },
  async 'consul.watched'(c) {
    return kept.get(`watch ${c.addr} ${c.name}`);
  },
  async 'eureka.register'(c) {
    const client = eureka(c, true);
    await new Promise((done, fail) => client.start((problem) => (problem ? fail(problem) : done())));
    kept.set(`eureka ${c.app}/${c.instance}`, client);
    return true;
  },
  async 'eureka.cancel'(c) {
    const client = kept.get(`eureka ${c.app}/${c.instance}`);
    await new Promise((done, fail) => client.stop((problem) => (problem ? fail(problem) : done())));
    return true;
  },
  async 'eureka.read'(c) {
    const reader = await once(`reader ${c.addr}`, async () => {
      const client = eureka({ ...c, instance: 'reader', app: 'reader', host: 'reader', ip: '127.0.0.1', port: 1 }, false);
      await new Promise((done, fail) => client.start((problem) => (problem ? fail(problem) : done())));
      return client;
    });
    const found = reader.getInstancesByAppId(c.app);
    return { rows: found.map((i) => ({ instance: i.instanceId, ip: i.ipAddr, port: Number(i.port.$), status: i.status })) };
  },
  // Sends bodies that the server does not take, each on a connection of its own.
  async 'http.refused'(c) {
    const [host, port] = c.addr.split(':');
    const statuses = {};
    for (let n = 0; n < c.times; n += 1) {
      const status = await new Promise((done, fail) => {
        const options = { host, port, path: c.path, method: 'PUT', agent: false, headers: { host: c.host, 'content-length': c.size } };
        const request = http.request(options, (answer) => {
          answer.resume();
          done(answer.statusCode);
        });
        request.on('error', fail);
        request.end(Buffer.alloc(c.size));
      });
      statuses[status] = (statuses[status] || 0) + 1;
    }
    return statuses;
  },
  async 'etcd.put'(c) {
    await etcdAt(c.addr).put(c.key).value(c.value);
    return true;
  },
  async 'etcd.range'(c) {
    const found = await etcdAt(c.addr).getAll().prefix(c.key).strings();
    return { records: Object.entries(found).map(([key, value]) => ({ key, value })) };
  },
};

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  const call = JSON.parse(line);
  let answer;
  try {
    if (!operations[call.op]) throw new Error(`no operation ${call.op}`);
    answer = { id: call.id, ok: await operations[call.op](call) };
  } catch (problem) {
    answer = { id: call.id, error: String((problem && problem.message) || problem) };
  }
  write(JSON.stringify(answer) + '\n');
});
lines.on('close', () => process.exit(0));
