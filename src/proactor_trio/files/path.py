"""Path: a pathlib path whose methods that ask the file system are async.

Whatever only works with names is inherited from pathlib.PurePath and makes paths of this class. What exists as an
operation (status, reading, writing, making, removing, renaming) is one here; the rest is pathlib.Path's own, called in
a worker thread, so that each version of Python keeps its own rules. Errors are OSErrors with the path in `filename`.

A call in a thread, and an operation that a worker has begun, cannot be cancelled any more: it ends, and its result is
returned.
"""

from __future__ import annotations

import errno
import io
import os
import pathlib
import stat as file_modes
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.files.opening import open_file
from proactor_trio.files.whole_files import read_whole_file, write_whole_file
from proactor_trio.proactor.operations.file_system import (
    FileStatus,
    MakeDirectory,
    RemoveDirectory,
    Rename,
    Unlink,
)
from proactor_trio.threads import run_sync

T = TypeVar("T")
P = ParamSpec("P")

_NOT_THERE: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP))


def _is_absence(error: OSError) -> bool:
    """Whether pathlib takes it for "there is no such file"; from 3.14 on it does so with every error."""
    return error.errno in _NOT_THERE or sys.version_info >= (3, 14)


class Path(pathlib.PurePath):
    """A path; on this system a PosixPath or a WindowsPath.

    Equal to, and hashed like, every pathlib path with the same name. Methods are those of pathlib.Path, with the same
    arguments; those that ask the file system are async, and are checkpoints.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        chosen: Any = (WindowsPath if os.name == "nt" else PosixPath) if cls is Path else cls
        made: Self = super().__new__(chosen, *args, **kwargs)
        return made

    def __repr__(self) -> str:
        return f"proactor_trio.Path({str(self)!r})"

    # Classes of methods ------------------------------------------------------------------------------------------

    async def _in_thread(
        self, method: Callable[Concatenate[pathlib.Path, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await run_sync(partial(method, pathlib.Path(self), *args, **kwargs))

    async def _paths_in_thread(self, list_paths: Callable[[pathlib.Path], Iterable[pathlib.Path]]) -> Iterator[Self]:
        found = await run_sync(lambda: list(list_paths(pathlib.Path(self))))
        return map(type(self), found)

    async def _has_mode(self, is_mode: Callable[[int], bool], *, follow_symlinks: bool = True) -> bool:
        try:
            status = await self.stat(follow_symlinks=follow_symlinks)
        except OSError as error:
            if not _is_absence(error):
                raise
            return False
        except ValueError:
            await checkpoint()
            return False  # no file has such a name
        return is_mode(status.st_mode)

    # What there is -----------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """The status of the file; of a symbolic link that of its target, or with follow_symlinks=False its own."""
        status: os.stat_result = await FileStatus(str(self), follow_links=follow_symlinks)
        return status

    async def lstat(self) -> os.stat_result:
        """The status of the file, also of a symbolic link itself."""
        return await self.stat(follow_symlinks=False)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is a file, of whatever kind."""
        return await self._has_mode(lambda _: True, follow_symlinks=follow_symlinks)

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""
        return await self._has_mode(file_modes.S_ISREG, follow_symlinks=follow_symlinks)

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory."""
        return await self._has_mode(file_modes.S_ISDIR, follow_symlinks=follow_symlinks)

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await self._has_mode(file_modes.S_ISLNK, follow_symlinks=False)

    async def is_block_device(self) -> bool:
        """Whether it is a block device."""
        return await self._has_mode(file_modes.S_ISBLK)

    async def is_char_device(self) -> bool:
        """Whether it is a character device."""
        return await self._has_mode(file_modes.S_ISCHR)

    async def is_fifo(self) -> bool:
        """Whether it is a named pipe."""
        return await self._has_mode(file_modes.S_ISFIFO)

    async def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return await self._has_mode(file_modes.S_ISSOCK)

    async def is_mount(self) -> bool:
        """Whether a file system begins here."""
        return await self._in_thread(pathlib.Path.is_mount)

    if sys.version_info >= (3, 12):

        async def is_junction(self) -> bool:
            """Whether it is a junction of Windows."""
            return await self._in_thread(pathlib.Path.is_junction)

    async def samefile(self, other_path: str | bytes | int | os.PathLike[Any]) -> bool:
        """Whether both lead to the same file."""
        mine = await self.stat()
        if isinstance(other_path, int):
            return os.path.samestat(mine, os.stat(other_path))
        return os.path.samestat(mine, await FileStatus(os.fspath(other_path)))

    async def owner(self, **kwargs: Any) -> str:
        """The name of the user that owns it."""
        return await self._in_thread(pathlib.Path.owner, **kwargs)

    async def group(self, **kwargs: Any) -> str:
        """The name of the group that owns it."""
        return await self._in_thread(pathlib.Path.group, **kwargs)

    # Contents ----------------------------------------------------------------------------------------------------

    async def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """open_file() of this path."""
        return await open_file(str(self), mode, buffering, encoding, errors, newline)

    @enable_ki_protection
    async def read_bytes(self) -> bytes:
        """Everything in the file."""
        return await read_whole_file(str(self))

    @enable_ki_protection
    async def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Everything in the file, as text."""
        if encoding is not None or errors is not None or newline is not None:
            io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)  # refuses what does not exist
        data = await read_whole_file(str(self))
        return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline).read()

    @enable_ki_protection
    async def write_bytes(self, data: Any) -> int:
        """Make this all that is in the file, which is created if need be; the number of bytes."""
        view = memoryview(data).cast("B")
        await write_whole_file(str(self), view)
        return view.nbytes

    @enable_ki_protection
    async def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """Make this text all that is in the file, which is created if need be; the number of characters."""
        if not isinstance(data, str):
            raise TypeError(f"data must be a str, not {type(data).__name__}")
        encoded = io.BytesIO()
        text = io.TextIOWrapper(encoded, encoding, errors, newline)
        text.write(data)
        text.flush()
        await write_whole_file(str(self), encoded.getvalue())
        return len(data)

    # Making, removing, renaming ----------------------------------------------------------------------------------

    @enable_ki_protection
    async def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory. parents: also those above it. exist_ok: one that is there already is no error."""
        try:
            await MakeDirectory(str(self), mode & 0o7777)
        except FileNotFoundError:
            if not parents or self.parent == self:
                raise
            await self.parent.mkdir(parents=True, exist_ok=True)
            await self.mkdir(mode, parents=False, exist_ok=exist_ok)
        except OSError:
            if not exist_ok or not await self.is_dir():
                raise

    @enable_ki_protection
    async def rmdir(self) -> None:
        """Remove the directory, which has to be empty."""
        await RemoveDirectory(str(self))

    @enable_ki_protection
    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file or symbolic link. missing_ok: one that is not there is no error."""
        try:
            await Unlink(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    @enable_ki_protection
    async def rename(self, target: str | os.PathLike[str]) -> Self:
        """Give it another name, and return that; a file which has that name already is replaced on POSIX."""
        if os.name == "nt":
            return type(self)(await self._in_thread(pathlib.Path.rename, target))
        return await self.replace(target)

    @enable_ki_protection
    async def replace(self, target: str | os.PathLike[str]) -> Self:
        """Give it another name, and return that; a file which has that name already is replaced."""
        await Rename(str(self), os.fspath(target))
        return type(self)(target)

    async def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Create it, or set its times to now."""
        await self._in_thread(pathlib.Path.touch, mode, exist_ok)

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change its permissions."""
        await self._in_thread(pathlib.Path.chmod, mode, follow_symlinks=follow_symlinks)

    async def lchmod(self, mode: int) -> None:
        """Change its permissions, also of a symbolic link itself."""
        await self._in_thread(pathlib.Path.lchmod, mode)

    async def symlink_to(self, target: str | os.PathLike[str], target_is_directory: bool = False) -> None:
        """Make it a symbolic link to `target`."""
        await self._in_thread(pathlib.Path.symlink_to, os.fspath(target), target_is_directory)

    async def hardlink_to(self, target: str | os.PathLike[str]) -> None:
        """Make it another name of `target`."""
        await self._in_thread(pathlib.Path.hardlink_to, os.fspath(target))

    if sys.version_info < (3, 12):

        async def link_to(self, target: str | os.PathLike[str]) -> None:
            """Make `target` another name of this file."""
            await self._in_thread(pathlib.Path.link_to, os.fspath(target))

    # Other paths -------------------------------------------------------------------------------------------------

    @classmethod
    async def cwd(cls) -> Self:
        """The current directory."""
        await checkpoint()
        return cls(os.getcwd())

    @classmethod
    async def home(cls) -> Self:
        """The directory of the user."""
        return cls(await run_sync(pathlib.Path.home))

    async def absolute(self) -> Self:
        """The same path, beginning at the root."""
        await checkpoint()
        return type(self)(pathlib.Path(self).absolute())

    async def expanduser(self) -> Self:
        """The same path with ~ and ~user replaced."""
        return type(self)(await self._in_thread(pathlib.Path.expanduser))

    async def resolve(self, strict: bool = False) -> Self:
        """The same path, beginning at the root and without symbolic links."""
        return type(self)(await self._in_thread(pathlib.Path.resolve, strict))

    async def readlink(self) -> Self:
        """Where the symbolic link leads to."""
        return type(self)(await self._in_thread(pathlib.Path.readlink))

    async def iterdir(self) -> Iterator[Self]:
        """The paths in the directory: `for path in await directory.iterdir()`."""
        return await self._paths_in_thread(pathlib.Path.iterdir)

    async def glob(self, pattern: str, **kwargs: Any) -> Iterator[Self]:
        """The paths below this one that match a pattern."""
        return await self._paths_in_thread(lambda path: path.glob(pattern, **kwargs))

    async def rglob(self, pattern: str, **kwargs: Any) -> Iterator[Self]:
        """The paths below this one, at any depth, that match a pattern."""
        return await self._paths_in_thread(lambda path: path.rglob(pattern, **kwargs))

    def as_uri(self) -> str:
        """The path as a URI with the scheme `file`."""
        return pathlib.Path(self).as_uri()

    if sys.version_info >= (3, 12):

        async def walk(self, **kwargs: Any) -> Iterator[tuple[Self, list[str], list[str]]]:
            """The directories below this one, with the names in each, as pathlib.Path.walk() gives them."""
            found = await run_sync(lambda: list(pathlib.Path(self).walk(**kwargs)))
            return ((type(self)(path), folders, files) for path, folders, files in found)

    if sys.version_info >= (3, 13):

        @classmethod
        def from_uri(cls, uri: str) -> Self:
            """The path that a URI with the scheme `file` names."""
            return cls(pathlib.Path.from_uri(uri))


class PosixPath(Path, pathlib.PurePosixPath):
    """A Path of POSIX systems."""

    __slots__ = ()


class WindowsPath(Path, pathlib.PureWindowsPath):
    """A Path of Windows."""

    __slots__ = ()
