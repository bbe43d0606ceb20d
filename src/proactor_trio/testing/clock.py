"""MockClock: a clock that tests move by hand, or that jumps by itself when nothing is left to do."""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.context import CONTEXT

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run


class MockClock(Clock):
    """A clock that stands at 0 when it is made. It may serve one run after the other, and goes on where it stood.

    rate: how many of its seconds pass in a real second; 0 stands still.
    autojump_threshold: when all tasks have been blocked for so many real seconds, jump to the next deadline; inf never.
    """

    __slots__ = ("__weakref__", "_autojump_threshold", "_rate", "_real_base", "_run", "_virtual_base")

    def __init__(self, rate: float = 0.0, autojump_threshold: float = math.inf) -> None:
        self._real_base = 0.0
        self._virtual_base = 0.0
        self._rate = 0.0
        self._run: Run | None = None
        self._autojump_threshold = math.inf
        self.rate = rate
        self.autojump_threshold = autojump_threshold

    def __init_subclass__(cls) -> None:
        raise TypeError("MockClock does not support subclassing")

    def __repr__(self) -> str:
        return f"<MockClock, time={self.current_time():.7f}, rate={self._rate} @ {id(self):#x}>"

    @property
    def rate(self) -> float:
        """Its seconds in a real second; may be set at any time."""
        return self._rate

    @rate.setter
    def rate(self, new_rate: float) -> None:
        if new_rate < 0:
            raise ValueError("rate must be >= 0")
        self._virtual_base = self.current_time()
        self._real_base = perf_counter()
        self._rate = float(new_rate)

    @property
    def autojump_threshold(self) -> float:
        """After how many real seconds of nothing it jumps; may be set at any time."""
        return self._autojump_threshold

    @autojump_threshold.setter
    def autojump_threshold(self, new_threshold: float) -> None:
        self._autojump_threshold = float(new_threshold)
        self._tell_run()

    def _tell_run(self) -> None:
        run = CONTEXT.run
        if run is not None and run.clock is self:
            run.autojump_threshold = self._autojump_threshold
            run.autojump = self._autojump

    def _autojump(self) -> None:
        assert self._run is not None
        deadline = self._run.deadlines.next_deadline()
        jump = deadline - self.current_time()
        if 0 < jump < math.inf:
            self.jump(jump)

    def start_clock(self) -> None:
        self._run = CONTEXT.run
        self._tell_run()

    def current_time(self) -> float:
        return self._virtual_base + self._rate * (perf_counter() - self._real_base)

    def deadline_to_sleep_time(self, deadline: float) -> float:
        virtual = deadline - self.current_time()
        if virtual <= 0:
            return 0
        return virtual / self._rate if self._rate > 0 else math.inf

    def jump(self, seconds: float) -> None:
        """Move it forward by `seconds` at once."""
        if seconds < 0:
            raise ValueError("time can't go backwards")
        self._virtual_base += seconds
