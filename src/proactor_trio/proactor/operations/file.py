"""Operations on files: FileOpen, FileRead, FileWrite, FileSync, FileClose.

Reads and writes name their position; there is no current one at this level. A transfer of more than 2 GiB is cut by
the kernel, as with read(2).
"""

from __future__ import annotations

import os
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer, readable_view, writable_view
from proactor_trio.proactor.direct_access import check_alignment
from proactor_trio.proactor.errors import ClosedResourceError, OperationCancelled
from proactor_trio.proactor.file import File
from proactor_trio.proactor.memory.placement import address_of
from proactor_trio.proactor.memory.span import Span
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation

_LARGEST_OFFSET: Final = (1 << 63) - 1
_LARGEST_FLAGS: Final = (1 << 31) - 1
_LARGEST_MODE: Final = 0o7777
_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)


class FileOpen(Operation):
    """Opens a file. Result: a File, not inherited by child processes.

    path: str, bytes or os.PathLike. open_flags: as for os.open(). mode: of a created file, before the umask.
    A file that was opened before a cancellation took effect is delivered, not lost.
    """

    __slots__ = ("name",)
    kind = Kind.FILE_OPEN

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        open_flags: int = os.O_RDONLY,
        mode: int = 0o666,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.name = path
        self.path = os.fsencode(path)
        if b"\0" in self.path:
            raise ValueError("path must not contain a null character")
        self.open_flags = open_flags
        self.mode = mode

    def _prepare(self) -> None:
        check_integer(self.open_flags, "open_flags", 0, _LARGEST_FLAGS)
        _check_open_flags(self.open_flags)
        check_integer(self.mode, "mode", 0, _LARGEST_MODE)

    def _finish(self, result: int) -> File:
        if self.data is None:
            self.data = File.unopened()
        file: File = self.data
        file.direct = bool(self.open_flags & _DIRECT)
        file.descriptor = result
        file.closed = False
        return file

    def _failure(self, result: int) -> BaseException:
        return OSError(-result, os.strerror(-result), self.name)


def _check_open_flags(flags: int) -> None:
    """Raise ValueError for flags that contradict each other: the kernel would ignore one, or damage the file."""
    access = flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
    if access == os.O_WRONLY | os.O_RDWR:
        raise ValueError("open_flags: O_WRONLY and O_RDWR exclude each other")
    if access == os.O_RDONLY:
        for name in ("O_TRUNC", "O_APPEND"):
            if flags & getattr(os, name, 0):
                raise ValueError(f"open_flags: {name} needs O_WRONLY or O_RDWR")
    if flags & os.O_EXCL and not flags & os.O_CREAT:
        raise ValueError("open_flags: O_EXCL needs O_CREAT")


class FileOperation(Operation):
    """Base: an operation on a File."""

    __slots__ = ("file",)

    def __init__(
        self,
        file: File,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.file = file if isinstance(file, File) else self._borrow(file, File, "file")

    def _prepare(self) -> None:
        file = self.file
        if file.closed:
            raise ClosedResourceError(f"{type(self).__name__}: file was closed")
        self.descriptor = file.descriptor
        file.users.add(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self.file.users.discard(self)

    def _finish(self, result: int) -> Any:
        self.file.users.discard(self)
        return result

    def _failure(self, result: int) -> BaseException:
        self.file.users.discard(self)
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self.file.users.discard(self)
        return super()._cancellation()

    def resource(self) -> File:
        return self.file

    def _resource_is_closed(self) -> bool:
        return self.file.closed


class FileTransfer(FileOperation):
    """Base of FileRead and FileWrite: memory and a position.

    buffer: a bytes-like object or a Span; memory in the kernel's table of buffers is used from there.
    """

    __slots__ = ("buffer",)

    def __init__(
        self,
        file: File,
        buffer: Any,
        offset: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(file, completion_fn, user_data, flags, **limits)
        self.buffer = buffer
        self.offset = offset

    def _prepare_transfer(self) -> None:
        file = self.file
        if file.closed:
            self.view = None
            raise ClosedResourceError(f"{type(self).__name__}: file was closed")
        try:
            check_integer(self.offset, "offset", 0, _LARGEST_OFFSET)
            if file.direct:
                check_alignment(file.direct_alignment, address_of(self.view), self.view.nbytes, self.offset)
        except (TypeError, ValueError):
            self.view = None
            raise
        self.descriptor = file.descriptor
        file.users.add(self)
        self.buffer_slot = self._retain_region() if type(self.buffer) is Span else -1

    def _retain_region(self) -> int:
        """Keep the region of a Span registered while in flight; its place in the kernel's table of buffers."""
        region = self.buffer.region
        if region is None:
            return -1
        region.retain(self)
        slot: int = self.buffer.slot_of(self._proactor)
        return slot

    def _release_region(self) -> None:
        if type(self.buffer) is Span and self.buffer.region is not None:
            self.buffer.region.release(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self._release_region()

    def _finish(self, result: int) -> Any:
        if type(self.buffer) is Span:
            self._release_region()
        self.file.users.discard(self)
        return result

    def _failure(self, result: int) -> BaseException:
        self._release_region()
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self._release_region()
        return super()._cancellation()

    def _is_short(self, result: int) -> bool:
        return bool(result < self.view.nbytes)


class FileRead(FileTransfer):
    """Reads into the caller's buffer at a position. Result: the number of bytes, 0 at the end of the file.

    In a chain fewer bytes than the buffer's length end the chain.
    """

    __slots__ = ()
    kind = Kind.FILE_READ

    def _prepare(self) -> None:
        buffer = self.buffer
        self.view = memoryview(buffer) if type(buffer) is bytearray else writable_view(buffer, "buffer")
        self._prepare_transfer()


class FileWrite(FileTransfer):
    """Writes the caller's memory at a position. Result: the number of bytes.

    In a chain fewer bytes than the memory's length end the chain.
    """

    __slots__ = ()
    kind = Kind.FILE_WRITE

    def _prepare(self) -> None:
        self.view = readable_view(self.buffer, "buffer")
        self._prepare_transfer()


class FileSync(FileOperation):
    """Brings a file's data, and its metadata unless `data_only`, to the device (fsync, fdatasync). Result: None."""

    __slots__ = ()
    kind = Kind.FILE_SYNC

    def __init__(
        self,
        file: File,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        data_only: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(file, completion_fn, user_data, flags, **limits)
        self.data_only = data_only

    def _finish(self, result: int) -> None:
        super()._finish(result)


class FileClose(FileOperation):
    """Ends what is pending on a file, as far as that can be ended, then closes it. Result: None.

    The file counts as closed when this begins: at submission, or in a chain when the step before it succeeded. The
    descriptor is closed when the last operation on it has completed. A close that has begun cannot be cancelled.
    """

    __slots__ = ()
    kind = Kind.FILE_CLOSE
    is_close = True

    def _finish(self, result: int) -> None:
        super()._finish(result)
