"""Words of shared memory that say who holds a buffer, and the two ways in which processes may change them.

A word has 64 bits: the epoch in the upper half, the owner in the lower one. Owner 0 means free. Taking a buffer raises
its epoch by one and sets the owner, giving it back sets the owner to 0 and leaves the epoch. A word changes as a whole
from one valid state to the next, so a process that is killed at any moment leaves no buffer between two states: each is
free, or has an owner who can be named, and nothing else has to be mended. The epoch tells two leases of one buffer
apart: whoever was deprived of a buffer cannot give back what is somebody else's by now (the ABA problem).

ATOMICS: the compiled helper exchanges a word if it is still what it was (compare-and-exchange). No process ever waits
for another. This is the normal way.

FILE_LOCK: without the helper, words are changed under an exclusive flock(2) on a file that all processes have open, for
example the memfd that the words lie in. Why it is right:

* The lock belongs to an open file description. Each handle opens its own (through /proc/self/fd), so two handles never
  hold it together, not even in one process; threads that share a handle are kept apart by a lock of their own.
* The kernel lets it go when the last descriptor of that description is closed, which it is when its process dies, for
  whatever reason. A forked child would keep the description alive, so the child closes its copy at once.
* A process that dies while it holds the lock has stored its word or not: a store of 8 aligned bytes is one instruction
  on the processors that we know. So the next holder finds valid words and need not know that there was a death.

All handles of one storage must go the same way. Which one is written in its header, by whoever creates it.
"""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import MutableSequence
from enum import IntEnum
from importlib import import_module
from typing import Any, Final

from proactor_trio.proactor.errors import Unimplemented
from proactor_trio.proactor.memory.placement import address_of

if sys.platform != "win32":
    import fcntl

try:
    _atomics: Any = import_module("proactor_trio.proactor.memory._atomics")
except ImportError:
    _atomics = None

HAS_ATOMICS: Final = _atomics is not None

OWNER_MASK: Final = 0xFFFFFFFF
EPOCH_SHIFT: Final = 32
_LARGEST_EPOCH: Final = 0xFFFFFFFF


class Synchronization(IntEnum):
    """How the processes that share a storage change it. The numbers stand in its header."""

    ATOMICS = 1
    FILE_LOCK = 2


#: Index and word of a claimed slot; the word is 0 while nothing is claimed.
Cell = MutableSequence[int]

#: The words of a storage's header; those of the slots follow.
HEADER_WORDS: Final = 8


class SlotWords(ABC):
    """The words of one storage: view them, take one, give one back. Any thread.

    storage: aligned memory as 64-bit words, header and slots.
    """

    __slots__ = ("header", "slots")

    def __init__(self, storage: memoryview) -> None:
        self.header = storage[:HEADER_WORDS]
        self.slots = storage[HEADER_WORDS:]

    @abstractmethod
    def new_cell(self) -> Cell:
        """A cell for one claim; its second number is 0."""

    @abstractmethod
    def claim(self, first: int, owner: int, cell: Cell) -> bool:
        """Take a free slot for `owner`, looking from `first` on: its index and its word go to `cell`.

        The cell is filled in before an exception can come between; a returned value could be lost. False: none is free.
        """

    @abstractmethod
    def give_back(self, cell: Cell) -> bool:
        """Set the owner of a claimed slot to 0, and the word in the cell, too; nothing if that is 0.

        False: the slot had been taken away. Several threads may do so at a time; one of them does it.
        """

    @abstractmethod
    def exchange(self, index: int, expected: int, desired: int) -> bool:
        """Set a slot's word to `desired` if it is `expected`; whether it was."""

    @abstractmethod
    def add(self, index: int, increment: int) -> None:
        """Add to a word of the header."""

    def snapshot(self) -> list[int]:
        """The words of all slots, each as it was at some moment of this call."""
        return self.slots.tolist()

    def close(self) -> None:
        """Let go of the memory, and of what it needs of the system."""
        self.header.release()
        self.slots.release()

    def abandon_in_child(self) -> None:
        """In a forked child: let go of what would keep a lock of the parent's alive."""
        return


if _atomics is not None:
    # Everything is realised here, on the importing thread: cffi's lazy realisation of types is not safe under threads.
    _cast: Final = _atomics.ffi.cast
    _new: Final = _atomics.ffi.new
    _CELL: Final = _atomics.ffi.typeof("unsigned long long[2]")
    _VOID: Final = _atomics.ffi.typeof("void *")
    _claim_slot: Final = _atomics.lib.proactor_claim_slot
    _return_slot: Final = _atomics.lib.proactor_return_slot
    _compare_exchange: Final = _atomics.lib.proactor_compare_exchange
    _fetch_add: Final = _atomics.lib.proactor_fetch_add
    _load_acquire: Final = _atomics.lib.proactor_load_acquire
    _store_release: Final = _atomics.lib.proactor_store_release


def load_first(storage: memoryview, index: int) -> int:
    """A word; what is read afterwards is at least as new as it."""
    if HAS_ATOMICS:
        return int(_load_acquire(_cast(_VOID, address_of(storage)), index))
    value: int = storage[index]
    return value


def store_last(storage: memoryview, index: int, value: int) -> None:
    """Set a word; whoever sees it sees all that was written before."""
    if HAS_ATOMICS:
        _store_release(_cast(_VOID, address_of(storage)), index, value)
    else:
        storage[index] = value


def add_atomically(storage: memoryview, index: int, increment: int) -> None:
    """Add to a word that other processes change too. Only where HAS_ATOMICS."""
    _fetch_add(_cast(_VOID, address_of(storage)), index, increment)


class AtomicWords(SlotWords):
    """By the compiled helper."""

    __slots__ = ("_count", "_header_pointer", "_slots_pointer")

    def __init__(self, storage: memoryview) -> None:
        super().__init__(storage)
        self._count = len(self.slots)
        self._header_pointer = _cast(_VOID, address_of(self.header))
        self._slots_pointer = _cast(_VOID, address_of(self.slots))

    def new_cell(self) -> Cell:
        cell: Cell = _new(_CELL)
        return cell

    def claim(self, first: int, owner: int, cell: Cell) -> bool:
        return bool(_claim_slot(self._slots_pointer, self._count, first, owner, cell))

    def give_back(self, cell: Cell) -> bool:
        return bool(_return_slot(self._slots_pointer, cell))

    def exchange(self, index: int, expected: int, desired: int) -> bool:
        return bool(_compare_exchange(self._slots_pointer, index, expected, desired))

    def add(self, index: int, increment: int) -> None:
        _fetch_add(self._header_pointer, index, increment)


class LockedWords(SlotWords):
    """Under a file lock. A signal handler must not use it: it might wait for the code that it has interrupted."""

    __slots__ = ("_descriptor", "_threads")

    def __init__(self, storage: memoryview, descriptor: int) -> None:
        """descriptor: of a file that all processes have; stays the caller's. Raises OSError if it cannot be opened."""
        super().__init__(storage)
        if sys.platform != "linux":
            raise Unimplemented("shared pools need the compiled helper on this system")
        self._threads = threading.Lock()
        self._descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)

    def new_cell(self) -> Cell:
        return [0, 0]

    def claim(self, first: int, owner: int, cell: Cell) -> bool:
        slots = self.slots
        count = len(slots)
        with self._threads:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                for step in range(count):
                    index = (first + step) % count
                    found = slots[index]
                    if not found & OWNER_MASK:
                        word = ((found >> EPOCH_SHIFT) + 1 & _LARGEST_EPOCH) << EPOCH_SHIFT | owner
                        # One step: no call in between.
                        cell[0] = index
                        cell[1] = word
                        slots[index] = word
                        return True
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def give_back(self, cell: Cell) -> bool:
        slots = self.slots
        with self._threads:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                index = cell[0]
                word = cell[1]
                if word and slots[index] != word:
                    cell[1] = 0
                    return False
                if word:
                    free = word & ~OWNER_MASK
                    # One step: no call in between.
                    slots[index] = free
                    cell[1] = 0
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return True

    def exchange(self, index: int, expected: int, desired: int) -> bool:
        slots = self.slots
        with self._threads:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                if slots[index] != expected:
                    return False
                slots[index] = desired
                return True
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def add(self, index: int, increment: int) -> None:
        with self._threads:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                self.header[index] += increment
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        super().close()
        self.abandon_in_child()

    def abandon_in_child(self) -> None:
        descriptor = self._descriptor
        if descriptor >= 0:
            self._descriptor = -1
            os.close(descriptor)
