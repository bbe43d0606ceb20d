"""Sequencer: blocks of code in different tasks that run one after the other."""

from __future__ import annotations

from types import TracebackType

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio.sync.event import Event


class _Turn:
    """One block: waits until the one before it has ended, and begins the one after it."""

    __slots__ = ("_position", "_sequencer")

    def __init__(self, sequencer: Sequencer, position: int) -> None:
        self._sequencer = sequencer
        self._position = position

    async def __aenter__(self) -> None:
        await self._sequencer._begin(self._position)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sequencer._event_before(self._position + 1).set()


class Sequencer:
    """Blocks that run in the order of their numbers, whatever task each of them is in:

        async with sequencer(3):
            ...  # block 2 has ended, and block 4 begins after this one

    Block 0 begins at once. Each number can be used once. When a task is cancelled while it waits for its turn, the
    sequence cannot go on: that task, and all others that wait or come later, get RuntimeError.
    """

    def __init__(self) -> None:
        self._before: dict[int, Event] = {}
        self._claimed: set[int] = set()
        self._is_broken = False

    def __init_subclass__(cls) -> None:
        raise TypeError("Sequencer does not support subclassing")

    def __call__(self, position: int) -> _Turn:
        """An async context manager for block `position`."""
        return _Turn(self, position)

    def _event_before(self, position: int) -> Event:
        return self._before.setdefault(position, Event())

    async def _begin(self, position: int) -> None:
        if position in self._claimed:
            raise RuntimeError(f"block {position} of this sequence was begun already")
        self._refuse_if_broken()
        self._claimed.add(position)
        if position == 0:
            return
        try:
            await self._event_before(position).wait()
        except Cancelled:
            self._is_broken = True
            for event in self._before.values():
                event.set()
            raise RuntimeError(f"cancelled before the turn of block {position} came: the sequence is broken") from None
        self._refuse_if_broken()

    def _refuse_if_broken(self) -> None:
        if self._is_broken:
            raise RuntimeError("the sequence is broken: a task was cancelled while it waited for its turn")
