"""The points of behaviour that programs written for Trio rely on, and where each is tested.

A test says by `@pytest.mark.semantics(number, ...)` to which points it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Point:
    """One of the points.

    title: what it is about.
    missing: the part of it that cannot be tested yet, with the reason; empty if there is none.
    is_here: whether anything of it can be tested.
    """

    title: str
    missing: str = ""
    is_here: bool = True


def _later(title: str) -> Point:
    return Point(title, f"arrives with the structured library: {title[0].lower()}{title[1:]}", is_here=False)


CHECKLIST: Final[dict[int, Point]] = {
    1: Point("Async functions that return are cancel points and schedule points; sync functions are neither"),
    2: Point("Iterating checkpoints each time; a nursery's end is a schedule point only; sleep(0) is a checkpoint"),
    3: Point("Cancellation is level-triggered: each checkpoint of a cancelled scope raises again"),
    4: Point("A scope serves one block, and may be made, cancelled and changed before it"),
    5: Point("Deadlines are looked at on entry, by the loop, and when cancel_called is read"),
    6: Point("Relative deadlines count from the entry of the scope"),
    7: Point("A shield keeps outer cancellations out; the effective deadline is what gets through"),
    8: Point("fail_after() and fail_at() raise TooSlowError only if the block was cut off"),
    9: Point("Cancelled says what caused it, who, and in which words"),
    10: Point("Cancelled has no public constructor, and scopes take it out of groups"),
    11: Point("Scopes and nurseries left in the wrong order are noticed and survived"),
    12: Point("Nurseries raise groups; the first failure cancels the others"),
    13: Point("start() waits below the caller until started(), then the task moves"),
    14: Point("start_soon() copies context variables, names tasks, and explains wrong arguments"),
    15: Point("The end of a nursery is not cancelled itself, and keeps a KeyboardInterrupt"),
    16: Point("Tasks run in batches, one step each, in no promised order"),
    17: Point("Order in a tick: I/O, deadlines, idleness, tasks; an interrupt before a cancellation"),
    18: Point("What run() refuses, returns, raises, and ends in which order"),
    19: Point("run_sync_soon(): in order, from threads and signal handlers, once if idempotent"),
    20: Point("KeyboardInterrupt at once in unprotected code, else at the main task's next checkpoint"),
    21: Point("Async generators are finalised inside the run"),
    22: Point("Guest mode: a run on another loop, whose plain functions the host may call between its ticks"),
    23: Point("to_thread.run_sync(): limiter, cancellation, context variables, cached threads"),
    24: Point("from_thread: calls into the waiting task or a system task, check_cancelled()"),
    25: Point("Event happens once; locks, semaphores, conditions and limiters are fair and know their owners"),
    26: Point("ParkingLot: parking in order, moving, breaking"),
    27: Point("Memory channels: order, buffers, clones, and what closing an end means for the other"),
    28: Point("RunVar: one value for each run"),
    29: Point("Instruments see each step of a run, and one that fails is taken out"),
    30: Point("MockClock: rate, jump, autojump; idleness before jumping"),
    31: Point("Streams and sockets: conflicts, closing, ends"),
    32: Point("Connecting: cancelled attempts close their sockets, numeric names need no thread"),
    33: Point("Processes: waiting without reaping, pipes, and what a cancelled run_process() does"),
}
