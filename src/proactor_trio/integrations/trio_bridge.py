"""Proactor operations in tasks of real Trio: `trio.run()` is the host, and a proactor works for its tasks.

    async with trio_bridge.open_bridge() as bridge:
        with trio.move_on_after(5):
            data = await bridge.perform(RecvBytes(sock, 65536))

The rules:

1. **Cancelled means it had no effect.** When a scope of Trio cancels `perform()`, the operation is asked to end, and
   the task stays parked (its abort function returns FAILED) until the final completion, which decides: a result that
   came first is returned, and only an operation that was really ended raises Cancelled. In a scope that is cancelled
   already nothing is submitted.
2. **All that tasks submit in one tick of Trio goes to the kernel in one call**, in the next tick: by `perform()`, or by
   `bridge.proactor.submit()` for batches, chains and operations with a completion function.
3. **Completion functions** are called between two steps of tasks. What one raises, after everything else was delivered,
   cancels the block of the bridge and is raised by it: alone, or in an exception group if there are several or if the
   block raises an exception of its own.
4. **Leaving the block**, for whatever reason, ends what is in flight and waits for the last final completion, shielded.
   Tasks outside the block that still wait get OperationCancelled with the cause PROACTOR_CLOSED.
5. Deadlines of operations are on the clock of `time.monotonic()`, whatever clock the run of Trio has, and do not move
   it. A test clock that jumps when all tasks are blocked does not know of operations: it jumps while they are under
   way, as it does while Trio waits for a socket.

Two tasks drive the proactor. One waits for its descriptor, the other for everything else that makes a turn due:
submissions of tasks, and the time of the next deadline. Either takes the turn itself, so that one event is one wake-up.
They are children of a system task and shielded, since final completions are waited for while everything is cancelled.
What ends them is the end of the block, or of the run, for a block that nobody leaves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Any, NoReturn

import trio
from trio.lowlevel import Abort, Task, enable_ki_protection

from proactor_trio.integrations.operation_wait import OperationWait, errors_of_block
from proactor_trio.integrations.real_timer import RealTimer
from proactor_trio.proactor import FailedPrecondition, Operation, Proactor, ProactorOptions
from proactor_trio.proactor.ending import CLOSING_SECONDS
from proactor_trio.proactor.hosting import Hosting

__all__ = ["Bridge", "open_bridge"]


def open_bridge(backend: str | None = None, options: ProactorOptions | None = None) -> Bridge:
    """A proactor for tasks of the run of Trio that enters it: `async with open_bridge() as bridge`.

    backend, options: see Proactor. Entering raises BackendUnavailable where the backend cannot be used.
    """
    return Bridge(backend, options)


class Bridge:
    """A proactor and the run of Trio that drives it; made by `open_bridge()`. For tasks of that run only."""

    def __init__(self, backend: str | None, options: ProactorOptions | None) -> None:
        self._backend = backend
        self._options = options
        self._driving: _Driving | None = None
        self._was_entered = False

    @enable_ki_protection
    async def __aenter__(self) -> Bridge:
        if self._was_entered:
            raise FailedPrecondition("a bridge is entered once; open another one")
        self._was_entered = True
        proactor = Proactor(self._backend, self._options)
        try:
            self._driving = _Driving(proactor)
        except BaseException:
            proactor.end_hosting()
            proactor.close()
            raise
        self._driving.body.__enter__()
        return self

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        driving = self._usable("leaving the block")
        own = error
        try:
            if driving.body.__exit__(kind, error, traceback):
                own = None
        except BaseException as remaining:
            own = remaining
        errors = await driving.close()
        self._driving = None
        raised = errors_of_block(own, errors)
        if raised is None:
            return error is not None
        if raised is error:
            return False
        try:
            raise raised
        finally:
            del own, errors, raised, error  # its traceback holds this frame: no cycle

    @property
    def proactor(self) -> Proactor:
        """The proactor, for `submit()`, `cancel()` and resources. Raises FailedPrecondition outside the block."""
        return self._open("proactor").proactor

    @property
    def turns(self) -> int:
        """How often the proactor was driven; an idle bridge takes none."""
        return self._open("turns").hosting.turns

    @enable_ki_protection
    async def perform(self, operation: Operation) -> Any:
        """Submit an operation, or join one that was submitted already, and wait for its result in the calling task.

        A cancellation point and a schedule point; the rules of cancellation stand at the top of this file, and what is
        raised in operation_wait.py. Raises FailedPrecondition outside the block, or in another run of Trio.
        """
        driving = self._usable("perform()")
        if not operation.unclaimed:
            await trio.lowlevel.checkpoint_if_cancelled()
        task = trio.lowlevel.current_task()
        wait = OperationWait(operation, lambda: trio.lowlevel.reschedule(task))
        if not wait.begin(driving.proactor):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return wait.unwrap()
        raise_cancel = await _parked_until_completed(driving, wait)
        if raise_cancel is not None and wait.was_cancelled:
            raise_cancel()
        return wait.unwrap()

    def _open(self, what: str) -> _Driving:
        if self._driving is None:
            reason = "is closed" if self._was_entered else "has not been entered yet"
            raise FailedPrecondition(f"{what}: this bridge {reason}")
        return self._driving

    def _usable(self, what: str) -> _Driving:
        driving = self._open(what)
        if not trio.lowlevel.in_trio_task() or trio.lowlevel.current_trio_token() is not driving.token:
            raise FailedPrecondition(f"{what}: this bridge is for tasks of the run of Trio that has opened it")
        if driving.is_closing and what == "perform()":
            raise FailedPrecondition(f"{what}: this bridge is being closed")
        return driving


RaiseCancel = Callable[[], NoReturn]


async def _parked_until_completed(driving: _Driving, wait: OperationWait) -> RaiseCancel | None:
    """Wait for the final completion in any case; returns how to raise the cancellation that came meanwhile, if any."""
    cancellation: RaiseCancel | None = None

    def abort(raise_cancel: RaiseCancel) -> Abort:
        nonlocal cancellation
        cancellation = raise_cancel
        driving.turn_soon()
        driving.proactor.cancel_chain(wait.operation)
        return Abort.FAILED

    await trio.lowlevel.wait_task_rescheduled(abort)
    return cancellation


class _Driving:
    """What drives one proactor in one run of Trio, from the entering of a bridge to its end."""

    def __init__(self, proactor: Proactor) -> None:
        self.proactor = proactor
        self.token = trio.lowlevel.current_trio_token()
        self.hosting: Hosting = proactor.host(self._turn_is_due)
        #: Around the block; cancelled when a completion function raised.
        self.body = trio.CancelScope()
        self.is_closing = False
        self._errors: list[Exception] = []
        #: When the patience with what does not end is over, once the block is being left.
        self._end_at = math.inf
        self._is_due = True
        #: Where Trio's clock is another one than the proactor's. Else it is Trio that waits, until `_deadline`.
        self._real_timer = None if _keeps_real_time(trio.lowlevel.current_clock()) else RealTimer(proactor.wake)
        self._deadline = math.inf
        self._timer = trio.CancelScope()
        self._parked: Task | None = None
        self._after_turn = trio.lowlevel.ParkingLot()
        self._life = trio.CancelScope(shield=True)
        self._block_is_left = trio.CancelScope()
        self._has_ended = trio.Event()
        for async_fn in (self._live, self._end_with_the_run):
            trio.lowlevel.spawn_system_task(async_fn, name="a bridge to a proactor", context=copy_context())

    async def close(self) -> list[Exception]:
        """End what is in flight, wait for it, free everything; returns what completion functions raised."""
        await self._end()
        self._block_is_left.cancel()
        self.hosting.close()
        try:
            self.proactor.close_within(max(0.0, self._end_at - time.monotonic()))
        except Exception as error:
            self._errors.append(error)
        return self._errors

    async def _end(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            self._end_at = time.monotonic() + CLOSING_SECONDS
            self.turn_soon()  # which takes that into account
        with trio.CancelScope(shield=True):
            await self._end_everything()
            self._life.cancel()
            await self._has_ended.wait()
        if self._real_timer is not None:
            self._real_timer.stop()

    async def _end_everything(self) -> None:
        while not self._has_ended.is_set() and time.monotonic() < self._end_at and not self.proactor.end_everything():
            await self._after_turn.park()

    # The tasks ---------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def _live(self) -> None:
        with self._life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._drive)
        self._has_ended.set()
        self._after_turn.unpark_all()

    @enable_ki_protection
    async def _end_with_the_run(self) -> None:
        try:
            with self._block_is_left:
                await trio.sleep_forever()
        except trio.Cancelled:
            await self._end()
            raise

    @enable_ki_protection
    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.hosting.descriptor)
            self._turn()

    @enable_ki_protection
    async def _drive(self) -> None:
        while True:
            if self._is_due:
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=self._deadline) as self._timer:
                    await self._park()
            self._turn()

    async def _park(self) -> None:
        self._parked = trio.lowlevel.current_task()

        def abort(_: RaiseCancel) -> Abort:
            self._parked = None
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    # Turns -------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_due = False
        try:
            limit = self.hosting.turn()
        except Exception as error:
            self._errors.append(error)
            self.body.cancel()
            limit = 0
        self._after_turn.unpark_all()
        if limit == 0:
            self.turn_soon()
        else:
            self._wait_at_most(limit)

    def _wait_at_most(self, limit: float | None) -> None:
        if self.is_closing:
            patience = max(0.0, self._end_at - time.monotonic())
            limit = patience if limit is None else min(limit, patience)
        if self._real_timer is not None:
            self._real_timer.wake_within(limit)
            return
        self._deadline = math.inf if limit is None else trio.current_time() + limit
        if self._parked is not None:
            self._timer.deadline = self._deadline

    @enable_ki_protection
    def turn_soon(self) -> None:
        """Have the driving task take a turn in the next batch of tasks. For code that the run itself calls."""
        self._is_due = True
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)

    def _turn_is_due(self) -> None:
        if self._is_due:
            return
        if trio.lowlevel.in_trio_task():
            self.turn_soon()
        else:
            self.proactor.wake()  # another loop of this thread, whose guest the run is: Trio has to be woken


def _keeps_real_time(clock: trio.abc.Clock) -> bool:
    """Whether it is Trio's own clock, whose class has no public name. To say no is never wrong, but costs a thread."""
    return type(clock).__name__ == "SystemClock"
