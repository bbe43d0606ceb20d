"""Registering memory with a proactor: which memory, for what, and what is refused.

On io_uring registered memory is pinned and stands in the kernel's table of buffers, so that reads, writes and zero-copy
sends skip the work on its pages. Where that is not to be had, the region is plain memory and says so in `reason`:
nothing else changes. A dma-buf is refused by name where the platform cannot use one, since copying through the
processor is not what was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proactor_trio.backends.contract import Capability, Support
from proactor_trio.proactor.errors import AlreadyExists, ClosedResourceError, FailedPrecondition, Unavailable
from proactor_trio.proactor.memory.access import Access, check_access
from proactor_trio.proactor.memory.kernel_side import backend_of
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.slab import Slab
from proactor_trio.proactor.memory.views import byte_view, second_level_view
from proactor_trio.proactor.memory.with_block import ClosedByBlock

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

#: Buffer numbers have 16 bits.
LARGEST_BUFFER_COUNT: Final = 65535
#: Buffer lengths have 32 bits.
LARGEST_BUFFER_SIZE: Final = (1 << 32) - 1
#: Receive buffers stand in a ring, which has a power of two of places. Source: io_uring_register_buf_ring(3).
LARGEST_RECEIVE_COUNT: Final = 32768


def register_buffer(proactor: Proactor, memory: Any, access: Access) -> Region:
    """Register the caller's memory, which stays his; a bytearray cannot be resized until the region is closed.

    access: what operations are going to do with it. The same memory may be registered with several proactors.
    Raises TypeError for what is no contiguous buffer and for read-only memory with Access.WRITE, ValueError for empty
    memory, FailedPrecondition on another thread than the proactor's owner.
    """
    backend_of(proactor, "register_buffer()")  # before anything is made
    check_access(access)
    view = byte_view(memory, "memory")
    if not view.nbytes:
        raise ValueError("memory must not be empty")
    _check_writable(view, access, "memory")
    region = Region(proactor, second_level_view(view), access)
    region.register()
    return region


def register_slab(proactor: Proactor, slab: Slab, access: Access) -> Region:
    """Register a slab, which is kept open until the region is closed.

    With Access.WRITE its buffers can receive (RecvPool), which needs a power of two of them, at most 32768.
    Raises ValueError for more than 65535 buffers, buffers of 4 GiB and more, or another number of them than receiving
    needs; AlreadyExists if the slab is registered with this proactor; ClosedResourceError for a closed slab;
    FailedPrecondition on another thread than the proactor's owner.
    """
    backend_of(proactor, "register_slab()")  # before anything is made
    check_access(access)
    if not isinstance(slab, Slab):
        raise TypeError(f"slab must be a Slab, not {type(slab).__name__}")
    if slab.closed:
        raise ClosedResourceError("slab: it was closed")
    count = slab.buffer_count
    if count > LARGEST_BUFFER_COUNT:
        raise ValueError(f"slab: at most {LARGEST_BUFFER_COUNT} buffers can be registered, not {count}")
    if slab.buffer_size > LARGEST_BUFFER_SIZE:
        raise ValueError(f"slab: a buffer has at most {LARGEST_BUFFER_SIZE} bytes, not {slab.buffer_size}")
    if access & Access.WRITE:
        if count & (count - 1) or count > LARGEST_RECEIVE_COUNT:
            raise ValueError(
                f"slab: for Access.WRITE it needs a power of two of buffers, up to {LARGEST_RECEIVE_COUNT}, not {count}"
            )
        _check_writable(slab.view, access, "slab")
    if any(region.proactor is proactor for region in slab.regions):
        raise AlreadyExists("slab: it is registered with this proactor")
    region = Region(proactor, slab.view[:], access, slab)
    region.register()
    return region


def register_dmabuf(proactor: Proactor, descriptor: int, offset: int, length: int, access: Access) -> Region:
    """Map and register shared memory behind a descriptor, a dma-buf or a stand-in for one (a memfd).

    offset, length: bytes; the offset need not be a multiple of the page size. The descriptor stays the caller's. Where
    the kernel cannot pin the pages it is mapped only: `pinned` is False and `reason` says why. The memory goes when the
    region is closed, which is refused with BufferError while views of it exist.
    Raises Unavailable where the backend cannot use a dma-buf, OSError if it cannot be mapped, ValueError for what is
    not inside it, FailedPrecondition on another thread than the proactor's owner.
    """
    backend_of(proactor, "register_dmabuf()")  # before anything is made
    check_access(access)
    report = proactor.capability_reports[Capability.DMABUF]
    if report.support is Support.MISSING:
        raise Unavailable(f"register_dmabuf: the backend {proactor.backend_name} has no DMABUF: {report.reason}")
    slab = Slab.from_descriptor(descriptor, offset, length, 1)
    try:
        region = Region(proactor, slab.view[:], access)
        region.own(slab)
        region.register()
    except BaseException:
        slab.abandon()
        raise
    return region


def _check_writable(view: memoryview, access: Access, argument: str) -> None:
    if access & Access.WRITE and view.readonly:
        raise TypeError(f"{argument} is read-only, and Access.WRITE needs writable memory")


class RegistrationState(ClosedByBlock):
    """The registrations of one piece of memory, with any number of proactors.

    For who hands memory to operations of several proactors: `find()` says which region is the right one for each.
    Not thread-safe; a region is registered and closed by the owner thread of its proactor.
    """

    __slots__ = ("_memory", "regions")

    def __init__(self, memory: Any) -> None:
        """memory: a Slab, or a bytes-like object."""
        self._memory = memory
        self.regions: list[Region] = []

    def register(self, proactor: Proactor, access: Access) -> Region:
        """Register the memory with one more proactor. Raises AlreadyExists if it knows it; else as `register_*()`."""
        if self.find(proactor) is not None:
            raise AlreadyExists("proactor: the memory is registered with it")
        register = register_slab if isinstance(self._memory, Slab) else register_buffer
        region = register(proactor, self._memory, access)
        self.regions.append(region)
        return region

    def find(self, proactor: Proactor) -> Region | None:
        """The open region by which this proactor knows the memory, None if it does not."""
        for region in self.regions:
            if region.proactor is proactor and not region.closed:
                return region
        return None

    def close(self) -> None:
        """Close all regions. Idempotent. Those that cannot be closed yet stay, and the first refusal is raised."""
        refusals: list[FailedPrecondition] = []
        for region in self.regions[:]:
            try:
                region.close()
                self.regions.remove(region)
            except FailedPrecondition as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]
