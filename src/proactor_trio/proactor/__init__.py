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
    Aborted,
    AlreadyExists,
    CancelCause,
    ClosedResourceError,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    OperationCancelled,
    OutOfRange,
    ProactorError,
    ResourceExhausted,
    StatusCode,
    Unimplemented,
    status_of,
)
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operation import Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.operations.descriptor import StreamRead, StreamWrite
from proactor_trio.proactor.operations.file import FileClose, FileOpen, FileRead, FileSync, FileWrite
from proactor_trio.proactor.operations.net import Accept, Connect, Recv, RecvBytes, Send, SocketClose
from proactor_trio.proactor.operations.scheduling import HandlePoll, Nop, Timer
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.progress import ProgressCallback
from proactor_trio.proactor.socket import Socket

__all__ = [
    "Aborted",
    "Accept",
    "AlreadyExists",
    "BackendUnavailable",
    "CancelCause",
    "Capability",
    "CapabilityReport",
    "ClosedResourceError",
    "CompletionFlags",
    "Connect",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "File",
    "FileClose",
    "FileOpen",
    "FileRead",
    "FileSync",
    "FileWrite",
    "HandlePoll",
    "Nop",
    "NotFound",
    "Operation",
    "OperationCancelled",
    "OperationFlags",
    "OperationState",
    "OutOfRange",
    "PollEvents",
    "Proactor",
    "ProactorError",
    "ProactorOptions",
    "ProgressCallback",
    "Recv",
    "RecvBytes",
    "ResourceExhausted",
    "Send",
    "Socket",
    "SocketClose",
    "SoftwareOperation",
    "StatusCode",
    "StreamRead",
    "StreamWrite",
    "Support",
    "ThreadingMode",
    "Timer",
    "Unimplemented",
    "status_of",
]
