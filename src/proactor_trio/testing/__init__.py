"""For tests of programs that run here: clocks and ways to wait."""

from proactor_trio.testing.clock import MockClock
from proactor_trio.testing.waiting import wait_all_tasks_blocked

__all__ = ["MockClock", "wait_all_tasks_blocked"]
