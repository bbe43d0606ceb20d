"""The memory of transfers: one buffer, or several that are filled or sent one after the other (scatter, gather).

A buffer is a bytes-like object or a Span. Buffers may be empty. A transfer of several is one for the kernel: of a
stream one piece, of datagrams one datagram.
"""

from __future__ import annotations

from typing import Any, Final

from proactor_trio.proactor.arguments import readable_view, writable_view
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.span import Span

#: How many buffers one transfer takes.
MOST_BUFFERS: Final = 8

#: One view, or several.
Views = memoryview | tuple[memoryview, ...]


def gathered(data: Any, argument: str) -> tuple[Views, int]:
    """What is to be sent, and how many bytes that is. `data`: a bytes-like object, or a list or tuple of at most 8.

    Raises TypeError or ValueError naming the argument.
    """
    if type(data) is bytes:
        view = memoryview(data)
        return view, view.nbytes
    if type(data) is not list and type(data) is not tuple:
        view = readable_view(data, argument)
        return view, view.nbytes
    _check_count(data, argument)
    views = tuple(readable_view(piece, argument) for piece in data)
    return views, sum(view.nbytes for view in views)


def scattered(buffer: Any, argument: str) -> tuple[Views, int]:
    """What is to be filled, as in `gathered()`; read-only memory is refused with TypeError."""
    if type(buffer) is not list and type(buffer) is not tuple:
        view = writable_view(buffer, argument)
        return view, view.nbytes
    _check_count(buffer, argument)
    views = tuple(writable_view(piece, argument) for piece in buffer)
    return views, sum(view.nbytes for view in views)


def regions_of(buffers: Any) -> tuple[Region, ...]:
    """The regions of the spans in what `gathered()` or `scattered()` has taken."""
    if type(buffers) is Span:
        return () if buffers.region is None else (buffers.region,)
    if type(buffers) is not list and type(buffers) is not tuple:
        return ()
    return tuple(piece.region for piece in buffers if type(piece) is Span and piece.region is not None)


def cannot_change(views: Views) -> bool:
    """Whether nobody can change these bytes: they are of `bytes` objects."""
    if type(views) is tuple:
        return all(type(view.obj) is bytes for view in views)
    return type(views.obj) is bytes  # type: ignore[union-attr]


def _check_count(buffers: list[Any] | tuple[Any, ...], argument: str) -> None:
    if len(buffers) > MOST_BUFFERS:
        raise ValueError(f"{argument}: a transfer takes at most {MOST_BUFFERS} buffers, not {len(buffers)}")
