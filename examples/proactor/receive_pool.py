"""A receive pool: three connections share two buffers, and a slow worker thread is all the back-pressure there is.

Each connection has one MULTISHOT receive, which holds no buffer while nothing arrives. While the worker has both
buffers the receives are paused, the bytes wait in the kernel, and the proactor sleeps; when the worker gives a buffer
back they go on by themselves.
"""

from __future__ import annotations

import queue
import socket
import threading

from proactor_trio.proactor import (
    Access,
    BufferPool,
    CompletionFlags,
    Operation,
    OperationFlags,
    PoolLease,
    Proactor,
    RecvPool,
    Slab,
    Socket,
    register_slab,
)

BUFFER_BYTES = 4096
MESSAGE = bytes(range(256)) * 256


def main() -> None:
    received: queue.SimpleQueue[tuple[int, PoolLease] | None] = queue.SimpleQueue()
    totals = [0, 0, 0]
    open_connections = set(range(3))

    def work() -> None:
        while (item := received.get()) is not None:
            connection, lease = item
            with lease:  # gives the buffer back at the end
                totals[connection] += len(lease.view)

    def receive_done(receive: Operation, flags: CompletionFlags) -> None:
        if receive.error is not None:
            raise receive.error
        if receive.result.length:
            received.put((receive.user_data, receive.result))
        else:
            open_connections.discard(receive.user_data)  # the end: there is no buffer to give back

    worker = threading.Thread(target=work)
    worker.start()
    with Proactor() as proactor, Slab.allocate(BUFFER_BYTES, 2) as slab:
        with register_slab(proactor, slab, Access.WRITE) as region, BufferPool(region) as pool:
            pairs = [socket.socketpair() for _ in range(3)]
            nears = [Socket.from_stdlib(near) for near, _far in pairs]
            for number, near in enumerate(nears):
                proactor.submit(RecvPool(near, pool, receive_done, number, OperationFlags.MULTISHOT))
            for _near, far in pairs:
                far.sendall(MESSAGE)
                far.close()
            while open_connections:
                proactor.poll()
            received.put(None)
            worker.join()
            print(f"received {totals} bytes through {pool}")
            for near in nears:
                near.close()
    assert totals == [len(MESSAGE)] * 3


if __name__ == "__main__":
    main()
