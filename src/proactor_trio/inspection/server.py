"""Answers for `python -m proactor_trio tree PID`: the task tree of a run that is under way, told to its owner only.

With PROACTOR_TRIO_INSPECT in the environment each run listens on a Unix socket of its own, PID-NUMBER.socket in a
folder that nobody but the user of the process can enter (mode 0700), and who is asked there is asked for his user, too
(SO_PEERCRED). Without the variable nothing is opened, and this file is not even read.

Hazards: whoever can read the tree learns names, paths and peers, and a folder in /tmp could be somebody else's. So the
folder is made by us or refused: it has to belong to this user, be no link, and be closed to all others. A run whose
folder cannot be used says so by a warning and goes on without. A client that does not read is left after a second.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import socket as stdlib_socket
import stat
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Final

from proactor_trio.inspection.companion import ENVIRONMENT_VARIABLE
from proactor_trio.inspection.task_tree import task_tree
from proactor_trio.sockets.opening import from_stdlib_socket
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.socket_stream import SocketStream
from proactor_trio.timeouts import move_on_after

SUFFIX: Final = ".socket"
#: How long a client may take to read.
PATIENCE_SECONDS: Final = 1.0

_CREDENTIALS: Final = struct.Struct("3i")
_numbers: Final = itertools.count(1)


def folder() -> Path:
    """Where the sockets of this user's runs are: in XDG_RUNTIME_DIR, else in the folder for temporary files."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"proactor_trio-{os.getuid()}"


def check_folder(path: Path) -> None:
    """Make the folder if it is not there. Raises OSError unless it is this user's and closed to all others."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{path} does not belong to this user alone")


async def answer() -> None:
    """Listen, and tell each client the tree. A system task: it ends with its run, and takes its socket along."""
    path = folder() / f"{os.getpid()}-{next(_numbers)}{SUFFIX}"
    try:
        check_folder(path.parent)
        listening = _listen(path)
    except OSError as error:
        warnings.warn(f"{ENVIRONMENT_VARIABLE}: this run cannot be inspected: {error}", RuntimeWarning, stacklevel=1)
        return
    try:
        with listening:
            while True:
                connection, _ = await listening.accept()
                await _tell(connection)
    finally:
        path.unlink(missing_ok=True)


def _listen(path: Path) -> SocketType:
    path.unlink(missing_ok=True)  # of a process that had our number and was killed
    listening = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(path))
        path.chmod(0o600)
        listening.listen()
        return from_stdlib_socket(listening)
    except BaseException:
        listening.close()
        raise


async def _tell(connection: SocketType) -> None:
    stream = SocketStream(connection)
    with move_on_after(PATIENCE_SECONDS):
        async with stream:
            if _is_ours(connection):
                await stream.send_all(json.dumps(dataclasses.asdict(task_tree())).encode())


def _is_ours(connection: SocketType) -> bool:
    if not hasattr(stdlib_socket, "SO_PEERCRED"):
        return True  # the folder has kept everybody else out
    told = connection.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_PEERCRED, _CREDENTIALS.size)
    assert isinstance(told, bytes)
    return int(_CREDENTIALS.unpack(told)[1]) in (0, os.getuid())
