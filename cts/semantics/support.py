"""What the tests of these suites are written with. `lib` is the library under test, with Trio's names."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

LOOPBACK = "127.0.0.1"

#: More than the kernel's buffers between two sockets of this machine ever hold.
MORE_THAN_FITS = 16 * 1024 * 1024


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group of groups, in order; an exception that is none is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


@contextmanager
def raises_group_of(*kinds: type[BaseException]) -> Iterator[None]:
    """The block raises one group of exactly these, none of them nested deeper."""
    with pytest.raises(BaseExceptionGroup) as caught:
        yield
    assert sorted(type(error).__name__ for error in caught.value.exceptions) == sorted(kind.__name__ for kind in kinds)


@contextmanager
def cancelled_block(lib: Any) -> Iterator[Any]:
    """A scope that is cancelled already; the test fails if the block does not end by Cancelled."""
    with lib.CancelScope() as scope:
        scope.cancel()
        yield scope
    assert scope.cancelled_caught, "the block was no cancel point"


async def is_cancel_point(lib: Any, async_fn: Callable[..., Awaitable[object]], *args: Any) -> bool:
    """Whether the call raises Cancelled in a cancelled scope."""
    with lib.CancelScope() as scope:
        scope.cancel()
        await async_fn(*args)
    caught: bool = scope.cancelled_caught
    return caught


async def is_schedule_point(lib: Any, async_fn: Callable[..., Awaitable[object]], *args: Any) -> bool:
    """Whether the calling task is stepped anew during the call, so that others had their turn."""
    calling_task = lib.lowlevel.current_task()
    steps = 0

    class Counter(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_task_step(self, task: object) -> None:
            nonlocal steps
            steps += task is calling_task

    counter = Counter()
    lib.lowlevel.add_instrument(counter)
    try:
        await async_fn(*args)
    finally:
        lib.lowlevel.remove_instrument(counter)
    return steps > 0


async def cancelled_of(lib: Any, async_fn: Callable[..., Awaitable[object]], *args: Any) -> Any:
    """The Cancelled that a call raises; it is raised further, so call this inside of the scope."""
    try:
        await async_fn(*args)
    except lib.Cancelled as cancelled:
        return cancelled
    raise AssertionError("the call was not cancelled")


class Blocked:
    """A task that makes one call and keeps what came of it: `error` or `value`, when `done`."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    async def __call__(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        try:
            self.value = await async_fn(*args)
        except Exception as error:
            self.error = error
        self.done = True


async def blocked(lib: Any, nursery: Any, async_fn: Callable[..., Awaitable[object]], *args: Any) -> Blocked:
    """Start the call in a task of its own and wait until it is blocked there."""
    call = Blocked()
    nursery.start_soon(call, async_fn, *args)
    await lib.testing.wait_all_tasks_blocked()
    assert not call.done, f"was not blocked: {call.value!r}, {call.error!r}"
    return call


async def tcp_pair(lib: Any) -> tuple[Any, Any]:
    """Two connected streams."""
    (listener,) = await lib.open_tcp_listeners(0, host=LOOPBACK)
    async with listener:
        near = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
        return near, await listener.accept()


def port_of(listener: Any) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


async def receive_exactly(stream: Any, count: int) -> bytes:
    """So many bytes; the test fails at an early end."""
    received = bytearray()
    while len(received) < count:
        piece = await stream.receive_some(count - len(received))
        assert piece, f"the stream ended after {len(received)} of {count} bytes"
        received += piece
    return bytes(received)


def interrupt() -> None:
    """Control-C, now."""
    signal.raise_signal(signal.SIGINT)


in_main_thread_only = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread"
)
