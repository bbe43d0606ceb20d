"""Groups of receive buffers over the caller's memory (IORING_REGISTER_PBUF_RING, Linux 5.19).

The kernel takes a buffer from the ring when bytes have arrived, names it in the completion, and it is the caller's
until he gives it back. The ring has one place for each buffer, a power of two, at most 32768; its tail lies in the last
two bytes of its first entry, so entries are written without their last two bytes.

Given back are buffers by any thread, in any number, by `free.append(index)`: a list that is shared with the pool. The
owner thread writes the entries before it enters the kernel the next time, and takes out of the list what it has
written. An exception in between makes that happen again: the same entries are written to the same places, whether the
kernel has used them meanwhile or not, and the tail is moved once.
"""

from __future__ import annotations

import errno
import os
from array import array
from typing import Final

from proactor_trio.backends.contract import BackendUnavailable, BufferGroup
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.encode import RECEIVE_GROUP
from proactor_trio.backends.io_uring.mapping import Mapping, address_of
from proactor_trio.backends.io_uring.ring import Ring

#: The most places of a ring. Source: io_uring_register_buf_ring(3).
LARGEST_GROUP: Final = 32768
_LARGEST_IDENTIFIER: Final = 0xFFFF
_ENTRY_SHIFT: Final = 4
_TAIL_OFFSET: Final = 14


def has_buffer_rings(ring: Ring) -> bool:
    """Whether this kernel has such rings, and lets us register one: found by trying."""
    try:
        mapping = Mapping(1 << _ENTRY_SHIFT)
    except BackendUnavailable:
        return False
    try:
        argument = bytearray(c.BUFFER_RING_REGISTRATION.pack(mapping.address, 1, RECEIVE_GROUP, 0, 0, 0, 0))
        if ring.register(c.REGISTER_PBUF_RING, argument, 1) < 0:
            return False
        ring.register(c.UNREGISTER_PBUF_RING, argument, 1)
        return True
    finally:
        mapping.close()


class RingBufferGroup(BufferGroup):
    """One group. Owner thread only, but for `free`, to which any thread appends."""

    __slots__ = ("_address", "_buffer_bytes", "_mapping", "_mask", "_registered", "_ring", "_tail", "free")

    def __init__(self, ring: Ring, identifier: int, memory: memoryview, buffer_bytes: int, free: list[int]) -> None:
        super().__init__(identifier)
        count = memory.nbytes // buffer_bytes
        self._ring = ring
        self._address = address_of(memory)
        self._buffer_bytes = buffer_bytes
        self._mask = count - 1
        self._tail = 0
        self.free = free
        self._registered = False
        self._mapping: Mapping | None
        try:
            self._mapping = Mapping(count << _ENTRY_SHIFT)
        except BackendUnavailable as error:
            raise OSError(errno.ENOMEM, error.reason) from None
        try:
            result = self._register(c.REGISTER_PBUF_RING, count)
            if result < 0:
                raise OSError(-result, f"ring of {count} receive buffers: {os.strerror(-result)}")
        except BaseException:
            self._register(c.UNREGISTER_PBUF_RING, 0)  # should the exception have come after the success
            self.forget()
            raise
        self._registered = True

    def _register(self, opcode: int, count: int) -> int:
        assert self._mapping is not None
        address = self._mapping.address
        argument = bytearray(c.BUFFER_RING_REGISTRATION.pack(address, count, self.identifier, 0, 0, 0, 0))
        return self._ring.register(opcode, argument, 1)

    def publish(self) -> None:
        """Show the free buffers to the kernel."""
        free = self.free
        count = len(free)
        if not count:
            return
        self._write(array("H", free[:count]))
        # One step: no call in between.
        self._tail += count
        self.in_kernel += count
        del free[:count]

    def _write(self, identifiers: array[int]) -> None:
        assert self._mapping is not None
        if self._ring.native:
            native = self._ring.native_module
            cast = native.ffi.cast
            native.lib.proactor_offer_buffers(
                cast("void *", self._mapping.address), cast("void *", self._mapping.address + _TAIL_OFFSET), self._mask,
                self._tail & 0xFFFF, self._address, self._buffer_bytes, cast("void *", identifiers.buffer_info()[0]),
                len(identifiers),
            )  # fmt: skip
            return
        entries = self._mapping.view
        tail = self._tail
        size = self._buffer_bytes
        for identifier in identifiers:
            start = (tail & self._mask) << _ENTRY_SHIFT
            entries[start : start + _TAIL_OFFSET] = c.BUFFER.pack(self._address + identifier * size, size, identifier)
            tail += 1
        word = entries[_TAIL_OFFSET : _TAIL_OFFSET + 2].cast("H")
        word[0] = tail & 0xFFFF
        word.release()

    def close(self) -> None:
        """Take the ring from the kernel. May be done again."""
        if self._registered:
            result = self._register(c.UNREGISTER_PBUF_RING, 0)
            if result < 0 and result != -errno.ENOENT:  # it was taken, and an exception came before we knew
                raise OSError(-result, f"receive buffers cannot be taken from the kernel: {os.strerror(-result)}")
            self._registered = False
        self.forget()

    def forget(self) -> None:
        """Free the ring's memory; the kernel does not have it, or its ring is closed."""
        mapping = self._mapping
        if mapping is not None:
            self._mapping = None
            self.in_kernel = 0
            mapping.close()


class BufferGroups:
    """The groups of one ring. Owner thread only."""

    __slots__ = ("_next", "_ring", "groups")

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._next = RECEIVE_GROUP + 1
        self.groups: dict[int, RingBufferGroup] = {}

    def open(self, memory: memoryview, buffer_bytes: int, free: list[int]) -> RingBufferGroup:
        """A group of all buffers in `memory`. Raises OSError if the kernel refuses it or all numbers are in use.

        May be done again, should an exception have kept the group from its owner: `free` says whose it is.
        """
        for group in self.groups.values():
            if group.free is free:
                return group
        identifier = self._unused_identifier()
        group = RingBufferGroup(self._ring, identifier, memory, buffer_bytes, free)
        self.groups[identifier] = group
        return group

    def _unused_identifier(self) -> int:
        for _ in range(_LARGEST_IDENTIFIER):
            identifier = self._next
            self._next = identifier + 1 if identifier < _LARGEST_IDENTIFIER else RECEIVE_GROUP + 1
            if identifier not in self.groups:
                return identifier
        raise OSError(errno.ENOSPC, "all numbers of groups of receive buffers are in use")

    def publish(self) -> None:
        """Show the free buffers of all groups to the kernel."""
        for group in self.groups.values():
            if group.free:
                group.publish()

    def close(self, group: BufferGroup) -> None:
        """Take one from the kernel. May be done again."""
        if self.groups.get(group.identifier) is group:
            self.groups[group.identifier].close()
            del self.groups[group.identifier]

    def forget_all(self) -> None:
        """Free the memory of the rings; the kernel's ring is closed."""
        for group in self.groups.values():
            group.forget()
        self.groups.clear()
