"""The proactor: completion-based I/O, usable from callbacks without any run loop, and awaitable from tasks."""

from proactor_trio.backends.contract import (
    BackendUnavailable,
    Capability,
    CapabilityReport,
    CompletionFlags,
    OperationFlags,
    PollEvents,
    Support,
)
from proactor_trio.proactor.errors import (
    CancelCause,
    ClosedResourceError,
    FailedPrecondition,
    OperationCancelled,
    ProactorError,
    StatusCode,
)
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operation import Operation, OperationState
from proactor_trio.proactor.operations.file import FileClose, FileOpen, FileRead, FileSync, FileWrite
from proactor_trio.proactor.operations.net import Accept, Connect, Recv, RecvBytes, Send, SocketClose
from proactor_trio.proactor.operations.scheduling import HandlePoll, Nop, Timer
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.socket import Socket

__all__ = [
    "Accept",
    "BackendUnavailable",
    "CancelCause",
    "Capability",
    "CapabilityReport",
    "ClosedResourceError",
    "CompletionFlags",
    "Connect",
    "FailedPrecondition",
    "File",
    "FileClose",
    "FileOpen",
    "FileRead",
    "FileSync",
    "FileWrite",
    "HandlePoll",
    "Nop",
    "Operation",
    "OperationCancelled",
    "OperationFlags",
    "OperationState",
    "PollEvents",
    "Proactor",
    "ProactorError",
    "ProactorOptions",
    "Recv",
    "RecvBytes",
    "Send",
    "Socket",
    "SocketClose",
    "StatusCode",
    "Support",
    "ThreadingMode",
    "Timer",
]
