"""A cluster of several nodes on this machine, in a process that takes commands on its standard input.

Commands, one a line, each answered by one line: ``add`` a node (its raylet's process id), ``kill`` the last one that
was there from the beginning, ``metrics`` (the addresses where Prometheus finds the nodes). It ends with its input.
"""

import sys
from typing import Any

from ray._private.node import Node
from ray.cluster_utils import Cluster

# A dead node is noticed in three seconds, not in fifteen. No worker starts before there is a task.
_SETTINGS = {
    "prestart_worker_first_driver": False,
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 5,
    "metrics_report_interval_ms": 1000,
}


def main(count: int, cpus: int, memory: int) -> None:
    for process in ("monitor", "log_monitor", "api_server"):  # no test needs these, and each takes a second
        setattr(Node, f"start_{process}", lambda *_, **__: None)
    each: dict[str, Any] = {"num_cpus": cpus, "memory": memory, "object_store_memory": 80 * 2**20}
    cluster = Cluster(True, head_node_args={**each, "include_dashboard": False, "_system_config": _SETTINGS})
    nodes = [cluster.add_node(**each) for _ in range(count - 1)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("killed", flush=True)
        elif line.strip() == "metrics":
            alive = [node for node in cluster.global_state.node_table() if node["Alive"]]
            print(*(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in alive), flush=True)
        else:
            print(cluster.add_node(**each).all_processes["raylet"][0].process.pid, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
