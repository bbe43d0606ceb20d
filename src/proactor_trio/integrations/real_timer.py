"""A timer on real time, for loops whose own clock is another one: the clock of a test, which stands still or jumps.

What a proactor waits for happens in real time. A loop that slept for it on a test clock would never wake up, or would
make the clock jump from one look at the proactor to the next.

A thread waits instead, one for each sleep: this is for tests, and the thread is there only while something is due.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class RealTimer:
    """Calls `wake()`, in a thread of its own, when its time has come. For one thread, but for `wake()`."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._when = math.inf
        self._thread: threading.Timer | None = None

    def wake_within(self, seconds: float | None) -> None:
        """Wake after so many seconds at the latest; None: not at all. It takes the place of the call before.

        One that wakes earlier is left as it is: whoever is woken asks again.
        """
        now = time.monotonic()
        when = math.inf if seconds is None else now + seconds
        if now < self._when <= when < math.inf:
            return
        self.stop()
        if when < math.inf:
            self._when = when
            self._thread = threading.Timer(when - now, self._wake)
            self._thread.daemon = True
            self._thread.start()

    def stop(self) -> None:
        """Wake no more; the thread has ended."""
        thread, self._thread, self._when = self._thread, None, math.inf
        if thread is not None:
            thread.cancel()
            thread.join()
