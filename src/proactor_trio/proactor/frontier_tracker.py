"""FrontierTracker: the axes that one machine knows of, and waits for frontiers of them as operations.

What it keeps, and the rules of that, stand in axis_table.py, which the operations are written for. This class says who
the machine is, and makes the waits that tasks await.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Unpack

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.axis_table import AxisTable
from proactor_trio.proactor.frontier import Frontier
from proactor_trio.proactor.operation import Limits
from proactor_trio.proactor.operations.frontier import FrontierWait, FrontierWaitAny

DEFAULT_AXIS_CAPACITY: Final = 256
_LARGEST_CAPACITY: Final = ((1 << 32) - 1) >> 2
_BYTE: Final = 0xFF


class FrontierTracker(AxisTable):
    """The epochs of a set of axes, and waits for frontiers of them.

    axis_table_capacity: how many axes may be registered.
    session_epoch, machine_index: 0 to 255; who this is, for those who make axes.

    It belongs to no proactor: operations of any may wait for its frontiers. Use it as a context manager, or call
    `close()`, where somebody may still wait at the end.
    """

    __slots__ = ("machine_index", "session_epoch")

    def __init__(
        self, axis_table_capacity: int = DEFAULT_AXIS_CAPACITY, session_epoch: int = 1, machine_index: int = 0
    ) -> None:
        check_integer(axis_table_capacity, "axis_table_capacity", 0, _LARGEST_CAPACITY)
        check_integer(session_epoch, "session_epoch", 0, _BYTE)
        check_integer(machine_index, "machine_index", 0, _BYTE)
        super().__init__(axis_table_capacity)
        self.session_epoch = session_epoch
        self.machine_index = machine_index

    def wait(self, frontier: Frontier, **limits: Unpack[Limits]) -> FrontierWait:
        """A new FrontierWait: `reached = await tracker.wait(frontier)`, or submit it.

        deadline, timeout: see Limits; a task usually has a cancel scope around it instead.
        """
        return FrontierWait(self, frontier, **limits)

    def wait_any(self, frontiers: Sequence[Frontier], **limits: Unpack[Limits]) -> FrontierWaitAny:
        """A new FrontierWaitAny: `index = await tracker.wait_any([one, other])`, or submit it.

        deadline, timeout: as for `wait()`.
        """
        return FrontierWaitAny(self, frontiers, **limits)

    def __enter__(self) -> FrontierTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
