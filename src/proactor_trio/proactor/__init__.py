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
from proactor_trio.proactor.address_text import Address
from proactor_trio.proactor.affinity import ANY_NODE, Affinity, affinity_any, query_affinities
from proactor_trio.proactor.axis import Axis, AxisDomain
from proactor_trio.proactor.axis_table import FrontierTimepoint
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
    ShortTransfer,
    StatusCode,
    Unavailable,
    Unimplemented,
    status_of,
)
from proactor_trio.proactor.event import Event, EventPool
from proactor_trio.proactor.event_source import EventSource
from proactor_trio.proactor.file import File
from proactor_trio.proactor.file_registration import FileRegistration, register_file
from proactor_trio.proactor.frontier import Frontier, FrontierComparison
from proactor_trio.proactor.frontier_observer import AxisState, FrontierObserver
from proactor_trio.proactor.frontier_tracker import FrontierTracker
from proactor_trio.proactor.joint_wait import WaitMode
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.buffer_pool import BufferPool, PoolLease
from proactor_trio.proactor.memory.lease import Lease
from proactor_trio.proactor.memory.placement import HugePages
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.registration import (
    RegistrationState,
    register_buffer,
    register_dmabuf,
    register_slab,
)
from proactor_trio.proactor.memory.shared_pool import SharedBufferPool, SharedLease, shared_pool_storage_size
from proactor_trio.proactor.memory.slab import Placement, Slab, SlabSource
from proactor_trio.proactor.memory.slot_words import Synchronization
from proactor_trio.proactor.memory.span import Span
from proactor_trio.proactor.multi_wait import multi_wait
from proactor_trio.proactor.notification import ALL_WAITERS, Notification, NotificationSource
from proactor_trio.proactor.operation import Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.operations.datagram import ReceivedDatagram, RecvFrom, SendTo
from proactor_trio.proactor.operations.descriptor import StreamRead, StreamWrite
from proactor_trio.proactor.operations.event import EventWait
from proactor_trio.proactor.operations.file import FileClose, FileOpen, FileRead, FileSync, FileWrite
from proactor_trio.proactor.operations.file_contents import FileContents
from proactor_trio.proactor.operations.file_system import (
    AllocateMode,
    FileAllocate,
    FileStatus,
    FileTruncate,
    MakeDirectory,
    RemoveDirectory,
    Rename,
    RenameMode,
    Unlink,
)
from proactor_trio.proactor.operations.frontier import FrontierAdvance, FrontierWait, FrontierWaitAny
from proactor_trio.proactor.operations.futex import EVERYBODY, FutexWait, FutexWake
from proactor_trio.proactor.operations.message import Message
from proactor_trio.proactor.operations.net import Accept, Connect, Recv, RecvBytes, Send, SendFlags, SocketClose
from proactor_trio.proactor.operations.notification import NotificationSignal, NotificationWait
from proactor_trio.proactor.operations.recv_pool import RecvPool
from proactor_trio.proactor.operations.scheduling import HandlePoll, Nop, Timer
from proactor_trio.proactor.operations.semaphore import SemaphoreSignal, SemaphoreWait
from proactor_trio.proactor.operations.sequence import Sequence
from proactor_trio.proactor.operations.splice import SendFile, Splice
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.pool import ProactorPool, RunnerFactory
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.progress import ProgressCallback
from proactor_trio.proactor.relay import Relay, RelayFlags, RelayState, SignalHandle, SignalNotification
from proactor_trio.proactor.semaphore import TimelineSemaphore
from proactor_trio.proactor.semaphore_link import SemaphoreLink
from proactor_trio.proactor.semaphore_source import SemaphoreSource
from proactor_trio.proactor.shared_notification import SharedNotification
from proactor_trio.proactor.signals import (
    Signal,
    SignalSubscription,
    signal_block_default,
    signal_ignore_broken_pipe,
    signal_name,
)
from proactor_trio.proactor.socket import Socket
from proactor_trio.proactor.socket_options import SocketOptions, SocketType
from proactor_trio.proactor.socket_state import SocketState
from proactor_trio.proactor.thread import ProactorRunner, ProactorThread
from proactor_trio.proactor.timepoint import Timepoint

__all__ = [
    "ALL_WAITERS",
    "ANY_NODE",
    "EVERYBODY",
    "Aborted",
    "Accept",
    "Access",
    "Address",
    "Affinity",
    "AllocateMode",
    "AlreadyExists",
    "Axis",
    "AxisDomain",
    "AxisState",
    "BackendUnavailable",
    "BufferPool",
    "CancelCause",
    "Capability",
    "CapabilityReport",
    "ClosedResourceError",
    "CompletionFlags",
    "Connect",
    "DataLoss",
    "DeadlineExceeded",
    "Event",
    "EventPool",
    "EventSource",
    "EventWait",
    "FailedPrecondition",
    "File",
    "FileAllocate",
    "FileClose",
    "FileContents",
    "FileOpen",
    "FileRead",
    "FileRegistration",
    "FileStatus",
    "FileSync",
    "FileTruncate",
    "FileWrite",
    "Frontier",
    "FrontierAdvance",
    "FrontierComparison",
    "FrontierObserver",
    "FrontierTimepoint",
    "FrontierTracker",
    "FrontierWait",
    "FrontierWaitAny",
    "FutexWait",
    "FutexWake",
    "HandlePoll",
    "HugePages",
    "Lease",
    "MakeDirectory",
    "Message",
    "Nop",
    "NotFound",
    "Notification",
    "NotificationSignal",
    "NotificationSource",
    "NotificationWait",
    "Operation",
    "OperationCancelled",
    "OperationFlags",
    "OperationState",
    "OutOfRange",
    "Placement",
    "PollEvents",
    "PoolLease",
    "Proactor",
    "ProactorError",
    "ProactorOptions",
    "ProactorPool",
    "ProactorRunner",
    "ProactorThread",
    "ProgressCallback",
    "ReceivedDatagram",
    "Recv",
    "RecvBytes",
    "RecvFrom",
    "RecvPool",
    "Region",
    "RegistrationState",
    "Relay",
    "RelayFlags",
    "RelayState",
    "RemoveDirectory",
    "Rename",
    "RenameMode",
    "ResourceExhausted",
    "RunnerFactory",
    "SemaphoreLink",
    "SemaphoreSignal",
    "SemaphoreSource",
    "SemaphoreWait",
    "Send",
    "SendFile",
    "SendFlags",
    "SendTo",
    "Sequence",
    "SharedBufferPool",
    "SharedLease",
    "SharedNotification",
    "ShortTransfer",
    "Signal",
    "SignalHandle",
    "SignalNotification",
    "SignalSubscription",
    "Slab",
    "SlabSource",
    "Socket",
    "SocketClose",
    "SocketOptions",
    "SocketState",
    "SocketType",
    "SoftwareOperation",
    "Span",
    "Splice",
    "StatusCode",
    "StreamRead",
    "StreamWrite",
    "Support",
    "Synchronization",
    "ThreadingMode",
    "TimelineSemaphore",
    "Timepoint",
    "Timer",
    "Unavailable",
    "Unimplemented",
    "Unlink",
    "WaitMode",
    "affinity_any",
    "multi_wait",
    "query_affinities",
    "register_buffer",
    "register_dmabuf",
    "register_file",
    "register_slab",
    "shared_pool_storage_size",
    "signal_block_default",
    "signal_ignore_broken_pipe",
    "signal_name",
    "status_of",
]
