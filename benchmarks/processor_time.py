"""Reading the CPU time of a process: of this one, or of another from outside its code.

Linux gives every process a CPU clock that others may read (`clock_getcpuclockid`), in nanoseconds and over
all threads, kernel workers of an io_uring among them. For a process that is *running* on another CPU, the
clock is only as fresh as the last scheduler tick (up to 4 ms). So the load generator lets the server fall
asleep before it reads the clock: `settled_processor_time`. The split into user and system time is counted
by that tick in any case.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTLING_STEP_S = 0.002
SETTLING_LIMIT_S = 0.5
SHORTEST_SPLIT_S = 0.1


@dataclass(frozen=True)
class ProcessorTime:
    """CPU time used so far."""

    total_ns: int
    user_s: float
    system_s: float
    sleeps: int
    """How often it went to sleep: voluntary context switches, of another process those of its first thread."""

    def used_since(self, start: ProcessorTime) -> dict[str, Any]:
        """What was used since `start`, as the fields of a `Sample`.

        The share of user time is None where the time is too short for the kernel's tick to tell.
        """
        user, system = self.user_s - start.user_s, self.system_s - start.system_s
        return {
            "cpu_ns": self.total_ns - start.total_ns,
            "user_share": user / (user + system) if user + system >= SHORTEST_SPLIT_S else None,
            "sleeps": self.sleeps - start.sleeps,
        }


def own_processor_time() -> ProcessorTime:
    """The CPU time of the calling process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessorTime(time.process_time_ns(), usage.ru_utime, usage.ru_stime, usage.ru_nvcsw)


def settled_processor_time(process_id: int) -> ProcessorTime:
    """The CPU time of another process, once it has fallen asleep (half a second later if it never does)."""
    deadline = time.monotonic() + SETTLING_LIMIT_S
    previous = -1
    while True:
        total = time.clock_gettime_ns(_processor_clock(process_id))
        if total == previous or time.monotonic() > deadline:
            return ProcessorTime(total, *_user_and_system_seconds(process_id), _sleeps(process_id))
        previous = total
        time.sleep(SETTLING_STEP_S)


def _processor_clock(process_id: int) -> int:
    """What `clock_getcpuclockid` returns: the inverted process id, above three bits for the kind of clock."""
    scheduler_clock = 2
    return (~process_id << 3) | scheduler_clock


def _user_and_system_seconds(process_id: int) -> tuple[float, float]:
    # The second field is the command in parentheses and may hold spaces; utime and stime are 14 and 15.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks_per_second, int(fields[12]) / ticks_per_second


def _sleeps(process_id: int) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(value)
    raise LookupError("this kernel does not count context switches")
