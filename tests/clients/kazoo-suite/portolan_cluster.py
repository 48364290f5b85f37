"""kazoo's own tests take their servers from here: a plugin of pytest that puts processes of PORTOLAN_BIN in the place of ZooKeeper's.

`pytest -p portolan_cluster --pyargs kazoo.tests`. Which tests cannot pass, and why, is in `skipped.txt`.
"""

import atexit
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import kazoo.testing.harness
import pytest

PROTOCOLS = ["consul", "dns", "etcd", "eureka", "kubernetes", "nacos", "native", "xds"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """One server, as kazoo's harness knows those of ZooKeeper. It keeps its data over its own end."""

    def __init__(self):
        self.folder = tempfile.mkdtemp()
        self.address = f"127.0.0.1:{free_port()}"
        self.secure_address = self.address
        self.process = None
        others = [f"--listen={name}=off" for name in PROTOCOLS if name != "native"]
        self.said = pathlib.Path(self.folder, "said")
        self.command = [
            os.environ["PORTOLAN_BIN"], "serve", "--data-dir", os.path.join(self.folder, "data"), f"--listen=zookeeper={self.address}",
            "--listen=native=127.0.0.1:0", "--zookeeper-words=*", *others,
        ]

    @property
    def running(self):
        return self.process is not None

    def begin(self):
        if not self.running:
            with open(self.said, "wb") as out:
                self.process = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT)

    def wait(self):
        while "ready" not in self.said.read_text().split():
            if self.process.poll() is not None:
                raise AssertionError("the server ended before it was ready: " + self.said.read_text())
            time.sleep(0.02)

    def run(self):
        self.begin()
        self.wait()

    def stop(self):
        if self.running:
            self.process.kill()
            self.process.wait()
            self.process = None

    def destroy(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster(list):
    """The servers of a run: one. With three, what one client wrote another may read a moment later, as in ZooKeeper, and some tests do not wait."""

    def start(self):
        for server in self:
            server.begin()
        for server in self:
            server.wait()

    run = start

    def stop(self):
        for server in self:
            server.stop()

    terminate = stop

    def get_logs(self):
        return []


CLUSTER = Cluster([Server()])
kazoo.testing.harness.CLUSTER = CLUSTER
kazoo.testing.harness.get_global_cluster = lambda: CLUSTER
atexit.register(lambda: [server.destroy() for server in CLUSTER])


def skipped():
    rows = pathlib.Path(__file__).with_name("skipped.txt").read_text().splitlines()
    pairs = [row.split(None, 1) for row in rows if row.strip() and not row.startswith("#")]
    return dict(pairs)


def pytest_collection_modifyitems(items):
    reasons = skipped()
    used = set()
    for item in items:
        name = item.nodeid.split("kazoo/tests/", 1)[-1]
        for part, reason in reasons.items():
            if name == part or name.startswith(part + "::"):
                item.add_marker(pytest.mark.skip(reason=reason))
                used.add(part)
    unused = set(reasons) - used
    assert not unused, f"skipped.txt names tests that there are not: {sorted(unused)}"
