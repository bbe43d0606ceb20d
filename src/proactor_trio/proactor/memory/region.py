"""Region: memory that a proactor knows, and in whose use it can be asked how much is going on.

A region does not own its memory (but for that of a dma-buf); it keeps it in place. Where the kernel has a table of
buffers its pages are pinned and operations name their place in it; elsewhere, and where pinning fails, it is plain
memory that everything works with just the same, and `reason` says so.

While operations are in flight on a region it cannot be closed: `close()` is refused with FailedPrecondition, and names
how many. It is not deferred, since a program that believes the memory to be free would be wrong.

Each operation is entered in `users` when it is submitted and taken out with its final completion. A set of operations
and not a number: entering twice and taking out twice, as it happens after interruptions, does no harm. One whose
submission was interrupted may be left in it; it is not in flight, and does not count.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from proactor_trio.backends.contract import BufferGroup, MemoryRegistration
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError, FailedPrecondition
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.kernel_side import backend_of, has_kernel_side
from proactor_trio.proactor.memory.slab import Slab
from proactor_trio.proactor.memory.span import Span, checked_length
from proactor_trio.proactor.memory.views import count_other_views, release_or_refuse
from proactor_trio.proactor.memory.with_block import ClosedByBlock
from proactor_trio.proactor.operation import Operation, OperationState

if TYPE_CHECKING:
    from proactor_trio.proactor.memory.buffer_pool import BufferPool
    from proactor_trio.proactor.proactor import Proactor

_IN_FLIGHT: Final = (OperationState.SUBMITTED, OperationState.CANCELLING)


class Region(ClosedByBlock):
    """Registered memory; `register_buffer()`, `register_slab()` and `register_dmabuf()` make one.

    Spans of it may be made and used on any thread. It is closed by the owner thread of its proactor.

    access: for what it was registered. slab: the Slab that it was registered on. buffer_size, buffer_count: how it is
    divided; 0 if it is not. reason: whether the kernel has it in its table, and why not, in words.
    """

    __slots__ = (
        "__weakref__",
        "_owned",
        "_piece_bytes",
        "_registration",
        "access",
        "buffer_count",
        "buffer_size",
        "closed",
        "nbytes",
        "pool",
        "proactor",
        "slab",
        "users",
        "view",
    )

    def __init__(self, proactor: Proactor, view: memoryview, access: Access, slab: Slab | None = None) -> None:
        """For the functions that register. view: all of its memory, of which the region is the owner."""
        self.closed = True
        self.proactor = proactor
        #: All of its memory; released when the region is closed.
        self.view = view
        self.nbytes = view.nbytes
        self.access = access
        self.slab = slab
        self.buffer_size = 0 if slab is None else slab.buffer_size
        self.buffer_count = 0 if slab is None else slab.buffer_count
        self.pool: ref[BufferPool] | None = None
        #: The operations that are in flight on it.
        self.users: set[Operation] = set()
        self._owned: Slab | None = None
        self._registration = MemoryRegistration()
        self._piece_bytes = 0

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def pinned(self) -> bool:
        """Whether its pages are pinned and in the kernel's table of buffers."""
        return bool(self._registration.slots)

    @property
    def reason(self) -> str:
        """Whether the kernel has it in its table, and why not, in words."""
        return self._registration.reason

    @property
    def slots(self) -> tuple[int, ...]:
        """Its places in the kernel's table of buffers; empty if it has none."""
        return self._registration.slots

    def slot_of(self, offset: int, length: int) -> int:
        """The place in the kernel's table that holds these bytes of it, -1 if there is not one that holds them all."""
        slots = self._registration.slots
        if not slots or not length:
            return -1
        if len(slots) == 1:
            return slots[0]
        first = offset // self._piece_bytes
        return slots[first] if (offset + length - 1) // self._piece_bytes == first else -1

    def span(self, offset: int = 0, length: int | None = None) -> Span:
        """A part of it for operations, all of it without arguments. Raises ValueError for what is not inside it."""
        self._check_open()
        return Span.within(self, self, offset, offset, checked_length(self.nbytes, offset, length))

    def buffer_span(self, index: int) -> Span:
        """One buffer of its slab. Raises ValueError for an index that does not exist."""
        check_integer(index, "index", 0, self.buffer_count - 1)
        return self.span(index * self.buffer_size, self.buffer_size)

    # For operations ----------------------------------------------------------------------------------------------

    def retain(self, operation: Operation) -> None:
        """An operation that uses it was submitted. Any thread; may be repeated."""
        self.users.add(operation)

    def release(self, operation: Operation) -> None:
        """The operation has completed. May be repeated."""
        self.users.discard(operation)

    # Registering -------------------------------------------------------------------------------------------------

    def register(self) -> None:
        """For the functions that register: let the kernel know it, and open it. Owner thread."""
        backend = backend_of(self.proactor, "registering memory")
        largest = backend.largest_memory_piece
        size = self.buffer_size
        # No buffer lies in two pieces, unless it is larger than a piece can be.
        self._piece_bytes = piece = largest // size * size if 0 < size <= largest else largest
        pieces = [self.view[start : start + piece] for start in range(0, self.nbytes, piece)]
        try:
            backend.register_memory(self._registration, pieces)
            if self.slab is not None:
                self.slab.regions.add(self)
            for view in pieces:
                view.release()
            self.closed = False
        except BaseException:  # a signal handler's may come after the success
            if self.slab is not None:
                self.slab.regions.discard(self)
            backend.unregister_memory(self._registration)
            raise

    def own(self, slab: Slab) -> None:
        """For `register_dmabuf()`: close this slab together with the region."""
        self._owned = slab

    def open_group(self, free: list[int]) -> BufferGroup | None:
        """For a pool: a ring of the kernel's over its buffers. Owner thread."""
        self._check_open()
        return backend_of(self.proactor, "RecvPool").open_buffer_group(self.view, self.buffer_size, free)

    def close_group(self, group: BufferGroup) -> None:
        """For a pool: take the ring from the kernel. Owner thread."""
        if has_kernel_side(self.proactor):
            backend_of(self.proactor, "BufferPool.close()").close_buffer_group(group)

    def abandon_group(self, group: BufferGroup) -> None:
        """For a pool that was dropped: take the ring from the kernel when the owner thread polls. Any thread."""
        if has_kernel_side(self.proactor):
            self.proactor.post(lambda: self.close_group(group))

    def open_pool(self) -> BufferPool | None:
        """The open pool that lends its buffers, if there is one."""
        return None if self.pool is None else self.pool()

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take it from the kernel and let its memory go. Idempotent. Owner thread.

        Raises FailedPrecondition, saying how many, while operations are in flight on it, and while a pool lends from
        it; BufferError while views of memory exist that goes with it (that of a dma-buf), and while objects that
        were made from `view` do. It stays open then.
        After its proactor was closed nothing is left to take from the kernel, and any thread may close it.
        """
        if self.closed:
            return
        busy = sum(user.state in _IN_FLIGHT for user in list(self.users))
        if busy:
            raise FailedPrecondition(f"this region cannot be closed: {busy} operations are in flight on it")
        if self.open_pool() is not None:
            raise FailedPrecondition("this region cannot be closed: a pool lends its buffers; close the pool first")
        if self._owned is not None:
            others = count_other_views(self.view) - 1  # the slab's own
            if others:
                raise BufferError(f"this region cannot be closed: {others} views of its memory exist")
        backend = backend_of(self.proactor, "Region.close()") if has_kernel_side(self.proactor) else None
        release_or_refuse(self.view, "this region")
        if backend is not None:
            backend.unregister_memory(self._registration)
        self.users.clear()  # of what was never submitted, and has views all the same
        if self.slab is not None:
            self.slab.regions.discard(self)
        if self._owned is not None:
            self._owned.close()
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedResourceError("this region was closed")

    def __repr__(self) -> str:
        state = "closed" if self.closed else "pinned" if self.pinned else "not pinned"
        return f"<Region of {self.nbytes} bytes, {self.access.name}, {state}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "closed", True) or self.proactor._inherited:
            return
        try:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:  # where warnings are errors, too
            self._abandon()

    def _abandon(self) -> None:
        registration = self._registration
        proactor = self.proactor
        if registration.slots and has_kernel_side(proactor):
            # Only the owner thread may talk to the kernel about it. Its pages stay pinned until then.
            proactor.post(lambda: backend_of(proactor, "Region.close()").unregister_memory(registration))
        if self._owned is not None:
            self.view.release()
            self._owned.abandon()
