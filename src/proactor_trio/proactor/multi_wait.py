"""multi_wait(): a worker thread waits for semaphores.

There is one way of waiting, asleep. The reference also offers to spin before that, or instead. In Python a thread that
spins holds the interpreter lock, which the thread that is to signal needs: it would be let in after the switch
interval, 5 ms, where a sleeper wakes some tens of microseconds after the signal.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Sequence

from proactor_trio.proactor.errors import DeadlineExceeded
from proactor_trio.proactor.joint_wait import JointWait, WaitMode, check_mode, check_semaphores, semaphore_parts
from proactor_trio.proactor.semaphore_source import SemaphoreSource


def multi_wait(
    semaphores: Sequence[SemaphoreSource],
    values: Sequence[int],
    mode: WaitMode = WaitMode.ALL,
    timeout: float | None = None,
) -> int | None:
    """Block this thread until the semaphores have their values.

    semaphores, values: as many of one as of the other. None at all: returns at once.
    mode: ALL: until each has its value, returns None. ANY: until one has, returns its index; of several that have
        theirs at the beginning the lowest.
    timeout: seconds; None: for ever; 0: only look.

    Raises DeadlineExceeded when the time is over, and a copy of the failure if one of them has failed or fails before
    its value is reached, whatever the others do. For worker threads: a thread whose own `poll()` is to bring the signal
    waits for ever, and a task awaits a SemaphoreWait instead.
    """
    check_semaphores(semaphores, values)
    check_mode(mode)
    seconds = _wait_limit(timeout)
    ends: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    wait = JointWait(semaphore_parts(semaphores, values), mode, ends.put)
    try:
        wait.begin()
        result = _first(ends, seconds)
    finally:
        wait.withdraw()
    if result is None:
        result = _first(ends, 0)  # it may have come just before the wait was withdrawn
    if result is None:
        raise DeadlineExceeded(f"multi_wait() for {len(semaphores)} semaphores: not reached in {timeout} s")
    if isinstance(result, BaseException):
        try:
            raise result
        finally:
            del result  # its traceback holds this frame: no cycle
    return result if mode is WaitMode.ANY and semaphores else None


def _first(ends: queue.SimpleQueue[int | BaseException], seconds: float | None) -> int | BaseException | None:
    try:
        return ends.get(timeout=seconds)
    except queue.Empty:
        return None


def _wait_limit(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout must not be negative or NaN, not {timeout}")
    return timeout if timeout <= threading.TIMEOUT_MAX else None
