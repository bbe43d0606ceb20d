"""What stands in for the proactor in the tests of the posix backend: a dictionary, a hook, bare operations."""

from __future__ import annotations

import socket
import time
from typing import Any, ClassVar

from proactor_trio.backends.contract import (
    BackendOptions,
    Capability,
    CompletionFlags,
    Kind,
    OperationFields,
    OperationFlags,
)
from proactor_trio.backends.posix.backend import PosixBackend

PATIENCE = 20.0


class Operation(OperationFields):
    __slots__ = ("results", "socket")

    def __init__(self, **fields: Any) -> None:
        self.identifier = 0
        self.started = False
        self.flags = OperationFlags.NONE
        self.descriptor = -1
        self.deliveries = 0
        self.after = None
        self.data = None
        self.backend_state = None
        self.whole = False
        self.message_flags = 0
        self.results: list[int] = []
        for name, value in fields.items():
            setattr(self, name, value)
        if "view" in fields:
            self.length = self.view.nbytes
        if "socket" in fields:
            self.descriptor = self.socket.fileno()

    @property
    def result(self) -> int:
        """The only result."""
        (result,) = self.results
        return result


class Nop(Operation):
    kind: ClassVar[Kind] = Kind.NOP


class Timer(Operation):
    kind: ClassVar[Kind] = Kind.TIMER


class HandlePoll(Operation):
    kind: ClassVar[Kind] = Kind.HANDLE_POLL


class Accept(Operation):
    kind: ClassVar[Kind] = Kind.ACCEPT


class Connect(Operation):
    kind: ClassVar[Kind] = Kind.CONNECT


class Recv(Operation):
    kind: ClassVar[Kind] = Kind.RECV


class RecvBytes(Operation):
    kind: ClassVar[Kind] = Kind.RECV_BYTES


class Send(Operation):
    kind: ClassVar[Kind] = Kind.SEND


class SocketClose(Operation):
    kind: ClassVar[Kind] = Kind.SOCKET_CLOSE


class FileOpen(Operation):
    kind: ClassVar[Kind] = Kind.FILE_OPEN


class FileRead(Operation):
    kind: ClassVar[Kind] = Kind.FILE_READ


class FileWrite(Operation):
    kind: ClassVar[Kind] = Kind.FILE_WRITE


class FileSync(Operation):
    kind: ClassVar[Kind] = Kind.FILE_SYNC


class FileClose(Operation):
    kind: ClassVar[Kind] = Kind.FILE_CLOSE


class Owner:
    """What the backend sees of a proactor."""

    def __init__(self, backend_class: type[PosixBackend], allowed: Capability = Capability.ALL) -> None:
        self.in_flight: dict[int, OperationFields] = {}
        self.identifier = 0
        self.order: list[OperationFields] = []
        self.polling = False
        self.before_commit: list[BaseException] = []
        self.after_commit: list[BaseException] = []
        self.backend = backend_class(self.complete, BackendOptions(in_flight=self.in_flight, allowed=allowed))
        self.backend.enable()

    def complete(self, operation: OperationFields, result: int, flags: int) -> None:
        assert self.polling, "a report outside poll()"
        assert self.in_flight[operation.identifier] is operation
        assert isinstance(operation, Operation)
        if self.before_commit:
            raise self.before_commit.pop()
        operation.results.append(result)
        self.order.append(operation)
        if flags & CompletionFlags.MORE:
            operation.deliveries += 1
        else:
            del self.in_flight[operation.identifier]
            operation.identifier = 0
        if self.after_commit:
            raise self.after_commit.pop()

    def start(self, *operations: Operation) -> None:
        for operation in operations:
            self.identifier += 1
            operation.identifier = self.identifier
            self.in_flight[self.identifier] = operation
            self.backend.start(operation)

    def poll(self, timeout: float | None = 0) -> None:
        self.polling = True
        try:
            self.backend.poll(timeout)
        finally:
            self.polling = False

    def settle(self, polls: int = 4) -> None:
        """Whatever can happen now has happened."""
        for _ in range(polls):
            self.poll(0)

    def finish(self, *operations: Operation) -> None:
        """Poll until these are done."""
        end = time.monotonic() + PATIENCE
        while any(operation.identifier for operation in operations):
            assert time.monotonic() < end, "not done in time"
            self.poll(1)

    def run(self, operation: Operation) -> int:
        self.start(operation)
        self.finish(operation)
        return operation.results[-1]


def receive(stdlib_socket: socket.socket, size: int = 100, **fields: Any) -> Recv:
    return Recv(socket=stdlib_socket, view=memoryview(bytearray(size)), **fields)


def send(stdlib_socket: socket.socket, data: bytes, **fields: Any) -> Send:
    return Send(socket=stdlib_socket, view=memoryview(data), **fields)


def close(stdlib_socket: socket.socket) -> SocketClose:
    return SocketClose(descriptor=stdlib_socket.detach())


def received(operation: Recv) -> bytes:
    return bytes(operation.view[: operation.result])
