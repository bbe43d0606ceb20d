"""sendfile(): a file into a stream, inside the kernel."""

from __future__ import annotations

from typing import Final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.files.raw import AsyncFile
from proactor_trio.proactor.file import File
from proactor_trio.streams.socket_stream import SocketStream

_TO_THE_END: Final = (1 << 63) - 1


@enable_ki_protection
async def sendfile(file: AsyncFile | File, stream: SocketStream, *, offset: int = 0, count: int | None = None) -> int:
    """Send a part of a file without copying it through this process; returns the number of bytes.

    file: opened for reading by `open_file(path, "rb", buffering=0)`, or a file of the proactor; its position stays.
    stream: a SocketStream; not one over TLS, which has to see each byte.
    offset: where in the file. count: how many bytes; None: up to the end. Fewer are sent if the file ends there.

    Raises BusyResourceError if another task sends on the stream, ClosedResourceError, BrokenResourceError if the
    connection failed, OSError for a file that cannot be read. Cancelled: an unknown part was sent.
    """
    if not isinstance(stream, SocketStream):
        raise TypeError(f"stream must be a SocketStream, not {type(stream).__name__}")
    if isinstance(file, AsyncFile):
        file = file.proactor_file
    elif not isinstance(file, File):
        raise TypeError(f"file must be an AsyncFile without a buffer, or a proactor's File, not {type(file).__name__}")
    if count is not None and count < 0:
        raise ValueError(f"count must not be negative, not {count}")
    if count == 0:
        await checkpoint()
        return 0
    return await stream.send_part_of_file(file, offset, _TO_THE_END - offset if count is None else count)
