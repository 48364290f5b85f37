// The npm client of Nacos, unmodified, behind one line of JSON per call: {"id":1,"op":"register",...} in,
// {"id":1,"ok":...} or {"id":1,"error":"..."} out. It speaks HTTP with beats, and is pushed to by UDP.
// The end of the input ends the process without deregistering anything.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const readline = require('readline');
const { NacosNamingClient, NacosConfigClient } = require('nacos');

const write = process.stdout.write.bind(process.stdout);
// Libraries may print: standard output belongs to the answers.
process.stdout.write = process.stderr.write.bind(process.stderr);
process.on('uncaughtException', (problem) => console.error(problem));
process.on('unhandledRejection', (problem) => console.error(problem));

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const kept = new Map();
async function once(key, make) {
  if (!kept.has(key)) kept.set(key, make());
  return kept.get(key);
}
const naming = (call) =>
  once(`naming ${call.addr}`, async () => {
    const client = new NacosNamingClient({ logger: silent, serverList: call.addr, namespace: 'public', username: 'nacos', password: 'nacos' });
    await client.ready();
    return client;
  });
const configs = (call) =>
  once(`config ${call.addr}`, async () => {
    const cacheDir = fs.mkdtempSync(path.join(os.tmpdir(), 'nacos-node'));
    const client = new NacosConfigClient({ serverAddr: call.addr, cacheDir, requestTimeout: 6000, username: 'nacos', password: 'nacos' });
    await client.ready();
    return client;
  });

const seen = new Map();
const heard = new Map();
const hosts = (all) => all.filter((it) => it.healthy && it.enabled).map((it) => `${it.ip}:${it.port}`).sort();
const instance = (call) => ({ ip: call.ip, port: call.port, metadata: call.metadata || {} });

const operations = {
  register: async (call) => {
    await (await naming(call)).registerInstance(call.service, instance(call), call.group);
    return true;
  },
  deregister: async (call) => {
    await (await naming(call)).deregisterInstance(call.service, instance(call), call.group);
    return true;
  },
  list: async (call) => hosts(await (await naming(call)).getAllInstances(call.service, call.group, '', false)),
  subscribe: async (call) => {
    (await naming(call)).subscribe({ serviceName: call.service, groupName: call.group }, (all) => seen.set(call.service, hosts(all)));
    return true;
  },
  seen: async (call) => seen.get(call.service) || null,
  publish: async (call) => (await configs(call)).publishSingle(call.data, call.group, call.content),
  get: async (call) => (await configs(call)).getConfig(call.data, call.group),
  remove: async (call) => (await configs(call)).remove(call.data, call.group),
  listen: async (call) => {
    (await configs(call)).subscribe({ dataId: call.data, group: call.group }, (content) => {
      heard.set(call.data, (heard.get(call.data) || []).concat([content]));
    });
    return true;
  },
  heard: async (call) => heard.get(call.data) || null,
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const call = JSON.parse(line);
  let answer;
  try {
    if (!operations[call.op]) throw new Error(`no operation ${call.op}`);
    answer = { id: call.id, ok: (await operations[call.op](call)) ?? null };
  } catch (problem) {
    answer = { id: call.id, error: String(problem && problem.message ? problem.message : problem) };
  }
  write(`${JSON.stringify(answer)}\n`);
}).on('close', () => process.exit(0));
