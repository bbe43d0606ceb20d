"""Notifications: "look again, something may have changed", for operations, threads and other processes.

A notification is an epoch that signals advance. Whoever waits takes the epoch as a token, looks at the thing itself,
and then waits for the epoch to differ from the token. So a signal between the look and the wait is not lost, and
signals that nobody has seen yet are as good as one.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from collections import deque

from proactor_trio.proactor import (
    Notification,
    NotificationWait,
    Operation,
    OperationState,
    Proactor,
    SharedNotification,
    Unimplemented,
)


def wait_for(proactor: Proactor, operation: Operation) -> None:
    while operation.state is not OperationState.DONE:
        proactor.poll(timeout=10)


def tokens(proactor: Proactor) -> None:
    notification, queue = Notification(), deque[str]()
    token = notification.begin_observe()  # from here on every signal counts
    print(f"  the queue has {len(queue)} entries")
    queue.append("in between")
    notification.signal()
    wait = NotificationWait(notification, wait_token=token)
    proactor.submit(wait)
    wait_for(proactor, wait)  # at once: the epoch has moved past the token
    notification.end_observe()
    print(f"  the epoch is {wait.result}, the queue has {len(queue)} entries")


def a_blocked_thread(proactor: Proactor) -> None:
    """A worker that has nothing to poll blocks; a polling thread must not, it submits a NotificationWait."""
    orders, results = Notification(), Notification()
    queue: deque[int] = deque()

    def work() -> None:
        token = orders.query_epoch()
        while not queue:  # the usual loop: look, and if there is nothing, wait for a signal since the token
            orders.wait_for_token(token)
            token = orders.query_epoch()
        queue.append(queue.popleft() ** 2)
        results.signal()

    worker = threading.Thread(target=work)
    worker.start()
    wait = NotificationWait(results)  # waits past the epoch of its submission
    proactor.submit(wait)
    queue.append(12)
    orders.signal()
    wait_for(proactor, wait)
    worker.join()
    print(f"  the worker has left {queue.popleft()}")


CHILD = """
import mmap, sys
from proactor_trio.proactor import SharedNotification
memory, wake = map(int, sys.argv[1:])
with mmap.mmap(memory, mmap.PAGESIZE) as shared, memoryview(shared) as view, view[:8] as epoch:
    with SharedNotification(epoch, signal_handle=wake, lock_file=memory) as notification:
        view[8:13] = b"hello"
        notification.signal()
"""


def another_process(proactor: Proactor) -> None:
    """The epoch lies in shared memory, and an eventfd wakes our proactor. A memfd is the memory and the lock file."""
    memory = os.memfd_create("epoch")
    os.ftruncate(memory, mmap.PAGESIZE)
    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    with mmap.mmap(memory, mmap.PAGESIZE) as shared, memoryview(shared) as view, view[:8] as epoch:
        with SharedNotification(epoch, wake_handle=wake, lock_file=memory) as notification:
            wait = NotificationWait(notification)
            proactor.submit(wait)
            command = [sys.executable, "-c", CHILD, str(memory), str(wake)]
            subprocess.run(command, pass_fds=(memory, wake), check=True)
            wait_for(proactor, wait)
            print(f"  a child process has advanced the epoch to {wait.result} and says {bytes(view[8:13])!r}")
    os.close(memory)
    os.close(wake)


def main() -> None:
    with Proactor() as proactor:
        for scene in (tokens, a_blocked_thread, another_process):
            print(scene.__name__.replace("_", " "))
            try:
                scene(proactor)
            except Unimplemented as reason:  # futexes: only Linux has them
                print(f"  not here: {reason}")


if __name__ == "__main__":
    main()
