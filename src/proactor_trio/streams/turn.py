"""Turn: what one task does at a time, and the others do after it in the order of asking."""

from __future__ import annotations

from proactor_trio._kernel.parking_lot import ParkingLot


class Turn:
    """A lock for short inner sections. Unlike a Lock it is no checkpoint where nobody has it, and knows no owner.

    It is handed over, so that nobody comes in between: who waited has it before running again, and keeps it when
    cancelled just then.
    """

    __slots__ = ("_is_taken", "_waiting")

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting = ParkingLot()

    async def take(self) -> None:
        """Take it; wait for those who came earlier. Every take() that returned needs a give()."""
        if self._is_taken:
            await self._waiting.park()
        else:
            self._is_taken = True

    def give(self) -> None:
        """Let the next one have it."""
        if self._waiting:
            self._waiting.unpark()
        else:
            self._is_taken = False
