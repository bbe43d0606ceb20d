"""Turns: calls of several tasks on one file are made one after the other, in the order in which they came.

Files are not like streams: several tasks that write lines to one log are right, and in a thread-based library the lock
of the file object puts them in order. So nobody is refused here, where a stream would raise BusyResourceError.
"""

from __future__ import annotations

from proactor_trio._kernel.parking_lot import ParkingLot


class Turns:
    """Whose turn it is with a file. `taken`: whether a call is under way."""

    __slots__ = ("_waiting", "taken")

    def __init__(self) -> None:
        self.taken = False
        self._waiting: ParkingLot | None = None

    async def take(self) -> None:
        """Wait for a turn; no checkpoint if nobody has it. Cancelled: it was not taken."""
        if not self.taken:
            self.taken = True
            return
        if self._waiting is None:
            self._waiting = ParkingLot()
        await self._waiting.park()  # whoever gives it back hands it over

    def give_back(self) -> None:
        """The call has ended: the next one in line has its turn."""
        if self._waiting is None or not self._waiting.unpark():
            self.taken = False
