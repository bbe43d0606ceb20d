"""BufferPool: lends the buffers of a region, one by one, and takes them back.

The free buffers are a list of indices; the last one given back is the first one lent, since it is warm. Taking and
giving back need no lock: under the GIL no thread is switched and no signal handled between statements that make no
call, so `lease.index = stock[-1]; del stock[-1]; lease._held = True` happens as one, and an index is at any time either
in the list or in a lease that gives it back when it is dropped.

A pool can feed receives (RecvPool). Where the kernel chooses the buffer for a receive, it must have the free ones
beforehand; it takes them from a ring, and what is in there cannot be asked back one by one. So a pool serves one of the
two purposes: from its first receive until it is closed its free buffers are for receives, `acquire()` is refused, on
every backend alike, and leases come from receives only. A buffer that is given back by any thread is collected in the
list of free ones; the owner thread shows them to the kernel before it enters it the next time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from proactor_trio.proactor.errors import AlreadyExists, ClosedResourceError, FailedPrecondition, ResourceExhausted
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.kernel_side import has_kernel_side
from proactor_trio.proactor.memory.lease import Lease
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.with_block import ClosedByBlock

if TYPE_CHECKING:
    from proactor_trio.backends.contract import BufferGroup
    from proactor_trio.proactor.operation import Operation
    from proactor_trio.proactor.proactor import Proactor

#: Indices are 16 bits wide in completions, and one of them stays free.
LARGEST_POOL: Final = 65534
#: The index of a lease that has no buffer.
NO_BUFFER: Final = -1
#: The length of a lease into which nothing was received yet.
NOTHING_YET: Final = -1


class PoolLease(Lease):
    """A lease from a BufferPool.

    length: how many bytes its view has: those that were received, or the whole buffer. 0: the end of a stream, or an
        empty datagram; such a lease holds no buffer, and has no view.
    """

    __slots__ = ("_pool", "length")

    length: int
    _pool: BufferPool

    @property
    def region(self) -> Region:
        """The region that the pool lends from."""
        return self._pool.region

    def _offset(self) -> int:
        return self.index * self._pool.buffer_size

    def _buffer(self) -> memoryview:
        start = self._offset()
        return self._pool._memory[start : start + self.length]

    def __repr__(self) -> str:
        return "<PoolLease without a buffer>" if self.index == NO_BUFFER else super().__repr__()

    def release(self) -> None:
        """Give the buffer back. Idempotent. Raises BufferError while slices of `view` exist or it is in flight."""
        pool = self._pool
        free = pool._free
        while self._held:
            view = self._view
            if view is not None:
                self._end_views()
                view = self._view
            index = self.index
            if self._held and self._view is view:
                # One step: see above.
                self._held = False
                free.append(index)
                if pool._waiting:
                    pool._tell_waiting()

    def __del__(self) -> None:
        try:
            held = self._held
        except AttributeError:  # interrupted while it was made
            return
        if held:
            try:
                self._warn_dropped()
            finally:  # where warnings are errors, too
                self._pool._take_back_dropped(self)


class BufferPool(ClosedByBlock):
    """Lends the buffers of a slab's region. One pool a region.

    `acquire()` and `Lease.release()` are safe on any thread and in signal handlers; everything else belongs to the
    proactor's owner thread.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_free",
        "_memory",
        "_receives",
        "_stock",
        "_stranded",
        "_waiting",
        "buffer_size",
        "capacity",
        "group",
        "queue",
        "region",
    )

    def __init__(self, region: Region) -> None:
        """Lend the buffers of `region`, which was made by `register_slab()`.

        Raises ValueError for a region without buffers of one size or with more than 65534, AlreadyExists if it has an
        open pool, ClosedResourceError if it is closed.
        """
        self._closed = True
        if not isinstance(region, Region):
            raise TypeError(f"region must be a Region, not {type(region).__name__}")
        if not region.buffer_count:
            raise ValueError("region: it was registered without buffers of one size; use register_slab()")
        if region.buffer_count > LARGEST_POOL:
            raise ValueError(f"region: a pool has at most {LARGEST_POOL} buffers, not {region.buffer_count}")
        if region.closed:
            raise ClosedResourceError("region: it was closed")
        if region.open_pool() is not None:
            raise AlreadyExists("region: there is an open pool of its buffers")
        self.region = region
        self.capacity = region.buffer_count
        #: Bytes of one buffer.
        self.buffer_size = region.buffer_size
        self._memory = region.view
        self._free = list(range(self.capacity - 1, -1, -1))
        #: What acquire() takes from: the free buffers, or nothing once they are for receives.
        self._stock = self._free
        #: Buffers whose lease was dropped while somebody could reach them: first-level view, index.
        self._stranded: list[tuple[memoryview, int]] = []
        self._waiting: list[Callable[[], object]] = []
        #: The receives that have found it empty, in order.
        self.queue: dict[Operation, None] = {}
        #: The operations in flight that receive into it.
        self._receives: set[Operation] = set()
        #: The kernel's ring of receive buffers, once the pool feeds receives on a backend that has such rings.
        self.group: BufferGroup | None = None
        region.pool = ref(self)
        self._closed = False

    @property
    def available(self) -> int:
        """How many buffers are free, the kernel's included. A moment later it may be another number."""
        return len(self._free) + (0 if self.group is None else self.group.in_kernel)

    @property
    def feeds_receives(self) -> bool:
        """Whether its free buffers are for receives."""
        return self._stock is not self._free

    def acquire(self) -> PoolLease:
        """A lease of a free buffer; never waits. Its contents are what the last user left.

        Raises ResourceExhausted when there is none, FailedPrecondition when the pool feeds receives,
        ClosedResourceError after `close()`.
        """
        lease = PoolLease()
        lease._held = False
        lease._view = None
        lease._pool = self
        lease.length = self.buffer_size
        stock = self._stock
        try:
            # One step: see above.
            lease.index = stock[-1]
            del stock[-1]
            lease._held = True
        except IndexError:
            self._acquire_stranded(lease)
        return lease

    def _acquire_stranded(self, lease: PoolLease) -> None:
        if self._closed:
            raise ClosedResourceError("this pool was closed")
        if self.feeds_receives:
            raise FailedPrecondition(
                "acquire(): this pool feeds receives, its buffers come from them until it is closed"
            )
        self._collect_stranded()
        self._take_last(lease)

    def _take_last(self, lease: PoolLease) -> None:
        free = self._free
        try:
            # One step: see above.
            lease.index = free[-1]
            del free[-1]
            lease._held = True
        except IndexError:
            raise ResourceExhausted(f"all {self.capacity} buffers of this pool are leased") from None

    # Buffers that were not given back properly -------------------------------------------------------------------

    def _take_back_dropped(self, lease: PoolLease) -> None:
        """The buffer of a lease that nobody has any more; later, if somebody has a slice of its view."""
        try:
            lease.release()
        except BufferError:
            lease._held = False
            lease.view.release()
            self._stranded.append((lease._inner, lease.index))

    def _collect_stranded(self) -> None:
        for stranded in self._stranded[:]:
            inner, index = stranded
            try:
                inner.release()
                self._stranded.remove(stranded)
            except (BufferError, ValueError):  # still in use; collected by another thread
                continue
            self._free.append(index)

    # Waiting -----------------------------------------------------------------------------------------------------

    def when_free(self, call: Callable[[], object]) -> None:
        """Call once, without arguments, when a buffer is free: at once, or by whoever gives one back, on his thread.

        That a buffer is free does not say for whom: try, and ask again. The call must not raise. Any thread.
        """
        self._waiting.append(call)
        if self._stranded:
            self._collect_stranded()
        if self.available > 0:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        # One step: see above. Who asks again meanwhile waits for the next buffer.
        calls = self._waiting
        self._waiting = []
        for call in calls:
            call()

    # Receives ----------------------------------------------------------------------------------------------------

    def begin_receive(self, operation: Operation) -> None:
        """An operation that receives into it was submitted. Any thread; may be repeated."""
        self._receives.add(operation)
        self.region.retain(operation)

    def end_receive(self, operation: Operation) -> None:
        """The operation has completed. May be repeated."""
        self.queue.pop(operation, None)
        self._receives.discard(operation)
        self.region.release(operation)

    def is_there(self) -> bool:
        """For receives: whether there is a free buffer, or never again. If not, a release wakes the proactor.

        Owner thread.
        """
        if self._wake_proactor not in self._waiting:
            self._waiting.append(self._wake_proactor)
        self._collect_stranded()
        return self._closed or self.available > 0

    def _wake_proactor(self) -> None:
        proactor = self.region.proactor
        if has_kernel_side(proactor):
            proactor.wake()

    def check_for_receives(self, proactor: Proactor) -> None:
        """Whether operations of `proactor` may receive into it. Any thread.

        Raises ValueError for another proactor's pool, FailedPrecondition for memory that was not registered for
        Access.WRITE, ClosedResourceError after `close()`.
        """
        if self._closed:
            raise ClosedResourceError("pool: it was closed")
        if self.region.proactor is not proactor:
            raise ValueError("pool: its memory is registered with another proactor")
        if not self.region.access & Access.WRITE:
            raise FailedPrecondition("pool: its memory is registered for READ, and a receive needs WRITE")

    def feed_receives(self) -> BufferGroup | None:
        """From now on its free buffers are for receives. Returns the kernel's ring of them; None: `fill_free()`.

        Owner thread. Idempotent. Raises OSError if the kernel refuses the ring.
        """
        if self._stock is self._free:
            self.check_for_receives(self.region.proactor)
            group = self.region.open_group(self._free)
            self.group = group
            self._stock = []
        return self.group

    def unfilled_lease(self) -> PoolLease:
        """For receives: a lease that has no buffer yet, to be kept where an interruption cannot lose it."""
        lease = PoolLease()
        lease._held = False
        lease._view = None
        lease._pool = self
        lease.index = NO_BUFFER
        lease.length = NOTHING_YET
        return lease

    def fill_received(self, lease: PoolLease, index: int) -> None:
        """Give an unfilled lease the buffer that the kernel has taken from the ring. Owner thread; may be repeated."""
        group = self.group
        assert group is not None
        if lease.index == NO_BUFFER:
            # One step: no call in between.
            lease.index = index
            group.in_kernel -= 1
            lease._held = True

    def fill_free(self, lease: PoolLease) -> None:
        """Give an unfilled lease a free buffer, where there is no ring of the kernel's. Raises ResourceExhausted."""
        if not lease._held:
            self._collect_stranded()
            self._take_last(lease)

    def memory_of(self, lease: PoolLease) -> memoryview:
        """For receives: all of the buffer of a lease that was not delivered yet; to be released at once."""
        start = lease._offset()
        return self._memory[start : start + self.buffer_size]

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the pool, which no other thread uses any more. Idempotent. Owner thread if it has fed receives.

        Raises FailedPrecondition, saying how many, while leases are out or operations in flight use its region; the
        pool goes on then.
        """
        if self._closed:
            return
        self._collect_stranded()
        if self.available != self.capacity:
            raise FailedPrecondition(f"this pool cannot be closed: {self.capacity - self.available} leases are out")
        users = self.region.users if self.feeds_receives else self._receives
        if users:
            raise FailedPrecondition(
                f"this pool cannot be closed: {len(users)} operations in flight may use its buffers"
            )
        if self.group is not None:
            self.region.close_group(self.group)
        self._end()

    def _end(self) -> None:
        self._closed = True
        self._stock = self._free = []
        self.group = None
        self.region.pool = None

    def __repr__(self) -> str:
        if self._closed:
            return "<BufferPool closed>"
        return f"<BufferPool of {self.capacity} x {self.buffer_size} bytes, {self.available} free>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not getattr(self, "_closed", True):
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                if self.group is not None:
                    self.region.abandon_group(self.group)
