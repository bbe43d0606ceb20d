"""The points of behaviour that programs written for Trio rely on, and where each is tested.

A test says by `@pytest.mark.semantics(number, ...)` to which points it belongs.
"""

from __future__ import annotations

from typing import Final

CHECKLIST: Final[dict[int, str]] = {
    1: "Async functions that return are cancel points and schedule points; sync functions are neither",
    2: "Iterating checkpoints each time; a nursery's end is a schedule point only; sleep(0) is a checkpoint",
    3: "Cancellation is level-triggered: each checkpoint of a cancelled scope raises again",
    4: "A scope serves one block, and may be made, cancelled and changed before it",
    5: "Deadlines are looked at on entry, by the loop, and when cancel_called is read",
    6: "Relative deadlines count from the entry of the scope",
    7: "A shield keeps outer cancellations out; the effective deadline is what gets through",
    8: "fail_after() and fail_at() raise TooSlowError only if the block was cut off",
    9: "Cancelled says what caused it, who, and in which words",
    10: "Cancelled has no public constructor, and scopes take it out of groups",
    11: "Scopes and nurseries left in the wrong order are noticed and survived",
    12: "Nurseries raise groups; the first failure cancels the others",
    13: "start() waits below the caller until started(), then the task moves",
    14: "start_soon() copies context variables, names tasks, and explains wrong arguments",
    15: "The end of a nursery is not cancelled itself, and keeps a KeyboardInterrupt",
    16: "Tasks run in batches, one step each, in no promised order",
    17: "Order in a tick: I/O, deadlines, idleness, tasks; an interrupt before a cancellation",
    18: "What run() refuses, returns, raises, and ends in which order",
    19: "run_sync_soon(): in order, from threads and signal handlers, once if idempotent",
    20: "KeyboardInterrupt at once in unprotected code, else at the main task's next checkpoint",
    21: "Async generators are finalised inside the run",
    22: "Guest mode: a run on another loop, whose plain functions the host may call between its ticks",
    23: "to_thread.run_sync(): limiter, cancellation, context variables, cached threads",
    24: "from_thread: calls into the waiting task or a system task, check_cancelled()",
    25: "Event happens once; locks, semaphores, conditions and limiters are fair and know their owners",
    26: "ParkingLot: parking in order, moving, breaking",
    27: "Memory channels: order, buffers, clones, and what closing an end means for the other",
    28: "RunVar: one value for each run",
    29: "Instruments see each step of a run, and one that fails is taken out",
    30: "MockClock: rate, jump, autojump; idleness before jumping",
    31: "Streams and sockets: conflicts, closing, ends",
    32: "Connecting: cancelled attempts close their sockets, numeric names need no thread",
    33: "Processes: waiting without reaping, pipes, and what a cancelled run_process() does",
}
