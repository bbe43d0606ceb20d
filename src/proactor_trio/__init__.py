"""Structured concurrency on a completion-based proactor: Trio's nurseries and cancel scopes over io_uring and posix."""

from proactor_trio import abc, from_thread, frontier_exchange, graph, lowlevel, proactor, socket, testing, to_thread
from proactor_trio._kernel.cancel import Cancelled, CancelScope, current_effective_deadline
from proactor_trio._kernel.companions import COMPANIONS as _COMPANIONS
from proactor_trio._kernel.errors import (
    BrokenResourceError,
    BusyResourceError,
    EndOfChannel,
    RunFinishedError,
    TrioDeprecationWarning,
    TrioInternalError,
    WouldBlock,
)
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio._kernel.run import current_time
from proactor_trio._kernel.running import run
from proactor_trio.channels.as_safe_channel import as_safe_channel
from proactor_trio.channels.memory_channel import (
    MemoryChannelStatistics,
    MemoryReceiveChannel,
    MemorySendChannel,
    open_memory_channel,
)
from proactor_trio.files.buffered import AsyncBufferedFile
from proactor_trio.files.copying import copy_file
from proactor_trio.files.opening import open_file
from proactor_trio.files.path import Path, PosixPath, WindowsPath
from proactor_trio.files.raw import AsyncFile
from proactor_trio.files.text import AsyncTextFile
from proactor_trio.files.wrapping import AsyncIOWrapper, wrap_file
from proactor_trio.graph.graph import open_graph
from proactor_trio.inspection.companion import begin_if_asked_for as _answer_if_asked_for
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.processes.process import Process
from proactor_trio.processes.run_process import run_process
from proactor_trio.signals import open_signal_receiver
from proactor_trio.sources.event_receiver import open_event_receiver
from proactor_trio.sources.message_receiver import open_message_receiver
from proactor_trio.sources.relay import open_relay
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.dtls.channel import DTLSChannel, DTLSChannelStatistics
from proactor_trio.streams.dtls.endpoint import DTLSEndpoint
from proactor_trio.streams.sending_files import sendfile
from proactor_trio.streams.serving import serve_listeners
from proactor_trio.streams.socket_listener import SocketListener
from proactor_trio.streams.socket_stream import SocketStream
from proactor_trio.streams.stapled import StapledStream
from proactor_trio.streams.tcp_connecting import open_tcp_stream
from proactor_trio.streams.tcp_listening import open_tcp_listeners, serve_tcp
from proactor_trio.streams.tls.listener import SSLListener
from proactor_trio.streams.tls.over_tcp import (
    open_ssl_over_tcp_listeners,
    open_ssl_over_tcp_stream,
    serve_ssl_over_tcp,
)
from proactor_trio.streams.tls.session_attributes import NeedHandshakeError
from proactor_trio.streams.tls.stream import SSLStream
from proactor_trio.streams.unix import open_unix_socket
from proactor_trio.sync.capacity_limiter import CapacityLimiter, CapacityLimiterStatistics
from proactor_trio.sync.condition import Condition, ConditionStatistics
from proactor_trio.sync.event import Event, EventStatistics
from proactor_trio.sync.lock import Lock, LockStatistics, StrictFIFOLock
from proactor_trio.sync.semaphore import Semaphore
from proactor_trio.timeouts import (
    TooSlowError,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
    sleep,
    sleep_forever,
    sleep_until,
)

__all__ = [
    "TASK_STATUS_IGNORED",
    "AsyncBufferedFile",
    "AsyncFile",
    "AsyncIOWrapper",
    "AsyncTextFile",
    "BrokenResourceError",
    "BusyResourceError",
    "CancelScope",
    "Cancelled",
    "CapacityLimiter",
    "CapacityLimiterStatistics",
    "ClosedResourceError",
    "Condition",
    "ConditionStatistics",
    "DTLSChannel",
    "DTLSChannelStatistics",
    "DTLSEndpoint",
    "EndOfChannel",
    "Event",
    "EventStatistics",
    "Lock",
    "LockStatistics",
    "MemoryChannelStatistics",
    "MemoryReceiveChannel",
    "MemorySendChannel",
    "NeedHandshakeError",
    "Nursery",
    "Path",
    "PosixPath",
    "Process",
    "RunFinishedError",
    "SSLListener",
    "SSLStream",
    "Semaphore",
    "SocketListener",
    "SocketStream",
    "StapledStream",
    "StrictFIFOLock",
    "TaskStatus",
    "TooSlowError",
    "TrioDeprecationWarning",
    "TrioInternalError",
    "WindowsPath",
    "WouldBlock",
    "abc",
    "aclose_forcefully",
    "as_safe_channel",
    "copy_file",
    "current_effective_deadline",
    "current_time",
    "fail_after",
    "fail_at",
    "from_thread",
    "frontier_exchange",
    "graph",
    "lowlevel",
    "move_on_after",
    "move_on_at",
    "open_event_receiver",
    "open_file",
    "open_graph",
    "open_memory_channel",
    "open_message_receiver",
    "open_nursery",
    "open_relay",
    "open_signal_receiver",
    "open_ssl_over_tcp_listeners",
    "open_ssl_over_tcp_stream",
    "open_tcp_listeners",
    "open_tcp_stream",
    "open_unix_socket",
    "proactor",
    "run",
    "run_process",
    "sendfile",
    "serve_listeners",
    "serve_ssl_over_tcp",
    "serve_tcp",
    "sleep",
    "sleep_forever",
    "sleep_until",
    "socket",
    "testing",
    "to_thread",
    "wrap_file",
]

__version__ = "0.1.0"

_COMPANIONS.append(_answer_if_asked_for)
