"""SharedBufferPool: buffers that several processes lend themselves from memory that they share.

Two pieces of shared memory are needed, for example of one memfd: the buffers (a Slab, which each process maps for
itself), and a small storage in which stands who holds which buffer. One process creates the pool in the storage, the
others open it. Nobody is in charge afterwards: the pool goes on when its creator ends.

Storage: a header of 64 bytes and 8 bytes for each buffer (slot_words.py says what they hold and why they are safe).

| word of the header | holds                                                         |
|--------------------|---------------------------------------------------------------|
| 0                  | the magic number, written last                                |
| 1                  | version in the upper half, Synchronization in the lower half  |
| 2                  | bytes of a buffer                                             |
| 3                  | number of buffers                                             |
| 4                  | how many leases were reclaimed since creation                 |

A process that dies keeps its leases. Whoever knows of the death calls `reclaim_by_owner()`; `owners()` says who holds
something. A living process is never deprived of anything.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, Final

from proactor_trio.proactor import forking
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import Aborted, ClosedResourceError, FailedPrecondition, ResourceExhausted
from proactor_trio.proactor.memory.lease import Lease
from proactor_trio.proactor.memory.placement import address_of
from proactor_trio.proactor.memory.process_identity import is_alive, own_identity, process_of
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.slab import Slab
from proactor_trio.proactor.memory.slot_words import (
    EPOCH_SHIFT,
    HAS_ATOMICS,
    HEADER_WORDS,
    OWNER_MASK,
    AtomicWords,
    Cell,
    LockedWords,
    SlotWords,
    Synchronization,
    load_first,
    store_last,
)
from proactor_trio.proactor.memory.views import byte_view, release_or_refuse
from proactor_trio.proactor.memory.with_block import ClosedByBlock

_MAGIC: Final = int.from_bytes(b"ptriopls", "little")
VERSION: Final = 1
_WORD_BYTES: Final = 8
_LARGEST_COUNT: Final = 0xFFFFFFFF

_MAGIC_WORD: Final = 0
_VERSION_WORD: Final = 1
_SIZE_WORD: Final = 2
_COUNT_WORD: Final = 3
_RECLAIMED_WORD: Final = 4
_VERSION_SHIFT: Final = 32


def shared_pool_storage_size(buffer_count: int) -> int:
    """How many bytes of shared memory a pool of so many buffers needs beside them. Raises ValueError below 1."""
    check_integer(buffer_count, "buffer_count", 1, _LARGEST_COUNT)
    return _WORD_BYTES * (HEADER_WORDS + buffer_count)


class SharedLease(Lease):
    """A lease from a SharedBufferPool.

    epoch: how many times this buffer has been leased, by whomever, this time included (modulo 2**32).
    """

    __slots__ = ("_cell", "_pool", "epoch")

    _pool: SharedBufferPool
    _cell: Cell
    epoch: int

    @property
    def region(self) -> Region | None:
        """The region whose buffers the pool lends, None for a plain slab."""
        return self._pool.region

    def _offset(self) -> int:
        return self.index * self._pool.buffer_size

    def _buffer(self) -> memoryview:
        start = self._offset()
        pool = self._pool
        return pool.memory[start : start + pool.buffer_size]

    def release(self) -> None:
        """Give the buffer back. Idempotent. Raises BufferError while slices of `view` exist or it is in flight.

        Raises Aborted if it had been taken away (by somebody who could not see that this process is alive): then
        another process may have used the same memory at the same time.
        """
        if not self._held and not self._cell[1]:
            return
        pool = self._pool
        pool._check_own()
        while self._held:
            view = self._view
            if view is not None:
                self._end_views()
                view = self._view
            if self._held and self._view is view:
                # One step: no call in between.
                self._held = False
                pool._outstanding -= 1
        if self._cell[1] and not pool._words.give_back(self._cell):
            raise Aborted(f"{self!r} had been taken away from this process")

    def __del__(self) -> None:
        try:
            held, claimed, pool = self._held, self._cell[1], self._pool
        except AttributeError:  # interrupted while it was made
            return
        if not claimed or pool._inherited or pool._closed:
            return  # _closed: an interrupted release was not repeated, and the storage may be gone
        if not held:
            pool._words.give_back(self._cell)
            return
        try:
            self._warn_dropped()
        finally:  # where warnings are errors, too
            self._take_back_dropped(pool)

    def _take_back_dropped(self, pool: SharedBufferPool) -> None:
        try:
            self._end_views()
        except BufferError:
            return  # somebody can still reach the buffer: it stays this process's
        pool._outstanding -= 1
        pool._words.give_back(self._cell)


class SharedBufferPool(ClosedByBlock):
    """Lends buffers to several processes. `create()` and `open()` make one.

    `acquire()` and the release of leases are safe on any thread; in signal handlers only with Synchronization.ATOMICS.
    A forked child must open the pool anew: what it inherits is its parent's.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_first",
        "_identity",
        "_inherited",
        "_outstanding",
        "_storage",
        "_words",
        "buffer_size",
        "capacity",
        "memory",
        "region",
        "synchronization",
    )

    def __init__(self, memory: Slab | Region, storage: memoryview, words: SlotWords) -> None:
        """For `create()` and `open()`."""
        self._storage = storage
        self._words = words
        self.region = memory if isinstance(memory, Region) else None
        #: The buffers, one behind the other.
        self.memory = memory.view[:]
        self.buffer_size = memory.buffer_size
        self.capacity = memory.buffer_count
        self.synchronization = Synchronization.ATOMICS if isinstance(words, AtomicWords) else Synchronization.FILE_LOCK
        self._identity = own_identity()
        #: Where to look first: at what this handle had last. The handles of other processes begin elsewhere.
        self._first = process_of(self._identity) * 0x9E3779B1 % self.capacity
        #: How many leases of this handle are out.
        self._outstanding = 0
        self._inherited = False
        self._closed = False
        forking.watch(self)

    @classmethod
    def create(
        cls,
        storage: Any,
        memory: Slab | Region,
        *,
        lock_descriptor: int | None = None,
        synchronization: Synchronization | None = None,
    ) -> SharedBufferPool:
        """Make a pool in `storage`, whatever stood there, for the buffers of `memory`.

        storage: writable shared memory of `shared_pool_storage_size()` bytes, aligned to 8; stays the caller's.
        memory: a slab over shared memory, or a region of one, whose spans operations then know.
        lock_descriptor: of a file that all processes have open (the memfd), for Synchronization.FILE_LOCK.
        synchronization: None: ATOMICS if this installation has the compiled helper, else FILE_LOCK.
        Raises ValueError or TypeError for what does not fit, FailedPrecondition for ATOMICS without the helper.
        """
        _check_memory(memory)
        if synchronization is None:
            synchronization = Synchronization.ATOMICS if HAS_ATOMICS else Synchronization.FILE_LOCK
        view = _storage_words(storage, memory.buffer_count)
        try:
            words = _open_words(view, synchronization, lock_descriptor)
        except BaseException:
            view.release()
            raise
        for index in range(len(view)):
            view[index] = 0
        view[_VERSION_WORD] = VERSION << _VERSION_SHIFT | synchronization
        view[_SIZE_WORD] = memory.buffer_size
        view[_COUNT_WORD] = memory.buffer_count
        store_last(view, _MAGIC_WORD, _MAGIC)
        return cls(memory, view, words)

    @classmethod
    def open(cls, storage: Any, memory: Slab | Region, *, lock_descriptor: int | None = None) -> SharedBufferPool:
        """Take part in a pool that another process, or this one, has created.

        Raises ValueError, saying which, for a storage that is too small or not aligned, has another magic number or
        version, or was made for buffers of another size or number; the rest as `create()`.
        """
        _check_memory(memory)
        view = _storage_words(storage, memory.buffer_count)
        try:
            words = _open_words(view, _checked_header(view, memory), lock_descriptor)
        except BaseException:
            view.release()
            raise
        return cls(memory, view, words)

    # Lending -----------------------------------------------------------------------------------------------------

    def acquire(self) -> SharedLease:
        """A lease of a free buffer; never waits for one. Its contents are what the last user left.

        Raises ResourceExhausted when all are leased, by whomever; ClosedResourceError after `close()`.
        """
        self._check_own()
        words = self._words
        lease = SharedLease()
        lease._held = False
        lease._view = None
        lease._pool = self
        lease._cell = cell = words.new_cell()
        if not words.claim(self._first, self._identity, cell):
            raise ResourceExhausted(f"all {self.capacity} buffers of this pool are leased")
        index = cell[0]
        lease.index = self._first = index
        lease.epoch = cell[1] >> EPOCH_SHIFT
        # One step: no call in between.
        self._outstanding += 1
        lease._held = True
        return lease

    @property
    def available(self) -> int:
        """How many buffers are free. Looks at all of them; a moment later it may be another number."""
        self._check_own()
        return sum(not word & OWNER_MASK for word in self._words.snapshot())

    def epochs(self) -> list[int]:
        """How many times each buffer has been leased (modulo 2**32)."""
        self._check_own()
        return [word >> EPOCH_SHIFT for word in self._words.snapshot()]

    def owners(self) -> dict[int, int]:
        """The processes that hold leases, by their numbers, and how many each."""
        self._check_own()
        return dict(Counter(process_of(word & OWNER_MASK) for word in self._words.snapshot() if word & OWNER_MASK))

    @property
    def reclaimed(self) -> int:
        """How many leases of dead processes were reclaimed since the pool was created."""
        self._check_own()
        return self._words.header[_RECLAIMED_WORD]

    def reclaim_by_owner(self, process: int) -> int:
        """Take back what a dead process holds; how many buffers that were. Any process may do so, at any time.

        Raises FailedPrecondition, and takes nothing, while the process that holds them is alive.
        """
        check_integer(process, "process", 1, _LARGEST_COUNT)
        self._check_own()
        words = self._words
        held = [(index, word) for index, word in enumerate(words.snapshot()) if word & OWNER_MASK]
        dead = set()
        for identity in {word & OWNER_MASK for _, word in held}:
            if process_of(identity) == process:
                if is_alive(identity):
                    raise FailedPrecondition(f"process {process} is alive, and its leases are its own")
                dead.add(identity)
        count = 0
        for index, word in held:
            if word & OWNER_MASK in dead:
                count += words.exchange(index, word, word & ~OWNER_MASK)
        if count:
            words.add(_RECLAIMED_WORD, count)
        return count

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the pool, which goes on for the others. Idempotent.

        Raises FailedPrecondition, saying how many, while leases of this handle are out, and BufferError while views of
        the buffers exist; the handle goes on then.
        """
        if self._closed:
            return
        if self._outstanding and not self._inherited:
            raise FailedPrecondition(f"this pool cannot be closed: {self._outstanding} leases are out")
        release_or_refuse(self.memory, "this pool")
        self._closed = True
        forking.unwatch(self)
        self._words.close()
        self._storage.release()

    def abandon(self) -> None:
        """In a forked child: what is here belongs to the parent."""
        self._inherited = True
        self._words.abandon_in_child()

    def _check_own(self) -> None:
        if self._inherited:
            raise RuntimeError("this pool was inherited by fork(): open it anew in the child")
        if self._closed:
            raise ClosedResourceError("this pool was closed")

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<SharedBufferPool{state} of {self.capacity} x {self.buffer_size} bytes, {self.synchronization.name}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_closed", True) or self._inherited:
            return
        try:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:  # where warnings are errors, too
            self._words.close()


def _check_memory(memory: object) -> None:
    if not isinstance(memory, (Slab, Region)):
        raise TypeError(f"memory must be a Slab or a Region, not {type(memory).__name__}")
    if memory.closed:
        raise ClosedResourceError("memory: it was closed")
    if not memory.buffer_count:
        raise ValueError("memory: this region is not divided into buffers; use register_slab()")


def _storage_words(storage: Any, buffer_count: int) -> memoryview:
    view = byte_view(storage, "storage")
    if view.readonly:
        raise TypeError("storage must be writable")
    size = shared_pool_storage_size(buffer_count)
    if view.nbytes < size:
        raise ValueError(f"storage: {buffer_count} buffers need {size} bytes, and it has {view.nbytes}")
    if address_of(view) % _WORD_BYTES:
        raise ValueError(f"storage: its address must be a multiple of {_WORD_BYTES}")
    return view[:size].cast("Q")


def _open_words(
    storage: memoryview, synchronization: Synchronization, lock_descriptor: int | None
) -> AtomicWords | LockedWords:
    if synchronization is Synchronization.ATOMICS:
        if not HAS_ATOMICS:
            raise FailedPrecondition(
                "synchronization: this storage is changed by ATOMICS, and this installation has no compiled helper"
            )
        return AtomicWords(storage)
    if lock_descriptor is None:
        raise ValueError("lock_descriptor: Synchronization.FILE_LOCK needs a file that all processes have open")
    return LockedWords(storage, lock_descriptor)


def _checked_header(storage: memoryview, memory: Slab | Region) -> Synchronization:
    magic = load_first(storage, _MAGIC_WORD)
    if magic != _MAGIC:
        raise ValueError(f"storage: no pool was created in it (its magic number is {magic:#x})")
    version = storage[_VERSION_WORD] >> _VERSION_SHIFT
    if version != VERSION:
        raise ValueError(f"storage: its pool has version {version}, and this is version {VERSION}")
    for word, name in ((_SIZE_WORD, "buffer_size"), (_COUNT_WORD, "buffer_count")):
        if storage[word] != getattr(memory, name):
            raise ValueError(f"storage: its pool has {name} {storage[word]}, and memory has {getattr(memory, name)}")
    return Synchronization(storage[_VERSION_WORD] & OWNER_MASK)
