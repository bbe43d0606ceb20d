"""wrap_file(): a synchronous file object whose methods run in worker threads.

For what is no file of the system: a file in memory, a compressed one, an object of somebody else. What open_file()
opens needs no threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.traps import checkpoint_if_cancelled
from proactor_trio.abc import AsyncResource
from proactor_trio.threads import run_sync

FileT = TypeVar("FileT")

#: What says something about a file, and does not wait.
_PLAIN: Final = frozenset(
    (
        "buffer", "closed", "closefd", "encoding", "errors", "fileno", "getbuffer", "getvalue", "isatty",
        "line_buffering", "mode", "name", "newlines", "raw", "readable", "seekable", "writable",
    )
)  # fmt: skip
#: What may wait.
_WAITING: Final = frozenset(
    (
        "flush", "peek", "read", "read1", "readall", "readinto", "readinto1", "readline", "readlines", "seek", "tell",
        "truncate", "write", "writelines",
    )
)  # fmt: skip


class AsyncIOWrapper(AsyncResource, Generic[FileT]):
    """A synchronous file object for tasks: what may wait runs in a worker thread. Made by wrap_file().

    It has those of the attributes and methods of files that the wrapped object has. A call that has begun cannot be
    cancelled. Calls of several tasks at once are as safe as the object is with threads.
    """

    __slots__ = ("__weakref__", "_wrapped")

    def __init__(self, file: FileT) -> None:
        self._wrapped = file

    @property
    def wrapped(self) -> FileT:
        """The object itself."""
        return self._wrapped

    def __getattr__(self, name: str) -> Any:
        if name in _PLAIN:
            return getattr(self._wrapped, name)
        if name in _WAITING:
            return _in_thread(getattr(self._wrapped, name))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *(name for name in _PLAIN | _WAITING if hasattr(self._wrapped, name))}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def detach(self) -> AsyncIOWrapper[Any]:
        """Separate the object from the one below it, which is returned, wrapped."""
        detach: Callable[[], Any] = self._wrapped.detach  # type: ignore[attr-defined]
        return wrap_file(await run_sync(detach))

    async def aclose(self) -> None:
        """Close it, also when cancelled."""
        close: Callable[[], object] = self._wrapped.close  # type: ignore[attr-defined]
        with CancelScope(shield=True):
            await run_sync(close)
        await checkpoint_if_cancelled()

    def __repr__(self) -> str:
        return f"<AsyncIOWrapper of {self._wrapped!r}>"


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await run_sync(partial(method, *args, **kwargs))

    call.__name__ = getattr(method, "__name__", "call")
    call.__doc__ = getattr(method, "__doc__", None)
    return call


def wrap_file(file: FileT) -> AsyncIOWrapper[FileT]:
    """A synchronous file object for tasks: its methods run in worker threads.

    file: an object with close() and read() or write(). Raises TypeError for anything else.
    """

    def has(name: str) -> bool:
        return callable(getattr(file, name, None))

    if not (has("close") and (has("read") or has("write"))):
        raise TypeError(f"file must have close() and read() or write(), which this {type(file).__name__} has not")
    return AsyncIOWrapper(file)
