"""AsyncFile: an unbuffered binary file whose every call that can block is an operation.

It is the counterpart of io.FileIO. There is no worker thread of Python's behind it on io_uring.

The position is the kernel's own, which the descriptor shares with its duplicates, as a child process may have one that
continues a log: it is asked for before each transfer and set behind it, by lseek(2), which does not wait. The transfer
itself names the position, so that a cancelled one has moved nothing. What has no positions (pipes, terminals, sockets)
is read and written as it comes. Reads and writes at offsets of their own (`pread`, `pwrite`) may run at the same time;
calls that move the position are made one after the other (turns.py).
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.perform import perform_uncancellable
from proactor_trio._kernel.traps import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import AsyncResource
from proactor_trio.backends.contract import Kind
from proactor_trio.files.closed_file import ClosedFileError
from proactor_trio.files.modes import OpenMode
from proactor_trio.files.turns import Turns
from proactor_trio.proactor.file import File
from proactor_trio.proactor.lending import Lender, Loan, UseLoan
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.descriptor import StreamRead, StreamWrite
from proactor_trio.proactor.operations.file import FileClose, FileRead, FileSync, FileWrite
from proactor_trio.proactor.operations.file_system import FileTruncate
from proactor_trio.threads import run_sync

#: How much reading everything asks for at a time, beyond the size that the file had at first. Below the length from
#: which on the kernel hands a read to its workers.
READ_ALL_BYTES: Final = 128 * 1024

#: A read of at most so many bytes leaves its operation and its buffer for the next one.
KEPT_BUFFER_BYTES: Final = 64 * 1024

#: How much of a file is looked through at a time for the end of a line.
_LINE_BYTES: Final = 512


class AsyncFile(AsyncResource, Lender):
    """An open file without a buffer. Made by open_file() with buffering=0; closed by `async with` or aclose().

    All async methods are checkpoints. Cancelled: a read or write that the kernel has begun is waited for, and its
    result counts. On a closed file they raise an exception that is both a ValueError and a ClosedResourceError.

    name: the path or descriptor that was opened. mode: as of io.FileIO. closefd: whether closing it closes the
    descriptor.
    """

    __slots__ = (
        "__weakref__",
        "_ended",
        "_file",
        "_has_positions",
        "_idle_read",
        "_kept",
        "_mode",
        "_running",
        "_turns",
        "closefd",
        "mode",
        "name",
    )

    def __init__(self, file: File, name: object, mode: OpenMode, *, closefd: bool = True) -> None:
        self._file = file
        self._mode = mode
        self._has_positions = _has_positions(file.descriptor)
        self._turns = Turns()
        self._idle_read: FileRead | None = None  # kept with its buffer, for the next pread()
        #: Bytes of a stream that a cancelled call had read already.
        self._kept = b""
        #: With closefd=False: what is in flight, since no close of the descriptor ends it.
        self._running: set[Operation] = set()
        self._ended: ParkingLot | None = None
        self.closefd = closefd
        self.name = name
        self.mode = mode.of_raw_file

    # Reading -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes at the position and move it; everything up to the end if `size` is negative or
        None. b"" at the end of the file. A read of a stream waits until something is there."""
        if size is None or size < 0:
            return await self.readall()
        self._check_readable()
        if size == 0:
            await checkpoint()
            return b""
        return await self._read_some(size)

    @enable_ki_protection
    async def readall(self) -> bytes:
        """Read everything from the position to the end."""
        self._check_readable()
        if not self._has_positions:
            return await self._read_stream_to_end()
        await self._turns.take()
        try:
            begin = position = os.lseek(self._descriptor(), 0, os.SEEK_CUR)
            size = max(1, os.fstat(self._descriptor()).st_size - position + 1)
            parts: list[bytes] = []
            while True:
                part = await self.pread(size, position)
                if not part:
                    break
                position += len(part)
                parts.append(part)
                size = READ_ALL_BYTES
            if position != begin:
                os.lseek(self._descriptor(), position, os.SEEK_SET)
        finally:
            self._turns.give_back()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_stream_to_end(self) -> bytes:
        parts: list[bytes] = []
        try:
            while True:
                part = await self._read_some(READ_ALL_BYTES)
                if not part:
                    break
                parts.append(part)
        except BaseException:
            self._kept = b"".join(parts) + self._kept
            raise
        return b"".join(parts)

    @enable_ki_protection
    async def readinto(self, buffer: Any) -> int:
        """Read into writable memory at the position and move it; the number of bytes, 0 at the end of the file."""
        self._check_readable()
        if not self._has_positions and self._kept:
            view = memoryview(buffer).cast("B")
            data = await self._read_some(view.nbytes)
            view[: len(data)] = data
            return len(data)
        if not self._has_positions:
            return int(await self._perform(StreamRead(self._file, buffer)))
        await self._turns.take()
        try:
            descriptor = self._descriptor()
            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            count: int = await self._perform(FileRead(self._file, buffer, position))
            self._move_to(position + count)
        finally:
            self._turns.give_back()
        return count

    @enable_ki_protection
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
        count: int = await (read if self.closefd else self._perform(read))
        data = bytes(read.buffer) if count == nbytes else bytes(memoryview(read.buffer)[:count])
        if nbytes <= KEPT_BUFFER_BYTES:
            self._idle_read = read
        return data

    async def _read_some(self, size: int) -> bytes:
        """One read of at least one byte at the position."""
        if self._has_positions:
            await self._turns.take()
            try:
                position = os.lseek(self._descriptor(), 0, os.SEEK_CUR)
                data = await self.pread(size, position)
                self._move_to(position + len(data))
            finally:
                self._turns.give_back()
            return data
        if self._kept:
            await checkpoint()
            data, self._kept = self._kept[:size], self._kept[size:]
            return data
        buffer = bytearray(size)
        count: int = await self._perform(StreamRead(self._file, buffer))
        return bytes(memoryview(buffer)[:count])

    @enable_ki_protection
    async def readline(self, size: int | None = -1) -> bytes:
        """Read one line, with its end; at most `size` bytes unless that is negative or None. b"" at the end.

        From a stream it takes byte for byte, so that nothing behind the line is taken: a buffered file is faster.
        """
        self._check_readable()
        await checkpoint()
        limit = -1 if size is None or size < 0 else size
        if not self._has_positions:
            return await self._read_stream_line(limit)
        await self._turns.take()
        try:
            begin = os.lseek(self._descriptor(), 0, os.SEEK_CUR)
            line = bytearray()
            ask = _LINE_BYTES
            while True:
                if len(line) == limit:
                    break
                part = await self.pread(ask if limit < 0 else min(ask, limit - len(line)), begin + len(line))
                end = part.find(b"\n") + 1
                line += part[:end] if end else part
                if end or not part:
                    break
                ask = min(2 * ask, READ_ALL_BYTES)
            self._move_to(begin + len(line))
        finally:
            self._turns.give_back()
        return bytes(line)

    async def _read_stream_line(self, limit: int) -> bytes:
        line = bytearray()
        try:
            while True:
                if len(line) == limit:
                    break
                byte = await self._read_some(1)
                line += byte
                if not byte or byte == b"\n":
                    break
        except BaseException:
            self._kept = bytes(line) + self._kept
            raise
        return bytes(line)

    @enable_ki_protection
    async def readlines(self, hint: int | None = None) -> list[bytes]:
        """Read lines up to the end, or until they have `hint` bytes together."""
        lines: list[bytes] = []
        total = 0
        while True:
            line = await self.readline()
            if not line:
                return lines
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                return lines

    def __aiter__(self) -> AsyncFile:
        self._check_open()
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    # Writing -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def write(self, data: Any) -> int:
        """Write at the position (at the end in append mode) and move it; the number of bytes that were written, which
        may be fewer than were given."""
        self._check_writable()
        if not self._has_positions:
            return int(await self._perform(StreamWrite(self._file, data)))
        await self._turns.take()
        try:
            position = os.lseek(self._descriptor(), 0, os.SEEK_CUR)
            count: int = await self._perform(FileWrite(self._file, data, position))
            if self._mode.appends and not self._file.closed:
                os.lseek(self._file.descriptor, 0, os.SEEK_END)
            else:
                self._move_to(position + count)
        finally:
            self._turns.give_back()
        return count

    @enable_ki_protection
    async def writelines(self, lines: Iterable[Any]) -> None:
        """Write all of them, one after the other, without ends of lines in between. Cancelled: some were written."""
        self._check_open()
        await checkpoint()
        for line in lines:
            view = memoryview(line).cast("B")
            rest = view[await self.write(view) :]
            while rest.nbytes:
                rest = rest[await self.write(rest) :]

    @enable_ki_protection
    async def pwrite(self, data: Any, offset: int) -> int:
        """Write at `offset`; the position stays. May run beside other calls. The number of bytes written.

        In append mode Linux writes at the end all the same.
        """
        self._check_writable()
        count: int = await self._perform(FileWrite(self._file, data, offset))
        return count

    @enable_ki_protection
    async def truncate(self, size: int | None = None) -> int:
        """Cut it off at a size (None: at the position), or lengthen it with zeros; the new size. The position stays."""
        self._check_writable()
        length = os.lseek(self._descriptor(), 0, os.SEEK_CUR) if size is None else size
        if length < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if current_run().proactor.has_native(Kind.FILE_TRUNCATE):
            await self._perform(FileTruncate(self._file, length))
        else:
            await run_sync(os.ftruncate, self._descriptor(), length)
        return length

    @enable_ki_protection
    async def flush(self) -> None:
        """Nothing is buffered here: a checkpoint."""
        self._check_open()
        await checkpoint()

    @enable_ki_protection
    async def fsync(self, *, data_only: bool = False) -> None:
        """Wait until what was written is on the device; with data_only without metadata that reading does not need."""
        self._check_open()
        await self._perform(FileSync(self._file, data_only=data_only))

    # Position and properties -------------------------------------------------------------------------------------

    @enable_ki_protection
    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position: from the beginning, from where it is, or from the end; the new one. OSError if it cannot
        be there."""
        self._check_open()
        await checkpoint()
        return os.lseek(self._descriptor(), offset, whence)

    @enable_ki_protection
    async def tell(self) -> int:
        """The position. OSError for what has none."""
        self._check_open()
        await checkpoint()
        return os.lseek(self._descriptor(), 0, os.SEEK_CUR)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor())

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        self._check_open()
        return self._mode.reads

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check_open()
        return self._mode.writes

    def seekable(self) -> bool:
        """Whether it has positions."""
        self._check_open()
        return self._has_positions

    @property
    def proactor_file(self) -> File:
        """The proactor's File, for operations; they do not know of the position."""
        self._check_open()
        return self._file

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    @enable_ki_protection
    async def aclose(self) -> None:
        """Close it. What is pending on it ends first. Closed also when cancelled; closing twice is harmless.

        With closefd=False the descriptor stays open. Raises OSError when the system says so late that something was not
        written.
        """
        if self._file.closed:
            await checkpoint()
        elif self.closefd:
            await perform_uncancellable(FileClose(self._file))
        else:
            await self._let_go()

    async def _let_go(self) -> None:
        proactor = current_run().proactor
        self._file._detach()
        for operation in list(self._running):
            proactor.cancel_up_to(operation)
        while self._running:
            if self._ended is None:
                self._ended = ParkingLot()
            with CancelScope(shield=True):
                await self._ended.park()
        await cancel_shielded_checkpoint()
        await checkpoint_if_cancelled()

    def lent_resource(self) -> File:
        """For graphs: the proactor's File."""
        return self._file

    def lend(self, operation: Operation) -> Loan:
        """For graphs: the file for an operation that names its position, or none; see Lender. The position stays."""
        if operation.is_close:
            raise TypeError("an AsyncFile is not lent to be closed: close it by aclose()")
        if self._file.closed:
            raise ClosedFileError("this file was closed")
        self._running.add(operation)
        return UseLoan(partial(self._has_ended, operation))

    async def _perform(self, operation: Operation) -> Any:
        if self.closefd:
            return await operation
        self._running.add(operation)
        try:
            return await operation
        finally:
            self._has_ended(operation)

    def _has_ended(self, operation: Operation) -> None:
        self._running.discard(operation)
        if self._ended is not None and not self._running:
            self._ended.unpark_all()

    def _move_to(self, position: int) -> None:
        if not self._file.closed:  # else another task has closed it as this call came to its end
            os.lseek(self._file.descriptor, position, os.SEEK_SET)

    def _descriptor(self) -> int:
        if self._file.closed:
            raise ClosedFileError("this file was closed")
        return self._file.descriptor

    def _check_open(self) -> None:
        if self._file.closed:
            raise ClosedFileError("this file was closed")

    def _check_readable(self) -> None:
        if self._file.closed:
            raise ClosedFileError("this file was closed")
        if not self._mode.reads:
            raise io.UnsupportedOperation(f"{self.name!r} is not open for reading (mode {self.mode!r})")

    def _check_writable(self) -> None:
        if self._file.closed:
            raise ClosedFileError("this file was closed")
        if not self._mode.writes:
            raise io.UnsupportedOperation(f"{self.name!r} is not open for writing (mode {self.mode!r})")

    def __repr__(self) -> str:
        return f"<AsyncFile {self.name!r}, mode {self.mode!r}{', closed' if self.closed else ''}>"


def _has_positions(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True
