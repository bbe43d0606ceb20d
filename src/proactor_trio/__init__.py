"""Structured concurrency on a completion-based proactor: Trio's nurseries and cancel scopes over io_uring and posix."""

from proactor_trio import abc, from_thread, lowlevel, proactor, testing, to_thread
from proactor_trio._kernel.cancel import Cancelled, CancelScope, current_effective_deadline
from proactor_trio._kernel.errors import (
    BrokenResourceError,
    BusyResourceError,
    RunFinishedError,
    TrioDeprecationWarning,
    TrioInternalError,
    WouldBlock,
)
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio._kernel.run import current_time, run
from proactor_trio.files.file import AsyncFile, open_file
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.socket_stream import SocketListener, SocketStream
from proactor_trio.streams.tcp import open_tcp_listeners, open_tcp_stream, serve_listeners, serve_tcp
from proactor_trio.sync import CapacityLimiter, CapacityLimiterStatistics, Event, EventStatistics
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
    "AsyncFile",
    "BrokenResourceError",
    "BusyResourceError",
    "CancelScope",
    "Cancelled",
    "CapacityLimiter",
    "CapacityLimiterStatistics",
    "ClosedResourceError",
    "Event",
    "EventStatistics",
    "Nursery",
    "RunFinishedError",
    "SocketListener",
    "SocketStream",
    "TaskStatus",
    "TooSlowError",
    "TrioDeprecationWarning",
    "TrioInternalError",
    "WouldBlock",
    "abc",
    "current_effective_deadline",
    "current_time",
    "fail_after",
    "fail_at",
    "from_thread",
    "lowlevel",
    "move_on_after",
    "move_on_at",
    "open_file",
    "open_nursery",
    "open_tcp_listeners",
    "open_tcp_stream",
    "proactor",
    "run",
    "serve_listeners",
    "serve_tcp",
    "sleep",
    "sleep_forever",
    "sleep_until",
    "testing",
    "to_thread",
]

__version__ = "0.1.0"
