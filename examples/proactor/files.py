"""Files: a document is replaced so that nobody ever sees half of it, and is then sent to a socket.

Every call that could wait for a disk is an operation, those on names too: on io_uring the kernel's own workers do them,
elsewhere worker threads. Chains make the order: the new name is given only after the bytes are on the disk.
"""

from __future__ import annotations

import os
import socket as stdlib_socket
import tempfile
from pathlib import Path
from typing import Any

from proactor_trio.proactor import (
    AllocateMode,
    FileAllocate,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileWrite,
    MakeDirectory,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvBytes,
    RemoveDirectory,
    Rename,
    RenameMode,
    SendFile,
    Socket,
    Unlink,
)

LINKED = OperationFlags.LINKED
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL


def perform(proactor: Proactor, *steps: Operation) -> Any:
    """Submit one operation or one chain, wait for its end, return the result of its last step."""
    proactor.submit(*steps)
    while steps[-1].state is not OperationState.DONE:
        proactor.poll(timeout=10)
    for step in steps:
        if step.error is not None:
            raise step.error
    return steps[-1].result


def replace(proactor: Proactor, path: Path, text: bytes) -> None:
    """Write beside it, bring that to the disk, change the names: whoever opens `path` finds the old or the new."""
    draft = path.with_suffix(".draft")
    file = perform(proactor, FileOpen(draft, CREATE, 0o644))
    try:
        perform(proactor, FileAllocate(file, 0, len(text), AllocateMode.ALLOCATE))  # no space? then it fails here
    except OSError as error:  # not every file system can
        print(f"  no space reserved: {error.strerror}")
    perform(
        proactor,
        FileWrite(file, text, 0, flags=LINKED),  # fewer bytes than asked for would break the chain
        FileSync(file, flags=LINKED, data_only=True),
        Rename(draft, path, RenameMode.REPLACE),
    )
    perform(proactor, FileClose(file))
    status = perform(proactor, FileStatus(path))
    print(f"  {path.name} has {status.st_size} bytes now, mode {status.st_mode & 0o777:o}")


def a_chain_that_breaks(proactor: Proactor, path: Path) -> None:
    """The first step fails, so the second has no effect."""
    missing = path.with_name("missing")
    rename = Rename(missing, path, flags=LINKED)
    unlink = Unlink(path)
    try:
        perform(proactor, rename, unlink)
    except FileNotFoundError as error:
        print(f"  {Path(error.filename).name}: {error.strerror}; then: {unlink.error}")
    assert path.exists()


def send(proactor: Proactor, path: Path) -> None:
    """The bytes go from the page cache to the socket without passing through this process."""
    near, far = map(Socket.from_stdlib, stdlib_socket.socketpair())
    file = perform(proactor, FileOpen(path))
    page = bytearray(3)
    perform(proactor, FileRead(file, page, 4))  # every read and write names its position
    sent = perform(proactor, SendFile(near, file, 4, 1000))  # fewer than 1000: the file ends before
    arrived = perform(proactor, RecvBytes(far, 1000))
    print(f"  behind the first word stands {bytes(page)!r}; {sent} bytes sent, {arrived!r} arrived")
    perform(proactor, FileClose(file))
    near.close()
    far.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, Proactor() as proactor:
        folder = Path(temporary) / "documents"
        path = folder / "document"
        perform(proactor, MakeDirectory(folder))
        print("replacing a document")
        replace(proactor, path, b"the old text")
        replace(proactor, path, b"the new and longer text")
        print("a chain that breaks")
        a_chain_that_breaks(proactor, path)
        print("sending it")
        send(proactor, path)
        perform(proactor, Unlink(path, flags=LINKED), RemoveDirectory(folder))


if __name__ == "__main__":
    main()
