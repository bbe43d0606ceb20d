"""AsyncFile: an unbuffered binary file whose every call that can block is an operation.

There is no worker thread of Python's behind it on io_uring. Reads and writes at positions (`pread`, `pwrite`) may run
at the same time; calls that move the position are made one after another by whoever owns it, as with any file.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.perform import perform_uncancellable
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import AsyncResource
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operations.file import FileClose, FileOpen, FileRead, FileSync, FileWrite

#: How much reading everything asks for at a time, beyond the size that the file had at first. Below the length from
#: which on the kernel hands a read to its workers.
READ_ALL_BYTES: Final = 128 * 1024

#: A read of at most so many bytes leaves its operation and its buffer for the next one.
KEPT_BUFFER_BYTES: Final = 64 * 1024

_CREATION_MODE: Final = 0o666


class AsyncFile(AsyncResource):
    """An open file. Made by open_file(); closed by `async with` or aclose().

    All calls are checkpoints. Cancelled: a read or write that the kernel has begun is waited for, and its result
    counts.
    """

    __slots__ = (
        "__weakref__",
        "_appends",
        "_file",
        "_idle_read",
        "_position",
        "_readable",
        "_writable",
        "mode",
        "name",
    )

    def __init__(self, file: File, name: object, mode: str, open_flags: int) -> None:
        self._file = file
        self._position = 0
        self._idle_read: FileRead | None = None  # kept with its buffer, for the next pread()
        self._readable = open_flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR)
        self._writable = open_flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)
        self._appends = bool(open_flags & os.O_APPEND)
        self.name = name
        self.mode = mode

    # Reading -----------------------------------------------------------------------------------------------------

    async def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes at the position and move it; everything up to the end if `size` is negative or
        None. b"" at the end of the file."""
        if size is None or size < 0:
            return await self._read_all()
        data = await self.pread(size, self._position)
        self._position += len(data)
        return data

    async def readall(self) -> bytes:
        """Read everything from the position to the end."""
        return await self._read_all()

    async def _read_all(self) -> bytes:
        remaining = os.fstat(self._open_descriptor()).st_size - self._position
        parts: list[bytes] = []
        size = max(1, remaining + 1)
        while part := await self.pread(size, self._position):
            self._position += len(part)
            parts.append(part)
            size = READ_ALL_BYTES
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readinto(self, buffer: Any) -> int:
        """Read into writable memory at the position and move it; the number of bytes, 0 at the end of the file."""
        self._check_readable()
        count: int = await FileRead(self._file, buffer, self._position)
        self._position += count
        return count

    async def pread(self, nbytes: int, offset: int) -> bytes:
        """Read at most `nbytes` bytes at `offset`; the position stays. May run beside other calls.

        The result is copied once more; `readinto()` saves that for large reads.
        """
        self._check_readable()
        if nbytes < 0:
            raise ValueError(f"nbytes must not be negative, not {nbytes}")
        if nbytes == 0:
            await checkpoint()
            return b""
        read, self._idle_read = self._idle_read, None
        if read is None:
            read = FileRead(self._file, bytearray(nbytes), offset)
        else:
            read.offset = offset
            if len(read.buffer) != nbytes:
                read.buffer = bytearray(nbytes)
        count: int = await read
        data = bytes(read.buffer) if count == nbytes else bytes(memoryview(read.buffer)[:count])
        if nbytes <= KEPT_BUFFER_BYTES:
            self._idle_read = read
        return data

    # Writing -----------------------------------------------------------------------------------------------------

    async def write(self, data: Any) -> int:
        """Write at the position (at the end in append mode) and move it; the number of bytes that were written."""
        self._check_writable()
        count: int = await FileWrite(self._file, data, self._position)
        if self._appends:
            self._position = os.lseek(self._open_descriptor(), 0, os.SEEK_END)
        else:
            self._position += count
        return count

    async def pwrite(self, data: Any, offset: int) -> int:
        """Write at `offset`; the position stays. May run beside other calls. The number of bytes written."""
        self._check_writable()
        count: int = await FileWrite(self._file, data, offset)
        return count

    async def flush(self) -> None:
        """Nothing is buffered here: a checkpoint."""
        self._open_descriptor()
        await checkpoint()

    async def fsync(self, *, data_only: bool = False) -> None:
        """Wait until what was written is on the device; with data_only without metadata that reading does not need."""
        self._open_descriptor()
        await FileSync(self._file, data_only=data_only)

    # Position and properties -------------------------------------------------------------------------------------

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position: from the beginning, from where it is, or from the end; the new one."""
        descriptor = self._open_descriptor()
        if whence == os.SEEK_SET:
            target = offset
        elif whence == os.SEEK_CUR:
            target = self._position + offset
        elif whence == os.SEEK_END:
            target = os.fstat(descriptor).st_size + offset
        else:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if target < 0:
            raise ValueError(f"offset leads to the negative position {target}")
        await checkpoint()
        self._position = target
        return target

    def tell(self) -> int:
        """The position."""
        self._open_descriptor()
        return self._position

    def fileno(self) -> int:
        """The descriptor."""
        return self._open_descriptor()

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self._readable

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._writable

    def seekable(self) -> bool:
        """Whether it has positions: always true, since open_file() refuses what has none."""
        return True

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    async def aclose(self) -> None:
        """Close it. What is pending on it ends first. Closed also when cancelled; closing twice is harmless.

        Raises OSError when the system says so late that something was not written.
        """
        if self._file.closed:
            await checkpoint()
        else:
            await perform_uncancellable(FileClose(self._file))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise TypeError("an unbuffered file has no lines to iterate over")

    def _open_descriptor(self) -> int:
        if self._file.closed:
            raise ClosedResourceError("this file was closed")
        return self._file.descriptor

    def _check_readable(self) -> None:
        if self._file.closed:
            raise ClosedResourceError("this file was closed")
        if not self._readable:
            raise io.UnsupportedOperation(f"{self.name!r} is not open for reading (mode {self.mode!r})")

    def _check_writable(self) -> None:
        if self._file.closed:
            raise ClosedResourceError("this file was closed")
        if not self._writable:
            raise io.UnsupportedOperation(f"{self.name!r} is not open for writing (mode {self.mode!r})")

    def __repr__(self) -> str:
        return f"<AsyncFile {self.name!r}, mode {self.mode!r}{', closed' if self.closed else ''}>"


_BASE_FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


def open_flags_of(mode: str) -> int:
    """The flags of open(2) for a binary mode of the builtin open(). Raises ValueError for anything else."""
    letters = set(mode)
    bases = letters & set(_BASE_FLAGS)
    if len(letters) != len(mode) or len(bases) != 1 or not letters <= {*_BASE_FLAGS, "b", "+"}:
        raise ValueError(f"mode must be one of r, w, x, a with b and perhaps +, not {mode!r}")
    if "b" not in letters:
        raise ValueError(f"mode must be binary ('b'), not {mode!r}: unbuffered text does not exist")
    flags = _BASE_FLAGS[bases.pop()]
    return flags & ~os.O_ACCMODE | os.O_RDWR if "+" in letters else flags


@enable_ki_protection
async def open_file(
    file: str | bytes | os.PathLike[str] | os.PathLike[bytes], mode: str = "rb", buffering: int = 0
) -> AsyncFile:
    """Open a file for unbuffered binary reading and writing by operations.

    file: its path. mode: as of the builtin open(), with "b". buffering: 0.

    Raises OSError as open() does, ESPIPE for what has no positions (pipes, sockets, terminals), ValueError for another
    mode or buffering. Cancelled: a file that was opened all the same is closed.
    """
    if buffering != 0:
        raise ValueError(f"buffering must be 0, not {buffering!r}: only unbuffered files are opened by operations")
    flags = open_flags_of(mode)
    opened: File = await FileOpen(file, flags, _CREATION_MODE)
    try:
        os.lseek(opened.descriptor, 0, os.SEEK_END if flags & os.O_APPEND else os.SEEK_SET)
        result = AsyncFile(opened, file, mode, flags)
        if flags & os.O_APPEND:
            result._position = os.fstat(opened.descriptor).st_size
    except BaseException:
        opened.close()
        raise
    return result
