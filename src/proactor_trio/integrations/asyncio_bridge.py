"""Proactor operations in tasks of asyncio: its loop is the host, and a proactor works for its tasks.

    async with asyncio_bridge.open_bridge() as bridge:
        async with asyncio.timeout(5):
            data = await bridge.perform(RecvBytes(sock, 65536))

The rules:

1. **Cancelled means it had no effect.** `task.cancel()`, also by `asyncio.timeout()`, asks the operation to end. The
   task stays parked until the final completion, however often it is cancelled meanwhile. An operation that was really
   ended raises CancelledError.
2. **A result that came first is returned, and the cancellation is not lost.** It is edge-triggered here: whoever asked
   for it asks once. So it is delivered again to whatever the task awaits next, unless it was taken back by then
   (`uncancel()`, as at the end of an `asyncio.timeout()` block), or the task has ended. The count of `cancelling()`
   stays what it was. So `with timeout: data = await perform()` either times out with nothing received, or has the data.
3. **All that tasks submit in one turn of the loop goes to the kernel in one call**, in the next turn of the loop: by
   `perform()`, or by `bridge.proactor.submit()` for batches, chains and operations with a completion function.
4. **Completion functions** are called from the loop. What one raises, after everything else was delivered, cancels the
   task that entered the block of the bridge, and is raised by the block: alone, or in an exception group if there are
   several or if the block raises an exception of its own.
5. **Leaving the block**, for whatever reason, ends what is in flight and waits for the last final completion. A
   cancellation that comes meanwhile is raised afterwards. Tasks that still wait get OperationCancelled with the cause
   PROACTOR_CLOSED.

How a task stays parked: Task.cancel() passes a cancellation on to the future that the task waits for, and leaves the
rest to it if `cancel()` returns True. Our future notes the cancellation, and is done by the completion alone. It also
says True when it is done already but the task has not gone on, so that a result is not overwritten at the last moment.
Task.cancel() may come in a signal handler (asyncio's own for SIGINT), so it only leaves a note for the next turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any

from proactor_trio.integrations.operation_wait import OperationWait, errors_of_block
from proactor_trio.proactor import FailedPrecondition, Operation, Proactor, ProactorOptions
from proactor_trio.proactor.ending import CLOSING_SECONDS
from proactor_trio.proactor.hosting import Hosting

__all__ = ["Bridge", "open_bridge"]


def open_bridge(backend: str | None = None, options: ProactorOptions | None = None) -> Bridge:
    """A proactor for tasks of the loop that enters it: `async with open_bridge() as bridge`.

    backend, options: see Proactor. Entering raises BackendUnavailable where the backend cannot be used, and
    NotImplementedError on a loop that cannot watch descriptors.
    """
    return Bridge(backend, options)


class Bridge:
    """A proactor and the asyncio loop that drives it; made by `open_bridge()`. For tasks of that loop only."""

    def __init__(self, backend: str | None, options: ProactorOptions | None) -> None:
        self._backend = backend
        self._options = options
        self._driving: _Driving | None = None
        self._was_entered = False

    async def __aenter__(self) -> Bridge:
        if self._was_entered:
            raise FailedPrecondition("a bridge is entered once; open another one")
        self._was_entered = True
        proactor = Proactor(self._backend, self._options)
        try:
            self._driving = _Driving(proactor, _current_task("entering a bridge"))
        except BaseException:
            proactor.end_hosting()
            proactor.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        driving = self._usable("leaving the block")
        try:
            raised = await driving.close(error)
        finally:
            self._driving = None
        if raised is None:
            return error is not None
        if raised is error:
            return False
        try:
            raise raised
        finally:
            del raised, error  # its traceback holds this frame: no cycle

    @property
    def proactor(self) -> Proactor:
        """The proactor, for `submit()`, `cancel()` and resources. Raises FailedPrecondition outside the block."""
        return self._open("proactor").proactor

    @property
    def turns(self) -> int:
        """How often the proactor was driven; an idle bridge takes none."""
        return self._open("turns").hosting.turns

    async def perform(self, operation: Operation) -> Any:
        """Submit an operation, or join one that was submitted already, and wait for its result in the calling task.

        The rules of cancellation stand at the top of this file, and what is raised in operation_wait.py. Raises
        FailedPrecondition outside the block, or in another loop.
        """
        driving = self._usable("perform()")
        task = _current_task("perform()")
        parked = ParkedFuture(driving)
        wait = OperationWait(operation, parked.release)
        if not wait.begin(driving.proactor):
            return wait.unwrap()
        parked.wait = wait
        try:
            await parked
        except BaseException:
            parked.cancel()  # the coroutine is closed, or something was thrown into it: nobody comes for the result
            raise
        if parked.was_cancelled:
            if wait.was_cancelled:
                raise _cancelled_error(parked.message)
            driving.cancel_later(task, parked.message)
        return wait.unwrap()

    def _open(self, what: str) -> _Driving:
        if self._driving is None:
            reason = "is closed" if self._was_entered else "has not been entered yet"
            raise FailedPrecondition(f"{what}: this bridge {reason}")
        return self._driving

    def _usable(self, what: str) -> _Driving:
        driving = self._open(what)
        if _running_loop() is not driving.loop:
            raise FailedPrecondition(f"{what}: this bridge is for tasks of the loop that has opened it")
        if driving.is_closing and what == "perform()":
            raise FailedPrecondition(f"{what}: this bridge is being closed")
        return driving


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _current_task(what: str) -> asyncio.Task[Any]:
    task = None if _running_loop() is None else asyncio.current_task()
    if task is None:
        raise FailedPrecondition(f"{what}: this is for tasks of asyncio")
    return task


def _cancelled_error(message: object) -> asyncio.CancelledError:
    return asyncio.CancelledError() if message is None else asyncio.CancelledError(message)


class ParkedFuture(asyncio.Future[None]):
    """What a task waits for that must not be interrupted; see the top of this file."""

    def __init__(self, driving: _Driving) -> None:
        super().__init__(loop=driving.loop)
        self._driving = driving
        #: The wait for an operation that a cancellation is to end.
        self.wait: OperationWait | None = None
        self.was_cancelled = False
        self.message: object = None

    def cancel(self, msg: object = None) -> bool:
        """Note that it was asked for. True: whoever is parked goes on by himself."""
        self.was_cancelled = True
        self.message = msg
        if self.wait is not None and not self.done():
            self._driving.cancel_soon(self.wait)
        return True

    def release(self) -> None:
        """Let the task go on."""
        if not self.done():
            self.set_result(None)


class _Driving:
    """What drives one proactor in one loop, from the entering of a bridge to its end."""

    def __init__(self, proactor: Proactor, task: asyncio.Task[Any]) -> None:
        self.proactor = proactor
        self.loop = asyncio.get_running_loop()
        self.hosting: Hosting = proactor.host(self._turn_soon)
        self.is_closing = False
        #: The task in the block; cancelled when a completion function raised.
        self._body = task
        self._has_cancelled_body = False
        self._errors: list[Exception] = []
        self._to_cancel: deque[OperationWait] = deque()
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._after_turn: ParkedFuture | None = None
        self._is_over = False
        self.loop.add_reader(self.hosting.descriptor, self._turn)
        self._turn_soon()

    # Turns -------------------------------------------------------------------------------------------------------

    def _turn_soon(self) -> None:
        if not self._is_due and not self._is_over:
            self.loop.call_soon(self._turn)
            self._is_due = True  # last: it stands for a call that the loop is going to make

    def _turn(self) -> None:
        if self._is_over:
            return
        try:
            self._take_turn()
        except BaseException:
            self._is_due = False
            self._turn_soon()
            raise

    def _take_turn(self) -> None:
        try:
            self._take_cancellations()
            limit = self.hosting.turn()
        except Exception as error:
            self._failed(error)
            limit = 0
        self._wait_at_most(0 if self._to_cancel else limit)
        if self._after_turn is not None:
            self._after_turn.release()

    def _wait_at_most(self, limit: float | None) -> None:
        if limit == 0:
            self._turn_soon()
            return
        timer = self._timer
        if limit is None:
            self._stop_timer()
            return
        when = self.loop.time() + limit
        if timer is not None and timer.when() <= when:
            return  # the turn that it brings finds out what is left
        self._stop_timer()
        self._timer = self.loop.call_at(when, self._time_is_over)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_over(self) -> None:
        self._timer = None
        self._turn()

    def _failed(self, error: Exception) -> None:
        self._errors.append(error)
        if not self.is_closing and not self._has_cancelled_body:
            self._has_cancelled_body = True
            self._body.cancel()

    # Cancelling --------------------------------------------------------------------------------------------------

    def cancel_soon(self, wait: OperationWait) -> None:
        """End the operation of a wait in the next turn. Also in a signal handler."""
        self._to_cancel.append(wait)
        self._turn_soon()

    def _take_cancellations(self) -> None:
        self._is_due = True  # whoever leaves something now need not ask for another turn
        while self._to_cancel:
            wait = self._to_cancel[0]
            if wait.operation.waiter is wait:  # else it has completed meanwhile
                self.proactor.cancel_chain(wait.operation)
            self._to_cancel.popleft()
        self._is_due = False

    def cancel_later(self, task: asyncio.Task[Any], message: object) -> None:
        """Deliver a cancellation again, to what the task awaits next; see rule 2."""
        self.loop.call_soon(_cancel_again, task, task.cancelling(), message)

    # The end -----------------------------------------------------------------------------------------------------

    async def close(self, error: BaseException | None) -> BaseException | None:
        """End what is in flight, wait for it, free everything. Returns what the block has to raise, given its error."""
        self.is_closing = True
        end_at = self.loop.time() + CLOSING_SECONDS
        cancellations = await self._end_everything(end_at)
        is_cancelled = bool(cancellations) or isinstance(error, asyncio.CancelledError)
        if self._has_cancelled_body:
            is_cancelled = self._body.uncancel() > 0 and is_cancelled
        self._free(max(0.0, end_at - self.loop.time()))
        own = None if isinstance(error, asyncio.CancelledError) and (self._errors or not is_cancelled) else error
        raised = errors_of_block(own, self._errors)
        if is_cancelled and raised is None:
            return _cancelled_error(cancellations[-1] if cancellations else None)
        if is_cancelled and raised is not error:
            self.cancel_later(self._body, cancellations[-1] if cancellations else None)
        return raised

    async def _end_everything(self, end_at: float) -> list[object]:
        """Returns the messages of the cancellations that came meanwhile."""
        cancellations: list[object] = []
        while self.loop.time() < end_at and not self.proactor.end_everything():
            self._after_turn = parked = ParkedFuture(self)
            timer = self.loop.call_at(end_at, parked.release)
            try:
                await parked
            finally:
                timer.cancel()
                self._after_turn = None
            if parked.was_cancelled:
                cancellations.append(parked.message)
        return cancellations

    def _free(self, patience: float) -> None:
        self._is_over = True
        self._stop_timer()
        self.loop.remove_reader(self.hosting.descriptor)
        self.hosting.close()
        try:
            self.proactor.close_within(patience)
        except Exception as error:
            self._errors.append(error)


def _cancel_again(task: asyncio.Task[Any], count: int, message: object) -> None:
    """count: how many cancellations were asked for when this one was put off; fewer now: it was taken back."""
    if count and not task.done() and task.cancelling() >= count:
        task.uncancel()
        task.cancel(message)
