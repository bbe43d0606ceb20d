"""futex(2) by system call: block a thread on a 32-bit word of memory, or wake those that wait for one.

The words may be shared between processes. Private futexes are not used: a wait that the kernel queued before a process
got its second thread has been seen to miss the wake-up. Both calls let other Python threads run. Linux only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import Final

from proactor_trio.proactor.errors import Unimplemented

_SYS_FUTEX: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98}
_FUTEX_WAIT: Final = 0
_FUTEX_WAKE: Final = 1
_ENDED: Final = (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT)

IS_AVAILABLE: Final = sys.platform == "linux" and platform.machine() in _SYS_FUTEX
_NUMBER: Final = _SYS_FUTEX.get(platform.machine(), 0)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


_libc: Final = ctypes.CDLL(None, use_errno=True)
_system_call: Final = _libc.syscall
_system_call.restype = ctypes.c_long


def require() -> None:
    """Raise Unimplemented where there are no futexes."""
    if not IS_AVAILABLE:
        raise Unimplemented(f"futex(2) is not known for {sys.platform} on {platform.machine()}")


def wait(address: int, expected: int, timeout: float | None) -> None:
    """Block while the word at `address` holds `expected`, for `timeout` seconds at most; may return early.

    A signal ends it, so that Python can run the handler. The caller looks at the word again.
    """
    limit = None
    if timeout is not None:
        limit = _Timespec(int(timeout), int(timeout % 1 * 1e9))
    reference = None if limit is None else ctypes.byref(limit)
    _check(
        _system_call(
            ctypes.c_long(_NUMBER), ctypes.c_void_p(address), ctypes.c_int(_FUTEX_WAIT), ctypes.c_uint32(expected),
            reference, None, ctypes.c_uint32(0),
        )
    )  # fmt: skip


def wake(address: int, count: int) -> int:
    """Wake at most `count` of those that wait for the word at `address`; returns how many."""
    return _check(
        _system_call(
            ctypes.c_long(_NUMBER), ctypes.c_void_p(address), ctypes.c_int(_FUTEX_WAKE), ctypes.c_int(count), None,
            None, ctypes.c_uint32(0),
        )
    )  # fmt: skip


def _check(result: int) -> int:
    if result >= 0:
        return result
    code = ctypes.get_errno()
    if code not in _ENDED:
        raise OSError(code, f"futex: {os.strerror(code)}")
    return 0
