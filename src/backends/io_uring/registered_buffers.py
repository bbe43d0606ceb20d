"""The kernel's table of buffers: memory that stays pinned and mapped, so that an operation names a place in the table.

Facts (io_uring_register(2), io_uring_registered_buffers(7)): a table is made once for a ring, here with empty places
(IORING_RSRC_REGISTER_SPARSE, Linux 5.19); single places are filled and emptied later. A piece has at most 1 GiB. The
pages count against RLIMIT_MEMLOCK unless the process may lock without limit. The kernel pins for writing, so memory
that is mapped for reading only is refused; so is what has no pages (most device memory). An operation that has begun
holds its place's pages by itself: emptying the place under it cannot crash, but the proactor never does it.

What that means for us: a refusal is no error. The memory is used as plain memory, and the reason is kept in words.
The table is made when something is registered for the first time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final

from proactor_trio.backends.contract import MemoryRegistration
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.mapping import address_of
from proactor_trio.backends.io_uring.ring import Ring

#: The places of the table; the kernel allows 16384.
TABLE_PLACES: Final = 8192
LARGEST_PIECE: Final = 1 << 30

_WORDS: Final = {
    errno.ENOMEM: "too little lockable memory; raise `ulimit -l` (RLIMIT_MEMLOCK)",
    errno.EFAULT: "the kernel cannot pin these pages (device memory, a mapped file, or mapped for reading only)",
    errno.EOPNOTSUPP: "the kernel does not pin memory that is backed by this kind of file",
}


class RegisteredBuffers:
    """The table of one ring. Owner thread only."""

    __slots__ = ("_free", "_made", "_ring")

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._made = False
        #: Empty places; the last is used first.
        self._free: list[int] = []

    def add(self, registration: MemoryRegistration, pieces: Sequence[memoryview]) -> None:
        """Fill a place for each piece, or none of them and say why. An exception leaves what `remove()` undoes."""
        if not self._made and (error := self._make_table()):
            registration.reason = f"no table of buffers: {os.strerror(error)}"
            return
        count = len(pieces)
        if count > len(self._free):
            registration.reason = f"the table of buffers has {len(self._free)} empty places of {TABLE_PLACES}"
            return
        places = tuple(self._free[-count:])
        # One step: no call in between.
        registration.slots = places
        del self._free[-count:]
        for place, piece in zip(places, pieces, strict=True):
            error = self._update(place, address_of(piece), piece.nbytes)
            if error:
                self.remove(registration)
                registration.reason = _WORDS.get(error, f"not pinned: {os.strerror(error)}")
                return
        registration.reason = f"pinned in the kernel's table of buffers, {count} of {TABLE_PLACES} places"

    def remove(self, registration: MemoryRegistration) -> None:
        """Empty its places. May be done again."""
        places = registration.slots
        for place in places:
            error = self._update(place, 0, 0)
            if error:
                raise OSError(error, f"io_uring_register(IORING_REGISTER_BUFFERS_UPDATE): {os.strerror(error)}")
        if registration.slots:
            # One step: no call in between.
            registration.slots = ()
            self._free += places

    def _make_table(self) -> int:
        """0 or the errno."""
        argument = bytearray(c.RESOURCE_REGISTRATION.pack(TABLE_PLACES, c.RESOURCE_REGISTER_SPARSE, 0, 0, 0))
        result = self._ring.register(c.REGISTER_BUFFERS2, argument, len(argument))
        if result < 0 and result != -errno.EBUSY:  # it was made, and an exception came before we knew
            return -result
        self._free = list(range(TABLE_PLACES - 1, -1, -1))
        self._made = True
        return 0

    def _update(self, place: int, address: int, length: int) -> int:
        """0 or the errno."""
        memory = bytearray(c.IOVEC.pack(address, length))
        argument = bytearray(c.RESOURCE_UPDATE.pack(place, 0, address_of(memory), 0, 1, 0))
        result = self._ring.register(c.REGISTER_BUFFERS_UPDATE, argument, len(argument))
        return -result if result < 0 else 0
