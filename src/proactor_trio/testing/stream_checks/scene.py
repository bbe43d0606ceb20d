"""What the checks are written with: new pairs, tasks side by side, expected exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.abc import AsyncResource
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.testing.checkpoints import assert_checkpoints

T = TypeVar("T")
FirstT = TypeVar("FirstT", bound=AsyncResource)
SecondT = TypeVar("SecondT", bound=AsyncResource)

StreamMaker = Callable[[], Awaitable[tuple[FirstT, SecondT]]]
Check = Callable[[Any, Any], Awaitable[None]]
AsyncCall = Callable[[], Awaitable[object]]


def require(condition: object, what: str) -> None:
    """The stream must have done this. An exception and no assert statement, which `python -O` would leave out."""
    if not condition:
        raise AssertionError(what)


@contextmanager
def raises(kind: type[BaseException]) -> Iterator[None]:
    """The block must raise this, and not in a group."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


@contextmanager
def raises_in_nursery(kind: type[BaseException]) -> Iterator[None]:
    """The block, a nursery, must raise a group of this one exception."""
    try:
        yield
    except BaseExceptionGroup as group:
        kinds = [type(error).__name__ for error in group.exceptions]
        require(len(kinds) == 1 and isinstance(group.exceptions[0], kind), f"{kind.__name__} expected, not {kinds}")
        return
    raise AssertionError(f"{kind.__name__} was not raised in any task")


async def checked(call: Awaitable[T]) -> T:
    """Await a call that must be a checkpoint if it returns."""
    with assert_checkpoints():
        return await call


async def together(*calls: AsyncCall) -> None:
    """Make several calls in tasks of their own, and wait for all."""
    async with open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)


@asynccontextmanager
async def new_pair(make: StreamMaker[FirstT, SecondT]) -> AsyncIterator[tuple[FirstT, SecondT]]:
    """A pair that is closed in any case, without waiting for anybody."""
    first, second = await make()
    try:
        yield first, second
    finally:
        try:
            await aclose_forcefully(first)
        finally:
            await aclose_forcefully(second)


async def run_checks(checks: Iterable[Check], make: StreamMaker[Any, Any]) -> None:
    """Play each check on a pair of its own."""
    for check in checks:
        try:
            async with new_pair(make) as (first, second):
                await check(first, second)
        except BaseException as error:
            error.add_note(f"this comes from the stream check {check.__name__}")
            raise
