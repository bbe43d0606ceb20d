"""What the suites about frontier trackers are written with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proactor_trio.proactor import Frontier, FrontierTracker

A, B, C, UNKNOWN = 1, 2, 3, 99


def at(**epochs: int) -> Frontier:
    """`at(a=1, b=2)`: the frontier of these axes."""
    return Frontier.from_epochs({{"a": A, "b": B, "c": C}[name]: epoch for name, epoch in epochs.items()})


@contextmanager
def three_axes() -> Iterator[FrontierTracker]:
    """A tracker with the axes A, B and C; at the end of the block nothing may wait in it any more."""
    tracker = FrontierTracker()
    for axis in (A, B, C):
        tracker.register_axis(axis)
    yield tracker
    waiting = [entry for tracked in tracker._axes.values() for entry in tracked.agenda.entries]
    assert not waiting, f"left on the agendas: {waiting}"


def in_a_thread(call: Callable[[], object]) -> threading.Thread:
    """Call it in another thread; join() the answer."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def refuse(error: BaseException | None) -> None:
    """A callback that raises."""
    raise LookupError("callback")
