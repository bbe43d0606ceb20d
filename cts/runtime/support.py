"""What the task-level suites are written with."""

from __future__ import annotations

import os
import signal
import socket as stdlib_socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cts.support import LOOPBACK, Sockets, until_asleep
from proactor_trio import (
    AsyncFile,
    CancelScope,
    SocketListener,
    SocketStream,
    open_file,
    open_nursery,
    open_tcp_listeners,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Operation, OperationFlags, Timer
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


in_main_thread_only = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread"
)


def after(seconds: float, function: Callable[[], object]) -> threading.Timer:
    """Call it in another thread after a while; join() the answer."""
    timer = threading.Timer(seconds, function)
    timer.start()
    return timer


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def after_start(started: threading.Event, function: Callable[[], object]) -> threading.Thread:
    """Call it in another thread when this one, after the event, waits in the kernel; join() the answer."""
    caller = threading.current_thread()

    def wait_and_call() -> None:
        assert started.wait(10)
        until_asleep(caller)
        function()

    thread = threading.Thread(target=wait_and_call)
    thread.start()
    return thread


MODES_THAT_READ = ("rb", "r+b", "w+b", "a+b", "x+b")
MODES_THAT_WRITE = ("r+b", "wb", "w+b", "xb", "x+b", "ab", "a+b")


def existing(path: Path, mode: str, contents: bytes = b"0123456789") -> Path:
    """The path, with a file where the mode asks for one."""
    if "x" not in mode:
        path.write_bytes(contents)
    return path


async def open_raw(file: Any, mode: str = "rb") -> AsyncFile:
    """An unbuffered file."""
    opened: AsyncFile = await open_file(file, mode, 0)
    return opened


LINKED = OperationFlags.LINKED
MULTISHOT = OperationFlags.MULTISHOT

MAP_NORESERVE = 0x4000  # of mmap(2); Python 3.11 has no name for it


def far_timer(*arguments: Any) -> Timer:
    """One that does not end by itself during a test."""
    return Timer(time.monotonic() + 1000, *arguments)


async def wait_for(operation: Operation) -> Any:
    return await operation


OTHER_LOOPBACK = "127.0.0.2"


def port_of(listener: SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


def ipv6_works() -> bool:
    try:
        with stdlib_socket.socket(stdlib_socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no ::1")


async def open_listener(host: str = LOOPBACK, port: int = 0) -> SocketListener:
    (listener,) = await open_tcp_listeners(port, host=host)
    return listener


async def echo(stream: SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def connect(sockets: Sockets, listener: SocketListener) -> stdlib_socket.socket:
    """A plain client that waits in the listener's queue."""
    return sockets.client_of(listener.socket.proactor_socket)
