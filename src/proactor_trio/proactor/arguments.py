"""Checks of arguments; above all the memory of an operation in flight, as a view that pins it.

A view holds its object's memory in place: a bytearray in flight cannot be resized (BufferError), and nothing is freed
under the kernel, whoever drops the object. The view is let go with the final completion.
"""

from __future__ import annotations

from typing import Any

from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.span import Span
from proactor_trio.proactor.memory.views import byte_view


def readable_view(buffer: Any, argument: str) -> memoryview:
    """A byte view of what is to be sent or written, a bytes-like object or a Span.

    Raises TypeError naming the argument, and what `Span.view_for()` raises.
    """
    return buffer.view_for(Access.READ, argument) if type(buffer) is Span else byte_view(buffer, argument)


def writable_view(buffer: Any, argument: str) -> memoryview:
    """A byte view of what is to be filled, a bytes-like object or a Span.

    Raises TypeError naming the argument, also for read-only memory, and what `Span.view_for()` raises.
    """
    view = buffer.view_for(Access.WRITE, argument) if type(buffer) is Span else byte_view(buffer, argument)
    if view.readonly:
        raise TypeError(f"{argument} must be writable, not a read-only {type(buffer).__name__}")
    return view


def check_integer(value: Any, argument: str, smallest: int, largest: int) -> None:
    """Raise TypeError or ValueError naming the argument unless it is an integer from `smallest` to `largest`."""
    if not isinstance(value, int):
        raise TypeError(f"{argument} must be an integer, not {type(value).__name__}")
    if not smallest <= value <= largest:
        raise ValueError(f"{argument} must be from {smallest} to {largest}, not {value}")
