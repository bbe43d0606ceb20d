"""open_file(): the builtin open() for tasks.

A path is opened by an operation, an `opener` is called in a worker thread, a descriptor is taken as it is. What the
builtin checks is checked before anything is opened, and with the same kinds of exceptions; encoding, errors and newline
are left to io.TextIOWrapper, of which one without a file is made for that.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal, overload

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.files.buffered import BUFFER_BYTES, LARGEST_BUFFER_BYTES, AsyncBufferedFile
from proactor_trio.files.modes import OpenMode, parse_mode
from proactor_trio.files.raw import AsyncFile
from proactor_trio.files.text import AsyncTextFile
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operations.file import FileOpen
from proactor_trio.threads import run_sync

_CREATION_MODE: Final = 0o666

PathOrDescriptor = int | str | bytes | os.PathLike[str] | os.PathLike[bytes]
Opener = Callable[[str, int], int]

TextMode = Literal[
    "r", "w", "x", "a", "r+", "w+", "x+", "a+", "+r", "+w", "+x", "+a",
    "rt", "wt", "xt", "at", "tr", "tw", "tx", "ta",
    "r+t", "w+t", "x+t", "a+t", "rt+", "wt+", "xt+", "at+", "tr+", "tw+", "tx+", "ta+",
    "t+r", "t+w", "t+x", "t+a", "+tr", "+tw", "+tx", "+ta", "+rt", "+wt", "+xt", "+at",
]  # fmt: skip
BinaryMode = Literal[
    "rb", "wb", "xb", "ab", "br", "bw", "bx", "ba",
    "r+b", "w+b", "x+b", "a+b", "rb+", "wb+", "xb+", "ab+", "br+", "bw+", "bx+", "ba+",
    "b+r", "b+w", "b+x", "b+a", "+br", "+bw", "+bx", "+ba", "+rb", "+wb", "+xb", "+ab",
]  # fmt: skip


@overload
async def open_file(
    file: PathOrDescriptor,
    mode: TextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncTextFile: ...


@overload
async def open_file(
    file: PathOrDescriptor,
    mode: BinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncFile: ...


@overload
async def open_file(
    file: PathOrDescriptor,
    mode: BinaryMode,
    buffering: Literal[-1, 1] = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncBufferedFile: ...


@overload
async def open_file(
    file: PathOrDescriptor,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Any: ...


@enable_ki_protection
async def open_file(
    file: PathOrDescriptor,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> AsyncTextFile | AsyncBufferedFile | AsyncFile:
    """Open a file, as the builtin open() does, with the same arguments.

    file: a path, or an open descriptor, which is then the file's (closefd=False: stays the caller's).
    mode: r, w, x or a; + for both directions; b for bytes instead of text.
    buffering: 0 none (binary only), 1 flushes at each end of a line (text only), more: the size of the buffer in bytes,
        -1: 1 for terminals, else a good size.
    encoding, errors, newline: as of the builtin, text only.
    opener: called as `opener(path, flags)` in a worker thread; it returns the open descriptor.

    Raises OSError, ValueError and TypeError as open() does. Cancelled: a file that was opened all the same is closed.
    """
    path_or_descriptor = file if isinstance(file, int) else os.fspath(file)
    parsed = parse_mode(mode)
    buffering = _checked_buffering(buffering, parsed)
    codec = _checked_codec(parsed, encoding, errors, newline)
    if not isinstance(path_or_descriptor, int) and not closefd:
        raise ValueError("closefd=False needs a descriptor, and a path was given")
    opened = await _open(path_or_descriptor, parsed, opener, closefd=bool(closefd))
    try:
        status = os.fstat(opened.descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path_or_descriptor)
        if parsed.appends:
            _go_to_end(opened.descriptor)
        raw = AsyncFile(opened, path_or_descriptor, parsed, closefd=bool(closefd))
        if buffering == 0:
            return raw
        flushes_lines = buffering == 1 or (buffering < 0 and raw.isatty())
        size = buffering if buffering > 1 else min(max(status.st_blksize, BUFFER_BYTES), LARGEST_BUFFER_BYTES)
        if parsed.updates and not raw.seekable():
            raise io.UnsupportedOperation("a file without positions has no buffer for both directions")
        buffered = AsyncBufferedFile(raw, size)
        if codec is None:
            return buffered
        return AsyncTextFile(
            buffered, codec.encoding, codec.errors or "strict", newline, line_buffering=flushes_lines, mode=mode
        )
    except BaseException:
        if isinstance(path_or_descriptor, int):
            opened._detach()  # stays the caller's
        else:
            opened.close()
        raise


class _BorrowedFile(File):
    """One whose descriptor stays the caller's: dropping it is no mistake."""

    __slots__ = ()

    def __del__(self, *_: object) -> None:
        pass


async def _open(file: int | str | bytes, mode: OpenMode, opener: Opener | None, *, closefd: bool) -> File:
    """What is opened, or stands behind the descriptor."""
    if isinstance(file, int):
        if file < 0:
            raise ValueError(f"file must not be a negative descriptor, like {file}")
        await checkpoint()
        os.fstat(file)  # raises OSError for one that is not open
        return File(file) if closefd else _BorrowedFile(file)
    if opener is None:
        opened: File = await FileOpen(file, mode.open_flags, _CREATION_MODE)
        return opened
    path: Any = file  # as the builtin does, an opener is also given bytes
    descriptor: int = await run_sync(opener, path, mode.open_flags | getattr(os, "O_CLOEXEC", 0))
    if not isinstance(descriptor, int):
        raise TypeError(f"opener must return a descriptor, not {type(descriptor).__name__}")
    if descriptor < 0:
        raise ValueError(f"opener must return an open descriptor, not {descriptor}")
    os.set_inheritable(descriptor, False)
    return File(descriptor)


def _checked_buffering(buffering: int, mode: OpenMode) -> int:
    if not isinstance(buffering, int):
        raise TypeError(f"buffering must be an int, not {type(buffering).__name__}")
    if mode.text and buffering == 0:
        raise ValueError("buffering must not be 0 for text, which is never unbuffered")
    if not mode.text and buffering == 1:
        warnings.warn(
            "buffering=1 flushes lines of text; in binary mode it means the usual buffer", RuntimeWarning, stacklevel=3
        )
        return -1
    return buffering


def _checked_codec(
    mode: OpenMode, encoding: str | None, errors: str | None, newline: str | None
) -> io.TextIOWrapper | None:
    """A text file without a file, which has checked the arguments and knows the defaults; None for binary modes."""
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str or None, not {type(value).__name__}")
        if not mode.text:
            raise ValueError(f"{name} is for text, and the mode is binary")
    return io.TextIOWrapper(io.BytesIO(), encoding, errors, newline) if mode.text else None


def _go_to_end(descriptor: int) -> None:
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
