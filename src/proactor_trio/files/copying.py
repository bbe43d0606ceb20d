"""copy_file(): the contents of a file, copied inside the kernel.

copy_file_range(2) moves the bytes, or only notes that both files have them, where the file system can do that. There is
no operation for it, so a worker thread calls it, for a piece at a time: in between the copy can be cancelled. Where it
does not work (between some file systems, and from files without a length of their own) pieces are read and written by
operations. Both use the positions of the descriptors, so the one can go on where the other has come to.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import Final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio.files.opening import open_file
from proactor_trio.files.raw import AsyncFile
from proactor_trio.proactor.operations.file_system import FileStatus
from proactor_trio.threads import run_sync

PathName = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: What is copied before a cancellation is looked at.
_PIECE_BYTES: Final = 64 * 1024 * 1024
#: What is read and written at a time where the kernel cannot do it.
_READ_BYTES: Final = 128 * 1024

#: What says that the kernel cannot do it with these files.
_NOT_IN_KERNEL: Final = frozenset(
    (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY, errno.EBADF, errno.EISDIR)
)


@enable_ki_protection
async def copy_file(source: PathName, target: PathName) -> int:
    """Make the contents of one file those of another, which is created if need be; the number of bytes.

    Permissions and times are not copied. Raises OSError, shutil.SameFileError if both are one file. Cancelled before
    the target was opened: it is as it was; after that it may hold a part.
    """
    reading: AsyncFile = await open_file(source, "rb", 0)
    async with reading:
        await _refuse_same_file(reading, source, target)
        writing: AsyncFile = await open_file(target, "wb", 0)
        async with writing:
            copied = await _copy_in_kernel(reading, writing)
            return copied + await _copy_by_operations(reading, writing)


async def _refuse_same_file(reading: AsyncFile, source: PathName, target: PathName) -> None:
    try:
        status = await FileStatus(target)
    except FileNotFoundError:
        return
    if os.path.samestat(status, os.fstat(reading.fileno())):
        raise shutil.SameFileError(f"source and target are one file: {source!r}, {target!r}")


async def _copy_in_kernel(reading: AsyncFile, writing: AsyncFile) -> int:
    """Copy as much as the kernel does by itself; the number of bytes."""
    copied = 0
    if not hasattr(os, "copy_file_range"):
        return copied
    while True:
        try:
            count: int = await run_sync(os.copy_file_range, reading.fileno(), writing.fileno(), _PIECE_BYTES)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
            return copied
        if not count:
            return copied
        copied += count


async def _copy_by_operations(reading: AsyncFile, writing: AsyncFile) -> int:
    """Copy what is left; the number of bytes."""
    copied = 0
    while piece := await reading.read(_READ_BYTES):
        await writing.writelines([piece])
        copied += len(piece)
    return copied
