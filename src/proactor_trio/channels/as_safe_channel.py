"""as_safe_channel: an async generator that runs in a task of its own and is read through a channel.

An async generator runs in the task that asks it for the next item, and stops in the middle of its own cancel scopes and
nurseries meanwhile; a scope that is open around a `yield` then belongs to two places at once, and nobody says when a
generator ends that is not exhausted. Here the generator has a task, the *feeder*, inside of a nursery that lives as
long as an `async with` block. So its scopes nest, and it has ended when the block has.

1. The generator computes an item when one was asked for, not before. A receive that is cancelled has asked all the
   same: its item waits for the next one to receive, which does not ask again.
2. The end of the block cancels the generator where it stands.
3. Exceptions of the generator or the block come out as they are, and not in the nursery's group, as long as there is
   one of them: Cancelled beside another exception says nothing. KeyboardInterrupt and SystemExit always come out, with
   the group as their cause. Groups that the user raised stay as they are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Final, NoReturn, ParamSpec, Self, TypeVar

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, TaskStatus, open_nursery
from proactor_trio.abc import ReceiveChannel
from proactor_trio.channels.memory_channel import MemoryReceiveChannel, MemorySendChannel, open_memory_channel
from proactor_trio.sync.semaphore import Semaphore

P = ParamSpec("P")
T = TypeVar("T")

_SEVERAL_NOTE: Final = (
    "Both the block around a channel of as_safe_channel and the generator behind it failed; the group is left as it is."
)


class _AskingChannel(ReceiveChannel[T]):
    """The receiving end that the block gets: each receive asks for one item, unless one that was asked for is due."""

    __slots__ = ("_asked_for", "_channel", "_requests", "_waiting")

    def __init__(self, channel: MemoryReceiveChannel[T], requests: Semaphore) -> None:
        self._channel = channel
        self._requests = requests
        self._waiting = 0
        self._asked_for = 0

    async def receive(self) -> T:
        self._waiting += 1
        try:
            if self._asked_for < self._waiting:
                self._asked_for += 1
                self._requests.release()
            value = await self._channel.receive()
            self._asked_for -= 1
            return value
        finally:
            self._waiting -= 1

    async def aclose(self) -> None:
        await self._channel.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channel.close()


def as_safe_channel(
    fn: Callable[P, AsyncGenerator[T, None]],
) -> Callable[P, AbstractAsyncContextManager[ReceiveChannel[T]]]:
    """Decorate an async generator function, so that it is used by a block and a channel:

        async with function(...) as channel:
            async for item in channel:
                ...

    The generator may have cancel scopes and nurseries around its `yield`. It runs in a task of its own, one item at a
    time when it is asked for, and has ended, by cancellation if need be, when the block is left. What it raises comes
    out of the block.
    """

    @asynccontextmanager
    @wraps(fn)
    async def open_channel(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[ReceiveChannel[T]]:
        send_channel, receive_channel = open_memory_channel[T](0)
        requests = Semaphore(0)
        try:
            async with open_nursery(strict_exception_groups=True) as nursery:
                generator = fn(*args, **kwargs)
                # start(), since a task that was never stepped could not end the generator.
                await nursery.start(_feed, generator, send_channel, requests)
                with _AskingChannel(receive_channel, requests) as channel:
                    yield channel
                nursery.cancel_scope.cancel("the block around a channel of as_safe_channel has ended")
        except BaseExceptionGroup as group:
            _raise_unpacked(group)

    return open_channel


async def _feed(
    generator: AsyncGenerator[T, None],
    send_channel: MemorySendChannel[T],
    requests: Semaphore,
    *,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    with send_channel:
        try:
            task_status.started()
            while True:
                await requests.acquire()
                if not send_channel.statistics().open_receive_channels:
                    break  # closed since it was asked for
                try:
                    value = await anext(generator)
                except StopAsyncIteration:
                    break
                try:
                    await send_channel.send(value)
                except BrokenResourceError:
                    break
        finally:
            await _close_generator(generator)


async def _close_generator(generator: AsyncGenerator[Any, None]) -> None:
    """aclose(), which knows GeneratorExit, but not the group that a nursery around the `yield` makes of it."""
    try:
        await generator.aclose()
    except BaseExceptionGroup as group:
        exits, rest = group.split(GeneratorExit)
        if exits is not None and len(list(_leaves(exits))) > 1:
            complaint = AssertionError("the generator raised several GeneratorExit; one was thrown into it")
            rest = group.derive([complaint] if rest is None else [*rest.exceptions, complaint])
        if rest is not None:
            raise rest from None


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]


def _raise_unpacked(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise what the nursery's group stands for; rule 3."""
    for error in group.exceptions:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise type(error)(*error.args) from group
    failures = [error for error in group.exceptions if not isinstance(error, Cancelled)]
    if len(failures) > 1:
        group.add_note(_SEVERAL_NOTE)
        raise group from None
    error = failures[0] if failures else group.exceptions[0]
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context, group, failures
