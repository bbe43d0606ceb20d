"""Graph: what `open_graph()` returns. Nodes are added, the block's end runs them, and raises what went wrong.

Rules:

1. An edge goes from an earlier node to a later one: "after success" or "after it ended". There are no cycles.
2. The block ends when every node has ended, and each ends exactly once.
3. What failed by itself is raised once, all of it as one ExceptionGroup, whoever has seen it before.
4. A deadline of the graph or of a group that passes is a TooSlowError, raised bare where it is the only cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Literal, final

from proactor_trio._kernel.cancel import Cancelled, CancelScope
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.graph.drawing import explain_as_svg
from proactor_trio.graph.execution import Execution, OnError, check_operation
from proactor_trio.graph.explaining import explain_as_dot, explain_as_text
from proactor_trio.graph.group import Group
from proactor_trio.graph.host_steps import HostStep
from proactor_trio.graph.node import Condition, Node, NodeState
from proactor_trio.graph.raising import without
from proactor_trio.graph.results import FromResult, Placeholders
from proactor_trio.graph.template import GraphTemplate
from proactor_trio.proactor.errors import TooSlowError
from proactor_trio.proactor.operation import Operation, OperationState

_FORMS: Final = {"text": explain_as_text, "dot": explain_as_dot, "svg": explain_as_svg}
_ERROR_POLICIES = tuple(policy.value for policy in OnError)


@final
class Graph:
    """Operations and Python functions, and what runs after what. See `open_graph()`. For the tasks of one run."""

    def __init__(self, deadline: float, timeout: float, on_error: OnError) -> None:
        self.execution = Execution(on_error)
        self._deadline = deadline
        self._timeout = timeout
        self._groups: list[Group] = []
        self._operations: set[Operation] = set()
        self._scope: CancelScope | None = None
        #: Nothing can be added any more.
        self._is_closed = False

    # Building ----------------------------------------------------------------------------------------------------

    def add(
        self,
        work: Any,
        *,
        after: Node | Iterable[Node] = (),
        after_any: Node | Iterable[Node] = (),
        deadline: float | None = None,
        timeout: float | None = None,
        watch: bool = False,
        name: str | None = None,
        group: Group | None = None,
    ) -> Node:
        """Add a node: an operation, a function, an async function, or `from_result(node, make_operation)`.

        after: the nodes that have to succeed before. after_any: those that have to have ended, however.
        deadline: when it has to have ended, on the clock of the run. timeout: seconds from its turn.
        watch: report its end when it happens, also where the kernel could go on without telling.
        name: for reports; by default the kind of operation or the function's name, with a number.

        A function is called with the results of the nodes of `after`, in their order, and with the nodes of
        `after_any` behind these; a plain one in the loop, where it must not block.

        Raises TypeError or ValueError naming the argument: a node of another graph, an operation that is in a graph or
        in flight already, one with flags. RuntimeError after the block has ended.
        """
        if self._is_closed:
            raise RuntimeError("this graph has ended, or is a template: nothing can be added any more")
        node = Node(self.execution, len(self.execution.nodes), "")
        self._set_work(node, work)
        if name is None:
            name = f"{_kind_of(node)} {node.number}"
        node.name = name
        self._set_limits(node, deadline, timeout)
        node.watched = watch
        edges = self._edges(node, after, after_any)
        if group is not None and not any(group is known for known in self._groups):
            raise ValueError("group must be a group of this graph")
        # Nothing below raises.
        for earlier, condition in edges:
            _connect(earlier, node, condition)
        if node.operation is not None:
            self._operations.add(node.operation)
        if group is not None:
            node.group = group
            group.nodes.append(node)
        self.execution.add(node)
        return node

    def add_edge(self, earlier: Node, later: Node) -> None:
        """Let `later`, which was not submitted, run only after the success of `earlier`.

        Raises ValueError for nodes of another graph, for one that was submitted, and for an edge that closes a cycle.
        """
        self._check_node(earlier, "earlier")
        self._check_node(later, "later")
        if later.state is not NodeState.ADDED:
            raise ValueError(f"later: {later!r} was submitted already")
        if earlier is later or _is_after(earlier, later):
            raise ValueError(f"later: {later.name} comes before {earlier.name} already; the edge would close a cycle")
        if not any(known is earlier for known, _ in later.predecessors):
            _connect(earlier, later, Condition.SUCCESS)

    def add_group(self, *, deadline: float = math.inf, name: str | None = None) -> Group:
        """Some nodes that are timed and cancelled together: `group.add(...)`.

        deadline: on the clock of the run; when it passes, the nodes that have not ended end cancelled, and the graph
            has failed with TooSlowError.
        """
        _check_time(deadline, "deadline")
        group = Group(self, f"group {len(self._groups)}" if name is None else name, deadline)
        self._groups.append(group)
        if self.execution.is_entered:
            group.begin(self.execution.run)
        return group

    def _set_work(self, node: Node, work: Any) -> None:
        if isinstance(work, Operation):
            if work in self._operations:
                raise ValueError(f"work: {work!r} is a node of this graph already")
            check_operation(work)
            if work.state in (OperationState.SUBMITTED, OperationState.CANCELLING):
                raise ValueError(f"work: {work!r} is in flight already")
            node.operation = work
            placeholders = Placeholders(work)
            node.placeholders = placeholders if placeholders else None
        elif isinstance(work, FromResult):
            node.source = work
        elif callable(work):
            node.host_step = HostStep(work)
        else:
            raise TypeError(f"work must be an operation, a function or from_result(), not {type(work).__name__}")

    def _set_limits(self, node: Node, deadline: float | None, timeout: float | None) -> None:
        if deadline is not None and timeout is not None:
            raise TypeError("deadline= and timeout= exclude each other")
        if deadline is None and timeout is None:
            return
        if node.host_step is not None and not node.host_step.is_async:
            raise TypeError(f"{node.name} is a plain function, which nothing can end: it takes no deadline or timeout")
        if deadline is not None:
            _check_time(deadline, "deadline")
        else:
            assert timeout is not None
            _check_time(timeout, "timeout")
            if timeout < 0:
                raise ValueError(f"timeout must not be negative, not {timeout}")
        node.deadline = deadline
        node.timeout = timeout

    def _edges(
        self, node: Node, after: Node | Iterable[Node], after_any: Node | Iterable[Node]
    ) -> list[tuple[Node, Condition]]:
        edges = [(earlier, Condition.SUCCESS) for earlier in self._nodes_of(after, "after")]
        fed = [] if node.placeholders is None else list(node.placeholders.nodes())
        if node.source is not None:
            fed.append(node.source.node)
        for earlier in fed:
            self._check_node(earlier, "from_result(node)")
            edges.append((earlier, Condition.SUCCESS))
        edges += [(earlier, Condition.END) for earlier in self._nodes_of(after_any, "after_any")]
        kept: dict[Node, Condition] = {}
        for earlier, condition in edges:
            kept.setdefault(earlier, condition)
        return list(kept.items())

    def _nodes_of(self, nodes: Node | Iterable[Node], argument: str) -> Iterable[Node]:
        several = (nodes,) if isinstance(nodes, Node) else tuple(nodes)
        for node in several:
            self._check_node(node, argument)
        return several

    def _check_node(self, node: object, argument: str) -> None:
        if not isinstance(node, Node):
            raise TypeError(f"{argument} must be nodes of this graph, not {type(node).__name__}")
        if not node.belongs_to(self.execution):
            raise ValueError(f"{argument}: {node!r} is a node of another graph")

    # Running -----------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in the order in which they were added."""
        return tuple(self.execution.nodes)

    @property
    def cancel_scope(self) -> CancelScope:
        """The scope around the block and all nodes: cancel(), deadline, shield. Inside the block."""
        if not self.execution.is_entered:
            raise RuntimeError("a graph has its cancel scope inside its `async with` block only")
        return self.execution.scope

    @enable_ki_protection
    async def submit(self) -> None:
        """Let run what was added so far, without waiting; a checkpoint."""
        self.execution.submit()
        await checkpoint()

    def template(self) -> GraphTemplate:
        """Compile it as it is, to be run many times instead of in a block of its own.

        Raises RuntimeError for a graph that was entered, or of which this was asked before.
        """
        if self._scope is not None or self._is_closed:
            raise RuntimeError("a template is made once, of a graph that was not entered")
        self._is_closed = True
        self.execution.compile()
        return GraphTemplate(self)

    def explain(self, form: Literal["text", "dot", "svg"] = "text") -> str:
        """What is handed over together, what the kernel chains of that, and why the rest is not.

        form: "text", "dot" for Graphviz, or "svg", a picture. After the run with states, times and results. Inside the
            block it asks the backend of the run; before, it knows only what does not depend on one.
        """
        if form not in _FORMS:
            raise ValueError(f"form must be 'text', 'dot' or 'svg', not {form!r}")
        return _FORMS[form](self.execution)

    @enable_ki_protection
    async def __aenter__(self) -> Graph:
        if self._scope is not None or self._is_closed:
            raise RuntimeError("a graph is entered once; Graph.template() is for running one many times")
        await self.enter(self._deadline, self._timeout)
        return self

    async def enter(self, deadline: float, timeout: float) -> None:
        """Begin a block, for the graph itself and for its template."""
        self._manager = open_nursery(strict_exception_groups=True)
        nursery = await self._manager.__aenter__()
        self._scope = scope = nursery.cancel_scope
        self.execution.enter(nursery)
        if timeout != math.inf:
            deadline = self.execution.run.current_time() + timeout
        if deadline != math.inf:
            scope.deadline = deadline
        for group in self._groups:
            group.begin(self.execution.run)

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        remaining = await self.leave(error)
        if remaining is None:
            return True
        if remaining is error:
            return False
        context = remaining.__context__
        try:
            raise remaining
        finally:
            remaining.__context__ = context
            del remaining, context, error

    async def leave(self, error: BaseException | None) -> BaseException | None:
        """The end of the block: run everything to its end; return what is to be raised."""
        execution, scope = self.execution, self._scope
        assert scope is not None
        cancelled: BaseException | None = None
        if error is not None:
            cancelled, error = _split_cancelled(error)
            scope.cancel("the block of an operation graph was left with an exception")
        try:
            await execution.finish()
        except (Cancelled, KeyboardInterrupt) as raised:
            cancelled = raised
        cancelled = await self._leave_nursery(cancelled)
        for group in self._groups:
            group.end()
        execution.leave()
        self._is_closed = True
        if scope.cancelled_caught and scope.deadline_passed:
            execution.roots.append(TooSlowError("the deadline of an operation graph has passed"))
        return _combined(execution.roots, error, cancelled)

    async def _leave_nursery(self, cancelled: BaseException | None) -> BaseException | None:
        try:
            kind = None if cancelled is None else type(cancelled)
            await self._manager.__aexit__(kind, cancelled, None)
        except BaseExceptionGroup as group:
            return group
        return None


def open_graph(
    *, deadline: float = math.inf, timeout: float = math.inf, on_error: Literal["cancel", "continue"] = "cancel"
) -> Graph:
    """A graph of operations for an `async with` block, whose end submits it and waits for all of it.

    deadline: on the clock of the run; timeout: seconds from the entering of the block. When the time is over, what has
        not ended is cancelled and the block raises TooSlowError.
    on_error: "cancel": the first failure cancels all other nodes and the block; "continue": branches that do not depend
        on what failed go on. Either way what depends on it ends cancelled, without having begun.

    The block raises one ExceptionGroup of what failed by itself. Cancelled: all nodes that have not ended are asked to
    end, and the block ends when the last has; results that came first are kept in their nodes.
    """
    if on_error not in _ERROR_POLICIES:
        raise ValueError(f"on_error must be 'cancel' or 'continue', not {on_error!r}")
    _check_time(deadline, "deadline")
    _check_time(timeout, "timeout")
    if timeout < 0:
        raise ValueError(f"timeout must not be negative, not {timeout}")
    if timeout != math.inf and deadline != math.inf:
        raise TypeError("deadline= and timeout= exclude each other")
    return Graph(deadline, timeout, OnError(on_error))


def _connect(earlier: Node, later: Node, condition: Condition) -> None:
    earlier.successors.append((later, condition))
    later.predecessors.append((earlier, condition))


def _is_after(node: Node, earlier: Node) -> bool:
    """Whether there is a way from `earlier` to `node`."""
    seen: set[Node] = set()
    pending = [node]
    while pending:
        for before, _ in pending.pop().predecessors:
            if before is earlier:
                return True
            if before not in seen:
                seen.add(before)
                pending.append(before)
    return False


def _kind_of(node: Node) -> str:
    if node.operation is not None:
        return type(node.operation).__name__
    return "operation" if node.host_step is None else node.host_step.name


def _check_time(value: object, argument: str) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {type(value).__name__}")
    if math.isnan(value):
        raise ValueError(f"{argument} must not be NaN")


def _split_cancelled(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of an exception is cancellation, and what is not."""
    if isinstance(error, Cancelled):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        return error.split(Cancelled)
    return None, error


def _combined(
    roots: list[BaseException], error: BaseException | None, cancelled: BaseException | None
) -> BaseException | None:
    if error is not None:
        error = without(error, roots)
    errors = [*roots] if error is None else [*roots, error]
    if not errors:
        return cancelled
    if cancelled is not None:
        errors.append(cancelled)
    elif len(errors) == 1 and type(errors[0]) is TooSlowError:
        return errors[0]
    return BaseExceptionGroup("what failed in an operation graph", errors)
