"""For authors of libraries: tasks, checkpoints, parking, tokens, instruments, and the run's proactor."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.context import current_run, current_task, in_trio_run, in_trio_task
from proactor_trio._kernel.detaching import (
    permanently_detach_coroutine_object,
    reattach_detached_coroutine_object,
    temporarily_detach_coroutine_object,
)
from proactor_trio._kernel.entry_queue import TrioToken, current_trio_token
from proactor_trio._kernel.guest import start_guest_run
from proactor_trio._kernel.instruments import add_instrument, remove_instrument
from proactor_trio._kernel.interrupts import (
    currently_ki_protected,
    disable_ki_protection,
    enable_ki_protection,
)
from proactor_trio._kernel.parking_lot import (
    ParkingLot,
    ParkingLotStatistics,
    add_parking_lot_breaker,
    remove_parking_lot_breaker,
)
from proactor_trio._kernel.perform import perform, perform_by_deadline
from proactor_trio._kernel.readiness import notify_closing, wait_readable, wait_writable
from proactor_trio._kernel.run_vars import RunVar, RunVarToken
from proactor_trio._kernel.task import Abort, RaiseCancelT, Task, reschedule
from proactor_trio._kernel.thread_cache import start_thread_soon
from proactor_trio._kernel.traps import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    wait_task_rescheduled,
)
from proactor_trio.channels.unbounded_queue import UnboundedQueue, UnboundedQueueStatistics
from proactor_trio.inspection.as_text import format_task_tree
from proactor_trio.inspection.task_tree import (
    FrameNode,
    NurseryNode,
    OperationNode,
    ScopeNode,
    TaskNode,
    task_tree,
)
from proactor_trio.proactor import Proactor
from proactor_trio.processes.opening import open_process
from proactor_trio.sockets.name_resolution import encode_hostname
from proactor_trio.statistics import IOStatistics, RunStatistics, current_statistics
from proactor_trio.streams.fd_stream import FdStream

__all__ = [
    "Abort",
    "FdStream",
    "FrameNode",
    "IOStatistics",
    "NurseryNode",
    "OperationNode",
    "ParkingLot",
    "ParkingLotStatistics",
    "RaiseCancelT",
    "RunStatistics",
    "RunVar",
    "RunVarToken",
    "ScopeNode",
    "Task",
    "TaskNode",
    "TrioToken",
    "UnboundedQueue",
    "UnboundedQueueStatistics",
    "add_instrument",
    "add_parking_lot_breaker",
    "cancel_shielded_checkpoint",
    "checkpoint",
    "checkpoint_if_cancelled",
    "current_clock",
    "current_proactor",
    "current_root_task",
    "current_statistics",
    "current_task",
    "current_trio_token",
    "currently_ki_protected",
    "disable_ki_protection",
    "enable_ki_protection",
    "encode_hostname",
    "format_task_tree",
    "in_trio_run",
    "in_trio_task",
    "notify_closing",
    "open_process",
    "perform",
    "perform_by_deadline",
    "permanently_detach_coroutine_object",
    "reattach_detached_coroutine_object",
    "remove_instrument",
    "remove_parking_lot_breaker",
    "reschedule",
    "spawn_system_task",
    "start_guest_run",
    "start_thread_soon",
    "task_tree",
    "temporarily_detach_coroutine_object",
    "wait_readable",
    "wait_task_rescheduled",
    "wait_writable",
]


def current_proactor() -> Proactor:
    """The proactor of the run that calls: submit operations to it from callbacks or tasks."""
    return current_run().proactor


def current_clock() -> Clock:
    """The clock of the run that calls."""
    return current_run().clock


def current_root_task() -> Task | None:
    """The task that all others of this run descend from."""
    return current_run().root_task


def spawn_system_task(
    async_fn: Callable[..., Any], *args: Any, name: object = None, context: Context | None = None
) -> Task:
    """Start a task beside the main task: it is cancelled when that ends, and its failure ends the run.

    It is protected from KeyboardInterrupt. context: its context variables; by default those that run() was called with.
    """
    return current_run().spawn_system_task(async_fn, *args, name=name, context=context)
