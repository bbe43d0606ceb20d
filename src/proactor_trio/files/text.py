"""AsyncTextFile: text over a buffered file, the counterpart of io.TextIOWrapper. Codecs are the standard library's.

Reading decodes one chunk after the other; `_decoded` is the text of the last one, used up to `_used`. Text that is
written is encoded and handed to the buffer below at once, so nothing waits here.

A position is a number that only seek() understands, made as io.TextIOWrapper makes it: a place in the bytes, in the
higher bits the state of the decoder there and what has to be fed to it to get to the character that is meant.
`_snapshot` is what is needed to find it: the decoder's state before the last chunk, and the bytes that came then.

Cancellation: as in buffered.py. A call that is cancelled between two chunks puts their text back.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterable
from types import EllipsisType
from typing import Any, Final, NoReturn, Self

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import YIELD, checkpoint
from proactor_trio.abc import AsyncResource
from proactor_trio.files.buffered import AsyncBufferedFile
from proactor_trio.files.closed_file import ClosedFileError
from proactor_trio.files.text_position import Decoder, TextPosition, find_position
from proactor_trio.files.turns import Turns
from proactor_trio.proactor.lending import Lender

#: How many bytes are decoded at a time, at first.
CHUNK_BYTES: Final = 8192


class AsyncTextFile(AsyncResource, Lender):
    """An open text file. Made by open_file(); closed by `async with` or aclose().

    All async methods are checkpoints; several tasks may call them, which takes place one after the other. Cancelled
    calls had no effect. Errors are those of the builtin files; on a closed file an exception that is both a ValueError
    and a ClosedResourceError.

    buffer: the AsyncBufferedFile below. encoding, errors, newline: as of io.TextIOWrapper, checked and complete.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_decoded",
        "_decoder",
        "_encoder",
        "_encoding",
        "_ends_with_newline",
        "_errors",
        "_line_buffering",
        "_newline",
        "_snapshot",
        "_trail",
        "_turns",
        "_used",
        "_write_through",
        "mode",
    )

    def __init__(
        self,
        buffer: AsyncBufferedFile,
        encoding: str,
        errors: str,
        newline: str | None,
        *,
        line_buffering: bool,
        mode: str,
    ) -> None:
        self._buffer: AsyncBufferedFile | None = buffer
        self._encoding = encoding
        self._errors = errors
        self._line_buffering = line_buffering
        self._write_through = False
        self._turns = Turns()
        self._decoded = ""
        self._used = 0
        self._decoder: Decoder | None = None
        self._encoder: codecs.IncrementalEncoder | None = None
        self._snapshot: tuple[int, bytes] | None = None
        #: While a call reads several chunks: what each of them was, to put it back.
        self._trail: list[tuple[int, bytes, bytes, str]] | None = None
        self.mode = mode
        self._set_newline(newline)
        if buffer.seekable() and buffer.writable():
            position = buffer.position()
            if position:
                self._encoder_at(position)

    def _set_newline(self, newline: str | None) -> None:
        self._newline = newline
        #: Whether a line ends with \n and nothing else.
        self._ends_with_newline = newline is None or newline == "\n"

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def buffer(self) -> AsyncBufferedFile:
        """The buffered file below it."""
        if self._buffer is None:
            raise ClosedFileError("the buffered file was detached")
        return self._buffer

    @property
    def name(self) -> Any:
        """The path or descriptor that was opened."""
        return self.buffer.name

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.buffer.closed

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._encoding

    @property
    def errors(self) -> str:
        """What is done about bytes or characters that the encoding does not have."""
        return self._errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """Which ends of lines were seen so far, where they are translated or all recognised; else None."""
        return getattr(self._decoder, "newlines", None)

    @property
    def line_buffering(self) -> bool:
        """Whether writing the end of a line flushes."""
        return self._line_buffering

    @property
    def write_through(self) -> bool:
        """What was asked for; nothing waits above the buffer in any case."""
        return self._write_through

    def fileno(self) -> int:
        """The descriptor."""
        return self.buffer.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.buffer.isatty()

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self.buffer.readable()

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.buffer.writable()

    def seekable(self) -> bool:
        """Whether it has positions."""
        return self.buffer.seekable()

    # Reading -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def read(self, size: int | None = -1) -> str:
        """Read `size` characters, fewer only at the end of the file; all up to the end if it is negative or None."""
        self._check_readable()
        wanted = -1 if size is None else size
        await YIELD
        if not self._turns.taken and 0 <= wanted <= len(self._decoded) - self._used and not self.buffer.closed:
            return self._take(wanted)
        await self._turns.take()
        try:
            return await self._read_to_end() if wanted < 0 else await self._read_characters(wanted)
        finally:
            self._turns.give_back()

    async def _read_to_end(self) -> str:
        decoder = self._prepared_decoder()
        data = await self.buffer.read()
        text = self._decoded[self._used :] + decoder.decode(data, True)
        self._forget_decoded()
        return text

    async def _read_characters(self, size: int) -> str:
        text = self._take(min(size, len(self._decoded) - self._used))
        with _Restoring(self, len(text)):
            while True:
                if len(text) == size or not await self._read_chunk():
                    break
                text += self._take(min(size - len(text), len(self._decoded)))
        if len(text) < size:  # what the decoder gave at the end of the file
            text += self._take(min(size - len(text), len(self._decoded) - self._used))
        return text

    @enable_ki_protection
    async def readline(self, size: int | None = -1) -> str:
        """Read one line, with its end; at most `size` characters unless that is negative or None. "" at the end."""
        self._check_readable()
        limit = -1 if size is None else size
        await YIELD
        await self._turns.take()
        try:
            return await self._read_line(limit)
        finally:
            self._turns.give_back()

    @enable_ki_protection
    async def readlines(self, hint: int | None = None) -> list[str]:
        """Read lines up to the end, or until they have `hint` characters together."""
        lines: list[str] = []
        total = 0
        while True:
            line = await self.readline()
            if not line:
                return lines
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                return lines

    def __aiter__(self) -> Self:
        self._check_open()
        return self

    @enable_ki_protection
    async def __anext__(self) -> str:
        await YIELD
        if self._ends_with_newline and not self._turns.taken:
            start = self._used
            end = self._decoded.find("\n", start) + 1
            if end:  # what is decoded is of a file that is open
                self._used = end
                return self._decoded[start:end]
        self._check_readable()
        await self._turns.take()
        try:
            line = await self._read_line(-1)
        finally:
            self._turns.give_back()
        if not line:
            raise StopAsyncIteration
        return line

    async def _read_line(self, limit: int) -> str:
        self._check_readable()
        text = self._decoded[self._used :]
        self._used = len(self._decoded)
        searched = 0
        with _Restoring(self, len(text)):
            while True:
                end = self._line_end(text, searched)
                if 0 <= limit <= (end or len(text)):
                    end = limit
                    break
                if end:
                    break
                searched = max(0, len(text) - 1)  # the first half of \r\n may stand there
                if not await self._read_chunk(len(text)):
                    text += self._take(len(self._decoded))
                    end = self._line_end(text, searched) or len(text)
                    if 0 <= limit < end:
                        end = limit
                    break
                text += self._take(len(self._decoded))
        self._used -= len(text) - end
        if not end:
            self._forget_decoded()
        return text[:end]

    def _line_end(self, text: str, start: int) -> int:
        """Where the first line ends; 0: nowhere yet."""
        newline = self._newline
        if newline is None:
            return text.find("\n", start) + 1
        if newline:
            found = text.find(newline, start)
            return found + len(newline) if found >= 0 else 0
        feed = text.find("\n", start)
        carriage = text.find("\r", start, feed if feed >= 0 else len(text))
        if carriage < 0:
            return feed + 1
        return carriage + 2 if feed == carriage + 1 else carriage + 1

    def _take(self, size: int) -> str:
        start = self._used
        self._used = end = start + size
        return self._decoded[start:end]

    async def _read_chunk(self, hint: int = 0) -> bool:
        """Decode the next chunk in place of the last one. False: the file has ended."""
        decoder = self._prepared_decoder()
        kept, flags = decoder.getstate()
        data = await self.buffer.read_available(max(CHUNK_BYTES, hint))
        text = decoder.decode(data, not data)
        self._decoded = text
        self._used = 0
        self._snapshot = flags, kept + data
        if self._trail is not None:
            self._trail.append((flags, kept, data, text))
        return bool(data)

    def _prepared_decoder(self) -> Decoder:
        self._check_readable()
        if self._decoder is None:
            self._decoder = self._new_decoder()
        return self._decoder

    def _new_decoder(self) -> Decoder:
        decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)
        if self._newline:
            return decoder
        return io.IncrementalNewlineDecoder(decoder, translate=self._newline is None)

    def _forget_decoded(self) -> None:
        self._decoded = ""
        self._used = 0
        self._snapshot = None

    # Writing -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def write(self, text: str) -> int:
        """Write all of it; the number of characters. It stands in the file after flush() or aclose(), or when the
        buffer is full. Cancelled: nothing of it was written."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        self._check_writable()
        await YIELD
        await self._turns.take()
        try:
            ends_line = self._line_buffering and ("\n" in text or "\r" in text)
            await self.buffer.make_room(len(text))
            self.buffer.accept(self._encode(text))
            if self._snapshot is not None or self._decoded:
                self._forget_decoded()
            if self._decoder is not None:
                self._decoder.reset()
            await self.buffer.hand_over_if_full()
            if ends_line:
                await self._flush_accepted()
        finally:
            self._turns.give_back()
        return len(text)

    async def _flush_accepted(self) -> None:
        try:
            await self.buffer.flush()
        except Cancelled:
            return  # the text counts as written; aclose() hands it over

    @enable_ki_protection
    async def writelines(self, lines: Iterable[str]) -> None:
        """Write all of them, without ends of lines in between. Cancelled: some were written."""
        self._check_open()
        await checkpoint()
        for line in lines:
            await self.write(line)

    def _encode(self, text: str) -> bytes:
        if self._encoder is None:
            self._encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        newline = os.linesep if self._newline is None else self._newline
        if newline not in ("", "\n"):
            text = text.replace("\n", newline)
        return self._encoder.encode(text)

    def _encoder_at(self, position: int) -> None:
        """A byte order mark belongs at the beginning, and nowhere else."""
        if self._encoder is None:
            self._encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        if position:
            self._encoder.setstate(0)
        else:
            self._encoder.reset()

    @enable_ki_protection
    async def flush(self) -> None:
        """Hand over to the system what was written. Cancelled: what is left stays in the buffer."""
        await self.buffer.flush()

    async def fsync(self, *, data_only: bool = False) -> None:
        """flush(), then wait until it is on the device; with data_only without metadata that reading does not need."""
        await self.buffer.fsync(data_only=data_only)

    # Position ----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def tell(self) -> int:
        """The position, as a number for seek()."""
        self._check_positions()
        await YIELD
        await self._turns.take()
        try:
            await self.buffer.flush()
            position = self.buffer.position()
            decoder = self._decoder
            if decoder is None or self._snapshot is None:
                return position
            flags, data = self._snapshot
            begin = TextPosition(position - len(data), flags)
            return find_position(decoder, begin, data, self._used).as_number()
        finally:
            self._turns.give_back()

    @enable_ki_protection
    async def seek(self, cookie: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position that tell() gave, to the beginning (0), stay (0, SEEK_CUR) or to the end (0, SEEK_END).

        Raises ValueError or io.UnsupportedOperation for other places.
        """
        self._check_positions()
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if whence != os.SEEK_SET and cookie:
            raise io.UnsupportedOperation("text has no places relative to the position or the end but these themselves")
        if whence == os.SEEK_CUR:
            cookie, whence = await self.tell(), os.SEEK_SET
        elif cookie < 0:
            raise ValueError(f"cookie must not be negative, not {cookie!r}")
        await YIELD
        await self._turns.take()
        try:
            return await (self._seek_end() if whence == os.SEEK_END else self._seek(cookie))
        finally:
            self._turns.give_back()

    async def _seek_end(self) -> int:
        position = await self.buffer.seek(0, os.SEEK_END)
        self._forget_decoded()
        if self._decoder is not None:
            self._decoder.reset()
        self._encoder_at_if_writable(position)
        return position

    async def _seek(self, cookie: int) -> int:
        target = TextPosition.of_number(cookie)
        await self.buffer.seek(target.start)
        self._forget_decoded()
        if self._decoder is not None or cookie:
            decoder = self._decoder = self._decoder or self._new_decoder()
            if cookie:
                decoder.setstate((b"", target.flags))
                self._snapshot = target.flags, b""
            else:
                decoder.reset()
        if target.skipped and self._decoder is not None:
            data = await self.buffer.read(target.fed)
            self._decoded = self._decoder.decode(data, target.at_end)
            self._snapshot = target.flags, data
            if len(self._decoded) < target.skipped:
                raise OSError("the file has changed, or this is no position that tell() gave")
            self._used = target.skipped
        self._encoder_at_if_writable(cookie)
        return cookie

    def _encoder_at_if_writable(self, position: int) -> None:
        if self.buffer.writable():
            self._encoder_at(position)

    @enable_ki_protection
    async def truncate(self, size: int | None = None) -> int:
        """Cut the file off at so many bytes (None: where the buffer's position is); the new size."""
        return await self.buffer.truncate(size)

    @enable_ki_protection
    async def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | EllipsisType | None = ...,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Change how it is read and written; what is not given stays. Flushes first.

        Raises io.UnsupportedOperation for another encoding or newline once something was read.
        """
        changes_codec = encoding is not None or errors is not None or newline is not ...
        if changes_codec and self._decoder is not None and (self._snapshot is not None or self._decoded):
            raise io.UnsupportedOperation("the encoding and the newline cannot be changed once something was read")
        if errors is None and encoding is not None:
            errors = "strict"
        chosen_newline = self._newline if newline is ... else newline
        chosen = io.TextIOWrapper(io.BytesIO(), encoding or self._encoding, errors or self._errors, chosen_newline)
        await self.buffer.flush()
        if changes_codec:
            self._encoding = chosen.encoding
            self._errors = chosen.errors or "strict"
            self._set_newline(chosen_newline)
            self._decoder = None
            self._encoder = None
            if self.buffer.writable() and self.buffer.seekable():
                self._encoder_at(self.buffer.position())
        if line_buffering is not None:
            self._line_buffering = bool(line_buffering)
        if write_through is not None:
            self._write_through = bool(write_through)

    # The end -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def detach(self) -> AsyncBufferedFile:
        """Flush, and give up the buffered file, which is returned; this object cannot be used any more."""
        buffer = self.buffer
        await buffer.flush()
        self._forget_decoded()
        self._buffer = None
        return buffer

    @enable_ki_protection
    async def aclose(self) -> None:
        """Flush and close it; see AsyncBufferedFile.aclose()."""
        self._forget_decoded()
        await self.buffer.aclose()

    def _check_open(self) -> None:
        if self.buffer.closed:
            raise ClosedFileError("this file was closed")

    def _check_readable(self) -> None:
        self.buffer._check_readable()

    def _check_writable(self) -> None:
        self.buffer._check_writable()

    def _check_positions(self) -> None:
        self.buffer._check_positions()

    def lent_resource(self) -> NoReturn:
        """For graphs: there is none."""
        raise TypeError("an operation would go past what this file has buffered: flush() it, and use its `.buffer.raw`")

    def __repr__(self) -> str:
        if self._buffer is None:
            return "<AsyncTextFile, detached>"
        state = ", closed" if self.closed else ""
        return f"<AsyncTextFile {self.name!r}, mode {self.mode!r}, encoding {self.encoding!r}{state}>"


class _Restoring:
    """While a call reads chunks: if it is left by an exception, their text is put back as if none had been read."""

    __slots__ = ("_before", "_file", "_unused")

    def __init__(self, file: AsyncTextFile, unused: int = 0) -> None:
        self._file = file
        self._unused = unused
        self._before = file._decoded, file._used - unused, file._snapshot

    def __enter__(self) -> None:
        self._file._trail = []

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        file = self._file
        trail, file._trail = file._trail, None
        if kind is None:
            return
        decoded, file._used, snapshot = self._before
        if trail:
            if snapshot is None or not decoded:
                snapshot = trail[0][:2]
            snapshot = snapshot[0], snapshot[1] + b"".join(data for _, _, data, _ in trail)
            decoded += "".join(text for _, _, _, text in trail)
        file._decoded = decoded
        file._snapshot = snapshot
