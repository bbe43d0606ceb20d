"""Operations on files as such, and on their names: FileStatus, FileAllocate, FileTruncate, Rename, Unlink, ...

Each is one system call that the kernel's own workers (io_uring) or a worker thread (posix) makes. One that a worker has
begun cannot be cancelled any more: it ends with its real result.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation
from proactor_trio.proactor.operations.file import FileOperation

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_LARGEST_OFFSET: Final = (1 << 63) - 1
_LARGEST_MODE: Final = 0o7777
_REMOVE_DIRECTORY: Final = 0x200

# struct statx up to its device numbers; source: statx(2).
_STATX: Final = Struct("=IIQIIIHxxQQQQ qIxxxx qIxxxx qIxxxx qIxxxx IIII")
_NANOSECONDS: Final = 1_000_000_000
#: As os.stat() calculates with it: to the last bit.
_SECONDS: Final = 1e-9


class AllocateMode(IntFlag):
    """What FileAllocate does with the range; see fallocate(2).

    ALLOCATE: give it blocks, so that writes there do not fail for want of space; the file may get longer.
    KEEP_SIZE: as ALLOCATE, the file's length stays. PUNCH_HOLE: take the blocks away, it reads as zeros.
    ZERO_RANGE: make it read as zeros and give it blocks.
    """

    ALLOCATE = 0
    KEEP_SIZE = 1
    PUNCH_HOLE = 2 | 1
    ZERO_RANGE = 16


class RenameMode(IntEnum):
    """What Rename does with a file that has the new name already.

    REPLACE: it is gone, in one step. KEEP: it stays, and the rename ends with FileExistsError. EXCHANGE: the two change
    names. The last two are Linux only and depend on the file system.
    """

    REPLACE = 0
    KEEP = 1
    EXCHANGE = 2


class FileStatus(Operation):
    """Asks for the status of a file. Result: an os.stat_result.

    file: a path or a File. follow_links: of a symbolic link ask for what it leads to, else for the link itself.
    """

    __slots__ = ("file",)
    kind = Kind.FILE_STATUS

    def __init__(
        self,
        file: Path | File,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        follow_links: bool = True,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.file = file
        self.follow_links = follow_links

    def _prepare(self) -> None:
        file = self.file
        if not isinstance(file, File):
            self.path = encode_path(file, "file")
            return
        if file.closed:
            raise ClosedResourceError("FileStatus: file was closed")
        self.path = b""
        self.descriptor = file.descriptor
        file.users.add(self)

    def _release(self) -> None:
        if isinstance(self.file, File):
            self.file.users.discard(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self._release()

    def _finish(self, result: int) -> os.stat_result:
        self._release()
        status = self.data
        return status if isinstance(status, os.stat_result) else _stat_result(status)

    def _failure(self, result: int) -> BaseException:
        self._release()
        if isinstance(self.file, File):
            return super()._failure(result)
        return OSError(-result, os.strerror(-result), self.file)

    def _cancellation(self) -> Any:
        self._release()
        return super()._cancellation()

    def resource(self) -> File | None:
        return self.file if isinstance(self.file, File) else None

    def _resource_is_closed(self) -> bool:
        return isinstance(self.file, File) and self.file.closed


def _stat_result(status: bytearray) -> os.stat_result:
    (
        _mask, block_size, _attributes, links, owner, group, mode, inode, size, blocks, _attributes_mask,
        access, access_part, _birth, _birth_part, change, change_part, modification, modification_part,
        device_major, device_minor, major, minor,
    ) = _STATX.unpack_from(status)  # fmt: skip
    times = {
        "st_atime": access + access_part * _SECONDS,
        "st_mtime": modification + modification_part * _SECONDS,
        "st_ctime": change + change_part * _SECONDS,
        "st_atime_ns": access * _NANOSECONDS + access_part,
        "st_mtime_ns": modification * _NANOSECONDS + modification_part,
        "st_ctime_ns": change * _NANOSECONDS + change_part,
        "st_blksize": block_size,
        "st_blocks": blocks,
        "st_rdev": os.makedev(device_major, device_minor),
    }
    device = os.makedev(major, minor)
    seconds = access, modification, change
    return os.stat_result((mode, inode, device, links, owner, group, size, *seconds), times)


class FileAllocate(FileOperation):
    """Gives a range of a file its blocks, or takes them away. Result: None.

    offset, length: bytes; length at least 1. mode: an AllocateMode.
    """

    __slots__ = ()
    kind = Kind.FILE_ALLOCATE

    def __init__(
        self,
        file: File,
        offset: int,
        length: int,
        mode: AllocateMode = AllocateMode.ALLOCATE,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(file, completion_fn, user_data, flags, **limits)
        self.offset = offset
        self.length = length
        self.mode = mode

    def _prepare(self) -> None:
        check_integer(self.offset, "offset", 0, _LARGEST_OFFSET)
        check_integer(self.length, "length", 1, _LARGEST_OFFSET)
        self.mode = int(AllocateMode(self.mode))
        super()._prepare()

    def _finish(self, result: int) -> None:
        super()._finish(result)


class FileTruncate(FileOperation):
    """Cuts a file off at a length, or lengthens it with zeros. Result: None. On io_uring Linux 6.9.

    length: bytes.
    """

    __slots__ = ()
    kind = Kind.FILE_TRUNCATE

    def __init__(
        self,
        file: File,
        length: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(file, completion_fn, user_data, flags, **limits)
        self.length = length

    def _prepare(self) -> None:
        check_integer(self.length, "length", 0, _LARGEST_OFFSET)
        super()._prepare()

    def _finish(self, result: int) -> None:
        super()._finish(result)


class PathOperation(Operation):
    """Base: an operation on a name. Errors are OSErrors with the name in `filename`."""

    __slots__ = ("name",)

    def __init__(
        self,
        path: Path,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.name = path

    def _prepare(self) -> None:
        self.path = encode_path(self.name, "path")

    def _finish(self, result: int) -> None:
        return None

    def _failure(self, result: int) -> BaseException:
        return OSError(-result, os.strerror(-result), self.name)


class Unlink(PathOperation):
    """Removes a name of a file, and the file with its last name. Result: None. path: not a directory's."""

    __slots__ = ()
    kind = Kind.UNLINK

    def _prepare(self) -> None:
        super()._prepare()
        self.mode = 0


class RemoveDirectory(PathOperation):
    """Removes a directory, which has to be empty. Result: None."""

    __slots__ = ()
    kind = Kind.UNLINK

    def _prepare(self) -> None:
        super()._prepare()
        self.mode = _REMOVE_DIRECTORY


class MakeDirectory(PathOperation):
    """Makes a directory. Result: None. mode: before the umask."""

    __slots__ = ()
    kind = Kind.MAKE_DIRECTORY

    def __init__(
        self,
        path: Path,
        mode: int = 0o777,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(path, completion_fn, user_data, flags, **limits)
        self.mode = mode

    def _prepare(self) -> None:
        super()._prepare()
        check_integer(self.mode, "mode", 0, _LARGEST_MODE)


class Rename(PathOperation):
    """Gives a file or directory another name in the same file system. Result: None.

    path: the old name. new_path: the new one. mode: a RenameMode.
    """

    __slots__ = ("new_name",)
    kind = Kind.RENAME

    def __init__(
        self,
        path: Path,
        new_path: Path,
        mode: RenameMode = RenameMode.REPLACE,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(path, completion_fn, user_data, flags, **limits)
        self.new_name = new_path
        self.mode = mode

    def _prepare(self) -> None:
        super()._prepare()
        self.second_path = encode_path(self.new_name, "new_path")
        self.mode = int(RenameMode(self.mode))

    def _failure(self, result: int) -> BaseException:
        return OSError(-result, os.strerror(-result), self.name, None, self.new_name)


def encode_path(path: Path, argument: str) -> bytes:
    """The bytes of a path. Raises TypeError or ValueError naming the argument."""
    try:
        encoded = os.fsencode(path)
    except TypeError:
        raise TypeError(f"{argument} must be a path, not {type(path).__name__}") from None
    if b"\0" in encoded:
        raise ValueError(f"{argument} must not contain a null character")
    if not encoded:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return encoded
