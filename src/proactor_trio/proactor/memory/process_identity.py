"""Who holds a shared buffer: a process, as a number of 32 bits that is not mistaken for a later process.

Facts: process numbers are below 2**22 on Linux and are used again when their process is gone; /proc/PID/stat says when
a process was started, in hundredths of a second since boot. A process that has died and was not waited for (a zombie)
still has its number, and holds nothing.

So an identity is the number of the process and the last ten bits of its starting time. A dead owner whose number has
been given to somebody else is recognised as dead, unless the other was started at the same hundredth of a second of the
same ten seconds. Where the system has no /proc the starting time counts as 0.
"""

from __future__ import annotations

import os
from typing import Final

_START_BITS: Final = 10
_START_MASK: Final = (1 << _START_BITS) - 1
_ENDED_STATES: Final = frozenset("ZX")

_own: dict[int, int] = {}


def own_identity() -> int:
    """The identity of this process."""
    process = os.getpid()
    identity = _own.get(process)
    if identity is None:
        _own.clear()  # what a parent has left
        identity = _own[process] = process << _START_BITS | (_start_of(process) or 0) & _START_MASK
    return identity


def process_of(identity: int) -> int:
    """The number of the process."""
    return identity >> _START_BITS


def is_alive(identity: int) -> bool:
    """Whether that very process still runs."""
    process = process_of(identity)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    start = _start_of(process)
    if start is None:
        return not os.path.exists("/proc/self/stat")
    return start & _START_MASK == identity & _START_MASK


def _start_of(process: int) -> int | None:
    """When a process was started; None if it has ended, or where that cannot be told."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _ENDED_STATES else int(fields[19])
