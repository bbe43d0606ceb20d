"""The clock of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import Final

LONGEST_SLEEP: Final = 24 * 60 * 60.0


class Clock(ABC):
    """What time it is for a run, and how long to really sleep until a point of that time."""

    __slots__ = ()

    @abstractmethod
    def start_clock(self) -> None:
        """Called once when a run starts with this clock."""

    @abstractmethod
    def current_time(self) -> float:
        """The time now, in seconds; never goes back."""

    @abstractmethod
    def deadline_to_sleep_time(self, deadline: float) -> float:
        """How many real seconds to sleep when nothing else happens before `deadline`; may be infinite."""


class SystemClock(Clock):
    """The default: `time.monotonic()`, the same clock as that of Timer operations."""

    __slots__ = ()

    def start_clock(self) -> None:
        return None

    def current_time(self) -> float:
        return monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - monotonic()
