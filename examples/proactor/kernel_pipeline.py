"""Two pipelines that are submitted before anything has happened, and that the kernel then performs by itself.

1. Wait for a semaphore, then send. Whoever computes signals the semaphore, on whatever thread; the bytes leave without
   any of our code between the signal and the send. SILENT says that nobody looks at the wait alone, so the loop is not
   even woken for it.
2. Receive, then signal a semaphore for which a fence was exported. The fence is a descriptor that another process (here
   a child; it could be a driver) waits for. The kernel makes it readable as soon as all bytes are there; the value of
   the semaphore follows when this process sees the completion.

Where the kernel links nothing (epoll, poll), the proactor takes the same steps one after the other inside `poll()`.
"""

from __future__ import annotations

import os
import socket as stdlib_socket
import subprocess
import sys
import threading

from proactor_trio.proactor import (
    Capability,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    Socket,
    TimelineSemaphore,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


def wait_for(proactor: Proactor, operation: Operation) -> None:
    while operation.state is not OperationState.DONE:
        proactor.poll(timeout=10)


def wait_then_send(proactor: Proactor) -> None:
    near, far = map(Socket.from_stdlib, stdlib_socket.socketpair())
    computed = TimelineSemaphore()
    page = bytearray(5)  # what is going to be sent does not exist yet
    wait = SemaphoreWait([computed], [1], flags=LINKED | SILENT)
    send = Send(near, page)
    proactor.submit(wait, send)

    def compute() -> None:
        page[:] = b"ready"
        computed.signal(1)

    worker = threading.Thread(target=compute)
    worker.start()
    wait_for(proactor, send)  # the ring goes on inside this thread's system call
    worker.join()
    print(f"  {far.stdlib.recv(100)!r} was sent when the semaphore had {computed.query()}")
    near.close()
    far.close()


CHILD = """
import select, sys
select.select([int(sys.argv[1])], [], [])
print("  child: the fence is readable", flush=True)
"""


def receive_then_signal(proactor: Proactor) -> None:
    near, far = map(Socket.from_stdlib, stdlib_socket.socketpair())
    arrived = TimelineSemaphore()
    fence = arrived.export_fence(1)  # a descriptor of ours: we close it
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(fence)], pass_fds=[fence])
    page = bytearray(4)
    receive = Recv(near, page, flags=LINKED)  # a step with a successor is done when all of its buffer is full
    signal = SemaphoreSignal([arrived], [1])
    proactor.submit(receive, signal)
    for piece in (b"da", b"ta"):
        far.stdlib.send(piece)
    wait_for(proactor, signal)
    print(f"  parent: {bytes(page)!r} was received, the semaphore has {arrived.query()}", flush=True)
    child.wait()
    os.close(fence)
    near.close()
    far.close()


def main() -> None:
    with Proactor() as proactor:
        report = proactor.capability_reports[Capability.LINKED_OPERATIONS]
        print(f"chains on {proactor.backend_name} are {report.support.value}: {report.reason}")
        for scene in (wait_then_send, receive_then_signal):
            print(scene.__name__.replace("_", " "), flush=True)  # the child prints, too
            scene(proactor)


if __name__ == "__main__":
    main()
