"""Scenes for operations of every kind: an operation, what it needs, what makes it go on, and what it may have done.

A scene is set once and used many times. Each attempt at its operation is accounted for afterwards: what came in was
either taken by the operation that returned it or is still there for the next one, and what an operation was to do has
happened exactly if it returned. So no scene tells how its operation works; it counts what an observer can see.
"""

from __future__ import annotations

import os
import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from cts.support import Files, Sockets
from proactor_trio import CancelScope, open_nursery
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import Operation, Socket, SocketClose
from proactor_trio.testing import wait_all_tasks_blocked

#: How long bytes between two sockets of this machine may take.
MOST_MILLISECONDS = 2000


class Place:
    """Where a scene is set: makers whose products are closed after the test, and a folder."""

    def __init__(
        self, sockets: Sockets, files: Files, stack: ExitStack, make_other_proactor: Callable[[], Any]
    ) -> None:
        self.sockets = sockets
        self.files = files
        self.folder: Path = files.folder
        self.stack = stack
        self.make_other_proactor = make_other_proactor

    def pipe(self) -> tuple[int, int]:
        """A non-blocking pipe: (descriptor to read from, descriptor to write to)."""
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for descriptor in ends:
            self.stack.callback(os.close, descriptor)
        return ends


class Attempt:
    """One performance of a scene's operation in a task, inside a scope of its own."""

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.returned = False
        self.result: Any = None
        self.error: BaseException | None = None

    async def make(self, scene: Scene) -> None:
        """Perform it; the result, an error or the cancellation is kept."""
        with self.scope:
            try:
                self.result = await scene.perform()
            except Exception as error:
                self.error = error
            else:
                self.returned = True

    @property
    def cancelled(self) -> bool:
        return bool(self.scope.cancelled_caught)

    def check_one_outcome(self) -> None:
        """It was cancelled, or returned, or failed: one of them."""
        assert [self.cancelled, self.returned, self.error is not None].count(True) == 1, vars(self)


class Scene(ABC):
    """An operation and its surroundings.

    waits: whether the operation waits until it is provoked; otherwise it ends by itself.
    """

    waits: ClassVar[bool]
    operation: Operation

    def __init__(self, place: Place) -> None:
        self.place = place
        self.provoked = 0
        self.set_up()

    @abstractmethod
    def set_up(self) -> None:
        """Make the operation and what it needs."""

    async def perform(self) -> Any:
        """Submit the operation and wait for its result."""
        return await self.operation

    def arrange_end(self, seconds: float) -> None:
        """Before an attempt that is to end: for what cannot be provoked, let it end by itself after a while."""
        return None

    def provoke(self) -> None:
        """Let one thing happen that an operation in flight waits for."""
        self.provoked += 1
        self.provoke_once()

    def provoke_once(self) -> None:
        """See provoke()."""
        return None

    def account(self, attempt: Attempt) -> None:
        """Compare what can be seen with what the attempt says, and put everything back as it was before it."""
        attempt.check_one_outcome()
        assert attempt.error is None, attempt.error
        self.check(attempt)
        self.provoked = 0

    @abstractmethod
    def check(self, attempt: Attempt) -> None:
        """See account()."""

    def give_up(self) -> None:
        """Let go what is not closed by the place: this scene is not used again."""
        return None

    async def use_again(self) -> None:
        """The same operation does what it should in an attempt that nobody disturbs."""
        attempt = Attempt()
        self.arrange_end(0.0)
        async with open_nursery() as nursery:
            nursery.start_soon(attempt.make, self)
            if self.waits:
                await wait_all_tasks_blocked()
                self.provoke()
        assert attempt.returned, f"{self.operation!r}: {attempt.error!r}"
        self.account(attempt)


class WaitingScene(Scene):
    """An operation that takes what comes in: bytes, datagrams, connections, signals.

    `taken()` says how much of it a result is, `left()` takes out what is still there and counts it.
    """

    waits = True

    def taken(self, result: Any) -> int:
        """How much of what came in the result is."""
        return 0

    def left(self, expected: int) -> int:
        """Take out what is left; `expected` is how much of it there should be."""
        return expected

    def check(self, attempt: Attempt) -> None:
        assert self.provoked or not attempt.returned, "it returned something that never came"
        taken = self.taken(attempt.result) if attempt.returned else 0
        assert taken + self.left(self.provoked - taken) == self.provoked

    def closing(self) -> Operation | None:
        """What closes the resource that is waited for; None if it is not one that can be closed under its users."""
        return None


class FullScene(WaitingScene):
    """An operation that waits for room: what the reader gets is what was in before and what the operation says."""

    filled = 0
    drained = 0

    @abstractmethod
    def fill(self) -> int:
        """Fill the room up; how many bytes it took."""

    @abstractmethod
    def drain(self) -> int:
        """Take all bytes that are there out on the other side; how many it were."""

    def provoke_once(self) -> None:
        self.drained += self.drain()

    def check(self, attempt: Attempt) -> None:
        assert self.provoked or not attempt.returned, "it found room where there was none"
        self.drained += self.drain()
        moved = attempt.result if attempt.returned else 0
        assert self.drained == self.filled + moved
        self.drained = 0
        self.filled = self.fill()


class EndingScene(Scene):
    """An operation that ends by itself and does something: `has_happened()` looks, `undo()` puts it back.

    Of one that changes nothing, `has_happened()` gives None.
    """

    waits = False

    def has_happened(self) -> bool | None:
        """Whether what the operation is for can be seen."""
        return None

    def undo(self) -> None:
        """Before the next attempt."""

    def keep_result(self, result: Any) -> None:
        """Check the result and let it go."""

    def check(self, attempt: Attempt) -> None:
        if attempt.returned:
            self.keep_result(attempt.result)
        happened = self.has_happened()
        assert happened is None or happened == attempt.returned, f"returned: {attempt.returned}, happened: {happened}"
        self.undo()


def is_ready(descriptor: int, milliseconds: int = 0) -> bool:
    """Whether there is something to be read, now or within the time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def count_ready(descriptor: int, take_one: Callable[[], object], expected: int) -> int:
    """Take one after the other as long as there is something; the expected ones may take a moment to come."""
    count = 0
    while is_ready(descriptor, MOST_MILLISECONDS if count < expected else 0):
        take_one()
        count += 1
    return count


def close_operation(socket: Socket) -> Operation:
    return SocketClose(socket)


# Attempts that are disturbed -----------------------------------------------------------------------------------------


async def cancel_in_flight(scene: Scene) -> Attempt:
    """Cancel the task when its operation waits."""
    attempt = Attempt()
    async with open_nursery() as nursery:
        nursery.start_soon(attempt.make, scene)
        await wait_all_tasks_blocked()
        attempt.scope.cancel()
    return attempt


async def race(scene: Scene, chance: Any, *rivals: Callable[[Attempt], object]) -> Attempt:
    """Start the operation and let the rivals act in an order, and with pauses, that are a matter of chance."""
    attempt = Attempt()
    scene.arrange_end(chance.random() * 0.0002)
    order = list(rivals)
    chance.shuffle(order)
    async with open_nursery() as nursery:
        nursery.start_soon(attempt.make, scene)
        for rival in order:
            for _ in range(chance.randrange(4)):
                await checkpoint()
            rival(attempt)
    return attempt


def in_flight() -> int:
    """How many operations the run's proactor has in flight."""
    count: int = current_proactor().statistics()["in_flight"]
    return count
