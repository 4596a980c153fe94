"""Scenarios in which the network between fraudd and the broker is slow, cut, silent."""

import contextlib
import socket
import time

from suite.kafka import Cluster
from suite.proxy import Proxy
from suite.scenarios import scenario
from suite.traffic import TANGLED


@contextlib.contextmanager
def proxied(suite, name):
    """A cluster of one node that can only be reached through a proxy; the suite's own tools go past it."""
    # Held from here on: the broker starts for seconds, and somebody else could take the port meanwhile.
    held = socket.create_server(("127.0.0.1", 0))
    cluster = Cluster(suite.folder / f"kafka-{name}", options=["--advertise", f"127.0.0.1:{held.getsockname()[1]}"])
    try:
        with Proxy(held, cluster.ports()[0]) as proxy:
            yield cluster, proxy
    finally:
        suite.drop(cluster)


@scenario()
def network(suite, seed):
    """Latency of 200 ms, connections reset in mid-flight, half-open for longer than a transaction may take."""
    with proxied(suite, "network") as (cluster, proxy), suite.stage("network", seed, cluster=cluster) as stage:
        service = stage.start()
        load = stage.load(stage.traffic(customers=suite.size(20, 400), mix=TANGLED), rate=suite.rate // 2)
        door = stage.door(service)
        resets = 0
        for _ in range(suite.size(1, 6)):
            time.sleep(1)
            proxy.latency = 0.2
            time.sleep(4)
            proxy.latency = 0.0
            for _ in range(suite.size(8, 30)):
                time.sleep(stage.random.uniform(0.05, 0.6))
                proxy.reset()
                resets += 1
            proxy.silent = True
            time.sleep(suite.size(8, 14))
            proxy.silent = False
            time.sleep(1)
            # Silent, and then cut: what was sent before is answered by nobody.
            proxy.silent = True
            time.sleep(1.5)
            proxy.reset()
            proxy.silent = False
        took, told = stage.finish(load, door)
        return f"{resets} resets, {told['new']} decided, {proxy.passed >> 20} MiB through the proxy, caught up after {took:.1f} s"
