"""Direct access to files (O_DIRECT): which alignment the kernel wants, and the check of it.

Facts (open(2), statx(2)): with O_DIRECT the address and the length of the memory, and the position in the file, have to
be multiples of something that depends on file system and device; else the transfer ends with EINVAL, or the kernel
quietly uses its cache. Linux tells since 6.1 (STATX_DIOALIGN); before, 512 bytes are the least that devices want.
"""

from __future__ import annotations

import ctypes
import os
import sys
from struct import Struct
from typing import Any, Final, NamedTuple

_AT_EMPTY_PATH: Final = 0x1000
_STATX_DIOALIGN: Final = 0x2000
_STATX_BYTES: Final = 256
_MASK: Final = Struct("=I")
_ALIGNMENTS: Final = Struct("=II")
_ALIGNMENTS_OFFSET: Final = 152
_USUAL: Final = 512


class DirectAlignment(NamedTuple):
    """In bytes: of the memory's address, and of length and position."""

    memory: int
    offset: int


def is_direct(descriptor: int) -> bool:
    """Whether a descriptor was opened with O_DIRECT."""
    if sys.platform == "win32" or not hasattr(os, "O_DIRECT"):
        return False
    import fcntl

    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def alignment_of(descriptor: int) -> DirectAlignment:
    """What the kernel wants of direct transfers on a file."""
    status = ctypes.create_string_buffer(_STATX_BYTES)
    statx: Any = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None or statx(descriptor, b"", _AT_EMPTY_PATH, ctypes.c_uint(_STATX_DIOALIGN), status):
        return DirectAlignment(_USUAL, _USUAL)
    told = _MASK.unpack_from(status)[0] & _STATX_DIOALIGN
    memory, offset = _ALIGNMENTS.unpack_from(status, _ALIGNMENTS_OFFSET)
    return DirectAlignment(memory, offset) if told and memory and offset else DirectAlignment(_USUAL, _USUAL)


def check_alignment(alignment: DirectAlignment, address: int, length: int, offset: int) -> None:
    """Raise ValueError naming the argument that is not aligned."""
    if address % alignment.memory:
        raise ValueError(f"buffer must lie at a multiple of {alignment.memory} bytes for direct access")
    if length % alignment.offset:
        raise ValueError(f"buffer must have a multiple of {alignment.offset} bytes for direct access, not {length}")
    if offset % alignment.offset:
        raise ValueError(f"offset must be a multiple of {alignment.offset} for direct access, not {offset}")
