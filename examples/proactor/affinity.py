"""Where threads and memory lie: the nodes of this machine, a thread bound to one, a pool with a thread for each."""

from __future__ import annotations

import os
import threading

from proactor_trio.proactor import ProactorPool, Slab, query_affinities


def main() -> None:
    print("the nodes of this machine")
    for affinity in query_affinities():
        print(f"  node {affinity.numa_node}: {len(affinity.processors)} processors, {len(affinity.cores)} cores")
        with Slab.allocate(65536, 16, node=affinity.numa_node) as slab:
            placement = slab.placement()
            print(f"  a slab for it lies on node {placement.node}", *placement.notes)

    print("a proactor for each node")
    with ProactorPool() as pool:
        for index in range(len(pool)):
            told = threading.Event()

            def tell(told: threading.Event = told) -> None:
                allowed = sorted(os.sched_getaffinity(0))
                print(f"  {threading.current_thread().name} may run on {allowed}")
                told.set()

            pool.get(index).post(tell)
            told.wait()
        here = pool.get_for_node(0)
        print(f"  for work on node 0: {here!r}")


if __name__ == "__main__":
    main()
