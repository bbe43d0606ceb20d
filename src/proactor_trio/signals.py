"""open_signal_receiver(): the signals of the process as an async iterator.

The handlers are Python's own (see proactor/signals.py for why nothing else serves), which run on the main thread only.
A handler leaves the signal in the run's queue for other threads and signal handlers, and the run's wakeup descriptor
ends its wait, whichever thread the kernel gave the signal to.

Rules:

1. A signal that arrives again before it was taken is one signal. They are taken in the order in which they first came.
2. No signal is swallowed. What was not taken when the block ends is raised once more, after the former handlers are
   back; and so is what the handler has noted and the run has not seen by then.
3. Blocks may be nested, for the same signals too: the innermost one gets the signal. They may end in any order.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final, Self

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.errors import BusyResourceError, RunFinishedError
from proactor_trio._kernel.interrupts import disable_ki_protection, enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.proactor.signal_layers import HandlerLayer

_ENDED: Final = "the block of this signal receiver has ended"


class SignalReceiver(AsyncIterator[int]):
    """The signals that arrive while its block lasts. One task may wait for the next one at a time."""

    __slots__ = ("__weakref__", "_has_ended", "_is_in_use", "_lot", "_pending")

    def __init__(self) -> None:
        self._pending: dict[int, None] = {}
        self._lot = ParkingLot()
        self._is_in_use = False
        self._has_ended = False

    def __aiter__(self) -> Self:
        return self

    @enable_ki_protection
    async def __anext__(self) -> int:
        """Wait for the next signal and take it; its number. Cancelled: none was taken."""
        if self._has_ended:
            raise RuntimeError(_ENDED)
        if self._is_in_use:
            raise BusyResourceError("another task waits for the next signal already")
        self._is_in_use = True
        try:
            if self._pending:
                await checkpoint()
            else:
                await self._lot.park()
        finally:
            self._is_in_use = False
        if self._has_ended:
            raise RuntimeError(_ENDED)
        number = next(iter(self._pending))
        del self._pending[number]
        return number

    def add(self, number: int) -> None:
        """A signal has arrived. Between two task steps of the run."""
        if self._has_ended:
            signal.raise_signal(number)
            return
        self._pending[number] = None
        self._lot.unpark()

    def end(self) -> None:
        """Raise what is left once more. The former handlers are back; all are called, also if one of them raises."""
        self._has_ended = True
        self._lot.unpark_all()
        left, self._pending = self._pending, {}
        _raise_all_again(iter(left))

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else f"{len(self._pending)} pending"
        return f"<SignalReceiver, {state}>"


def _raise_all_again(numbers: Iterator[int]) -> None:
    for number in numbers:
        try:
            _raise_again(number)
        finally:  # whatever its handler raises, which becomes the context of what a later one does
            _raise_all_again(numbers)


@disable_ki_protection
def _raise_again(number: int) -> None:
    signal.raise_signal(number)


@contextmanager
@enable_ki_protection
def open_signal_receiver(*signals: signal.Signals | int) -> Iterator[AsyncIterator[int]]:
    """Receive signals: `with open_signal_receiver(signal.SIGHUP) as numbers:` and then `async for number in numbers`.

    signals: which ones, at least one; twice the same is the same as once. While the block lasts they have no other
        effect. Signals that were not taken when it ends are raised once more, for the handlers from before.

    Raises TypeError without signals; RuntimeError on another thread than the main one, outside of a run, and for a
    signal whose handler Python could not put back; ValueError for what is no signal; OSError for one that cannot be
    handled.
    """
    if not signals:
        raise TypeError("open_signal_receiver() needs at least one signal")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("signals can be received on the main thread only, where Python handles them")
    token = current_run().token
    receiver = SignalReceiver()

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            token.run_sync_soon(receiver.add, number, idempotent=True)
        except RunFinishedError:  # the block has outlived its run, so the signal is not for it
            handlers.close()
            signal.raise_signal(number)

    with ExitStack() as end:
        end.callback(receiver.end)
        handlers = end.enter_context(ExitStack())
        for number in dict.fromkeys(signals):
            if signal.getsignal(number) is None:
                raise RuntimeError(f"{signal.strsignal(number)} has a handler that Python cannot put back")
            layer = HandlerLayer(number, handle)
            handlers.callback(layer.take)
            layer.put()
        yield receiver
