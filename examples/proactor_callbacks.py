"""The proactor without tasks: operations, functions that are called when they are done, and a loop that polls.

This is the layer below the nurseries, and it can be used alone: for a loop of one's own, or inside a program that has
another way of life. Every operation completes exactly once, inside `poll()`, with `result` or `error` set.

1. A receive and a send on the two ends of a connection. The receive is submitted first; nothing waits for it.
2. Three LINKED operations, one batch: write to a file, read it back, send something. Each starts when the one before
   it has succeeded, and none of our code runs in between.
3. A chain that breaks: the read asks for more than the file has. It completes with what there is, the send after it
   completes as cancelled, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import tempfile

from proactor_trio.proactor import (
    CancelCause,
    CompletionFlags,
    File,
    FileRead,
    FileWrite,
    Operation,
    OperationCancelled,
    OperationFlags,
    Proactor,
    Recv,
    Send,
    Socket,
)

LINKED = OperationFlags.LINKED


class Log:
    """Remembers what has completed, in order. Its `note` is the completion function of every operation here."""

    def __init__(self) -> None:
        self.done: list[Operation] = []

    def note(self, operation: Operation, flags: CompletionFlags) -> None:
        outcome = operation.result if operation.error is None else operation.error
        print(f"  {operation.user_data}: {outcome}")
        self.done.append(operation)


def poll_until(proactor: Proactor, log: Log, count: int) -> None:
    """Poll until so many operations have completed."""
    while len(log.done) < count:
        proactor.poll(timeout=10)


def exchange(proactor: Proactor, here: Socket, there: Socket) -> bool:
    log, buffer = Log(), bytearray(100)
    proactor.submit(Recv(there, buffer, log.note, "bytes received"))
    proactor.submit(Send(here, b"hello", log.note, "bytes sent"))
    poll_until(proactor, log, 2)
    return bytes(buffer[:5]) == b"hello"


def chain(proactor: Proactor, here: Socket, there: Socket, file: File) -> bool:
    log, page, buffer = Log(), bytearray(9), bytearray(5)
    proactor.submit(
        FileWrite(file, b"some text", 0, log.note, "bytes written", LINKED),
        FileRead(file, page, 0, log.note, "bytes read", LINKED),
        Send(here, b"saved", log.note, "bytes sent"),
    )
    proactor.submit(Recv(there, buffer, log.note, "bytes received", whole=True))
    poll_until(proactor, log, 4)
    return page == b"some text" and buffer == b"saved" and all(step.error is None for step in log.done)


def broken_chain(proactor: Proactor, here: Socket, file: File) -> bool:
    log, page = Log(), bytearray(1000)
    read = FileRead(file, page, 0, log.note, "bytes read", LINKED)
    send = Send(here, b"never", log.note, "bytes sent")
    proactor.submit(read, send)
    poll_until(proactor, log, 2)
    cancelled = isinstance(send.error, OperationCancelled) and send.error.cause is CancelCause.EARLIER_STEP_FAILED
    return log.done == [read, send] and read.result == 9 and cancelled


def main() -> None:
    with Proactor() as proactor, tempfile.TemporaryFile() as temporary:
        print(f"on {proactor.backend_name}: {proactor.selection_reason}")
        here, there = map(Socket.from_stdlib, socket.socketpair())
        file = File(os.dup(temporary.fileno()))  # a File owns its descriptor, and so does the temporary file
        print("a receive and a send")
        right = [exchange(proactor, here, there)]
        print("a chain")
        right.append(chain(proactor, here, there, file))
        print("a chain that breaks")
        right.append(broken_chain(proactor, here, file))
        for resource in (here, there, file):
            resource.close()
    if not all(right):
        raise SystemExit("not all of it went as it should")


if __name__ == "__main__":
    main()
