"""Reading and writing a file as a whole, by its path.

A small file is read in one operation (proactor/operations/file_contents.py), on io_uring one chain in the kernel.
Before that it is looked at: only a regular file with a length of its own may be opened twice, if it turns out to be
longer. A fifo must not (its writer would meet a reader that goes away), nor do files in /proc say how long they are.
These, and long files, are opened, read to the end and closed in the usual way.

A file is written with a shield around everything that follows the opening, which has emptied it. Where writing may wait
for somebody (a fifo, a terminal) there is no shield.
"""

from __future__ import annotations

from typing import Final

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio.files.cached_status import regular_size, size_of
from proactor_trio.files.opening import open_file
from proactor_trio.files.raw import AsyncFile
from proactor_trio.proactor.operation import OperationState
from proactor_trio.proactor.operations.file_contents import FileContents
from proactor_trio.proactor.operations.file_system import FileStatus

SMALL_FILE_BYTES: Final = 16 * 1024

#: Operations with their buffers that were used before, of no run in particular. Taken and given back in one step each.
_idle: list[FileContents] = []
_MOST_IDLE: Final = 16


async def read_whole_file(path: str) -> bytes:
    """Everything in a file. Raises OSError with the path in `filename`. Cancelled: it was only read."""
    size = regular_size(path)
    if size is None:
        size = size_of(await FileStatus(path))
    if 0 < size < SMALL_FILE_BYTES:
        contents = _idle.pop() if _idle else FileContents(path, SMALL_FILE_BYTES)
        contents.name = path
        try:
            data: bytes = await contents
        finally:
            if contents.state is OperationState.DONE and len(_idle) < _MOST_IDLE:
                contents.result = contents.error = contents._proactor = None
                _idle.append(contents)
        if len(data) == size:
            return data
    file: AsyncFile = await open_file(path, "rb", 0)
    try:
        return await file.readall()
    finally:
        await file.aclose()


async def write_whole_file(path: str, data: bytes | memoryview) -> None:
    """Make `data` all that is in a file, which is created if need be. Raises OSError. Cancelled: it is as it was."""
    file: AsyncFile = await open_file(path, "wb", 0)
    with CancelScope(shield=file.seekable()):
        try:
            await file.writelines([data] if len(data) else [])
        finally:
            await file.aclose()
