"""What the tests of hosts are written with: the smallest loop that is not ours, and waiting without sleeps."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

from proactor_trio.proactor import Operation, OperationState, Proactor

#: A condition that has not come true by then fails the test.
MOST_SECONDS: Final = 10.0


class OutsideLoop:
    """The smallest loop that hosts a proactor: epoll on its descriptor, a turn whenever one is due."""

    def __init__(self, proactor: Proactor) -> None:
        self.hosting = proactor.host(self.turn_is_due)
        self.is_due = True
        #: How often it waited, and was woken.
        self.waits = 0
        self._epoll = select.epoll()
        self._epoll.register(self.hosting.descriptor, select.EPOLLIN)

    def turn_is_due(self) -> None:
        self.is_due = True

    def run_until(self, condition: Callable[[], object]) -> None:
        """Take turns, and wait in between, until the condition holds; the test fails after a while."""
        end = time.monotonic() + MOST_SECONDS
        while not condition():
            assert time.monotonic() < end, "not reached"
            limit = self.take_turn()
            if not condition():
                self.wait(limit, end - time.monotonic())

    def settle(self, *operations: Operation) -> None:
        """Until these are done."""
        self.run_until(lambda: all(operation.state is OperationState.DONE for operation in operations))

    def take_turn(self) -> float | None:
        """One turn; how long may be waited then."""
        self.is_due = False
        return self.hosting.turn()

    def wait(self, limit: float | None, most_seconds: float) -> None:
        """Wait, unless something is due already."""
        if self.is_due or limit == 0:
            return
        self.waits += 1
        self._epoll.poll(most_seconds if limit is None else min(limit, most_seconds))

    def become_idle(self) -> None:
        """Take turns until nothing is due at once."""
        end = time.monotonic() + MOST_SECONDS
        while self.take_turn() == 0 or self.is_due or self.is_readable():
            assert time.monotonic() < end, "is never idle"

    def is_readable(self, seconds: float = 0) -> bool:
        """Whether the descriptor is readable now, or within so many seconds."""
        return bool(self._epoll.poll(seconds))

    def close(self) -> None:
        self._epoll.close()
        self.hosting.close()


def wait_until(condition: Callable[[], object]) -> None:
    """Ask again and again; for what other threads do, without a loop of ours."""
    end = time.monotonic() + MOST_SECONDS
    while not condition():
        assert time.monotonic() < end, "not reached"
        time.sleep(0)
