"""The official Python client of Kubernetes, unmodified, behind one line of JSON per call.

{"id":1,"op":"everyday",...} in, {"id":1,"ok":...} or {"id":1,"error":"..."} out. The end of the input ends the process.
"""

import json
import os
import sys
import threading

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

# Libraries may print: standard output belongs to the answers.
OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
WRITING = threading.Lock()


def api(c):
    configuration = client.Configuration()
    configuration.host = "http://" + c["addr"]
    return client.ApiClient(configuration)


def refused(call):
    try:
        call()
    except ApiException as error:
        return [error.status, json.loads(error.body)["reason"]]
    return None


def everyday(c):
    """A Service's life, and how the second of two writers is told."""
    core = client.CoreV1Api(api(c))
    name = c["name"]
    body = client.V1Service(
        metadata=client.V1ObjectMeta(name=name, labels={"made-by": "python"}),
        spec=client.V1ServiceSpec(selector={"app": name}, ports=[client.V1ServicePort(port=80)]),
    )
    made = core.create_namespaced_service("default", body)
    listed = [one.metadata.name for one in core.list_namespaced_service("default", label_selector="made-by=python").items]
    pages, token = [], None
    while True:
        page = core.list_namespace(limit=2, _continue=token)
        pages.append(len(page.items))
        token = page.metadata._continue
        if not token:
            break
    made.metadata.labels["tier"] = "a"
    core.replace_namespaced_service(name, "default", made)
    made.metadata.labels["tier"] = "b"
    conflict = refused(lambda: core.replace_namespaced_service(name, "default", made))
    patched = core.patch_namespaced_service(name, "default", {"metadata": {"annotations": {"a": "b"}}})
    # From the version of the creation on: two changes, and what is still to come.
    events = []
    watching = watch.Watch()
    for event in watching.stream(
        core.list_namespaced_service, "default", label_selector="made-by=python",
        resource_version=made.metadata.resource_version, timeout_seconds=20,
    ):
        events.append(event["type"])
        if len(events) == 2:
            core.delete_namespaced_service(name, "default")
        if event["type"] == "DELETED":
            watching.stop()
    return {
        "address": bool(made.spec.cluster_ip),
        "listed": listed,
        "pages": pages,
        "conflict": conflict,
        "annotation": patched.metadata.annotations.get("a"),
        "events": events,
        "gone": refused(lambda: core.read_namespaced_service(name, "default")),
    }


def endpoints(c):
    """The ready addresses of a service, as its slices say."""
    discovery = client.DiscoveryV1Api(api(c))
    slices = discovery.list_namespaced_endpoint_slice("default", label_selector="kubernetes.io/service-name=" + c["name"])
    found = set()
    for one in slices.items:
        for endpoint in one.endpoints or []:
            if endpoint.conditions.ready:
                found.update(endpoint.addresses)
    return sorted(found)


CALLS = {"everyday": everyday, "endpoints": endpoints}


def answer(c):
    try:
        reply = {"id": c["id"], "ok": CALLS[c["op"]](c)}
    except Exception as error:
        reply = {"id": c["id"], "error": f"{type(error).__name__}: {error}"}
    with WRITING:
        OUT.write(json.dumps(reply) + "\n")


for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
