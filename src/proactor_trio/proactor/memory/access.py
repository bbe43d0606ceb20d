"""What operations may do with registered memory."""

from __future__ import annotations

from enum import IntFlag


class Access(IntFlag):
    """READ: operations read it (sends, file writes). WRITE: they write it (receives, file reads). Or both."""

    READ = 1
    WRITE = 2


def check_access(access: object) -> Access:
    """Raise TypeError or ValueError, naming the argument, for no Access and for an empty one."""
    if not isinstance(access, Access):
        raise TypeError(f"access must be an Access, not {access!r}")
    if not access:
        raise ValueError("access must contain Access.READ or Access.WRITE")
    return access
