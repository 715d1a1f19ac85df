"""`make chaos`: a real cluster of three nodes, of which one after the other is killed or frozen.

The test `chaos` sends events meanwhile, rolls the data stream over and kills functions. In the end
each event has to be stored once. The two tell each other by files how far they are: the test writes
`begun` and `over`, and this writes `healed` with the number of nodes that it killed or froze.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tools
from interrupts import exit_code
from search import http
from services import Group, Service, free_ports, group_for, responds
from stack import (
    E2E,
    dynamodb_service,
    engine_process,
    moto_service,
    plain_environment,
    start_and_build,
    target_folder,
)
from tools import ROOT, StackError, say

NODES = ("n0", "n1", "n2")
JAVA = "-Xms384m -Xmx384m -XX:TieredStopAtLevel=1"

# A node that does not answer for two seconds is removed from the cluster, so that a run sees many
# removals. By default it takes half a minute.
IMPATIENCE = {
    f"cluster.fault_detection.{check}.{name}": value
    for check in ("leader_check", "follower_check")
    for name, value in (("interval", "1s"), ("timeout", "1s"), ("retry_count", "2"))
}


class Cluster:
    """Three OpenSearch nodes, each a service of its own."""

    def __init__(self, group: Group) -> None:
        self.group = group
        ports = free_ports(2 * len(NODES))
        self.http_ports, transport_ports = ports[: len(NODES)], ports[len(NODES) :]
        seeds = ",".join(f"127.0.0.1:{port}" for port in transport_ports)
        self.services = [
            self._service(*node, seeds)
            for node in zip(NODES, self.http_ports, transport_ports, strict=True)
        ]

    def _service(self, name: str, port: int, transport_port: int, seeds: str) -> Service:
        data = self.group.folder / name
        data.mkdir(parents=True, exist_ok=True)
        url = f"http://127.0.0.1:{port}/_cluster/health?wait_for_nodes=3&timeout=1s"
        options = {
            "cluster.name": "chaos",
            "cluster.initial_cluster_manager_nodes": ",".join(NODES),
            "discovery.type": "zen",
            "discovery.seed_hosts": seeds,
            "node.name": name,
            "path.data": data / "data",
            "path.logs": data / "logs",
            "transport.port": transport_port,
            **IMPATIENCE,
        }
        home = tools.engine_home("opensearch")
        service = engine_process(
            "opensearch", home, data, port, JAVA, options, lambda: responds(url, 200)
        )
        service.name = name
        return service

    def is_green(self) -> bool:
        """Returns whether all nodes are there, and all copies of all shards."""
        path = "_cluster/health?wait_for_status=green&wait_for_nodes=3&timeout=1s"
        return all(responds(f"http://127.0.0.1:{port}/{path}", 200) for port in self.http_ports)

    def wait_until_green(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.is_green():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def explain(self) -> str:
        """Returns the cluster's health, for the message of a failure."""
        with contextlib.suppress(OSError):
            return http("GET", f"http://127.0.0.1:{self.http_ports[0]}/_cluster/health")[1].decode()
        return "the first node does not answer"

    def kill(self, service: Service) -> None:
        """Kills a node like a crash of its machine, and starts it again."""
        os.kill(self.group.pid(service.name), signal.SIGKILL)
        time.sleep(random.uniform(0.5, 3))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.group.pid(service.name), 0)
        self.group.start(service)

    def freeze(self, service: Service) -> None:
        """Freezes a node as a stalled machine does; then it goes on with what it was doing."""
        pid = self.group.pid(service.name)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(random.uniform(1, 12))
        finally:
            os.kill(pid, signal.SIGCONT)

    def harm(self) -> None:
        """Harms a node: more often by freezing it, because only that delays a request."""
        service = random.choice(self.services)
        if random.random() < 0.3:
            say(f"    {service.name}: killed")
            self.kill(service)
        else:
            say(f"    {service.name}: frozen")
            self.freeze(service)


@contextlib.contextmanager
def cargo_test(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    test = [*E2E, "chaos::", "--", "--ignored", "--nocapture"]
    process = subprocess.Popen(test, cwd=ROOT, env=env, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def harm_until(cluster: Cluster, over: Path, test: subprocess.Popen[bytes]) -> int:
    """Harms one node after the other until the file is there; returns how many.

    Only a cluster that has recovered is harmed: with one replica, a second node at the same time
    may take events with it that the engine has acknowledged."""
    harmed = 0
    while not over.exists() and test.poll() is None:
        if cluster.wait_until_green(1):
            cluster.harm()
            harmed += 1
        time.sleep(random.uniform(0.5, 3))
    return harmed


def chaos() -> None:
    seconds = os.environ.get("CHAOS_SECONDS", "").strip() or "300"
    if not seconds.isdigit():
        raise StackError(f"CHAOS_SECONDS is {seconds!r}, but must be a number")
    tools.check_prerequisites()
    tools.set_up(["opensearch"])
    with group_for("chaos") as group:
        shutil.rmtree(group.folder, ignore_errors=True)
        cluster = Cluster(group)
        dynamodb_port, moto_port, balancer_port = free_ports(3)
        parts = [*cluster.services, dynamodb_service(dynamodb_port), moto_service(moto_port)]
        say("starting three nodes of OpenSearch, DynamoDB Local and SQS")
        start_and_build(group, parts)
        env = plain_environment() | {
            "CHAOS_SECONDS": seconds,
            "E2E_CHAOS_DIR": str(group.folder),
            "E2E_NODES": ",".join(f"127.0.0.1:{port}" for port in cluster.http_ports),
            "E2E_BALANCER_PORT": str(balancer_port),
            "E2E_OPENSEARCH_URL": f"http://127.0.0.1:{balancer_port}",
            "E2E_DYNAMODB_URL": f"http://127.0.0.1:{dynamodb_port}",
            "E2E_MOTO_URL": f"http://127.0.0.1:{moto_port}",
            "E2E_BIN_DIR": str(target_folder()),
        }
        with cargo_test(env) as test:
            while not (group.folder / "begun").exists() and test.poll() is None:
                time.sleep(0.2)
            say(f"events for {seconds} s, while nodes are killed and frozen")
            harmed = harm_until(cluster, group.folder / "over", test)
            say(f"waiting for the cluster: {harmed} nodes were killed or frozen")
            if not cluster.wait_until_green(240):
                raise StackError(f"the cluster does not recover: {cluster.explain()}")
            (group.folder / "healed").write_text(str(harmed))
            if test.wait() != 0:
                raise StackError("the chaos test failed")
    for name in NODES:
        shutil.rmtree(group.folder / name, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(exit_code(chaos))
