"""The run: one scheduler on one thread, driven in slices.

One slice is `collect(wait_limit())` and `tick()`; `run()` is the smallest driver of it, others may come from another
loop. In a tick, in this order:

1. Completions were collected: submissions of the last tick went to the kernel and completions came back in one call.
2. Deadlines that have passed cancel their scopes; calls of other threads are made.
3. If nothing happened and nothing can run, whoever waits for that is told (wait_all_tasks_blocked, then a test clock).
4. The tasks that are runnable now run one step each. What they make runnable waits for the next tick.

The order within a batch is reversed at random, so that nobody comes to rely on it.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

import sniffio
from outcome import Error, Outcome, Value

from proactor_trio._kernel.async_generators import AsyncGenerators
from proactor_trio._kernel.cancel import (
    CancelReason,
    CancelScope,
    nursery_misnested,
    scope_misnested,
)
from proactor_trio._kernel.clock import LONGEST_SLEEP, Clock, SystemClock
from proactor_trio._kernel.companions import COMPANIONS
from proactor_trio._kernel.context import CONTEXT, current_run, current_task
from proactor_trio._kernel.deadlines import Deadlines
from proactor_trio._kernel.entry_queue import EntryQueue, TrioToken
from proactor_trio._kernel.errors import RunFinishedError, TrioInternalError
from proactor_trio._kernel.instruments import Instrument, Instruments
from proactor_trio._kernel.interrupts import InterruptHandler
from proactor_trio._kernel.nursery import Nursery, open_nursery
from proactor_trio._kernel.operation_deadline import OperationDeadline
from proactor_trio._kernel.parking_lot import ParkingLot, break_lots_of
from proactor_trio._kernel.run_vars import RunVar
from proactor_trio._kernel.spawning import coroutine_of, foreign_yield_error
from proactor_trio._kernel.task import CHECKPOINT, PARKED, PASSING, Abort, Detached, RaiseCancelT, Task
from proactor_trio._kernel.traps import wait_task_rescheduled
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.signal_layers import WakeupLayer

T = TypeVar("T")

SNIFFIO_NAME: Final = "proactor_trio"
_inf: Final = math.inf
#: How often a loop that does not wait lets other threads of its run have the interpreter.
_LET_GO_SECONDS: Final = 0.001
#: What decides the order of the tasks in a tick; test tools may seed it.
batch_order: Final = random.Random()


class Run:
    """The state of one run. Everything is for its own thread, but `token` and `deliver_interrupt()`."""

    def __init__(
        self,
        proactor: Proactor,
        clock: Clock,
        instruments: Sequence[Instrument],
        only_interrupt_at_checkpoints: bool,
        strict_exception_groups: bool,
    ) -> None:
        self.proactor = proactor
        self._is_quiet = proactor.is_quiet
        self.clock = clock
        self.current_time = clock.current_time
        if type(clock) is not SystemClock:
            proactor.loop_access.use_clock(clock.current_time, self._keep_deadline)
        self.instruments = Instruments(instruments, proactor)
        self.strict_exception_groups = strict_exception_groups
        self.runq: list[Task] = []
        self.deadlines = Deadlines()
        self.entry_queue = EntryQueue(self)
        self.token = TrioToken(self.entry_queue)
        self.run_vars: dict[RunVar[Any], object] = {}
        self.system_context: Context = copy_context()
        self.task_count = 0
        self.root_task: Task | None = None
        self.main_task: Task | None = None
        #: The task that is being stepped now.
        self.task: Task | None = None
        self.system_nursery: Nursery | None = None
        self.main_outcome: Outcome[Any] | None = None
        self.root_outcome: Outcome[Any] | None = None
        #: Whether the last task has ended.
        self.finished = False
        self.interrupt_pending = False
        #: How many worker threads make a call for this run; changed by its own thread only.
        self.active_threads = 0
        #: How many tasks wait for such a call. A task that has abandoned its thread does not.
        self.thread_calls = 0
        self.thread_calls_ended = ParkingLot()
        self.autojump_threshold = _inf
        self.autojump: Callable[[], None] | None = None
        self._waiting_for_idle: list[tuple[float, Task]] = []
        self._idle_reason: float | None = None
        self._async_generators = AsyncGenerators(self)
        self._interrupt_handler = InterruptHandler(self, only_interrupt_at_checkpoints)
        self._wakeup: WakeupLayer | None = None
        self._sniffio_name: str | None = None
        self._last_let_go = 0.0
        self._crashed = False
        #: Whether the thread is another loop's for the moment (guest.py).
        self.host_has_thread = False

    # The slices --------------------------------------------------------------------------------------------------

    def start(
        self, async_fn: Callable[..., Any], args: tuple[Any, ...], *, takes_wakeup_descriptor: bool = True
    ) -> None:
        """Take this thread over and make the first tasks runnable."""
        self._sniffio_name, sniffio.thread_local.name = sniffio.thread_local.name, SNIFFIO_NAME
        CONTEXT.run = self
        self._async_generators.install_hooks()
        self._interrupt_handler.install()
        if takes_wakeup_descriptor:
            self._install_wakeup_descriptor()
        if self.instruments.any:
            self.instruments.call("before_run")
        self.clock.start_clock()
        coroutine = self._root(async_fn, args)
        scope = CancelScope()
        self.root_task = self._make_task(
            coroutine, self._root, "<init>", None, scope, self.system_context, ki_protected=True
        )

    def wait_limit(self) -> float | None:
        """How long the next collect() may wait, in seconds; None: until something happens."""
        self._idle_reason = None
        if self.runq or self.entry_queue:
            return 0
        limit = _inf
        if self.deadlines.heap:
            deadline = self.deadlines.next_deadline()
            if deadline != _inf:
                limit = max(0.0, self.clock.deadline_to_sleep_time(deadline))
        if self._waiting_for_idle:
            cushion = min(cushion for cushion, _ in self._waiting_for_idle)
            if cushion < limit:
                self._idle_reason = limit = cushion
        elif self.autojump_threshold < limit:
            self._idle_reason = limit = self.autojump_threshold
        return None if limit == _inf else min(limit, LONGEST_SLEEP)

    def collect(self, limit: float | None) -> None:
        """Hand submissions over, wait at most `limit` seconds, take completions."""
        self.begin_wait(limit)
        if self._idle_reason is not None:
            self._poll_for_idleness(limit)  # always asks: whether nothing happens is only known after that
        elif limit != 0 or not self._is_quiet():
            self._poll(limit)
        self.end_wait(limit)
        if limit == 0 and self.active_threads:
            self._let_other_threads_run()

    def begin_wait(self, limit: float | None) -> None:
        """A wait of at most `limit` seconds begins."""
        if self.instruments.any:
            self.instruments.call("before_io_wait", LONGEST_SLEEP if limit is None else limit)

    def end_wait(self, limit: float | None) -> None:
        """It is over."""
        if self.instruments.any:
            self.instruments.call("after_io_wait", LONGEST_SLEEP if limit is None else limit)

    def something_happened(self) -> None:
        """Whoever waits for nothing to happen has to wait anew."""
        self._idle_reason = None

    def completion_failed(self, error: Exception) -> None:
        """A completion function raised: the run ends as it does by a crashed system task."""
        if self._crashed:
            raise error
        self._crash(error)

    def _poll(self, limit: float | None) -> None:
        try:
            self.proactor.poll(limit)
        except Exception as error:
            self.completion_failed(error)

    def _poll_for_idleness(self, limit: float | None) -> None:
        begun = time.monotonic()
        self._poll(limit)
        if limit is not None and time.monotonic() - begun < limit:
            self._idle_reason = None  # something woke us, even if no task of ours

    def tick(self) -> None:
        """Everything between two collects; see the top of this file."""
        if self.deadlines.heap:
            self._expire_deadlines()
        entry_queue = self.entry_queue
        if entry_queue.waiting or entry_queue.idempotent:
            self._make_entered_calls()
        if not self.runq and self._idle_reason is not None:
            self._tell_idle()
        instruments = self.instruments
        batch = self.runq
        runq: list[Task] = []
        self.runq = runq
        if len(batch) > 1 and batch_order.random() < 0.5:
            batch.reverse()
        for task in batch:
            self.task = task
            task.waiting = None
            error = task.next_exception
            if instruments.any:
                instruments.call("before_task_step", task)
            try:
                if error is None:
                    message = task.context.run(task.send, None)
                else:
                    task.next_exception = None
                    message = task.context.run(task.coro.throw, error)
            except StopIteration as stop:
                self.task = None
                self._task_ended(task, None, stop.value)
                continue
            except BaseException as raised:
                self.task = None
                traceback = raised.__traceback__
                assert traceback is not None
                self._task_ended(task, raised.with_traceback(traceback.tb_next), None)
                del raised, traceback
                continue
            finally:
                del error
            if message is CHECKPOINT:
                if task.cancel_pending:
                    task.next_exception = task.pending_exception()
                else:
                    task.waiting = CHECKPOINT
                runq.append(task)
            elif message is PARKED:
                if task.cancel_pending:
                    self.task = None
                    task.deliver_cancellation()
            else:
                if type(message) is Detached:
                    self.task = None
                    self._end_detached(task, message)
                    continue
                if message is not PASSING:
                    task.next_exception = foreign_yield_error(message)
                runq.append(task)
            if instruments.any:
                if message is not PARKED:
                    instruments.call("task_scheduled", task)
                instruments.call("after_task_step", task)
        self.task = None

    def finish(self) -> None:
        """Give the thread back. The run may have ended or failed."""
        try:
            if self.instruments.any:
                self.instruments.call("after_run")
            self.entry_queue.closed = True
        finally:
            self._remove_wakeup_descriptor()  # before it is closed: a signal may come at any time
            self._interrupt_handler.remove()
            self._async_generators.remove_hooks()
            sniffio.thread_local.name = self._sniffio_name
            CONTEXT.run = None
            self.task = None
            self.proactor.close()

    def result(self) -> Any:
        """What the main task returned or raised. The run is finished."""
        assert self.root_outcome is not None
        if isinstance(self.root_outcome, Error):
            raise TrioInternalError("a system task crashed, or the library did") from self.root_outcome.error
        assert self.main_outcome is not None
        if self.interrupt_pending:
            self.interrupt_pending = False
            interrupt = KeyboardInterrupt()
            if isinstance(self.main_outcome, Error):
                interrupt.__context__ = self.main_outcome.error
            raise interrupt
        return self.main_outcome.unwrap()

    # What happens in a tick --------------------------------------------------------------------------------------

    def _keep_deadline(self, operation: Operation, expires: float) -> None:
        self.deadlines.add(expires, OperationDeadline(self.proactor, operation))

    def _expire_deadlines(self) -> None:
        for expired in self.deadlines.take_expired(self.current_time()):
            expired.expire()
            self._idle_reason = None

    def _make_entered_calls(self) -> None:
        self._idle_reason = None
        try:
            self.system_context.run(self.entry_queue.run_all)
        except BaseException as error:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._crashed = True
        if self.system_nursery is None or self.system_nursery.closed:
            raise error
        assert self.root_task is not None
        self.system_nursery.child_failed(self.root_task, error)

    def _tell_idle(self) -> None:
        threshold = self._idle_reason
        if self._waiting_for_idle:
            told = [item for item in self._waiting_for_idle if item[0] == threshold]
            for item in told:
                self._waiting_for_idle.remove(item)
                self.reschedule(item[1])
        elif self.autojump is not None:
            self.autojump()
            self._expire_deadlines()

    def _let_other_threads_run(self) -> None:
        now = time.monotonic()
        if now - self._last_let_go > _LET_GO_SECONDS:
            self._last_let_go = now
            time.sleep(0)

    async def wait_all_tasks_blocked(self, cushion: float) -> None:
        """Park the calling task until all others are blocked and nothing happened for `cushion` seconds."""
        item = (cushion, current_task())
        self._waiting_for_idle.append(item)

        def abort(_: RaiseCancelT) -> Abort:
            self._waiting_for_idle.remove(item)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def thread_call_ended(self) -> None:
        """A task waits no longer for a call in a thread."""
        self.thread_calls -= 1
        if not self.thread_calls:
            self.thread_calls_ended.unpark_all()

    # Tasks -------------------------------------------------------------------------------------------------------

    def make_runnable(self, task: Task) -> None:
        """Put a task that is not waiting for anything any more into the next batch."""
        self.runq.append(task)
        if self.instruments.any:
            self.instruments.call("task_scheduled", task)

    def reschedule(self, task: Task, outcome: Outcome[Any] | None = None) -> None:
        """Let a task go on that is parked in wait_task_rescheduled()."""
        assert task.value is None and task.next_exception is None, "a task was rescheduled twice"
        task.custom_sleep_data = None
        if isinstance(outcome, Error):
            task.interrupt(outcome.error)
        else:
            task.resume(None if outcome is None else outcome.unwrap())

    def spawn(
        self,
        async_fn: Callable[..., Any],
        args: tuple[Any, ...],
        nursery: Nursery,
        name: object,
        context: Context | None = None,
        *,
        ki_protected: bool = False,
    ) -> Task:
        """Make a task in a nursery."""
        if context is None:
            context = copy_context()
        coroutine = coroutine_of(async_fn, args, context)
        task = self._make_task(
            coroutine, async_fn, name, nursery, nursery.cancel_scope, context, ki_protected=ki_protected
        )
        nursery.children.add(task)
        return task

    def _make_task(
        self,
        coroutine: Any,
        async_fn: Callable[..., Any],
        name: object,
        nursery: Nursery | None,
        scope: CancelScope,
        context: Context,
        *,
        ki_protected: bool,
    ) -> Task:
        task = Task(self, coroutine, async_fn, name, nursery, scope, context, ki_protected)
        self.task_count += 1
        if self.instruments.any:
            self.instruments.call("task_spawned", task)
        self.make_runnable(task)
        return task

    def spawn_system_task(
        self, async_fn: Callable[..., Any], *args: Any, name: object = None, context: Context | None = None
    ) -> Task:
        """A task that is cancelled when the main task has ended, and whose failure ends the run."""
        if self.system_nursery is None or self.system_nursery.closed:
            raise RunFinishedError("the run is over: Nursery is closed to new arrivals")
        return self.spawn(
            async_fn,
            args,
            self.system_nursery,
            name,
            self.system_context.copy() if context is None else context,
            ki_protected=True,
        )

    def _task_ended(self, task: Task, error: BaseException | None, value: Any) -> None:
        if task.scope is not task.base_scope or task.nurseries:
            error = self._ended_inside(task, error)
        self.task_count -= 1
        if task.breaks:
            break_lots_of(task)
        if self.instruments.any:
            self.instruments.call("task_exited", task)
            self.instruments.call("after_task_step", task)
        if task is self.root_task:
            self.root_outcome = Value(None) if error is None else Error(error)
            self.finished = True
            return
        if task is self.main_task:
            self.main_outcome = Value(value) if error is None else Error(error)
            error = None
            assert self.system_nursery is not None
            self.system_nursery.cancel_scope.cancel_because(CancelReason("shutdown", repr(task), "main task completed"))
        nursery = task.parent_nursery
        assert nursery is not None
        nursery.child_finished(task, error)

    def _end_detached(self, task: Task, message: Detached) -> None:
        final = message.outcome
        if isinstance(final, Error):
            self._task_ended(task, final.error, None)
        else:
            self._task_ended(task, None, final.unwrap())

    def _ended_inside(self, task: Task, error: BaseException | None) -> BaseException | None:
        """The task left scopes or nurseries open: end them, and complain where that can have harmed others."""
        innermost = task.scope
        task.scope = task.base_scope
        if task.nurseries:
            complaint = nursery_misnested(f"{task!r} exited with nurseries still open: {task.nurseries!r}")
            for nursery in task.nurseries:
                nursery.cancel_scope.cancel_because(CancelReason("nursery", repr(task), str(complaint)))
        elif innermost is not None and innermost.exited:
            complaint = scope_misnested(f"{innermost!r} surrounding {task!r} was closed before the task exited")
        else:
            return error  # a scope that nobody is inside of
        complaint.__context__ = error
        return complaint

    async def _root(self, async_fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        async with open_nursery(strict_exception_groups=True) as self.system_nursery:
            for begin in COMPANIONS:
                begin()
            try:
                self.main_task = self.spawn(async_fn, args, self.system_nursery, None, self.system_context.copy())
            except BaseException as error:
                self.main_outcome = Error(error)
            else:
                self.main_task.update_cancel_pending()  # a KeyboardInterrupt may wait for it already
        await self._async_generators.close_remaining()
        self.entry_queue.close()

    # Signals -----------------------------------------------------------------------------------------------------

    def deliver_interrupt(self) -> None:
        """From the SIGINT handler: raise KeyboardInterrupt in the main task at its next checkpoint."""
        self.interrupt_pending = True
        main_task = self.main_task
        if main_task is not None and self.main_outcome is None:
            main_task.cancel_pending = True
        try:
            self.token.run_sync_soon(self._interrupt_main_task, idempotent=True)
        except RunFinishedError:
            return  # result() raises it

    def _interrupt_main_task(self) -> None:
        main_task = self.main_task
        if self.interrupt_pending and main_task is not None and self.main_outcome is None:
            main_task.update_cancel_pending()
            main_task.deliver_cancellation()

    def _install_wakeup_descriptor(self) -> None:
        """So that a signal that arrives just before the wait ends it."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._wakeup = WakeupLayer(self.proactor.wakeup_descriptor())
        self._wakeup.put()
        if self._wakeup.hides_foreign():
            warnings.warn(
                "signal.set_wakeup_fd() was in use already; it does not work while this run lasts",
                RuntimeWarning,
                stacklevel=4,
            )

    def _remove_wakeup_descriptor(self) -> None:
        if self._wakeup is not None:
            self._wakeup.take()
            self._wakeup = None


def current_time() -> float:
    """The time of the run's clock, in seconds. With the default clock that is `time.monotonic()`."""
    return current_run().current_time()


def _forget_inherited_run() -> None:
    """In a forked child: the run of the parent is not ours; a new one may be started."""
    CONTEXT.run = None


os.register_at_fork(after_in_child=_forget_inherited_run)
