"""Span: a piece of memory for an operation, with the region that the proactor knows it by.

A span is a description, not a view: it holds nothing in place until somebody asks for its view, so it can be kept and
used again. What it describes may end meanwhile: the span of a released lease or of a closed region raises ValueError
when it is used, and never reads what has become another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from proactor_trio.proactor.errors import FailedPrecondition
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.views import byte_view

if TYPE_CHECKING:
    from proactor_trio.proactor.memory.region import Region
    from proactor_trio.proactor.proactor import Proactor


class MemoryHolder(Protocol):
    """Who has the memory of a span: a region, a lease."""

    @property
    def view(self) -> memoryview:
        """All of it, as bytes; released once the holder has let it go."""
        ...


class _Bytes:
    """Memory that no region knows."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        self.view = view


class Span:
    """`length` bytes of memory from `offset` on.

    region: the Region that it belongs to, None for plain memory. offset: within the region, or within the plain memory.
    Operations take a span wherever they take a buffer. Immutable; any thread may use it.
    """

    __slots__ = ("_holder", "_start", "length", "offset", "region")

    def __init__(self, memory: Any, offset: int = 0, length: int | None = None) -> None:
        """Plain memory: a bytes-like object. `Region.span()` and `Lease.span` give spans of registered memory.

        Raises TypeError for no contiguous buffer, ValueError for what is not inside it.
        """
        view = byte_view(memory, "memory")
        self._holder: MemoryHolder = _Bytes(view)
        self.region: Region | None = None
        self.offset = self._start = offset
        self.length = checked_length(view.nbytes, offset, length)

    @classmethod
    def within(cls, holder: MemoryHolder, region: Region | None, start: int, offset: int, length: int) -> Span:
        """For holders: the bytes from `start` of the holder's view, which lie at `offset` of the region."""
        span = cls.__new__(cls)
        span._holder = holder
        span._start = start
        span.region = region
        span.offset = offset
        span.length = length
        return span

    def view(self) -> memoryview:
        """The memory. Raises ValueError if it was let go. Release it before the lease, region or slab."""
        return self._holder.view[self._start : self._start + self.length]

    def view_for(self, access: Access, argument: str) -> memoryview:
        """For operations: the memory, for what they are going to do with it.

        Raises FailedPrecondition naming the argument where the region was not registered for that.
        """
        region = self.region
        if region is not None and not region.access & access:
            raise FailedPrecondition(
                f"{argument}: its region is registered for {region.access.name}, not {access.name}"
            )
        return self.view()

    def slot_of(self, proactor: Proactor | None) -> int:
        """Under which number the kernel of this proactor has it in its table of buffers, -1 if it does not."""
        region = self.region
        if region is None or region.proactor is not proactor:
            return -1
        return region.slot_of(self.offset, self.length)

    def sub(self, offset: int, length: int | None = None) -> Span:
        """A part of it. Raises ValueError for what is not inside it."""
        length = checked_length(self.length, offset, length)
        return Span.within(self._holder, self.region, self._start + offset, self.offset + offset, length)

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        where = "plain memory" if self.region is None else repr(self.region)
        return f"<Span of {self.length} bytes at {self.offset} of {where}>"


def checked_length(available: int, offset: int, length: int | None) -> int:
    """The length of what begins at `offset`, all that is left for None. Raises ValueError if it is not inside."""
    if not isinstance(offset, int) or not isinstance(length, int | None):
        raise TypeError(f"offset and length must be integers, not {offset!r} and {length!r}")
    if not 0 <= offset <= available:
        raise ValueError(f"offset must be from 0 to {available}, not {offset}")
    if length is None:
        return available - offset
    if not 0 <= length <= available - offset:
        raise ValueError(f"length must be from 0 to {available - offset}, not {length}")
    return length
