"""Timeline semaphores: numbers that only grow, and work that waits for their values.

1. A chain that waits for a value, sends, and signals another semaphore; a thread signals the first one later.
2. A worker thread that waits for one of two semaphores, and a link from one semaphore to the next.
3. A failure: it stays, it goes through links, and it goes before every value.
"""

from __future__ import annotations

import socket
import threading

from proactor_trio.proactor import (
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    Socket,
    TimelineSemaphore,
    WaitMode,
    multi_wait,
)

LINKED = OperationFlags.LINKED


def settle(proactor: Proactor, operation: Operation) -> None:
    while operation.state is not OperationState.DONE:
        proactor.poll(timeout=10)


def a_chain(proactor: Proactor) -> None:
    here, there = map(Socket.from_stdlib, socket.socketpair())
    computed, sent = TimelineSemaphore(), TimelineSemaphore()
    sent.resolve(1, lambda error: print(f"  sent: {there.stdlib.recv(100)!r}"))
    last = SemaphoreSignal([sent], [1])
    proactor.submit(
        SemaphoreWait([computed], [3], flags=LINKED),
        Send(here, b"the answer", flags=LINKED),
        last,
    )
    worker = threading.Thread(target=lambda: [computed.signal(value) for value in (1, 2, 3)])
    worker.start()
    settle(proactor, last)
    worker.join()
    for end in (here, there):
        end.close()


def a_thread_that_waits() -> None:
    first, second, third = TimelineSemaphore(), TimelineSemaphore(), TimelineSemaphore()
    second.link(1, third, 10)
    waiter = threading.Thread(
        target=lambda: print(f"  the semaphore number {multi_wait([first, third], [1, 10], WaitMode.ANY)} came first")
    )
    waiter.start()
    second.signal(1)
    waiter.join()


def a_failure(proactor: Proactor) -> None:
    device, result = TimelineSemaphore(initial_value=7), TimelineSemaphore()
    device.link(8, result, 1)
    device.fail(OSError("the device was lost"))
    wait = SemaphoreWait([result, device], [1, 7], WaitMode.ANY)
    proactor.submit(wait)
    settle(proactor, wait)
    print(f"  the wait for {wait.values} ended with {wait.error!r}")


def main() -> None:
    with Proactor() as proactor:
        print("a chain that waits, sends and signals")
        a_chain(proactor)
        print("a thread that waits, and a link")
        a_thread_that_waits()
        print("a failure")
        a_failure(proactor)


if __name__ == "__main__":
    main()
