"""Shared memory behind a descriptor, from any byte on.

mmap(2) takes offsets that are multiples of the page size only, so the mapping begins at the page in which the wanted
memory begins. Python keeps a duplicate of a mapped descriptor until the mapping is closed, up to version 3.12.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any, Final

from proactor_trio.proactor.arguments import check_integer

_LARGEST_DESCRIPTOR: Final = (1 << 31) - 1
_UNTRACKED: Final[dict[str, Any]] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def map_descriptor(descriptor: int, offset: int, length: int) -> tuple[mmap.mmap, memoryview]:
    """The mapping, readable and writable, and a view of the wanted bytes.

    Raises ValueError for an offset or a length outside the file, OSError where it cannot be mapped.
    """
    check_integer(descriptor, "descriptor", 0, _LARGEST_DESCRIPTOR)
    check_integer(offset, "offset", 0, sys.maxsize)
    check_integer(length, "length", 1, sys.maxsize)
    before = offset % mmap.ALLOCATIONGRANULARITY
    try:
        mapping = mmap.mmap(descriptor, before + length, access=mmap.ACCESS_WRITE, offset=offset - before, **_UNTRACKED)
    except ValueError:
        size = os.fstat(descriptor).st_size
        raise ValueError(f"offset and length: bytes {offset} to {offset + length} of a file of {size}") from None
    return mapping, memoryview(mapping)[before : before + length]
