"""python-consul, py_eureka_client and etcd3, unmodified, behind one line of JSON per call.

{"id":1,"op":"consul.register",...} in, {"id":1,"ok":...} or {"id":1,"error":"..."} out. The end of the input ends the
process without deregistering anything.
"""

import asyncio
import concurrent.futures
import functools
import http.client
import json
import os
import sys
import threading

import consul
import etcd3
from py_eureka_client import eureka_client

# Libraries may print: standard output belongs to the answers.
OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
WRITING = threading.Lock()
LOOP = asyncio.new_event_loop()


@functools.lru_cache(maxsize=None)
def consul_at(addr):
    host, port = addr.rsplit(":", 1)
    return consul.Consul(host=host, port=int(port))


@functools.lru_cache(maxsize=None)
def etcd_at(addr):
    host, port = addr.rsplit(":", 1)
    return etcd3.client(host=host, port=int(port), timeout=10)


def wait(coroutine):
    """Runs a coroutine of the Eureka client on the one loop it may use."""
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(timeout=20)


EUREKA = {}


def consul_register(c):
    check = consul.Check.ttl(c["ttl"]) if c.get("ttl") else None
    return consul_at(c["addr"]).agent.service.register(
        c["name"], service_id=c["service"], address=c["address"], port=c["port"], tags=c.get("tags"), check=check
    )


def consul_ttl(c):
    checks = consul_at(c["addr"]).agent.check
    return {"pass": checks.ttl_pass, "warn": checks.ttl_warn, "fail": checks.ttl_fail}[c["status"]](c["check"], c.get("output"))


def consul_maintenance(c):
    return consul_at(c["addr"]).agent.service.maintenance(c["service"], "true" if c["enable"] else "false", c.get("reason"))


def consul_deregister(c):
    return consul_at(c["addr"]).agent.service.deregister(c["service"])


def consul_health(c):
    index, entries = consul_at(c["addr"]).health.service(
        c["name"], passing=c.get("passing") or None, index=c.get("index"), wait=c.get("wait")
    )
    rows = [
        {"id": e["Service"]["ID"], "address": e["Service"]["Address"] or e["Node"]["Address"], "port": e["Service"]["Port"]}
        for e in entries
    ]
    return {"index": int(index), "rows": rows}


def consul_session(c):
    return consul_at(c["addr"]).session.create(
        name=c.get("name"), ttl=c["ttl"], behavior=c.get("behavior", "release"), lock_delay=c.get("lock_delay", 0)
    )


def consul_session_renew(c):
    return consul_at(c["addr"]).session.renew(c["session"])["TTL"]


def consul_session_alive(c):
    _, session = consul_at(c["addr"]).session.info(c["session"])
    return session is not None


def consul_acquire(c):
    return consul_at(c["addr"]).kv.put(c["key"], c["value"], acquire=c["session"])


def consul_holder(c):
    _, pair = consul_at(c["addr"]).kv.get(c["key"])
    return pair.get("Session") if pair else None


def eureka_register(c):
    client = eureka_client.EurekaClient(
        eureka_server=c["addr"], app_name=c["app"], instance_id=c["instance"], instance_host=c["host"], instance_ip=c["ip"],
        instance_port=c["port"], should_discover=False,
    )
    wait(client.start())
    EUREKA[c["app"] + "/" + c["instance"]] = client
    return True


def eureka_status(c):
    # The library has no other way to say "I am unwell" than a registration with another status.
    wait(EUREKA[c["app"] + "/" + c["instance"]].register(status=c["status"]))
    return True


def eureka_override(c):
    wait(EUREKA[c["app"] + "/" + c["instance"]].status_update(c["status"]))
    return True


def eureka_clear(c):
    client = EUREKA[c["app"] + "/" + c["instance"]]
    wait(client.delete_status_override())
    # Its own heartbeat does the same within half a minute: the answer is 404, and the library registers again.
    wait(client.send_heartbeat())
    return True


def eureka_cancel(c):
    wait(EUREKA.pop(c["app"] + "/" + c["instance"]).stop())
    return True


def eureka_read(c):
    applications = wait(eureka_client.get_applications(c["addr"], []))
    application = applications.get_application(c["app"].upper())
    instances = application.instances if application else []
    return {"rows": [{"instance": i.instanceId, "ip": i.ipAddr, "port": i.port.port, "status": i.status} for i in instances]}


def etcd_put(c):
    etcd_at(c["addr"]).put(c["key"], c["value"])
    return True


def etcd_range(c):
    found = etcd_at(c["addr"]).get_prefix(c["key"])
    return {"records": [{"key": meta.key.decode(), "value": value.decode(), "mod": meta.mod_revision} for value, meta in found]}


def http_refused(c):
    """Sends bodies that the server does not take, each on a connection of its own."""
    statuses = {}
    for _ in range(c["times"]):
        connection = http.client.HTTPConnection(c["addr"], timeout=20)
        connection.request("PUT", c["path"], body=bytes(c["size"]), headers={"Host": c["host"]})
        status = str(connection.getresponse().status)
        connection.close()
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


OPERATIONS = {
    "consul.register": consul_register,
    "consul.ttl": consul_ttl,
    "consul.maintenance": consul_maintenance,
    "consul.deregister": consul_deregister,
    "consul.health": consul_health,
    "consul.session": consul_session,
    "consul.session_renew": consul_session_renew,
    "consul.session_alive": consul_session_alive,
    "consul.acquire": consul_acquire,
    "consul.holder": consul_holder,
    "eureka.register": eureka_register,
    "eureka.status": eureka_status,
    "eureka.override": eureka_override,
    "eureka.clear": eureka_clear,
    "eureka.cancel": eureka_cancel,
    "eureka.read": eureka_read,
    "etcd.put": etcd_put,
    "etcd.range": etcd_range,
    "http.refused": http_refused,
}


def answer(c):
    try:
        line = {"id": c["id"], "ok": OPERATIONS[c["op"]](c)}
    except Exception as problem:  # whatever a library throws is the answer
        line = {"id": c["id"], "error": f"{type(problem).__name__}: {problem}"}
    with WRITING:
        OUT.write(json.dumps(line) + "\n")


def main():
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    with concurrent.futures.ThreadPoolExecutor(16) as calls:
        for line in sys.stdin:
            calls.submit(answer, json.loads(line))
        os._exit(0)


main()
