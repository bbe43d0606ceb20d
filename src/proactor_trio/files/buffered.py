"""AsyncBufferedFile: a binary file with a buffer, the counterpart of io.BufferedReader, BufferedWriter, BufferedRandom.

What was read ahead and not used stands in `_data` from `_used` on; what was written and not handed over stands in
`_blocks`. Never both: reading first hands over what was written, writing first goes back to where reading has got. So
the position is the raw file's, less the one or plus the other.

Cancellation: every call first gives way, then does what needs no waiting. Bytes that a call had read when it was
cancelled go back to the buffer, so it had no effect. A write makes room first, and may be cancelled there; what it has
accepted once is in the buffer, and counts as written: it then returns. A flush that fails says so and keeps what is
left; only a close gives it up.
"""

from __future__ import annotations

import io
import os
import select
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from proactor_trio._kernel.cancel import Cancelled, CancelScope
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import YIELD, checkpoint
from proactor_trio.abc import AsyncResource
from proactor_trio.files.closed_file import ClosedFileError
from proactor_trio.files.raw import AsyncFile
from proactor_trio.files.turns import Turns
from proactor_trio.proactor.lending import Lender

#: The buffer, unless the file system asks for a larger one. So much costs one call, and no worker of the kernel.
BUFFER_BYTES: Final = 64 * 1024
LARGEST_BUFFER_BYTES: Final = 8 * 1024 * 1024

_ORIGINS: Final = frozenset(
    getattr(os, name) for name in ("SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE") if hasattr(os, name)
)


class AsyncBufferedFile(AsyncResource, Lender):
    """An open binary file with a buffer. Made by open_file(); closed by `async with` or aclose().

    All async methods are checkpoints; several tasks may call them, which takes place one after the other. Cancelled
    calls had no effect. Errors are those of the builtin files; on a closed file an exception that is both a ValueError
    and a ClosedResourceError.

    raw: the AsyncFile below it.
    """

    __slots__ = (
        "__weakref__",
        "_blocks",
        "_buffer_bytes",
        "_data",
        "_queued",
        "_raw",
        "_turns",
        "_used",
    )

    def __init__(self, raw: AsyncFile, buffer_bytes: int) -> None:
        self._raw: AsyncFile | None = raw
        self._buffer_bytes = buffer_bytes
        self._turns = Turns()
        self._data = b""
        self._used = 0
        self._blocks: list[bytes | memoryview] = []
        self._queued = 0

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def raw(self) -> AsyncFile:
        """The file below it."""
        if self._raw is None:
            raise ClosedFileError("the raw file was detached")
        return self._raw

    @property
    def name(self) -> Any:
        """The path or descriptor that was opened."""
        return self.raw.name

    @property
    def mode(self) -> str:
        """The mode of the raw file."""
        return self.raw.mode

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.raw.closed

    def fileno(self) -> int:
        """The descriptor."""
        return self.raw.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.raw.isatty()

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self.raw.readable()

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.raw.writable()

    def seekable(self) -> bool:
        """Whether it has positions."""
        return self.raw.seekable()

    # Reading -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, fewer only at the end of the file; everything up to the end if it is negative or None."""
        wanted = -1 if size is None else size
        if wanted < -1:
            raise ValueError(f"size must be None, -1 or more, not {wanted}")
        self._check_readable()
        await YIELD
        if not self._turns.taken and 0 <= wanted <= len(self._data) - self._used and not self.raw.closed:
            return self._take(wanted)
        await self._turns.take()
        try:
            await self._begin_reading()
            return await self._read_to_end() if wanted < 0 else await self._read_exactly(wanted)
        finally:
            self._turns.give_back()

    @enable_ki_protection
    async def read1(self, size: int = -1) -> bytes:
        """Read at most `size` bytes (negative: a buffer's length), with at most one read of the raw file."""
        self._check_readable()
        await YIELD
        return await self.read_available(self._buffer_bytes if size < 0 else size)

    async def read_available(self, size: int) -> bytes:
        """read1() without a checkpoint where something is there already: for the text above."""
        if not self._turns.taken and self._used < len(self._data) and not self.raw.closed:
            return self._take(min(size, len(self._data) - self._used))
        await self._turns.take()
        try:
            await self._begin_reading()
            if size and self._used == len(self._data):
                self._data, self._used = await self.raw._read_some(max(size, self._buffer_bytes)), 0
            return self._take(min(size, len(self._data) - self._used))
        finally:
            self._turns.give_back()

    @enable_ki_protection
    async def readinto(self, buffer: Any) -> int:
        """Read into writable memory until it is full or the file ends; the number of bytes."""
        return await self._read_into(buffer, self.read)

    @enable_ki_protection
    async def readinto1(self, buffer: Any) -> int:
        """Read into writable memory, with at most one read of the raw file; the number of bytes."""
        return await self._read_into(buffer, self.read1)

    async def _read_into(self, buffer: Any, read: Any) -> int:
        with memoryview(buffer) as view, view.cast("B") as target:
            if target.readonly:
                raise TypeError(f"buffer must be writable memory, which this {type(buffer).__name__} is not")
            data = await read(target.nbytes)
            target[: len(data)] = data
        return len(data)

    @enable_ki_protection
    async def peek(self, size: int = 0) -> bytes:
        """What is in the buffer, at least one byte but at the end of the file; the position stays. size: ignored."""
        self._check_readable()
        await YIELD
        await self._turns.take()
        try:
            await self._begin_reading()
            if self._used == len(self._data):
                self._data, self._used = await self.raw._read_some(self._buffer_bytes), 0
            return self._data[self._used :]
        finally:
            self._turns.give_back()

    @enable_ki_protection
    async def readline(self, size: int | None = -1) -> bytes:
        """Read one line, with its end; at most `size` bytes unless that is negative or None. b"" at the end."""
        self._check_readable()
        limit = -1 if size is None else size
        await YIELD
        await self._turns.take()
        try:
            await self._begin_reading()
            return await self._read_line(limit)
        finally:
            self._turns.give_back()

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

    def __aiter__(self) -> AsyncBufferedFile:
        self._check_open()
        return self

    @enable_ki_protection
    async def __anext__(self) -> bytes:
        await YIELD
        start = self._used
        end = self._data.find(b"\n", start) + 1
        if end and not self._turns.taken:  # what is in the buffer is of a file that is open
            self._used = end
            return self._data[start:end]
        self._check_readable()
        await self._turns.take()
        try:
            await self._begin_reading()
            line = await self._read_line(-1)
        finally:
            self._turns.give_back()
        if not line:
            raise StopAsyncIteration
        return line

    async def _begin_reading(self) -> None:
        self._check_readable()
        if self._queued:
            await self._hand_over()

    def _take(self, size: int) -> bytes:
        start = self._used
        self._used = end = start + size
        return self._data[start:end]

    async def _read_exactly(self, size: int) -> bytes:
        parts = [self._data[self._used :]]
        have = len(parts[0])
        try:
            while True:
                if have >= size:
                    break
                part = await self.raw._read_some(max(size - have, self._buffer_bytes))
                if not part:
                    break
                parts.append(part)
                have += len(part)
        finally:
            self._data, self._used = b"".join(parts), 0
        return self._take(min(size, have))

    async def _read_to_end(self) -> bytes:
        rest = await self.raw.readall()
        data = self._data[self._used :] + rest
        self._forget_read()
        return data

    async def _read_line(self, limit: int) -> bytes:
        start = self._used
        end = self._line_end(self._data, start, limit)
        if end:
            self._used = end
            return self._data[start:end]
        parts = [self._data[start:]]
        have = len(parts[0])
        try:
            while True:
                part = await self.raw._read_some(self._buffer_bytes)
                parts.append(part)
                end = self._line_end(part, 0, limit - have if limit >= 0 else -1)
                if end or not part:
                    break
                have += len(part)
        finally:
            self._data, self._used = b"".join(parts), 0
        return self._take(have + end)

    @staticmethod
    def _line_end(data: bytes, start: int, limit: int) -> int:
        """Where a line ends that is not longer than the limit (negative: none); 0: nowhere yet."""
        if limit < 0:
            return data.find(b"\n", start) + 1
        end = data.find(b"\n", start, start + limit) + 1
        return end or (start + limit if len(data) - start >= limit else 0)

    def _forget_read(self) -> None:
        self._data = b""
        self._used = 0

    # Writing -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def write(self, data: Any) -> int:
        """Write all of it; the number of bytes. It stands in the file after flush() or aclose(), or when the buffer is
        full. Cancelled: nothing of it was written."""
        if isinstance(data, str):
            raise TypeError("data must be bytes-like, not str")
        block = data if type(data) is bytes else bytes(memoryview(data).cast("B"))
        self._check_writable()
        await YIELD
        await self.make_room(len(block))
        self.accept(block)
        await self.hand_over_if_full()
        return len(block)

    @enable_ki_protection
    async def writelines(self, lines: Iterable[Any]) -> None:
        """Write all of them, without ends of lines in between. Cancelled: some were written."""
        self._check_open()
        await checkpoint()
        for line in lines:
            await self.write(line)

    async def make_room(self, size: int) -> None:
        """The part of a write that may wait and be cancelled: afterwards nothing is read ahead, and there is room for
        `size` bytes, or nothing in the buffer."""
        if not self._turns.taken and self._used == len(self._data) and self._queued + size <= self._buffer_bytes:
            self._check_writable()
            return
        await self._turns.take()
        try:
            self._check_writable()
            self._go_back()
            if self._queued and self._queued + size > self._buffer_bytes:
                await self._hand_over()
        finally:
            self._turns.give_back()

    def accept(self, block: bytes) -> None:
        """The part of a write that cannot fail: from now on the bytes count as written."""
        if block:
            if self._data:
                self._forget_read()  # all of it was used
            self._blocks.append(block)
            self._queued += len(block)

    async def hand_over_if_full(self) -> None:
        """Hand over what is more than the buffer holds. Not cancelled: what was accepted counts as written."""
        if self._queued <= self._buffer_bytes:
            return
        try:
            await self._turns.take()
            try:
                if self._queued > self._buffer_bytes:
                    await self._hand_over()
            finally:
                self._turns.give_back()
        except Cancelled:
            return  # at the next checkpoint, then; aclose() hands over the rest

    @enable_ki_protection
    async def flush(self) -> None:
        """Hand over to the system what was written; afterwards the descriptor's position is that of this file, if it
        may be both read and written. Cancelled: what is left stays in the buffer."""
        self._check_open()
        await YIELD
        await self._turns.take()
        try:
            self._check_open()
            await self._hand_over()
            if self.raw._mode.updates:
                self._go_back()
        finally:
            self._turns.give_back()

    async def fsync(self, *, data_only: bool = False) -> None:
        """flush(), then wait until it is on the device; with data_only without metadata that reading does not need."""
        await self.flush()
        await self.raw.fsync(data_only=data_only)

    async def _hand_over(self) -> None:
        while self._blocks:
            if len(self._blocks) > 1:
                self._blocks[:] = [b"".join(self._blocks)]
            block = self._blocks[0]
            count = await self.raw.write(block)
            self._queued -= count
            if count == len(block):
                del self._blocks[0]
            else:
                self._blocks[0] = memoryview(block)[count:]

    def _go_back(self) -> None:
        """Move the descriptor's position back to where reading has got."""
        unused = len(self._data) - self._used
        if unused and self.raw._has_positions:
            os.lseek(self.raw.fileno(), -unused, os.SEEK_CUR)
        self._forget_read()

    # Position ----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position: from the beginning, from where it is, or from the end; the new one.

        Raises ValueError for another origin, OSError for a position that cannot be, io.UnsupportedOperation for what
        has none.
        """
        if whence not in _ORIGINS:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        self._check_positions()
        await YIELD
        await self._turns.take()
        try:
            return await self._seek(offset, whence)
        finally:
            self._turns.give_back()

    async def _seek(self, offset: int, whence: int) -> int:
        self._check_positions()
        if self._queued:
            await self._hand_over()
        descriptor = self.raw.fileno()
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if whence in (os.SEEK_SET, os.SEEK_CUR):
            begin = end - len(self._data)
            target = offset + (begin + self._used if whence == os.SEEK_CUR else 0)
            if self._data and max(begin, 0) <= target <= end:
                self._used = target - begin
                return target
            offset, whence = target, os.SEEK_SET
        position = os.lseek(descriptor, offset, whence)
        self._forget_read()
        return position

    @enable_ki_protection
    async def tell(self) -> int:
        """The position."""
        self._check_positions()
        await YIELD
        await self._turns.take()
        try:
            self._check_positions()
            return self.position()
        finally:
            self._turns.give_back()

    def position(self) -> int:
        """The position, for the text above, while no call is under way."""
        return os.lseek(self.raw.fileno(), 0, os.SEEK_CUR) - (len(self._data) - self._used) + self._queued

    @enable_ki_protection
    async def truncate(self, size: int | None = None) -> int:
        """Cut it off at a size (None: at the position), or lengthen it with zeros; the new size. The position stays."""
        self._check_writable()
        await YIELD
        await self._turns.take()
        try:
            self._check_writable()
            await self._hand_over()
            self._go_back()
            return await self.raw.truncate(size)
        finally:
            self._turns.give_back()

    # The end -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def detach(self) -> AsyncFile:
        """Flush, and give up the raw file, which is returned; this object cannot be used any more."""
        raw = self.raw
        await self.flush()
        if raw.seekable():
            self._go_back()
        self._raw = None
        return raw

    @enable_ki_protection
    async def aclose(self) -> None:
        """Flush and close it. Closed also when cancelled or when flushing fails; closing twice is harmless.

        A flush into a file with positions is waited for in any case. One into a pipe or terminal is cut off by a
        cancellation: what the other side has no room for is lost. Raises OSError if flushing or closing fails.
        """
        raw = self.raw
        if raw.closed:
            await checkpoint()
            return
        try:
            if self._queued:
                await self._flush_at_the_end()
        except BaseException:
            with CancelScope(shield=True):
                await raw.aclose()
            self._blocks.clear()
            self._queued = 0
            raise
        self._forget_read()
        await raw.aclose()

    async def _flush_at_the_end(self) -> None:
        with CancelScope(shield=self.raw._has_positions):
            try:
                await self._turns.take()
                try:
                    await self._hand_over()
                finally:
                    self._turns.give_back()
            except Cancelled:
                self._flush_without_waiting()
                raise

    def _flush_without_waiting(self) -> None:
        """Give a stream what it has room for at this moment. A pipe that is writable takes at least PIPE_BUF bytes."""
        if self._turns.taken or self.raw.closed:
            return
        descriptor = self.raw.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        rest = memoryview(b"".join(self._blocks))
        try:
            while True:
                if not rest.nbytes or not any(event & select.POLLOUT for _, event in poll.poll(0)):
                    break
                rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
        except OSError:
            pass  # nobody is there any more: the cancellation is what is said

    def __del__(self) -> None:
        raw = getattr(self, "_raw", None)
        if raw is not None and self._queued and not raw.closed:
            rest = memoryview(b"".join(self._blocks))
            while rest.nbytes:
                rest = rest[os.write(raw.fileno(), rest) :]

    def _check_open(self) -> None:
        if self.raw.closed:
            raise ClosedFileError("this file was closed")

    def _check_readable(self) -> None:
        self.raw._check_readable()

    def _check_writable(self) -> None:
        self.raw._check_writable()

    def _check_positions(self) -> None:
        self._check_open()
        if not self.raw._has_positions:
            raise io.UnsupportedOperation(f"{self.name!r} has no positions")

    def lent_resource(self) -> NoReturn:
        """For graphs: there is none."""
        raise TypeError("an operation would go past what this file has buffered: flush() it, and use its `.raw`")

    def __repr__(self) -> str:
        if self._raw is None:
            return "<AsyncBufferedFile, detached>"
        return f"<AsyncBufferedFile {self.name!r}, mode {self.mode!r}{', closed' if self.closed else ''}>"
