"""fallocate(2), renameat2(2) and openat2(2), of which Python knows the plain forms only or none.

The other forms are asked of the C library by name where it has them; elsewhere they end with EOPNOTSUPP.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from struct import Struct
from typing import Any, Final

from proactor_trio.backends.contract import OperationFields

_AT_FDCWD: Final = -100


def _c_function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except (OSError, TypeError):
        return None  # no C library that could be asked


_fallocate: Final = _c_function("fallocate")
_renameat2: Final = _c_function("renameat2")
_syscall: Final = _c_function("syscall") if sys.platform == "linux" else None
_SYS_OPENAT2: Final = 437
_RESOLVE_CACHED: Final = 0x20
#: struct open_how: flags, mode, resolve.
_OPEN_HOW: Final = Struct("=QQQ")


def allocate(operation: OperationFields) -> int:
    """Give a range of a file its blocks, or take them away."""
    if _fallocate is not None:
        return _outcome(
            _fallocate(
                operation.descriptor,
                operation.mode,
                ctypes.c_int64(operation.offset),
                ctypes.c_int64(operation.length),
            )
        )
    if operation.mode or not hasattr(os, "posix_fallocate"):
        return -errno.EOPNOTSUPP
    os.posix_fallocate(operation.descriptor, operation.offset, operation.length)
    return 0


def rename(operation: OperationFields) -> int:
    """Give a file another name."""
    if not operation.mode:
        os.replace(operation.path, operation.second_path)
        return 0
    if _renameat2 is None:
        return -errno.EOPNOTSUPP
    return _outcome(
        _renameat2(_AT_FDCWD, operation.path, _AT_FDCWD, operation.second_path, ctypes.c_uint(operation.mode))
    )


def open_cached(path: bytes, flags: int) -> int:
    """Open a file whose names are all in memory (openat2(2) with RESOLVE_CACHED, Linux 5.12); -1: it is not so."""
    if _syscall is None:
        return -1
    how = _OPEN_HOW.pack(flags, 0, _RESOLVE_CACHED)
    return int(_syscall(_SYS_OPENAT2, _AT_FDCWD, path, how, ctypes.c_size_t(len(how))))


def _outcome(result: int) -> int:
    return -ctypes.get_errno() if result < 0 else 0
