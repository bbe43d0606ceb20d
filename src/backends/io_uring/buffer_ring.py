"""Receive buffers that the kernel chooses from when data is there (IORING_REGISTER_PBUF_RING, Linux 5.19).

An idle connection holds no buffer: the kernel takes one at the moment at which bytes have arrived, and names it in the
completion. The bytes are copied out inside `poll()` and the buffer goes straight back, so a buffer is away for one
batch of completions at most; a receive that finds none (ENOBUFS) is started again after the batch.

Buffers are given back together, before the next turn: `returned` collects them, `offer_returned()` writes the entries.
The ring's tail lies in the last two bytes of its first entry, so entries are written without their last two bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final

from proactor_trio.backends.contract import BackendUnavailable
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.encode import RECEIVE_GROUP
from proactor_trio.backends.io_uring.mapping import Mapping
from proactor_trio.backends.io_uring.ring import Ring

BUFFER_BYTES: Final = 64 * 1024
BUFFER_COUNT: Final = 128

_ENTRY_SHIFT: Final = 4
_TAIL_OFFSET: Final = 14
_MASK: Final = BUFFER_COUNT - 1


class BufferRing:
    """The provided buffers of one ring; `views[identifier]` is the memory of one."""

    __slots__ = (
        "_entries",
        "_memory",
        "_offer",
        "_packed",
        "_ring_mapping",
        "_tail",
        "_tail_word",
        "returned",
        "views",
    )

    def __init__(self, ring: Ring) -> None:
        """Register with `ring`. Raises OSError if the kernel has no buffer rings, BackendUnavailable without memory."""
        self._memory = Mapping(BUFFER_BYTES * BUFFER_COUNT)
        try:
            self._ring_mapping = Mapping(BUFFER_COUNT << _ENTRY_SHIFT)
        except BackendUnavailable:
            self._memory.close()
            raise
        registration = bytearray(
            c.BUFFER_RING_REGISTRATION.pack(self._ring_mapping.address, BUFFER_COUNT, RECEIVE_GROUP, 0, 0, 0, 0)
        )
        result = ring.register(c.REGISTER_PBUF_RING, registration, 1)
        if result < 0:
            self._ring_mapping.close()
            self._memory.close()
            raise OSError(-result, "no provided buffer rings")
        self._entries = self._ring_mapping.view
        self._tail_word = self._entries[_TAIL_OFFSET : _TAIL_OFFSET + 2].cast("H")
        self._tail = 0
        memory = self._memory
        self.views = [memory.view[start : start + BUFFER_BYTES] for start in range(0, memory.length, BUFFER_BYTES)]
        self._packed = [
            c.BUFFER.pack(memory.address + identifier * BUFFER_BYTES, BUFFER_BYTES, identifier)
            for identifier in range(BUFFER_COUNT)
        ]
        #: Buffers whose bytes have been copied out.
        self.returned = array("H", range(BUFFER_COUNT))
        self._offer = self._make_native_offer(ring.native_module) if ring.native else self._offer_from_python
        self.offer_returned()

    def offer_returned(self) -> None:
        """Let the kernel have the returned buffers again."""
        count = len(self.returned)
        self._offer(count)
        self._tail += count
        del self.returned[:count]

    def _offer_from_python(self, count: int) -> None:
        tail = self._tail
        for identifier in self.returned:
            start = (tail & _MASK) << _ENTRY_SHIFT
            self._entries[start : start + _TAIL_OFFSET] = self._packed[identifier]
            tail += 1
        self._tail_word[0] = tail & 0xFFFF

    def _make_native_offer(self, native: Any) -> Callable[[int], None]:
        offer = native.lib.proactor_offer_buffers
        cast, void = native.ffi.cast, native.ffi.typeof("void *")
        entries = cast(void, self._ring_mapping.address)
        tail_word = cast(void, self._ring_mapping.address + _TAIL_OFFSET)
        memory = self._memory.address

        def offer_by_helper(count: int) -> None:
            identifiers = cast(void, self.returned.buffer_info()[0])
            offer(entries, tail_word, _MASK, self._tail & 0xFFFF, memory, BUFFER_BYTES, identifiers, count)

        return offer_by_helper

    def close(self) -> None:
        """Free the memory. The ring is closed."""
        self._tail_word.release()
        for view in self.views:
            view.release()
        self._ring_mapping.close()
        self._memory.close()
