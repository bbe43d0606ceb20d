"""What the task-level suites are written with."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from proactor_trio import CancelScope, SocketStream, open_nursery
from proactor_trio.lowlevel import checkpoint
from proactor_trio.testing import wait_all_tasks_blocked

#: More than the kernel's buffers between two sockets of this machine ever hold.
MORE_THAN_FITS = 16 * 1024 * 1024


async def receive_exactly(stream: SocketStream, count: int) -> bytes:
    """So many bytes; the test fails at an early end."""
    received = bytearray()
    while len(received) < count:
        piece = await stream.receive_some(count - len(received))
        assert piece, f"the stream ended after {len(received)} of {count} bytes"
        received += piece
    return bytes(received)


async def receive_until_end(stream: SocketStream, max_bytes: int | None = None) -> bytes:
    """All bytes up to the end of the stream."""
    received = bytearray()
    while piece := await stream.receive_some(max_bytes):
        received += piece
    return bytes(received)


@contextmanager
def cancelled_scope() -> Iterator[CancelScope]:
    """A scope that is cancelled already; the test fails if the block does not end by Cancelled."""
    with CancelScope() as scope:
        scope.cancel()
        yield scope
    assert scope.cancelled_caught, "the block was no cancellation point"


class Outcome:
    """What a call in another task came to."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False

    async def of(self, async_fn: Callable[..., Any], *args: Any) -> None:
        """Make the call; an Exception is kept."""
        try:
            self.value = await async_fn(*args)
        except Exception as error:
            self.error = error
        self.done = True


async def error_when(action: Callable[[], Any], async_fn: Callable[..., Any], *args: Any) -> BaseException | None:
    """What the call ends with after `await action()` is done while it is blocked."""
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, async_fn, *args)
        await wait_all_tasks_blocked()
        assert not outcome.done, f"was not blocked: {outcome.value!r}, {outcome.error!r}"
        await action()
    return outcome.error


class Ticker:
    """Counts the ticks of the run for the length of a block: a task that does nothing but checkpoints."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        while True:
            self.count += 1
            await checkpoint()


def is_open(descriptor: int) -> bool:
    """Whether the process has this descriptor."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def fork_and_report(in_child: Callable[[], str]) -> str:
    """What `in_child` returns in a forked child, or how it failed. The child ends without any clean-up."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            try:
                text = in_child()
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(writer, text.encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    try:
        parts = []
        while part := os.read(reader, 4096):
            parts.append(part)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    return b"".join(parts).decode()
