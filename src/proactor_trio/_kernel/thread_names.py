"""The name of a thread, for Python and for the operating system (`ps -eT`, `top -H`, debuggers).

`threading.Thread.name` is known to Python alone before 3.14. The system's is set by pthread_setname_np(3), on Linux for
any thread and with at most 15 bytes, on macOS for the calling thread. A system that has none goes without.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Final

#: What Linux has room for, without the byte that ends it.
LONGEST_SYSTEM_NAME_BYTES: Final = 15


def name_current_thread(thread: threading.Thread, name: str) -> None:
    """Name the calling thread, which `thread` stands for."""
    thread.name = name
    if _set_system_name is not None:
        _set_system_name(name.encode(errors="replace")[:LONGEST_SYSTEM_NAME_BYTES])


def _find_setter() -> Callable[[bytes], object] | None:
    if sys.platform not in ("linux", "darwin") or sys.version_info >= (3, 14):
        return None
    try:
        set_name = ctypes.CDLL(None).pthread_setname_np
    except (OSError, AttributeError):
        return None  # a C library without it
    set_name.restype = ctypes.c_int
    if sys.platform == "darwin":
        set_name.argtypes = [ctypes.c_char_p]
        return set_name  # type: ignore[no-any-return]
    set_name.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return lambda name: set_name(threading.get_ident(), name)


_set_system_name: Final = _find_setter()
