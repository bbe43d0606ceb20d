"""Memory that the kernel and this process share: mapped rings and buffers of a known address.

Facts: `mmap.mmap` keeps a duplicate of the descriptor that it maps, so a ring would stay open after its close; a
forked child that inherits a ring's mapping can corrupt its parent. So mappings are made by mmap(2) itself, are marked
MADV_DONTFORK, and are unmapped before the ring's descriptor is closed. After `close()` the views are released: use of
one raises ValueError and never touches freed memory.
"""

from __future__ import annotations

import os
from typing import Any, Final

from proactor_trio.backends.contract import BackendUnavailable
from proactor_trio.backends.io_uring._abi import ffi

# Everything is realised here, on the importing thread: cffi's lazy realisation of types is not safe under threads.
libc: Any = ffi.dlopen(None)
SYSCALL: Final = libc.syscall
NULL: Final = ffi.NULL
_MMAP: Final = libc.mmap
_MUNMAP: Final = libc.munmap
_MADVISE: Final = libc.madvise
_MAP_FAILED: Final = ffi.cast("void *", -1)
_CHARACTER_POINTER: Final = ffi.typeof("char *")
_INTEGER: Final = ffi.typeof("uintptr_t")
_from_buffer: Final = ffi.from_buffer
_cast: Final = ffi.cast

_PROT_READ_WRITE: Final = 3
_MAP_SHARED: Final = 0x01
_MAP_PRIVATE: Final = 0x02
_MAP_ANONYMOUS: Final = 0x20
_MAP_POPULATE: Final = 0x8000
_MADV_DONTFORK: Final = 10


def last_errno() -> int:
    """The errno of the last call through this module's functions on this thread."""
    return int(ffi.errno)


def address_of(view: Any) -> int:
    """The address of the memory behind a buffer object; valid while that object keeps its memory in place."""
    return int(_cast(_INTEGER, _from_buffer(view)))


def pin(memory: bytearray) -> Any:
    """A pointer to the memory of a bytearray, which cannot be resized while the pointer lives."""
    return _from_buffer(memory)


class Mapping:
    """One mapping: its address and a writable view of all of it."""

    __slots__ = ("_pointer", "address", "length", "view")

    def __init__(self, length: int, descriptor: int = -1, offset: int = 0) -> None:
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS if descriptor < 0 else _MAP_SHARED | _MAP_POPULATE
        pointer = _MMAP(NULL, length, _PROT_READ_WRITE, flags, descriptor, offset)
        if pointer == _MAP_FAILED:
            code = last_errno()
            raise BackendUnavailable(f"mmap of {length} bytes failed: {os.strerror(code)}", code)
        self._pointer = pointer
        self.length = length
        self.address = int(_cast(_INTEGER, pointer))
        self.view = memoryview(ffi.buffer(_cast(_CHARACTER_POINTER, pointer), length)).cast("B")
        _MADVISE(pointer, length, _MADV_DONTFORK)

    def words(self, offset: int) -> memoryview:
        """One 32-bit word of the mapping as a view whose item 0 is loaded and stored in one access."""
        return self.view[offset : offset + 4].cast("I")

    def close(self) -> None:
        """Unmap. The caller has released all views that it made of `view`."""
        self.view.release()
        _MUNMAP(self._pointer, self.length)
