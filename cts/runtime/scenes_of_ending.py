"""Scenes of the operations that end by themselves: what they do has happened exactly if they returned."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from cts.net_support import connected_udp
from cts.runtime.operation_scenes import EndingScene, Scene, count_ready, is_ready
from cts.support import LOOPBACK
from proactor_trio.proactor import (
    Connect,
    File,
    FileAllocate,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileTruncate,
    FileWrite,
    FutexWake,
    MakeDirectory,
    Message,
    Nop,
    Notification,
    NotificationSignal,
    Operation,
    RemoveDirectory,
    Rename,
    SemaphoreSignal,
    Send,
    SendTo,
    Sequence,
    SocketClose,
    TimelineSemaphore,
    Unlink,
)


class NopScene(EndingScene):
    def set_up(self) -> None:
        self.operation = Nop()


class SequenceOfNopsScene(EndingScene):
    def set_up(self) -> None:
        self.operation = Sequence([Nop() for _ in range(3)])


class ConnectScene(EndingScene):
    """A cancelled attempt leaves its socket unusable, so each attempt has one of its own."""

    def set_up(self) -> None:
        self.listener = self.place.sockets.listener()
        self._renew()

    def _renew(self) -> None:
        self.socket = self.place.sockets.tcp()
        self.operation = Connect(self.socket, self.listener.getsockname())

    def keep_result(self, result: Any) -> None:
        assert self.socket.getpeername() == self.listener.getsockname()
        assert is_ready(self.listener.fileno(), 2000)

    def undo(self) -> None:
        self.socket.close()
        while is_ready(self.listener.fileno()):
            connection, _ = self.listener.stdlib.accept()
            connection.close()
        self._renew()


class SendScene(EndingScene):
    """With room for it."""

    def set_up(self) -> None:
        near, self.far = self.place.sockets.unix_pair()
        self.operation = Send(near, b"x")

    def check(self, attempt: Any) -> None:
        super().check(attempt)
        assert count_ready(self.far.fileno(), lambda: self.far.stdlib.recv(1), attempt.returned) == attempt.returned


class SendToScene(SendScene):
    def set_up(self) -> None:
        near, self.far = connected_udp(self.place.sockets)
        assert self.far.getsockname()[0] == LOOPBACK
        self.operation = SendTo(near, b"x", self.far.getsockname())


class MessageScene(EndingScene):
    def set_up(self) -> None:
        self.received: list[int] = []
        self.target = self.place.make_other_proactor()
        self.target.set_message_callback(lambda _, data: self.received.append(data))
        self.operation = Message(self.target, 7)

    def has_happened(self) -> bool:
        for _ in range(3):
            self.target.poll(0)
        return self.received == [7]

    def undo(self) -> None:
        self.received.clear()


class SemaphoreSignalScene(EndingScene):
    def set_up(self) -> None:
        self.semaphore = TimelineSemaphore()
        self.undo()

    def has_happened(self) -> bool:
        return self.semaphore.query() == self.value

    def undo(self) -> None:
        self.value = self.semaphore.query() + 1
        self.operation = SemaphoreSignal([self.semaphore], [self.value])


class NotificationSignalScene(EndingScene):
    def set_up(self) -> None:
        self.notification = Notification()
        self.operation = NotificationSignal(self.notification)
        self.undo()

    def has_happened(self) -> bool:
        return self.notification.query_epoch() == self.epoch + 1

    def undo(self) -> None:
        self.epoch = self.notification.query_epoch()


class FutexWakeScene(EndingScene):
    def set_up(self) -> None:
        memory = self.place.stack.enter_context(mmap.mmap(-1, 4096))
        view = self.place.stack.enter_context(memoryview(memory))
        word = self.place.stack.enter_context(view[:4])
        self.operation = FutexWake(word)

    def keep_result(self, result: Any) -> None:
        assert result == 0


class FileScene(EndingScene):
    """Base: an open file with ten bytes."""

    def set_up(self) -> None:
        self.path = self.place.folder / "file"
        self.file = self.place.files.holding(b"0123456789")
        self.operation = self.make_operation(self.file)

    def make_operation(self, file: File) -> Operation:
        raise NotImplementedError


class FileReadScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        self.buffer = bytearray(4)
        return FileRead(file, self.buffer, 3)

    def has_happened(self) -> bool:
        return self.buffer == b"3456"

    def undo(self) -> None:
        self.buffer[:] = bytes(4)


class FileWriteScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileWrite(file, b"abc", 3)

    def has_happened(self) -> bool:
        return self.path.read_bytes() == b"012abc6789"

    def undo(self) -> None:
        self.path.write_bytes(b"0123456789")


class FileSyncScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileSync(file)


class FileStatusScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileStatus(file)

    def keep_result(self, result: Any) -> None:
        assert result.st_size == 10


class PathStatusScene(FileStatusScene):
    def make_operation(self, file: File) -> Operation:
        return FileStatus(self.path)


class FileAllocateScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileAllocate(file, 0, 20)

    def has_happened(self) -> bool:
        return self.path.stat().st_size == 20

    def undo(self) -> None:
        os.truncate(self.path, 10)


class FileTruncateScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileTruncate(file, 5)

    def has_happened(self) -> bool:
        return self.path.stat().st_size == 5

    def undo(self) -> None:
        self.path.write_bytes(b"0123456789")


class FileCloseScene(FileScene):
    def make_operation(self, file: File) -> Operation:
        return FileClose(file)

    def has_happened(self) -> bool:
        return self.file.closed

    def undo(self) -> None:
        if self.file.closed:
            self.set_up()


class SocketCloseScene(EndingScene):
    def set_up(self) -> None:
        self.near, self.far = self.place.sockets.unix_pair()
        self.operation = SocketClose(self.near)

    def has_happened(self) -> bool:
        return self.near.closed and is_ready(self.far.fileno(), 1000)

    def undo(self) -> None:
        if self.near.closed:
            self.set_up()


class FileOpenScene(EndingScene):
    """One that makes the file."""

    def set_up(self) -> None:
        self.path = self.place.folder / "made"
        self.operation = FileOpen(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def keep_result(self, result: Any) -> None:
        result.close()

    def has_happened(self) -> bool:
        return self.path.exists()

    def undo(self) -> None:
        self.path.unlink(missing_ok=True)


class RenameScene(EndingScene):
    def set_up(self) -> None:
        self.old, self.new = self.place.folder / "old", self.place.folder / "new"
        self.old.touch()
        self.operation = Rename(self.old, self.new)

    def has_happened(self) -> bool:
        return self.new.exists() and not self.old.exists()

    def undo(self) -> None:
        if self.new.exists():
            self.new.rename(self.old)


class UnlinkScene(EndingScene):
    def set_up(self) -> None:
        self.path = self.place.folder / "unwanted"
        self.path.touch()
        self.operation = Unlink(self.path)

    def has_happened(self) -> bool:
        return not self.path.exists()

    def undo(self) -> None:
        self.path.touch()


class MakeDirectoryScene(EndingScene):
    def set_up(self) -> None:
        self.path = self.place.folder / "directory"
        self.operation = MakeDirectory(self.path)

    def has_happened(self) -> bool:
        return self.path.is_dir()

    def undo(self) -> None:
        if self.path.is_dir():
            self.path.rmdir()


class RemoveDirectoryScene(EndingScene):
    def set_up(self) -> None:
        self.path = self.place.folder / "directory"
        self.path.mkdir()
        self.operation = RemoveDirectory(self.path)

    def has_happened(self) -> bool:
        return not self.path.exists()

    def undo(self) -> None:
        self.path.mkdir(exist_ok=True)


#: By the name of the operation.
ENDING_SCENES: dict[str, type[EndingScene]] = {
    "Nop": NopScene,
    "Sequence of Nops": SequenceOfNopsScene,
    "Connect with room": ConnectScene,
    "Send with room": SendScene,
    "SendTo": SendToScene,
    "Message": MessageScene,
    "SemaphoreSignal": SemaphoreSignalScene,
    "NotificationSignal": NotificationSignalScene,
    "FileOpen": FileOpenScene,
    "FileRead": FileReadScene,
    "FileWrite": FileWriteScene,
    "FileSync": FileSyncScene,
    "FileStatus": FileStatusScene,
    "FileStatus of a path": PathStatusScene,
    "FileAllocate": FileAllocateScene,
    "FileTruncate": FileTruncateScene,
    "FileClose": FileCloseScene,
    "SocketClose": SocketCloseScene,
    "Rename": RenameScene,
    "Unlink": UnlinkScene,
    "MakeDirectory": MakeDirectoryScene,
    "RemoveDirectory": RemoveDirectoryScene,
}


def _futex(scene: type[Scene]) -> Any:
    return pytest.param(scene, marks=pytest.mark.needs("futex"), id="FutexWake")


ENDING = [pytest.param(scene, id=name) for name, scene in ENDING_SCENES.items()] + [_futex(FutexWakeScene)]
