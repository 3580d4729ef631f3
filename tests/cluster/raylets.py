"""`python -P raylets.py NUM [CPUS]`: a Ray cluster of several nodes on this machine, told by lines on standard input.

The head has no CPU; each of the NUM nodes has CPUS (1), and room for drivers. Says the address, then answers each line:
`lose N` ends the raylet of node N at once, `behead` the head's GCS, `end` all of it.
"""

import sys
import time

from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 80_000_000


def main(num_nodes: int, num_cpus: int = 1) -> None:
    began = time.monotonic()
    common = {"num_gpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_log_monitor": False}
    # Ports of their own: several raylets are on this machine, and other tests' as well.
    common |= {"dashboard_agent_listen_port": 0, "metrics_export_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **common})
    # One after the other: raylets that start at once take each other's ports.
    nodes = [cluster.add_node(num_cpus=num_cpus, resources={"warmup_driver": 4}, **common) for _ in range(num_nodes)]
    say(f"{cluster.address} {time.monotonic() - began:.1f}")
    for line in sys.stdin:
        match line.split():
            case ["lose", number]:
                nodes[int(number)].kill_raylet(check_alive=False)
            case ["behead"]:
                cluster.head_node.kill_gcs_server(check_alive=False)
            case ["end"]:
                break
        say("done")
    cluster.shutdown()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
