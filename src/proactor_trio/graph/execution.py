"""Execution: what happens in a graph, in which order, and how it ends.

One task drives it: it begins what is ready, parks, and is let go on by completions. So everything here runs between
completions, in that task, and nothing of it inside of them. A completion only says that there is something to look at.

* A node's turn comes when all its predecessors have ended; if one of which success was asked has not succeeded, the
  node ends CANCELLED instead, without having begun.
* What failed by itself is a root cause, kept once. With `on_error="cancel"` the first one cancels the graph's scope,
  as in a nursery; the nodes hear of that as of any other cancellation, by the driving task.
* Cancelled: all operations that run are asked to end, in order, and those that do not are not begun. The driver stays
  until the last final completion is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Abort, RaiseCancelT, Task
from proactor_trio._kernel.traps import PARK, checkpoint_if_cancelled
from proactor_trio.backends.contract import CompletionFlags
from proactor_trio.graph.compiling import Segment, compile_nodes
from proactor_trio.graph.host_steps import HostStep
from proactor_trio.graph.loans import borrow, give_back
from proactor_trio.graph.node import Condition, Node, NodeState
from proactor_trio.graph.transfers import expect
from proactor_trio.proactor.errors import (
    CancelCause,
    ClosedResourceError,
    OperationCancelled,
    ShortTransfer,
)
from proactor_trio.proactor.operation import Continuation, Operation

if TYPE_CHECKING:
    from proactor_trio._kernel.cancel import CancelScope
    from proactor_trio._kernel.nursery import Nursery
    from proactor_trio._kernel.run import Run
    from proactor_trio.proactor.proactor import Proactor

_WAITING: Final = NodeState.WAITING
_RUNNING: Final = NodeState.RUNNING
_CANCELLING: Final = NodeState.CANCELLING
_SUCCEEDED: Final = NodeState.SUCCEEDED
_FAILED: Final = NodeState.FAILED
_CANCELLED: Final = NodeState.CANCELLED


class OnError(Enum):
    """What becomes of the other nodes when one fails."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class Execution:
    """The nodes of one graph in motion. For the tasks of one run."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.nodes: list[Node] = []
        self.roots: list[BaseException] = []
        self._added: list[Node] = []
        self._ready: deque[Node] = deque()
        #: The last and the watched operations of segments that have completed, and the ends of host steps.
        self._completed: deque[Operation | Callable[[], None]] = deque()
        self._node_of: dict[Operation, Node] = {}
        self._unended = 0
        self._told = Continuation(self._operation_completed)
        self._parked: Task | None = None
        self._is_driven = False
        #: Whether the operations stay ours between two runs.
        self._is_template = False
        #: The time at which the driver was let go on last.
        self._now = 0.0
        #: Why nothing is begun any more.
        self._stop_reason = ""
        self._nursery: Nursery | None = None
        self._run: Run | None = None

    # Adding and submitting ---------------------------------------------------------------------------------------

    def enter(self, nursery: Nursery) -> None:
        """The block has begun: from now on nodes can run."""
        self._nursery = nursery
        self._run = current_task().run
        self._now = self._run.current_time()

    def leave(self) -> None:
        """The block has ended."""
        self._nursery = None

    @property
    def run(self) -> Run:
        """The run in which the block is. It was entered."""
        assert self._run is not None
        return self._run

    @property
    def proactor(self) -> Proactor | None:
        """Whose operations the nodes are; None: it was not entered yet."""
        return None if self._run is None else self._run.proactor

    @property
    def scope(self) -> CancelScope:
        """The graph's scope. It is entered."""
        assert self._nursery is not None
        return self._nursery.cancel_scope

    @property
    def is_entered(self) -> bool:
        """Whether nodes can run."""
        return self._nursery is not None

    def add(self, node: Node) -> None:
        """A new node."""
        self.nodes.append(node)
        self._added.append(node)

    def submit(self) -> None:
        """Let run what was added, driven by a task of its own."""
        if self._nursery is None:
            raise RuntimeError("nodes of a graph run inside its `async with` block only")
        self._take_added()
        if not self._is_driven and self._unended:
            self._is_driven = True
            self._nursery.start_soon(self.drive, name="operation graph")
        else:
            self._let_driver_go_on()

    def _take_added(self) -> None:
        added, self._added = self._added, []
        compile_nodes(added)
        for node in added:
            node.become(_WAITING)
        self._unended += len(added)
        for node in added:
            if node.state is _WAITING:
                self._look_at(node)

    def compile(self) -> None:
        """Compile all nodes, which are not submitted by that: for `rewind()`."""
        self._is_template = True
        compile_nodes(self._added)
        self._added = []

    def rewind(self) -> None:
        """Make all nodes as they were after compiling, for another run."""
        self.roots = []
        self._stop_reason = ""
        self._unended = len(self.nodes)
        for node in self.nodes:
            node.rewind()
            if not node.missing:
                self._ready.append(node)

    def _look_at(self, node: Node) -> None:
        """A new node: whether its turn has come, or will never come."""
        missing = 0
        for earlier, condition in node.predecessors:
            if not earlier.has_ended:
                missing += 1
            elif condition is Condition.SUCCESS and earlier.state is not _SUCCEEDED:
                self._end_cancelled(node, _because_of(earlier))
                return
        node.missing = missing
        if not missing:
            self._ready.append(node)

    # Driving -----------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """The end of the block: submit what was added, and drive it to its end unless a task does so already."""
        self._take_added()
        if not self._is_driven and self._unended:
            self._is_driven = True
            await self.drive()

    @enable_ki_protection
    async def drive(self) -> None:
        """Until all nodes have ended. Raises Cancelled if some ended cancelled because the task was to be."""
        task = current_task()
        try:
            while True:
                if not self._unended:
                    break
                if self._completed:
                    self._take_completed(self._completed.popleft())
                elif task.cancel_pending and not self._stop_reason:
                    self.stop(self._why_cancelled())
                elif self._ready:
                    self._begin(self._ready.popleft())
                else:
                    self._parked = task
                    task.waiting = None if self._stop_reason else self._abort
                    await PARK
                    self._now = self.run.current_time()
        finally:
            self._is_driven = False
        if self._stop_reason:
            await checkpoint_if_cancelled()

    def _abort(self, raise_cancel: RaiseCancelT) -> Abort:
        self._let_driver_go_on()  # it looks by itself
        return Abort.FAILED

    def _let_driver_go_on(self) -> None:
        task = self._parked
        if task is not None:
            self._parked = None
            task.resume()

    def _operation_completed(self, operation: Operation, flags: CompletionFlags) -> None:
        self._completed.append(operation)
        self._let_driver_go_on()

    # Beginning ---------------------------------------------------------------------------------------------------

    def _begin(self, node: Node) -> None:
        """The turn of a node has come."""
        if node.state is not _WAITING:
            return
        if self._stop_reason:
            self._end_cancelled(node, self._stop_reason)
            return
        node.began = self._now
        if node.host_step is not None:
            self._begin_host_step(node, node.host_step)
            return
        try:
            self._begin_operation(node)
        except Exception as error:  # whatever is wrong with it is its failure
            self._fail(node, error)

    def _begin_operation(self, node: Node) -> None:
        if node.source is not None:
            operation = node.source.value()
            if not isinstance(operation, Operation):
                raise TypeError(f"{node.name}: the function must return an operation, not {operation!r}")
            check_operation(operation)
            node.operation = operation
            node.segment = Segment(node)
        if node.placeholders is not None:
            node.placeholders.fill()
        assert node.segment is not None
        self._submit(node.segment, self.run.proactor)

    def _submit(self, segment: Segment, proactor: Proactor) -> None:
        try:
            for node in segment.nodes:
                if node.must_be_whole:
                    expect(node)
            if segment.is_lent and borrow(segment):
                self._end_at_once(segment.nodes[0])
                return
            if not segment.is_taken:
                self._take(segment)
            if len(segment.nodes) == 1 and segment.operations[0]._limits is None:
                proactor.submit_one(segment.operations[0])
            else:
                proactor.submit_chain(segment.operations)
        except Exception:
            self._give_back(segment)
            if len(segment.nodes) == 1:
                raise
            segment.split()  # which of them is wrong shows when its turn comes
            self._submit(segment, proactor)
            return
        for step in segment.nodes:
            step.state = _RUNNING

    def _take(self, segment: Segment) -> None:
        for node in segment.nodes:
            operation = node.operation
            assert operation is not None
            if node.deadline is not None:
                operation.set_limits(deadline=node.deadline)
            elif node.timeout is not None:
                operation.set_limits(timeout=node.timeout)
        segment.take(self._told)
        for node, operation in zip(segment.nodes, segment.operations, strict=True):
            if operation.completion_fn is self._told:
                self._node_of[operation] = node

    def _give_back(self, segment: Segment) -> None:
        segment.give_back()
        for node in segment.nodes:
            give_back(node)
            if node.operation is not None:
                self._node_of.pop(node.operation, None)
            if node.placeholders is not None:
                node.placeholders.restore()

    def _begin_host_step(self, node: Node, step: HostStep) -> None:
        node.become(_RUNNING)
        if step.is_async:
            assert self._nursery is not None
            self._nursery.start_soon(self._perform_host_step, node, name=node.name)
            return
        try:
            result = step.call(node)
        except BaseException as error:  # it is raised by the block
            self._fail(node, error)
        else:
            self._succeed(node, result)

    async def _perform_host_step(self, node: Node) -> None:
        assert node.host_step is not None
        deadline = node.deadline if node.timeout is None else self.run.current_time() + node.timeout
        error: BaseException | None = None
        result: Any = None
        try:
            result = await node.host_step.perform(node, float("inf") if deadline is None else deadline)
        except BaseException as raised:  # the node's, which tells it to the graph
            error = raised
        self._completed.append(lambda: self._end_host_step(node, result, error))
        self._let_driver_go_on()

    def _end_host_step(self, node: Node, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._succeed(node, result)
        elif isinstance(error, Cancelled):
            self._end_cancelled(node, self._why_cancelled())
        elif node.state is _CANCELLING and isinstance(error, OperationCancelled):
            self._end_cancelled(node, self._stop_reason or str(error))
        elif isinstance(error, BaseExceptionGroup) and (rest := error.split(Cancelled)[1]) is not error:
            if rest is None:
                self._end_cancelled(node, self._why_cancelled())
            else:
                self._fail(node, rest)
        else:
            self._fail(node, error)

    # Ending ------------------------------------------------------------------------------------------------------

    def _take_completed(self, completed: Operation | Callable[[], None]) -> None:
        if not isinstance(completed, Operation):
            completed()
            return
        node = self._node_of.get(completed)
        if node is None or node.has_ended:
            return  # it was told twice, after an interruption
        segment = node.segment
        assert segment is not None
        if len(segment.nodes) == 1:
            self._end_operation(node, completed)
        elif node is not segment.nodes[-1]:
            for step, operation in zip(segment.nodes, segment.operations, strict=True):
                if not step.has_ended:
                    self._end_operation(step, operation)
                if step is node:
                    return
        elif completed.error is None:
            self._end_successful_steps(segment)
            self._end_operation(node, completed)
        else:
            for step, operation in zip(segment.nodes, segment.operations, strict=True):
                if not step.has_ended:
                    self._end_operation(step, operation)
        if not self._is_template or node.source is not None:
            self._give_back(segment)
        elif segment.is_lent:
            for step in segment.nodes:
                give_back(step)

    def _end_successful_steps(self, segment: Segment) -> None:
        """The last step of a chain has a result, so all before it have succeeded; after each comes the next alone."""
        now = self._now
        ended = 0
        for step, operation in zip(segment.nodes[:-1], segment.operations, strict=False):
            if not step.has_ended:
                step.result = operation.result
                step.end(_SUCCEEDED, now)
                ended += 1
        self._unended -= ended

    def _end_operation(self, node: Node, operation: Operation) -> None:
        error = operation.error
        taken = 0 if node.loan is None else node.loan.taken
        if error is None:
            self._end_with_result(node, operation.result + taken if taken else operation.result)
            return
        node.partial_bytes = getattr(error, "partial_bytes", 0) + taken
        if not isinstance(error, OperationCancelled):
            self._fail(node, error)
        elif error.cause is CancelCause.EARLIER_STEP_FAILED:
            self._end_cancelled(node, _because_of(node.predecessors[0][0]))
        elif node.state is _CANCELLING:
            self._end_cancelled(node, self._stop_reason or str(error))
        elif error.cause is CancelCause.RESOURCE_CLOSED:
            self._fail(node, ClosedResourceError(f"{node.name}: another task closed this while it was in use"))
        else:
            self._fail(node, error)

    def _end_with_result(self, node: Node, result: Any) -> None:
        if node.asked and result < node.asked:
            self._end_short(node, result, node.asked)
        else:
            self._succeed(node, result)

    def _end_at_once(self, node: Node) -> None:
        """The owner of what it works on had all that it needs."""
        node.become(_RUNNING)
        result, node.early_result = node.early_result, None
        self._end_with_result(node, result)
        give_back(node)

    def _end_short(self, node: Node, moved: int, asked: int) -> None:
        node.partial_bytes = moved
        if node.state is _CANCELLING:
            self._end_cancelled(node, f"{self._stop_reason}, after {moved} bytes")
            return
        text = f"{node.name} moved {moved} of {asked} bytes, and what comes after it needs all of them"
        self._fail(node, ShortTransfer(text, moved))

    def _succeed(self, node: Node, result: Any) -> None:
        node.result = result
        self._end(node, _SUCCEEDED)

    def _fail(self, node: Node, error: BaseException) -> None:
        node.error = error
        self._end(node, _FAILED)
        self.add_root(error)

    def _end_cancelled(self, node: Node, why: str) -> None:
        cause = CancelCause.EARLIER_STEP_FAILED if why.startswith("node ") else CancelCause.REQUESTED
        node.error = OperationCancelled(f"{node.name} was cancelled: {why}", cause)
        self._end(node, _CANCELLED)

    def _end(self, node: Node, state: NodeState) -> None:
        """A node has ended; and by that, all that it dooms."""
        node.end(state, self._now)
        self._unended -= 1
        for later, condition in node.successors:
            if later.state is not _WAITING:
                continue
            if condition is Condition.SUCCESS and state is not _SUCCEEDED:
                self._doom(later)
            else:
                later.missing -= 1
                if not later.missing:
                    self._ready.append(later)
        if not self._unended:
            self._let_driver_go_on()

    def _doom(self, node: Node) -> None:
        """One of the nodes that had to succeed did not. Not by recursion: chains of nodes are long."""
        node.missing = 0
        self._completed.append(lambda: self._end_doomed(node))
        self._let_driver_go_on()

    def _end_doomed(self, node: Node) -> None:
        if node.state is not _WAITING:
            return
        for earlier, condition in node.predecessors:
            if condition is Condition.SUCCESS and earlier.has_ended and earlier.state is not _SUCCEEDED:
                self._end_cancelled(node, _because_of(earlier))
                return

    # Failing and cancelling --------------------------------------------------------------------------------------

    def add_root(self, error: BaseException) -> None:
        """Something has failed by itself."""
        self.roots.append(error)
        if self.on_error is OnError.CANCEL or not isinstance(error, Exception):
            self.scope.cancel(f"an operation graph has failed: {error!r}")

    def stop(self, why: str) -> None:
        """Begin nothing any more, and cancel all that runs."""
        self._stop_reason = why
        self.cancel_nodes(self.nodes, why)

    def _why_cancelled(self) -> str:
        if self.roots:
            return f"its graph has failed: {self.roots[0]!r}"
        return "the deadline of its graph has passed" if self.scope.deadline_passed else "its graph was cancelled"

    def cancel_nodes(self, nodes: Iterable[Node], why: str) -> None:
        """Cancel those of these nodes that have not ended."""
        proactor = self.run.proactor
        for node in nodes:
            if node.state is _RUNNING:
                node.become(_CANCELLING)
                if node.operation is not None:
                    proactor.cancel(node.operation)
                elif node.host_step is not None:
                    node.host_step.cancel()
            elif node.state is _WAITING:
                self._end_cancelled(node, why)


def check_operation(operation: Operation) -> None:
    """Raise ValueError for an operation that cannot be a node."""
    if operation.flags:
        name = type(operation).__name__
        raise ValueError(f"flags: {name} of a graph must have none; edges say what is linked, and MULTISHOT has no end")


def _because_of(earlier: Node) -> str:
    if earlier.state is _CANCELLED:
        text = str(earlier.error)
        return text.partition(" was cancelled: ")[2] or text
    return f"node {earlier.name!r} failed: {earlier.error!r}"
