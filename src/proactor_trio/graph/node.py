"""Node: one step of a graph, who it waits for, and how it has ended.

| state                        | may become                                | meaning                                |
|------------------------------|-------------------------------------------|----------------------------------------|
| ADDED                        | WAITING                                   | known, not submitted                   |
| WAITING                      | RUNNING, FAILED, CANCELLED                | submitted; its turn has not come       |
| RUNNING                      | CANCELLING, SUCCEEDED, FAILED, CANCELLED  | begun, or handed over behind others    |
| CANCELLING                   | SUCCEEDED, FAILED, CANCELLED              | to end; the final completion decides   |
| SUCCEEDED, FAILED, CANCELLED | WAITING                                   | ended, once; a template runs again     |

FAILED is what went wrong by itself, a root cause; CANCELLED is what ended because of something else.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.task import CHECKPOINT, PARKED, Message, Task
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.graph.results import FromResult, Placeholders
from proactor_trio.proactor.lending import Loan
from proactor_trio.proactor.operation import Operation

if TYPE_CHECKING:
    from proactor_trio.graph.compiling import Segment
    from proactor_trio.graph.execution import Execution
    from proactor_trio.graph.group import Group
    from proactor_trio.graph.host_steps import HostStep


class NodeState(Enum):
    """Where a node is in its life; see the table above."""

    ADDED = "added"
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Final[dict[NodeState, frozenset[NodeState]]] = {
    NodeState.ADDED: frozenset((NodeState.WAITING,)),
    NodeState.WAITING: frozenset((NodeState.RUNNING, NodeState.FAILED, NodeState.CANCELLED)),
    NodeState.RUNNING: frozenset((NodeState.CANCELLING, NodeState.SUCCEEDED, NodeState.FAILED, NodeState.CANCELLED)),
    NodeState.CANCELLING: frozenset((NodeState.SUCCEEDED, NodeState.FAILED, NodeState.CANCELLED)),
    NodeState.SUCCEEDED: frozenset((NodeState.WAITING,)),
    NodeState.FAILED: frozenset((NodeState.WAITING,)),
    NodeState.CANCELLED: frozenset((NodeState.WAITING,)),
}


class Condition(Enum):
    """What an edge asks of the earlier node."""

    SUCCESS = "success"
    END = "end"


class Node(WaitingPlace):
    """One step of a graph; made by `Graph.add()`. `await node` gives its result, or raises.

    name: for reports and errors. state: a NodeState. result: of a node that succeeded. error: why it failed, or was
    cancelled. partial_bytes: what a transfer had moved when it was ended. began, ended: times of the run's clock.

    Awaiting one that was not submitted submits the graph so far, with this node watched. Cancelling who awaits does not
    cancel the node. For the tasks of one run.
    """

    __slots__ = (
        "_awaiting",
        "_execution",
        "asked",
        "began",
        "deadline",
        "early_result",
        "ended",
        "error",
        "group",
        "has_ended",
        "host_step",
        "loan",
        "missing",
        "must_be_whole",
        "name",
        "number",
        "operation",
        "partial_bytes",
        "placeholders",
        "predecessors",
        "result",
        "segment",
        "source",
        "state",
        "successors",
        "timeout",
        "watched",
    )

    def __init__(self, execution: Execution, number: int, name: str) -> None:
        self._execution = execution
        self._awaiting: dict[Task, None] = {}
        self.number = number
        self.name = name
        self.state = NodeState.ADDED
        #: Whether it has succeeded, failed or was cancelled.
        self.has_ended = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.partial_bytes = 0
        self.began = 0.0
        self.ended = 0.0
        #: What it does: an operation, which may come from a result (`source`), or a host step.
        self.operation: Operation | None = None
        self.source: FromResult | None = None
        self.host_step: HostStep | None = None
        self.placeholders: Placeholders | None = None
        #: While it runs: the loan of the stream or file that the operation was made for.
        self.loan: Loan | None = None
        #: What the owner of that had for it, where that was all.
        self.early_result: Any = None
        self.group: Group | None = None
        self.watched = False
        self.deadline: float | None = None
        self.timeout: float | None = None
        #: The edges: with what is asked of the earlier node.
        self.predecessors: list[tuple[Node, Condition]] = []
        self.successors: list[tuple[Node, Condition]] = []
        #: How many predecessors have to end before its turn comes.
        self.missing = 0
        #: Whether moving fewer bytes than asked is a failure: an operation follows that relies on them.
        self.must_be_whole = False
        #: How many bytes it has to move then, while it runs; 0: that does not matter.
        self.asked = 0
        #: The operations that are handed over together with this one.
        self.segment: Segment | None = None

    def become(self, state: NodeState) -> None:
        """Change the state as the table says."""
        assert state in TRANSITIONS[self.state], f"{self!r} cannot become {state.value}"
        self.state = state

    def end(self, state: NodeState, now: float) -> None:
        """Reach one of the last states; those go on who await it."""
        self.become(state)
        self.ended = now
        self.has_ended = True
        if self._awaiting:
            awaiting, self._awaiting = self._awaiting, {}
            for task in awaiting:
                task.resume()

    def rewind(self) -> None:
        """Be as it was submitted, for another run of a template."""
        self.state = NodeState.WAITING
        self.has_ended = False
        self.result = self.error = None
        self.partial_bytes = 0
        self.missing = len(self.predecessors)

    def withdraw(self, task: Task) -> None:
        """See WaitingPlace."""
        del self._awaiting[task]

    def belongs_to(self, execution: Execution) -> bool:
        """Whether it is a node of that graph."""
        return self._execution is execution

    def __await__(self) -> Generator[Message, None, Any]:
        task = current_task()
        if self.state is NodeState.ADDED:
            self.watched = True
            self._execution.submit()
        if self.has_ended:
            yield CHECKPOINT
        else:
            if task.cancel_pending:
                raise task.pending_exception()
            self._awaiting[task] = None
            task.waiting = self
            yield PARKED
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            del task

    def __repr__(self) -> str:
        return f"<Node {self.name!r}, {self.state.value}>"
