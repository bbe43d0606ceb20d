"""A thread of its own for input and output, while the program computes.

The thread polls the proactor; operations are submitted from here. Stopping it cancels what is pending, and everything
that was begun is reported before it ends.
"""

from __future__ import annotations

import socket
import threading
import time

from proactor_trio.proactor import CompletionFlags, Operation, ProactorThread, RecvBytes, Send, Socket, Timer


def main() -> None:
    arrived = threading.Event()

    def received(operation: Operation, flags: CompletionFlags) -> None:
        print(f"  {operation.result!r} arrived on {threading.current_thread().name}")
        arrived.set()

    def ended(operation: Operation, flags: CompletionFlags) -> None:
        print(f"  the long timer: {operation.error}")

    def complain(error: Exception) -> None:
        print(f"  a completion function raised {error!r}, and the thread goes on")

    def fail(operation: Operation, flags: CompletionFlags) -> None:
        raise LookupError("not found")

    near, far = map(Socket.from_stdlib, socket.socketpair())
    with ProactorThread(debug_name="input-output", error_callback=complain) as thread:
        print(f"{threading.current_thread().name} submits")
        thread.proactor.submit(Timer(time.monotonic() + 3600, ended))
        thread.proactor.submit(Timer(time.monotonic(), fail))
        thread.proactor.submit(RecvBytes(far, 100, received))
        thread.proactor.submit(Send(near, b"good news"))
        total = sum(number * number for number in range(100_000))
        arrived.wait()
        print(f"  meanwhile the sum was computed: {total}")
        print("the thread is stopped")
    for end in (near, far):
        end.close()


if __name__ == "__main__":
    main()
