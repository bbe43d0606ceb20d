"""What a run is doing, in numbers: current_statistics()."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from proactor_trio._kernel.context import current_run


@dataclass(frozen=True, slots=True)
class IOStatistics:
    """backend: its name; variant: what exactly runs; reason: why it, and why none of the better ones; counters: since
    the run began."""

    backend: str
    variant: str
    reason: str
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """tasks_living: started and not ended; tasks_runnable: in the next batch; seconds_to_next_deadline: of any cancel
    scope, inf if there is none; io_statistics: of the proactor; run_sync_soon_queue_size: calls that wait."""

    tasks_living: int
    tasks_runnable: int
    seconds_to_next_deadline: float
    io_statistics: IOStatistics
    run_sync_soon_queue_size: int


def current_statistics() -> RunStatistics:
    """Numbers about the run that calls."""
    run = current_run()
    deadline = run.deadlines.next_deadline()
    proactor = run.proactor
    return RunStatistics(
        tasks_living=run.task_count,
        tasks_runnable=len(run.runq),
        seconds_to_next_deadline=math.inf if deadline == math.inf else deadline - run.current_time(),
        run_sync_soon_queue_size=len(run.entry_queue),
        io_statistics=IOStatistics(
            backend=proactor.backend_name,
            variant=proactor.backend_variant,
            reason=proactor.selection_reason,
            counters=proactor.statistics(),
        ),
    )
