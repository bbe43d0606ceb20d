"""from_result(): an argument of a later node that is not known before an earlier one has ended.

A placeholder stands where the argument will: in a field of an operation, in a list or tuple of one, or in place of the
whole operation. It is put in when the node's turn comes, before the operation checks its arguments, and is there again
afterwards, so that a template can be run again. Such an edge cannot be left to a kernel, which knows no results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from proactor_trio.proactor.operation import Operation

if TYPE_CHECKING:
    from proactor_trio.graph.node import Node

_field_names: Final[dict[type, tuple[str, ...]]] = {}


class FromResult:
    """A placeholder made by from_result(). Immutable."""

    __slots__ = ("_function", "node")

    def __init__(self, node: Node, function: Callable[[Any], Any] | None) -> None:
        self.node = node
        self._function = function

    def value(self) -> Any:
        """What it stands for; the node has succeeded. Raises what the function raises."""
        return self.node.result if self._function is None else self._function(self.node.result)

    def __repr__(self) -> str:
        return f"<the result of {self.node!r}>"


def from_result(node: Node, function: Callable[[Any], Any] | None = None) -> Any:
    """Stands for `function(result)` of an earlier node of the same graph, None: for its result.

    function: called in the loop when the later node's turn comes; it may not block. What it raises is the failure of
        the later node. As the work of a node it has to give an operation.

    `after=` is implied. An argument that is needed before (the path of a FileOpen, a socket) cannot be put in like
    this: let the whole operation come from a result, `graph.add(from_result(node, make_operation))`.
    """
    from proactor_trio.graph.node import Node  # which knows placeholders

    if not isinstance(node, Node):
        raise TypeError(f"node must be a node of a graph, not {type(node).__name__}")
    if function is not None and not callable(function):
        raise TypeError(f"function must be callable or None, not {type(function).__name__}")
    return FromResult(node, function)


class Placeholders:
    """The fields of one operation that wait for results: their names, and what stands in them."""

    __slots__ = ("_fields", "_operation")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._fields: list[tuple[str, Any]] = []
        for name in _fields_of(type(operation)):
            value = getattr(operation, name, None)
            if isinstance(value, FromResult) or (type(value) in (list, tuple) and any(_placeholders_in(value))):
                self._fields.append((name, value))

    def __bool__(self) -> bool:
        return bool(self._fields)

    def nodes(self) -> Iterator[Node]:
        """The nodes whose results are waited for."""
        for _, value in self._fields:
            for placeholder in _placeholders_in(value):
                yield placeholder.node

    def fill(self) -> None:
        """Put the results in. Raises what the functions raise."""
        for name, value in self._fields:
            setattr(self._operation, name, _resolved(value))

    def restore(self) -> None:
        """Put the placeholders back, for the next run."""
        for name, value in self._fields:
            setattr(self._operation, name, value)


def _fields_of(kind: type) -> tuple[str, ...]:
    names = _field_names.get(kind)
    if names is None:
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
        names = _field_names[kind] = tuple(name for name in slots if not name.startswith("__"))
    return names


def _placeholders_in(value: Any) -> Iterator[FromResult]:
    for part in value if type(value) in (list, tuple) else (value,):
        if isinstance(part, FromResult):
            yield part


def _resolved(value: Any) -> Any:
    if isinstance(value, FromResult):
        return value.value()
    return type(value)(part.value() if isinstance(part, FromResult) else part for part in value)
