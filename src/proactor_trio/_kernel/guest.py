"""Guest mode: a run on top of another event loop, in the same thread.

The host calls functions that it was handed, soon; it knows nothing else of us. A tick of the guest is such a call. What
a run waits for in `poll()` is waited for by a thread here, so that the host's loop goes on: for one descriptor and a
time (proactor/hosting.py). The thread touches nothing; it hands the next tick to the host.

The rules:

1. One tick is scheduled, or one thread waits, and never both. What needs a tick while the thread waits wakes the
   proactor, which ends the wait; what needs one otherwise has it already.
2. Between ticks the thread is the host's, and so are async generators, sniffio and KeyboardInterrupt. Plain functions
   of ours may be called there. What makes a task runnable or sets a deadline is noticed by the run's own lists, which
   are of a kind that tells as long as it is a guest; what submits an operation, by the proactor (hosting.py). An
   ordinary run has plain lists, and pays nothing.
3. A tick comes between two turns of the proactor. The first brings what the thread waited for, the second hands over
   what the tasks have submitted, and if that brought something already, the next tick is due at once.
4. Nothing keeps a guest alive but the host's own calls and the thread. A host that stops before its guest has ended
   drops it, which is said by a RuntimeWarning.
"""

from __future__ import annotations

import select
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import sniffio
from outcome import Error, Outcome, capture

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.deadlines import Deadlines, Entry, Expiring
from proactor_trio._kernel.errors import TrioInternalError
from proactor_trio._kernel.instruments import Instrument
from proactor_trio._kernel.run import SNIFFIO_NAME, Run
from proactor_trio._kernel.running import make_run
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.thread_cache import start_thread_soon
from proactor_trio.proactor.options import ProactorOptions
from proactor_trio.proactor.proactor import Proactor

HostCall = Callable[[Callable[[], object]], object]

_MILLISECONDS: Final = 1000
#: What poll(2) takes, in seconds.
_LONGEST_WAIT: Final = 24 * 60 * 60.0


class _Wakefulness:
    """Whether a tick is on its way. Called to see to it; by the guest's own thread."""

    __slots__ = ("_proactor", "is_due")

    def __init__(self, proactor: Proactor) -> None:
        self._proactor = proactor
        self.is_due = True

    def __call__(self) -> None:
        if not self.is_due:
            self.is_due = True
            self._proactor.wake()


class _NotifyingQueue(list[Task]):
    """The run queue while the host has the thread."""

    __slots__ = ("_wake",)

    def __init__(self, tasks: list[Task], wake: _Wakefulness) -> None:
        super().__init__(tasks)
        self._wake = wake

    def append(self, task: Task) -> None:
        super().append(task)
        self._wake()


class _NotifyingDeadlines(Deadlines):
    """The deadlines of a guest: an earlier one may shorten a wait that is under way."""

    __slots__ = ("_wake",)

    def __init__(self, wake: _Wakefulness) -> None:
        super().__init__()
        self._wake = wake

    def add(self, deadline: float, expiring: Expiring) -> Entry:
        self._wake()
        return super().add(deadline, expiring)


class GuestRun:
    """One run and the host's functions by which it is driven. Owner thread only, but for `_wait()`."""

    def __init__(
        self,
        run: Run,
        soon_from_any_thread: HostCall,
        soon_from_this_thread: HostCall,
        done_callback: Callable[[Outcome[Any]], object],
    ) -> None:
        self._run = run
        self._soon_from_any_thread = soon_from_any_thread
        self._soon_from_this_thread = soon_from_this_thread
        self._done_callback = done_callback
        self._wake = _Wakefulness(run.proactor)
        run.deadlines = _NotifyingDeadlines(self._wake)
        self._hosting = run.proactor.host(self._wake)
        self._is_over = False

    def start(self, async_fn: Callable[..., Any], args: tuple[Any, ...], *, takes_wakeup_descriptor: bool) -> None:
        """The first tick: afterwards there is a system nursery, and no code of the user's has run.

        Raises TrioInternalError, and nothing is left, when that fails.
        """
        run = self._run
        previous = sniffio.thread_local.name
        try:
            run.start(async_fn, args, takes_wakeup_descriptor=takes_wakeup_descriptor)
            run.tick()
        except BaseException as error:
            self._finish()
            raise TrioInternalError("the run loop failed while it began") from error
        finally:
            sniffio.thread_local.name = previous
        self._let_host_go_on()
        self._soon_from_this_thread(self._tick)

    def _tick(self) -> None:
        """One tick, called by the host."""
        previous, sniffio.thread_local.name = sniffio.thread_local.name, SNIFFIO_NAME
        run = self._run
        run.host_has_thread = False
        self._wake.is_due = True
        try:
            limit = self._until_next_tick()
        except BaseException as error:
            broken = error
            if not isinstance(error, TrioInternalError):
                broken = TrioInternalError("the run loop failed: a bug, or something outside broke its rules")
                broken.__cause__ = error
            self._finish()
            self._done_callback(Error(broken))
            return
        finally:
            sniffio.thread_local.name = previous
        if run.finished:
            self._finish()
            self._done_callback(capture(run.result))
            return
        self._let_host_go_on()
        if limit == 0:
            self._soon_from_this_thread(self._tick)
        else:
            self._wake.is_due = False
            start_thread_soon(lambda: self._wait(limit), self._waited, "guest run waits")

    def _until_next_tick(self) -> float | None:
        """Run what can be run; how long nothing else is going to be due."""
        run = self._run
        run.tick()
        if run.finished:
            return 0
        limit = run.wait_limit()
        run.begin_wait(limit)
        turn_limit = self._turn()
        if run.runq or run.entry_queue or limit == 0 or turn_limit == 0:
            run.end_wait(0)
            return 0
        if limit is None or turn_limit is None:
            return turn_limit if limit is None else limit
        return min(limit, turn_limit)

    def _turn(self) -> float | None:
        run = self._run
        delivered = run.proactor.loop_access.delivered()
        try:
            limit = self._hosting.turn()
        except Exception as error:
            run.completion_failed(error)
            return 0
        if run.proactor.loop_access.delivered() != delivered:
            run.something_happened()
        return limit

    def _wait(self, limit: float | None) -> bool:
        """In a thread: whether something has happened, and not only time has passed."""
        poll = select.poll()
        poll.register(self._hosting.descriptor, select.POLLIN)
        seconds = _LONGEST_WAIT if limit is None else min(limit, _LONGEST_WAIT)
        # poll(2) counts in milliseconds, and a wait that ends too early is one tick too many.
        return bool(poll.poll(-(-seconds * _MILLISECONDS // 1)))

    def _waited(self, outcome: Outcome[bool]) -> None:
        """In the same thread, when the wait is over."""
        self._soon_from_any_thread(lambda: self._tick_after(outcome.unwrap()))

    def _tick_after(self, something_happened: bool) -> None:
        """A tick that begins with what was waited for, called by the host."""
        run = self._run
        run.host_has_thread = False
        self._wake.is_due = True
        if something_happened:
            run.something_happened()
        self._turn()
        run.end_wait(None)
        self._tick()

    def _let_host_go_on(self) -> None:
        run = self._run
        run.runq = _NotifyingQueue(run.runq, self._wake)
        run.host_has_thread = True

    def _finish(self) -> None:
        self._is_over = True
        self._hosting.close()
        self._run.finish()

    def __del__(self) -> None:
        if not self._is_over:
            warnings.warn(
                "a guest run was abandoned: its host has stopped before it ended. Wait for done_callback before the "
                "host's loop is stopped",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )
            if CONTEXT.run is self._run:
                self._finish()


def start_guest_run(
    async_fn: Callable[..., Any],
    *args: Any,
    run_sync_soon_threadsafe: HostCall,
    done_callback: Callable[[Outcome[Any]], object],
    run_sync_soon_not_threadsafe: HostCall | None = None,
    host_uses_signal_set_wakeup_fd: bool = False,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
    backend: str | None = None,
    proactor_options: ProactorOptions | None = None,
) -> None:
    """Begin a run on top of another event loop (the host), in the calling thread.

    run_sync_soon_threadsafe: called as `f(call)`, has the host call `call()` soon. From any thread.
    run_sync_soon_not_threadsafe: the same from the host's own thread only, where that is cheaper.
    done_callback: gets the outcome.Outcome of the main task when the run is over; the host may stop then, not earlier.
    host_uses_signal_set_wakeup_fd: whether the host has taken Python's wakeup descriptor for itself (asyncio has).
    The others: as run().

    When this returns, the run has begun and no code of the main task has run: plain functions can be called, such as
    current_time(), lowlevel.spawn_system_task() and lowlevel.current_trio_token(). Raises RuntimeError in a run or
    beside another guest of this thread, TrioInternalError when the run could not begin.
    """
    run = make_run(
        clock,
        instruments,
        restrict_keyboard_interrupt_to_checkpoints,
        strict_exception_groups,
        backend,
        proactor_options,
    )
    guest = GuestRun(
        run,
        run_sync_soon_threadsafe,
        run_sync_soon_threadsafe if run_sync_soon_not_threadsafe is None else run_sync_soon_not_threadsafe,
        done_callback,
    )
    guest.start(async_fn, args, takes_wakeup_descriptor=not host_uses_signal_set_wakeup_fd)
