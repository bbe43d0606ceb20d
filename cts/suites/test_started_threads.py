"""No call of a proactor starts a thread, but for file operations on posix, ProactorThread and ProactorPool."""

from __future__ import annotations

import importlib
import mmap
import os
import pkgutil
import socket as stdlib_socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import proactor_trio.proactor.operations as operation_modules
from cts.configurations import Configuration
from cts.suites.frontiers import A, at
from cts.support import Files, Sockets, pipe, settle
from proactor_trio.proactor import (
    Accept,
    Access,
    BufferPool,
    Connect,
    Event,
    EventWait,
    FileAllocate,
    FileClose,
    FileContents,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileTruncate,
    FileWrite,
    FrontierAdvance,
    FrontierTracker,
    FrontierWait,
    FrontierWaitAny,
    FutexWait,
    FutexWake,
    HandlePoll,
    MakeDirectory,
    Message,
    Nop,
    Notification,
    NotificationSignal,
    NotificationWait,
    Operation,
    Proactor,
    ProactorPool,
    ProactorThread,
    Recv,
    RecvBytes,
    RecvFrom,
    RecvPool,
    RemoveDirectory,
    Rename,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    SendFile,
    SendTo,
    Sequence,
    Slab,
    Socket,
    SocketClose,
    Splice,
    StreamRead,
    StreamWrite,
    TimelineSemaphore,
    Timer,
    Unlink,
    register_slab,
)

LOOPBACK = "127.0.0.1"


@dataclass
class Stage:
    """What scenes are played with."""

    proactor: Proactor
    sockets: Sockets
    files: Files
    pipe: tuple[int, int]
    word: memoryview

    def path(self, name: str) -> str:
        return str(self.files.folder / name)

    def datagrams(self) -> tuple[Socket, Socket]:
        near, far = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
        return self.sockets.keep(Socket.from_stdlib(near)), self.sockets.keep(Socket.from_stdlib(far))


Scene = Callable[[Stage], list[Operation]]


def accepting(stage: Stage) -> list[Operation]:
    listener = stage.sockets.listener()
    stage.sockets.client_of(listener)
    return [Accept(listener, lambda operation, flags: stage.sockets.keep(operation.result))]


def receiving(make: Callable[[Socket], Operation]) -> Scene:
    def scene(stage: Stage) -> list[Operation]:
        near, far = stage.sockets.tcp_pair()
        return [make(far), Send(near, b"x" * 16)]

    return scene


def waiting_for_a_notification(stage: Stage) -> list[Operation]:
    notification = Notification()
    return [NotificationWait(notification), NotificationSignal(notification)]


def waiting_for_a_semaphore(stage: Stage) -> list[Operation]:
    semaphore = TimelineSemaphore()
    return [SemaphoreWait([semaphore], [1]), SemaphoreSignal([semaphore], [1])]


def waiting_for_a_frontier(stage: Stage) -> list[Operation]:
    tracker = FrontierTracker()
    tracker.register_axis(A)
    return [FrontierWait(tracker, at(a=1)), FrontierWaitAny(tracker, [at(a=1)]), FrontierAdvance(tracker, A, 1)]


def waiting_for_an_event(stage: Stage) -> list[Operation]:
    with Event() as event:
        event.set()
        wait = EventWait(event)
        stage.proactor.submit(wait)
        settle(stage.proactor, wait)
    return []


def sending_to(stage: Stage) -> list[Operation]:
    receiver = stage.sockets.keep(Socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM))
    sender = stage.sockets.keep(Socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM))
    receiver.bind((LOOPBACK, 0))
    return [RecvFrom(receiver, bytearray(8)), SendTo(sender, b"x", receiver.getsockname())]


def receiving_into_a_pool(stage: Stage) -> list[Operation]:
    near, far = stage.sockets.tcp_pair()
    near.stdlib.send(b"x")
    with (
        Slab.allocate(64, 4) as slab,
        register_slab(stage.proactor, slab, Access.WRITE) as region,
        BufferPool(region) as pool,
    ):
        receive = RecvPool(far, pool)
        stage.proactor.submit(receive)
        settle(stage.proactor, receive)
        receive.result.release()
    return []


def making_files(stage: Stage) -> list[Operation]:
    opened = FileOpen(stage.path("made"), os.O_RDWR | os.O_CREAT)
    stage.proactor.submit(opened)
    settle(stage.proactor, opened)
    return [FileClose(opened.result)]


def in_turn(*makers: Callable[[Stage], Operation]) -> Scene:
    def scene(stage: Stage) -> list[Operation]:
        for make in makers:
            operation = make(stage)
            stage.proactor.submit(operation)
            settle(stage.proactor, operation)
        return []

    return scene


#: For each kind of operation a scene in which it is performed.
SCENES: dict[type[Operation], Scene] = {
    Nop: lambda stage: [Nop()],
    Timer: lambda stage: [Timer(time.monotonic() + 0.001)],
    HandlePoll: lambda stage: [HandlePoll(stage.pipe[0]), StreamWrite(stage.pipe[1], b"x")],
    StreamRead: lambda stage: [StreamRead(stage.pipe[0], bytearray(4)), StreamWrite(stage.pipe[1], b"x")],
    StreamWrite: lambda stage: [StreamWrite(stage.pipe[1], b"x")],
    Sequence: lambda stage: [Sequence([Nop(), Nop()])],
    EventWait: waiting_for_an_event,
    NotificationWait: waiting_for_a_notification,
    NotificationSignal: waiting_for_a_notification,
    SemaphoreWait: waiting_for_a_semaphore,
    SemaphoreSignal: waiting_for_a_semaphore,
    FrontierWait: waiting_for_a_frontier,
    FrontierWaitAny: waiting_for_a_frontier,
    FrontierAdvance: waiting_for_a_frontier,
    FutexWait: lambda stage: [FutexWait(stage.word, 0), FutexWake(stage.word, 1)],
    FutexWake: lambda stage: [FutexWake(stage.word, 1)],
    Message: lambda stage: [Message(stage.proactor, 1)],
    Accept: accepting,
    Connect: lambda stage: [Connect(stage.sockets.tcp(), stage.sockets.listener().getsockname())],
    Recv: receiving(lambda socket: Recv(socket, bytearray(16))),
    RecvBytes: receiving(lambda socket: RecvBytes(socket, 16)),
    Send: receiving(lambda socket: RecvBytes(socket, 16)),
    RecvPool: receiving_into_a_pool,
    SendTo: sending_to,
    RecvFrom: sending_to,
    SocketClose: lambda stage: [SocketClose(stage.sockets.tcp())],
    FileOpen: making_files,
    FileClose: making_files,
    FileRead: lambda stage: [FileRead(stage.files.holding(b"x" * 9000), bytearray(9000), 0)],
    FileWrite: lambda stage: [FileWrite(stage.files.holding(), b"x" * 9000, 0)],
    FileContents: in_turn(
        lambda stage: FileClose(stage.files.holding(b"x", "contents")),
        lambda stage: FileContents(stage.path("contents"), 10),
    ),
    FileSync: lambda stage: [FileSync(stage.files.holding(b"x"))],
    FileStatus: lambda stage: [FileStatus(stage.files.holding(b"x"))],
    FileAllocate: lambda stage: [FileAllocate(stage.files.holding(), 0, 4096)],
    FileTruncate: lambda stage: [FileTruncate(stage.files.holding(b"x"), 0)],
    Rename: in_turn(
        lambda stage: FileClose(stage.files.holding(name="old")),
        lambda stage: Rename(stage.path("old"), stage.path("new")),
    ),
    Unlink: in_turn(lambda stage: FileClose(stage.files.holding(name="old")), lambda stage: Unlink(stage.path("old"))),
    MakeDirectory: lambda stage: [MakeDirectory(stage.path("folder"))],
    RemoveDirectory: in_turn(
        lambda stage: MakeDirectory(stage.path("folder")), lambda stage: RemoveDirectory(stage.path("folder"))
    ),
    Splice: lambda stage: [Splice(stage.files.holding(b"x" * 100), stage.pipe[1], 100, 0)],
    SendFile: lambda stage: [SendFile(stage.sockets.unix_pair()[0], stage.files.holding(b"x" * 100), 0, 100)],
}


class StartedThreads:
    """The threads that were started since: those of the interpreter, and those that the kernel counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._tasks = self._kernel_tasks()
        start = threading.Thread.start

        def record(thread: threading.Thread) -> None:
            self.names.append(thread.name)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", record)

    @staticmethod
    def _kernel_tasks() -> set[str]:
        """All threads of the process but io_uring's own workers."""
        found = set()
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/comm", encoding="utf-8") as file:
                    name = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if not name.startswith("iou-"):
                found.add(task)
        return found

    @property
    def new_tasks(self) -> set[str]:
        return self._kernel_tasks() - self._tasks


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> StartedThreads:
    return StartedThreads(monkeypatch)


@pytest.fixture
def stage(started: StartedThreads, proactor: Proactor, sockets: Sockets, files: Files) -> Iterator[Stage]:
    with pipe() as ends, mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:4] as word:
        yield Stage(proactor, sockets, files, ends, word)


def performs_files_in_threads(configuration: Configuration) -> bool:
    return "file_threads" in configuration.tags


def parameter(kind: type[Operation]) -> Any:
    """A kind, for the configurations that have it."""
    tags = ["futex"] if kind in (FutexWait, FutexWake) else []
    return pytest.param(kind, id=kind.__name__, marks=pytest.mark.needs(*tags))


@pytest.mark.needs("descriptors", "files")
@pytest.mark.parametrize("kind", [parameter(kind) for kind in SCENES])
def test_an_operation_starts_no_thread(
    stage: Stage, configuration: Configuration, started: StartedThreads, kind: type[Operation]
) -> None:
    operations = SCENES[kind](stage)
    stage.proactor.submit(*operations)
    settle(stage.proactor, *operations)
    if performs_files_in_threads(configuration):
        assert all("file" in name for name in started.names)
    else:
        assert (started.names, started.new_tasks) == ([], set())
    assert [operation.error for operation in operations] == [None] * len(operations)


def test_every_kind_of_operation_has_its_scene() -> None:
    for module in pkgutil.iter_modules(operation_modules.__path__):
        importlib.import_module(f"{operation_modules.__name__}.{module.name}")

    def kinds(base: type[Operation]) -> Iterator[type[Operation]]:
        ours = [
            kind
            for kind in base.__subclasses__()
            if kind.__module__.startswith(operation_modules.__name__) and not kind.__name__.startswith("_")
        ]
        for kind in ours:
            yield from kinds(kind)
        if not ours and base.__module__.startswith(operation_modules.__name__):
            yield base

    software: Any = [kind for kind in Operation.__subclasses__() if kind.__name__ == "SoftwareOperation"]
    found = {*kinds(Operation), *(each for kind in software for each in kinds(kind))}
    assert {kind.__name__ for kind in found} - {kind.__name__ for kind in SCENES} == set()


def test_a_proactor_thread_is_one_thread(configuration: Configuration, started: StartedThreads) -> None:
    with ProactorThread(backend=configuration.backend, debug_name="mine"):
        assert started.names == ["mine"] and len(started.new_tasks) == 1


def test_a_proactor_pool_has_a_thread_for_each_proactor(configuration: Configuration, started: StartedThreads) -> None:
    with ProactorPool(3, backend=configuration.backend) as pool:
        pool.get(0)
        pool.get(2)
        assert len(started.names) == len(started.new_tasks) == 2
