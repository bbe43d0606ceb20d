"""Slab: one contiguous block of memory that is divided into buffers of one size.

A slab owns memory or borrows it; it never changes its size or place. It is let go by `close()`, and only while nobody
can reach into it: a view of any part of it, a region registered on it, or a lease of one of its buffers keeps it. A
slab that is dropped unclosed warns; its memory then lives on as long as views of it do, and no longer.
"""

from __future__ import annotations

import mmap
import sys
import warnings
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from weakref import WeakSet

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError, FailedPrecondition, OutOfRange
from proactor_trio.proactor.memory.descriptor_mapping import map_descriptor
from proactor_trio.proactor.memory.placement import HugePages, huge_bytes_of, map_anonymous, node_of, prefer_node
from proactor_trio.proactor.memory.views import byte_view, count_other_views, release_or_refuse, second_level_view
from proactor_trio.proactor.memory.with_block import ClosedByBlock

_LARGEST_NODE: Final = (1 << 31) - 1


class SlabSource(Enum):
    """Where a slab's memory comes from."""

    ALLOCATED = "allocated"
    WRAPPED = "the caller's"
    DESCRIPTOR = "mapped from a descriptor"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a slab lies at the moment of asking.

    node: the NUMA node of its first page; None where that cannot be told.
    huge_page_bytes: how much of it is in huge pages; pages that were never touched do not exist and do not count.
    notes: what was asked for and could not be had, in words.
    """

    node: int | None
    huge_page_bytes: int
    notes: tuple[str, ...]


class Slab(ClosedByBlock):
    """`buffer_count` buffers of `buffer_size` bytes each, one behind the other. Make one by a class method.

    Reading its properties and making views of it is safe on any thread; `close()` belongs to one.
    """

    __slots__ = (
        "__weakref__",
        "_mapping",
        "_notes",
        "buffer_count",
        "buffer_size",
        "closed",
        "nbytes",
        "regions",
        "source",
        "view",
    )

    #: All of its memory.
    view: memoryview

    def __init__(self, source: SlabSource, buffer_size: int, buffer_count: int) -> None:
        """For the class methods, which give it memory."""
        self.closed = True
        self._mapping: mmap.mmap | None = None
        self._notes: tuple[str, ...] = ()
        #: The open regions that are registered on it.
        self.regions: WeakSet[Any] = WeakSet()
        self.source = source
        self.buffer_size = buffer_size
        self.buffer_count = buffer_count
        self.nbytes = check_geometry(buffer_size, buffer_count)

    @classmethod
    def allocate(
        cls, buffer_size: int, buffer_count: int, *, node: int | None = None, huge_pages: HugePages = HugePages.NONE
    ) -> Slab:
        """Memory of its own, zero and page-aligned; given back by `close()`.

        buffer_size: bytes. node: the NUMA node on which its pages are to be made; None: wherever they are first used.
        A wish that this machine cannot meet does not fail: `placement()` says what came of it.
        Raises ValueError for sizes below 1, OutOfRange for more memory than there are addresses, OSError (ENOMEM) for
        more than there is.
        """
        slab = cls(SlabSource.ALLOCATED, buffer_size, buffer_count)
        if node is not None:
            check_integer(node, "node", 0, _LARGEST_NODE)
        if not isinstance(huge_pages, HugePages):
            raise TypeError(f"huge_pages must be a HugePages, not {huge_pages!r}")
        notes: list[str] = []
        slab._mapping, start = map_anonymous(slab.nbytes, huge_pages, notes)
        if node is not None:
            with memoryview(slab._mapping) as whole:
                prefer_node(whole[start:], node, notes)
        slab._open(memoryview(slab._mapping)[start : start + slab.nbytes])
        slab._notes = tuple(notes)
        return slab

    @classmethod
    def wrap(cls, memory: Any, buffer_size: int, buffer_count: int) -> Slab:
        """Memory of the caller, from its beginning. It stays the caller's; a bytearray cannot be resized meanwhile.

        Raises TypeError for what is no contiguous buffer, ValueError if it is too small.
        """
        slab = cls(SlabSource.WRAPPED, buffer_size, buffer_count)
        view = byte_view(memory, "memory")
        if view.nbytes < slab.nbytes:
            raise ValueError(f"memory has {view.nbytes} bytes, and the buffers need {slab.nbytes}")
        slab._open(second_level_view(view[: slab.nbytes]))  # so that only views of the slab count as such
        return slab

    @classmethod
    def from_descriptor(cls, descriptor: int, offset: int, buffer_size: int, buffer_count: int) -> Slab:
        """Shared memory behind a descriptor: a memfd, a file, a dma-buf. The descriptor stays the caller's.

        offset: bytes; it need not be a multiple of the page size. Whoever shortens the file under a slab makes its
        users die of SIGBUS; seal a memfd with F_SEAL_SHRINK. Raises OSError if it cannot be mapped, ValueError if it
        is too short.
        """
        slab = cls(SlabSource.DESCRIPTOR, buffer_size, buffer_count)
        slab._mapping, view = map_descriptor(descriptor, offset, slab.nbytes)
        slab._open(view)
        return slab

    def _open(self, view: memoryview) -> None:
        self.view = view
        self.closed = False

    def buffer(self, index: int) -> memoryview:
        """A view of one buffer. Raises ValueError for an index that does not exist."""
        check_integer(index, "index", 0, self.buffer_count - 1)
        if self.closed:
            raise ClosedResourceError("this slab was closed")
        return self.view[index * self.buffer_size : (index + 1) * self.buffer_size]

    def placement(self) -> Placement:
        """Where it lies now. Touches the first page; reads a file of the kernel; not for hot paths."""
        if self.closed:
            raise ClosedResourceError("this slab was closed")
        return Placement(node_of(self.view), min(huge_bytes_of(self.view), self.nbytes), self._notes)

    def close(self) -> None:
        """Let the memory go. Idempotent.

        Raises FailedPrecondition while regions are registered on it and BufferError, which says how many, while views
        of it or leases of its buffers exist; it is open and whole then.
        """
        if self.closed:
            return
        if self.regions:
            raise FailedPrecondition(f"this slab has {len(self.regions)} open regions; close them first")
        others = count_other_views(self.view)
        if others:
            raise BufferError(f"this slab cannot be closed: {others} views of its memory exist")
        release_or_refuse(self.view, "this slab")
        self.abandon()

    def abandon(self) -> None:
        """For its owner, in place of `close()`: let it go at once; memory of its own goes with the last view of it."""
        self.closed = True
        try:
            self.view.release()
            if self._mapping is not None:
                self._mapping.close()
        except BufferError:
            self._mapping = None  # a view exists, and keeps what it needs

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<Slab{state} {self.buffer_count} x {self.buffer_size} bytes, {self.source.value}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not getattr(self, "closed", True):
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)


def check_geometry(buffer_size: int, buffer_count: int) -> int:
    """The bytes of so many buffers. Raises ValueError for sizes below 1, OutOfRange for too much."""
    check_integer(buffer_size, "buffer_size", 1, sys.maxsize)
    check_integer(buffer_count, "buffer_count", 1, sys.maxsize)
    if buffer_size * buffer_count > sys.maxsize:
        raise OutOfRange(f"buffer_size x buffer_count: {buffer_size} x {buffer_count} bytes is more than can exist")
    return buffer_size * buffer_count
