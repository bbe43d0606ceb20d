"""The status of a file, if the kernel can tell it without waiting for a disk or a server.

openat2(2) with RESOLVE_CACHED (Linux 5.12) goes along a path only as far as the names are in memory. What it opens with
O_PATH is not opened in the sense of the file: a fifo's writer, for example, does not notice.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from typing import Any, Final

_SYS_OPENAT2: Final = 437
_AT_FDCWD: Final = -100
_RESOLVE_CACHED: Final = 0x20
#: struct open_how: flags, mode, resolve.
_HOW: Final = struct.pack("=QQQ", getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0), 0, _RESOLVE_CACHED)


def _system_call() -> Any:
    if sys.platform != "linux":
        return None
    try:
        # Without letting go of the interpreter: it never waits.
        function = ctypes.PyDLL(None).syscall
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    function.restype = ctypes.c_long
    return function


_syscall: Final = _system_call()


def regular_size(path: str) -> int | None:
    """The length of a regular file, -1 for another sort of file; None if that cannot be told without waiting."""
    if _syscall is None:
        return None
    descriptor: int = _syscall(_SYS_OPENAT2, _AT_FDCWD, os.fsencode(path), _HOW, len(_HOW))
    if descriptor < 0:
        return None
    try:
        return size_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def size_of(status: os.stat_result) -> int:
    """The length of a regular file, -1 for another sort of file."""
    return status.st_size if stat.S_ISREG(status.st_mode) else -1
