"""What the suites are written with: recorders, bounded waiting, and makers of sockets and files."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket as stdlib_socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from proactor_trio.proactor import (
    CancelCause,
    CompletionFlags,
    File,
    Operation,
    OperationCancelled,
    OperationState,
    Proactor,
    RecvBytes,
    Socket,
)

OperationT = TypeVar("OperationT", bound=Operation)
SocketT = TypeVar("SocketT", Socket, stdlib_socket.socket)

LOOPBACK = "127.0.0.1"
MOST_POLLS = 20_000
MOST_SECONDS = 3.0

#: The kinds of socket pairs on which transfers are tested.
PAIR_KINDS = ("tcp", "unix")


class Completion(NamedTuple):
    """One call of a completion function, with the operation's fields as they were at that moment."""

    operation: Operation
    flags: CompletionFlags
    result: Any
    error: BaseException | None

    @property
    def is_final(self) -> bool:
        return not self.flags & CompletionFlags.MORE


class Completions:
    """A completion function that records each call, in order."""

    def __init__(self) -> None:
        self.records: list[Completion] = []

    def __call__(self, operation: Operation, flags: CompletionFlags) -> None:
        self.records.append(Completion(operation, flags, operation.result, operation.error))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def operations(self) -> list[Operation]:
        return [record.operation for record in self.records]

    @property
    def labels(self) -> list[object]:
        """The `user_data` of the operations, in the order of their completions."""
        return [record.operation.user_data for record in self.records]

    @property
    def results(self) -> list[Any]:
        return [record.result for record in self.records]

    @property
    def errors(self) -> list[BaseException | None]:
        return [record.error for record in self.records]

    @property
    def finals(self) -> list[Completion]:
        return [record for record in self.records if record.is_final]

    @property
    def outcomes(self) -> list[tuple[object, str]]:
        """(user_data, "ok" | "cancelled" | the error's type), in order: a chain at a glance."""
        return [(record.operation.user_data, outcome(record.error)) for record in self.records]


def outcome(error: BaseException | None) -> str:
    """ "ok", "cancelled" or the name of the error's type."""
    if error is None:
        return "ok"
    return "cancelled" if isinstance(error, OperationCancelled) else type(error).__name__


def cause_of(operation: Operation) -> CancelCause:
    """Why an operation was cancelled; the test fails if it was not."""
    assert isinstance(operation.error, OperationCancelled), f"{operation!r} ended with {operation.error!r}"
    return operation.error.cause


def poll_until(
    proactor: Proactor, condition: Callable[[], object], *, polls: int = MOST_POLLS, seconds: float | None = None
) -> None:
    """Poll until the condition holds; the test fails after so many polls or seconds (None: MOST_SECONDS)."""
    seconds = MOST_SECONDS if seconds is None else seconds
    end = time.monotonic() + seconds
    for _ in range(polls):
        if condition():
            return
        left = end - time.monotonic()
        if left <= 0:
            break
        proactor.poll(min(left, 0.5))
    if not condition():
        raise AssertionError(f"not reached after {polls} polls or {seconds} s: {proactor!r}")


def settle(proactor: Proactor, *operations: Operation) -> None:
    """Poll until these are done."""
    poll_until(proactor, lambda: all(operation.state is OperationState.DONE for operation in operations))


def finish(proactor: Proactor, operation: OperationT) -> OperationT:
    """Submit one operation, poll until it is done, give it back with its result or error."""
    proactor.submit(operation)
    settle(proactor, operation)
    return operation


def perform(proactor: Proactor, operation: Operation) -> Any:
    """Submit one operation, poll until it is done, return its result or raise its error."""
    finish(proactor, operation)
    if operation.error is not None:
        raise operation.error
    return operation.result


def start(proactor: Proactor, *operations: Operation) -> None:
    """Submit, and poll once without waiting, so that the operations are really under way."""
    proactor.submit(*operations)
    proactor.poll(0)


def until_asleep(thread: threading.Thread) -> None:
    """Come back when a thread waits in the kernel, as /proc shows it; without /proc a moment later."""
    stat = Path(f"/proc/self/task/{thread.native_id}/stat")
    if not stat.exists():
        time.sleep(0.01)
        return
    looks = 0
    while looks < 20:  # each look lets go of the interpreter, so one that only waits for that is not taken for asleep
        state = stat.read_text().rpartition(")")[2].split()[0]
        looks = looks + 1 if state == "S" else 0


class Sockets:
    """Makes sockets and closes at the end of the test those that are still open."""

    def __init__(self) -> None:
        self._made: list[Socket | stdlib_socket.socket] = []

    def keep(self, socket: SocketT) -> SocketT:
        """Close it at the end of the test."""
        self._made.append(socket)
        return socket

    def tcp(self) -> Socket:
        """A TCP socket that is neither bound nor connected."""
        return self.keep(Socket())

    def unix(self) -> Socket:
        """A Unix stream socket that is neither bound nor connected."""
        return self.keep(Socket(stdlib_socket.AF_UNIX))

    def listener(self, backlog: int = 128) -> Socket:
        """A listening TCP socket on a free port."""
        listener = self.tcp()
        listener.bind((LOOPBACK, 0))
        listener.listen(backlog)
        return listener

    def client_of(self, listener: Socket) -> stdlib_socket.socket:
        """A plain connected socket, to be accepted by the test."""
        return self.keep(stdlib_socket.create_connection(listener.getsockname()))

    def pair(self, kind: str) -> tuple[Socket, Socket]:
        """Two connected sockets: "tcp" or "unix"."""
        return self.tcp_pair() if kind == "tcp" else self.unix_pair()

    def unix_pair(self) -> tuple[Socket, Socket]:
        near, far = stdlib_socket.socketpair()
        return self.keep(Socket.from_stdlib(near)), self.keep(Socket.from_stdlib(far))

    def tcp_pair(self) -> tuple[Socket, Socket]:
        listener = stdlib_socket.create_server((LOOPBACK, 0))
        try:
            near = stdlib_socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        finally:
            listener.close()
        return self.keep(Socket.from_stdlib(near)), self.keep(Socket.from_stdlib(far))

    def refusing_address(self) -> tuple[str, int]:
        """An address on which nobody listens: bound, so that nobody else takes it."""
        taken = self.tcp()
        taken.bind((LOOPBACK, 0))
        address: tuple[str, int] = taken.getsockname()
        return address

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


class Files:
    """Makes open files in a folder and closes at the end of the test those that are still open.

    make_folder: called when the folder is first asked for.
    """

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._made: list[File] = []

    @cached_property
    def folder(self) -> Path:
        """The folder."""
        return self._make_folder()

    def keep(self, file: File) -> File:
        """Close it at the end of the test."""
        self._made.append(file)
        return file

    def holding(self, contents: bytes = b"", name: str = "file") -> File:
        """A file with these contents, open for reading and writing."""
        path = self.folder / name
        path.write_bytes(contents)
        return self.keep(File(os.open(path, os.O_RDWR | os.O_CLOEXEC)))

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A non-blocking pipe: (descriptor to read from, descriptor to write to); a test may close one of them."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield reader, writer
    finally:
        for descriptor in (reader, writer):
            try:
                os.close(descriptor)
            except OSError as error:
                assert error.errno == errno.EBADF


def fill(socket: Socket) -> int:
    """Send until the kernel takes no more; returns the number of bytes."""
    sent = 0
    try:
        while True:
            sent += socket.stdlib.send(bytes(65536))
    except BlockingIOError:
        return sent


def drain(proactor: Proactor, socket: Socket, length: int) -> bytes:
    """Receive exactly so many bytes by operations."""
    received = bytearray()
    while len(received) < length:
        piece = perform(proactor, RecvBytes(socket, 65536))
        assert piece, "the stream ended early"
        received += piece
    return bytes(received)


def close_with_reset(socket: stdlib_socket.socket | Socket) -> None:
    """Close so that the peer gets ECONNRESET."""
    socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    socket.close()


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes in which every misplaced piece shows."""
    unit = bytes((seed * 31 + index * 7 + index // 251) % 256 for index in range(4093))
    return (unit * (length // len(unit) + 1))[:length]


def open_descriptors() -> dict[int, str]:
    """The descriptors of this process and what they lead to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one that listdir() itself had open
    return found


@contextmanager
def alarm_handler(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle SIGALRM; the test's own time limit, which may use the same timer, goes on afterwards.

    Without the garbage collector meanwhile: what a handler raises inside a finaliser or a collector's callback, of whom
    ever, is not ours to keep.
    """
    gc.disable()
    begin = time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - begin)))
