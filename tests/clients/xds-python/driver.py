"""grpcio, unmodified, on xds:///NAME, behind one line of JSON per call.

{"id":1,"op":"load",...} in, {"id":1,"ok":...} or {"id":1,"error":"..."} out. The end of the input ends the process. The first call,
"bootstrap", carries the bootstrap file, which the library reads when it makes its first channel.
"""

import json
import os
import sys
import threading
import time

# Libraries may print: standard output belongs to the answers.
OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
WRITING = threading.Lock()
LOADS = {}


class Load:
    """Calls without a pause, and counts who answered."""

    def __init__(self, target, workers):
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        self.lock = threading.Lock()
        self.counts, self.failures, self.over = {}, [], False
        self.channel = grpc.insecure_channel(target)
        self.stub = health_pb2_grpc.HealthStub(self.channel)
        self.request = health_pb2.HealthCheckRequest()
        self.failure = grpc.RpcError
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over:
            try:
                _, call = self.stub.Check.with_call(self.request, timeout=20, wait_for_ready=False)
                name = dict(call.initial_metadata()).get("backend", "")
                with self.lock:
                    self.counts[name] = self.counts.get(name, 0) + 1
            except self.failure as error:
                with self.lock:
                    if len(self.failures) < 20:
                        self.failures.append(str(error.details()))
            time.sleep(0.002)

    def take(self):
        with self.lock:
            taken = {"counts": self.counts, "failures": self.failures}
            self.counts, self.failures = {}, []
        return taken


def bootstrap(c):
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(c["bootstrap"])
    return True


def load(c):
    LOADS[c["target"]] = Load(c["target"], c.get("workers", 1))
    return True


def take(c):
    return LOADS[c["target"]].take()


def end(c):
    one = LOADS.pop(c["target"])
    one.over = True
    for thread in one.threads:
        thread.join()
    one.channel.close()
    return one.take()


CALLS = {"bootstrap": bootstrap, "load": load, "take": take, "end": end}


def answer(c):
    try:
        said = {"id": c["id"], "ok": CALLS[c["op"]](c)}
    except Exception as error:  # whatever went wrong is the answer
        said = {"id": c["id"], "error": f"{type(error).__name__}: {error}"}
    with WRITING:
        print(json.dumps(said), file=OUT, flush=True)


for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
os._exit(0)
