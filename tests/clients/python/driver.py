"""python-consul, py_eureka_client, etcd3, kazoo and Patroni's etcd3 client, unmodified, behind one line of JSON per call.

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
import time

import consul
import etcd3
import kazoo.client
import kazoo.exceptions
import kazoo.security
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


KAZOO = {}
TOLD = {}


def kazoo_at(c):
    """One session for each name at each address."""
    name = (c["addr"], c.get("client", "one"))
    if name not in KAZOO:
        # A server that was killed is looked for until it is back.
        retry = {"max_tries": -1, "max_delay": 1}
        secure = {}
        if "ca" in c:
            secure = {"use_ssl": True, "ca": c["ca"], "verify_certs": True, "certfile": c.get("cert"), "keyfile": c.get("key")}
        KAZOO[name] = kazoo.client.KazooClient(
            hosts=c["addr"], timeout=c.get("timeout", 10), connection_retry=retry, command_retry=retry, **secure
        )
        KAZOO[name].start(20)
    return KAZOO[name]


def kazoo_register(c):
    """An instance as Curator's discovery writes it, by hand: the Java library is another client of these tests."""
    value = {
        "name": c["service"], "id": c["instance"], "address": c["host"], "port": c["port"], "sslPort": None, "payload": None,
        "registrationTimeUTC": 1795191642571, "serviceType": "DYNAMIC", "uriSpec": None,
    }
    path = f"/services/{c['service']}/{c['instance']}"
    return kazoo_at(c).create(path, json.dumps(value, separators=(",", ":")).encode(), ephemeral=True, makepath=True)


def kazoo_unregister(c):
    kazoo_at(c).delete(f"/services/{c['service']}/{c['instance']}")
    return True


def kazoo_instances(c):
    client = kazoo_at(c)
    rows = []
    try:
        for name in client.get_children(f"/services/{c['service']}"):
            value = json.loads(client.get(f"/services/{c['service']}/{name}")[0])
            rows.append(f"{value['address']}:{value['port']}")
    except kazoo.exceptions.NoNodeError:
        pass
    return sorted(rows)


def kazoo_everyday(c):
    """What the first page of kazoo's documentation does; whatever is not as it says is raised."""
    client = kazoo_at(c)
    client.ensure_path("/my/favorite")
    client.create("/my/favorite/node", b"a value")
    data, stat = client.get("/my/favorite/node")
    assert (data, stat.version, stat.data_length) == (b"a value", 0, 7), (data, stat)
    assert client.exists("/my/nothing") is None
    assert client.set("/my/favorite/node", b"more", version=0).version == 1
    for wrong, call in [
        (kazoo.exceptions.BadVersionError, lambda: client.set("/my/favorite/node", b"", version=7)),
        (kazoo.exceptions.NodeExistsError, lambda: client.create("/my/favorite")),
        (kazoo.exceptions.NotEmptyError, lambda: client.delete("/my")),
        (kazoo.exceptions.NoNodeError, lambda: client.get("/nothing")),
    ]:
        try:
            call()
            raise AssertionError(f"no {wrong.__name__}")
        except wrong:
            pass
    made = [client.create("/my/s-", sequence=True) for _ in range(2)]
    assert made == ["/my/s-0000000001", "/my/s-0000000002"], made
    _, stat = client.create("/my/ephemeral", ephemeral=True, include_data=True)
    assert stat.owner_session_id == client.client_id[0], stat
    transaction = client.transaction()
    transaction.check("/my/favorite/node", version=1)
    transaction.create("/my/one", b"")
    transaction.delete("/my/favorite/node")
    assert transaction.commit() == [True, "/my/one", True]
    transaction = client.transaction()
    transaction.create("/my/two", b"")
    transaction.check("/my/one", version=9)
    failed = [type(result).__name__ for result in transaction.commit()]
    assert failed == ["RolledBackError", "BadVersionError"], failed
    client.add_auth("digest", "ann:pw")
    client.create("/my/own", b"", acl=[kazoo.security.make_digest_acl("ann", "pw", all=True)])
    assert client.get_acls("/my/own")[0][0].id.scheme == "digest"
    stranger = kazoo_at({**c, "client": "stranger"})
    try:
        stranger.get("/my/own")
        raise AssertionError("no NoAuthError")
    except kazoo.exceptions.NoAuthError:
        pass
    client.delete("/my", recursive=True)
    return list(client.server_version())


def kazoo_recipes(c):
    """Lock, election, party, barrier, queue and counter of two clients."""
    one, two = kazoo_at(c), kazoo_at({**c, "client": "two"})
    first, second = one.Lock("/lock", "one"), two.Lock("/lock", "two")
    assert first.acquire(timeout=10)
    assert not second.acquire(blocking=False)
    first.release()
    assert second.acquire(timeout=10)
    second.release()
    led = threading.Event()
    election = threading.Thread(target=lambda: one.Election("/election", "one").run(led.set))
    election.start()
    assert led.wait(10)
    election.join(10)
    here, there = one.Party("/party", "one"), two.Party("/party", "two")
    here.join()
    there.join()
    assert sorted(here) == ["one", "two"], list(here)
    here.leave()
    assert list(there) == ["two"], list(there)
    barrier = one.Barrier("/barrier")
    barrier.create()
    opened = threading.Event()
    waiting = threading.Thread(target=lambda: two.Barrier("/barrier").wait(10) and opened.set())
    waiting.start()
    assert not opened.is_set()
    barrier.remove()
    assert opened.wait(10)
    one.Queue("/queue").put(b"thing")
    assert two.Queue("/queue").get() == b"thing"
    counter = one.Counter("/counter")
    counter += 3
    assert two.Counter("/counter").value == 3
    return True


def kazoo_watch(c):
    """Keeps what kazoo's own watches tell of a node and its children."""
    told = TOLD[c["path"]] = {"data": [], "children": []}
    client = kazoo_at(c)
    client.ensure_path(c["path"])
    client.DataWatch(c["path"], lambda data, stat: told["data"].append(data.decode()))
    client.ChildrenWatch(c["path"], lambda children: told["children"].append(sorted(children)))
    return True


def kazoo_told(c):
    return TOLD[c["path"]]


def kazoo_guarded(c):
    """A node that nobody may use but who makes it; its access list as it was kept."""
    client = kazoo_at(c)
    client.create(c["path"], b"", acl=[kazoo.security.ACL(31, kazoo.security.Id("auth", ""))])
    return [f"{one.id.scheme}:{one.id.id}" for one in client.get_acls(c["path"])[0]]


def kazoo_children(c):
    return sorted(kazoo_at(c).get_children(c["path"]))


def kazoo_set(c):
    return kazoo_at(c).set(c["path"], c["data"].encode()).version


def kazoo_create(c):
    return kazoo_at(c).create(c["path"], c.get("data", "").encode(), ephemeral=c.get("ephemeral", False))


def kazoo_exists(c):
    return kazoo_at(c).exists(c["path"]) is not None


def kazoo_session(c):
    return kazoo_at(c).client_id[0]


def seen_until(member, holds):
    """What a Patroni member sees once `holds`, or in the end."""
    until = time.monotonic() + 20
    seen = member.get_cluster()
    while not holds(seen) and time.monotonic() < until:
        time.sleep(0.1)
        seen = member.get_cluster()
    return seen


def patroni_etcd3(c):
    """What two Patroni members do with their store from bootstrap to failover, by Patroni's own client of the JSON gateway."""
    from patroni.dcs import get_dcs

    def member(name):
        return get_dcs({
            "scope": "demo", "namespace": "/service", "name": name, "ttl": 20, "loop_wait": 5, "retry_timeout": 6,
            "etcd3": {"hosts": c["addr"]},
        })

    one, two = member("one"), member("two")
    said = {"empty": one.get_cluster().is_unlocked()}
    said["initialized"] = [bool(one.initialize(create_new=True, sysid="")), bool(two.initialize(create_new=True, sysid=""))]
    said["locked"] = [bool(one.attempt_to_acquire_leader()), bool(two.attempt_to_acquire_leader())]
    one.touch_member({"conn_url": "postgres://one/", "api_url": "http://one", "state": "running", "role": "primary"})
    said["updated"] = one.update_leader(one.get_cluster(), 42)
    # A member looks at its own copy, which a watch keeps.
    seen = seen_until(two, lambda cluster: cluster.status.last_lsn == 42)
    said["seen"] = [seen.leader.name, seen.status.last_lsn, [found.name for found in seen.members]]
    woken = {}

    def wait():
        began = time.monotonic()
        woken["by"] = bool(two.watch(None, 30))
        woken["early"] = time.monotonic() - began < 25

    waiting = threading.Thread(target=wait)
    waiting.start()
    said["released"] = one.delete_leader(one.get_cluster().leader, 43)
    waiting.join()
    said["woken"] = [woken["by"], woken["early"]]
    said["free"] = seen_until(two, lambda cluster: cluster.is_unlocked()).is_unlocked()
    taken = bool(two.attempt_to_acquire_leader())
    said["taken"] = [taken, seen_until(two, lambda cluster: cluster.leader and cluster.leader.name == "two").leader.name]
    two.manual_failover("two", "one")
    said["failover"] = seen_until(two, lambda cluster: cluster.failover).failover.candidate
    said["deleted"] = bool(two.delete_cluster())
    return said


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
    "kazoo.register": kazoo_register,
    "kazoo.unregister": kazoo_unregister,
    "kazoo.instances": kazoo_instances,
    "kazoo.everyday": kazoo_everyday,
    "kazoo.recipes": kazoo_recipes,
    "kazoo.watch": kazoo_watch,
    "kazoo.told": kazoo_told,
    "kazoo.children": kazoo_children,
    "kazoo.guarded": kazoo_guarded,
    "kazoo.set": kazoo_set,
    "kazoo.create": kazoo_create,
    "kazoo.exists": kazoo_exists,
    "kazoo.session": kazoo_session,
    "patroni.etcd3": patroni_etcd3,
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
