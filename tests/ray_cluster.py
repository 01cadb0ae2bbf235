"""A Ray cluster of two nodes on this machine, each with one core, beside a head with none.

Its client server listens at the port that is given. Prints its address; then does what each line of stdin says, and
answers with a line: `add` or `remove` a node.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
HEAD = NODE | {"num_cpus": 0, "include_dashboard": False}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=HEAD | {"ray_client_server_port": int(sys.argv[1])})
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**NODE))
        elif line.strip() == "remove":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print(f"{line.strip()}: {len(nodes)} nodes", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
