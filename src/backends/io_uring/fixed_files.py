"""The kernel's table of files: an operation names a place in it instead of a descriptor (IOSQE_FIXED_FILE).

Facts (io_uring_register(2), and measured): a table is made once for a ring, here with empty places (Linux 5.19), no
more than RLIMIT_NOFILE allows; single places are filled and emptied later. The table holds the file: a connection whose
descriptor is closed stays open until its place is emptied too. An operation that has begun holds the file by itself, so
a place may be emptied under it; a link of a chain that has not begun looks its place up later. Cancellation by
descriptor compares files and therefore finds operations of both sorts. A closed ring lets its table go some time later.

What that means for us: the place is emptied by the close, when nothing is left that would look it up (contract.py,
rule 10); and all places before the ring is closed. The table is made when something is registered for the first time.
"""

from __future__ import annotations

import errno
import os
import resource
from struct import Struct
from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields, TablePlace
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.encode import Encoder
from proactor_trio.backends.io_uring.mapping import address_of
from proactor_trio.backends.io_uring.ring import Ring

#: The places of the table, unless fewer descriptors are allowed.
LARGEST_TABLE: Final = 4096
#: How many of them are kept for files that are opened into the table, if it has twice as many.
KEPT_FOR_CONTENTS: Final = 64

_EMPTY: Final = -1
_DESCRIPTOR: Final = Struct("<i")
#: The begin of an entry: opcode, flags, ioprio, descriptor.
_HEAD: Final = Struct("<BBHi")

#: The kinds whose entries name the file of their resource.
_KINDS: Final = (
    Kind.HANDLE_POLL,
    Kind.ACCEPT,
    Kind.CONNECT,
    Kind.RECV,
    Kind.RECV_BYTES,
    Kind.RECV_FROM,
    Kind.RECV_POOL,
    Kind.SEND,
    Kind.SEND_TO,
    Kind.FILE_READ,
    Kind.FILE_WRITE,
    Kind.FILE_SYNC,
    Kind.FILE_ALLOCATE,
    Kind.FILE_TRUNCATE,
)


class FixedFiles:
    """The table of one ring. Owner thread only."""

    __slots__ = ("_free", "_kept", "_made", "_ring", "places")

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._made = False
        #: How many places the table has for what is registered.
        self.places = 0
        #: Empty places; the last is used first.
        self._free: list[int] = []
        #: Those for files that are opened into the table.
        self._kept: list[int] = []

    def add(self, place: TablePlace, descriptor: int) -> None:
        """Fill a place with a descriptor's file, or none and say why. An exception leaves what `remove()` undoes."""
        if not self._made and (error := self._make_table()):
            place.reason = f"no table of files: {os.strerror(error)}"
            return
        if not self._free:
            place.reason = f"all {self.places} places of the table of files are in use"
            return
        # One step: no call in between.
        place.number = self._free[-1]
        del self._free[-1]
        error = self._update(place.number, descriptor)
        if error:
            self._give_back(place)
            place.reason = f"not in the table of files: {os.strerror(error)}"
        else:
            place.reason = "in the kernel's table of files"

    def lend(self, place: TablePlace) -> int:
        """An empty place, into which the kernel is going to open a file: 0, -EAGAIN if none is left, or -errno."""
        if not self._made and (error := self._make_table()):
            return -error
        if not self._kept:
            return -errno.EAGAIN
        # One step: no call in between.
        place.number = self._kept[-1]
        del self._kept[-1]
        return 0

    def take_back(self, place: TablePlace) -> None:
        """What was lent is empty again. Idempotent."""
        number = place.number
        if number >= 0:
            place.number = -1
            self._kept.append(number)

    def clear(self, place: TablePlace) -> None:
        """Empty a place that was lent and may not be empty. May be done again."""
        if place.number >= 0:
            self._update(place.number, _EMPTY)

    def remove(self, place: TablePlace) -> None:
        """Empty its place. May be done again."""
        if place.number >= 0:
            self._update(place.number, _EMPTY)
            self._give_back(place)

    def remove_all(self) -> None:
        """Empty the table: the ring is about to be closed."""
        if self._made:
            self._ring.register(c.UNREGISTER_FILES, bytearray(), 0)
            self._made = False

    def _give_back(self, place: TablePlace) -> None:
        number = place.number
        # One step: no call before the place is given up.
        place.number = -1
        self._free.append(number)

    def _make_table(self) -> int:
        """0 or the errno."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        places = LARGEST_TABLE if allowed == resource.RLIM_INFINITY else min(LARGEST_TABLE, allowed)
        argument = bytearray(c.RESOURCE_REGISTRATION.pack(places, c.RESOURCE_REGISTER_SPARSE, 0, 0, 0))
        result = self._ring.register(c.REGISTER_FILES2, argument, len(argument))
        if result < 0 and result != -errno.EBUSY:  # it was made, and an exception came before we knew
            return -result
        kept = min(KEPT_FOR_CONTENTS, places // 2)
        self.places = places - kept
        self._free = list(range(self.places - 1, -1, -1))
        self._kept = list(range(self.places, places))
        self._made = True
        return 0

    def _update(self, number: int, descriptor: int) -> int:
        """0 or the errno."""
        descriptors = bytearray(_DESCRIPTOR.pack(descriptor))
        argument = bytearray(c.FILES_UPDATE.pack(number, 0, address_of(descriptors)))
        result = self._ring.register(c.REGISTER_FILES_UPDATE, argument, 1)
        return -result if result < 0 else 0


def with_fixed_files(encoders: list[Encoder]) -> list[Encoder]:
    """The table of encoders, extended: operations on a registered file name its place."""
    extended = encoders[:]
    for kind in _KINDS:
        extended[kind] = _naming_place(encoders[kind])
    return extended


def _naming_place(encoder: Encoder) -> Encoder:
    def encode(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
        encoder(entries, offset, operation, flags)
        place = operation.table_place()
        if place is not None and place.number >= 0:
            opcode, entry_flags, mode, descriptor = _HEAD.unpack_from(entries, offset)
            if descriptor == operation.descriptor:  # an empty receive is a NOP, for example
                _HEAD.pack_into(entries, offset, opcode, entry_flags | c.SQE_FIXED_FILE, mode, place.number)

    return encode
