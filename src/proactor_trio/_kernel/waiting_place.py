"""WaitingPlace: what a task can be parked in that is no operation: an event, the end of a channel, a parking lot, the
heap of deadlines.

A task that waits in such a place has it as `Task.waiting`, and the place keeps the task in a queue of its own. So no
function object is made for a wait, and nothing but the place has to be looked at to end it:

1. Who parks puts the task into the queue, sets `task.waiting` to the place, and awaits PARK, with nothing in between.
2. Who lets it go on takes it out of the queue first, and then calls `task.resume()` or `task.interrupt()`.
3. A cancellation calls `withdraw()`, and interrupts the task itself. After that nobody lets it go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proactor_trio._kernel.task import Task


class WaitingPlace:
    """Where tasks wait. Not an abstract base class: these make isinstance() slow, and it is asked for each wait that is
    cancelled."""

    __slots__ = ()

    def withdraw(self, task: Task) -> None:
        """Forget a task that waits here: it is going to be interrupted."""
        raise NotImplementedError
