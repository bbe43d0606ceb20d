"""Sequence: several operations, one after the other, that complete as one.

Without `step_fn` the steps are submitted as one chain: the kernel goes from step to step by itself where it can, and
nobody is woken in between. With `step_fn` they are submitted one at a time; it sees each step that succeeded, may
change the next one (its deadline, its buffer), and may end the sequence by raising.

While the sequence is in flight its steps are the sequence's: their completion functions and flags are put aside and
come back when it completes. After that each step's `result` and `error` say how far it got.

What the sequence says, without `step_fn`: the error of the first step that failed by itself; else, if a step was
cancelled, that; else None. With it: the error of the step that failed, or what `step_fn` raised. Cancelling a sequence
ends the current step and the later ones: it completes as cancelled unless all that was to be done has been done.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Steps
from typing import Any, Unpack

from proactor_trio.backends.contract import CompletionFlags, OperationFlags
from proactor_trio.proactor.errors import CANCELED, Aborted, OperationCancelled
from proactor_trio.proactor.operation import (
    CompletionFunction,
    Continuation,
    Limits,
    Operation,
    OperationState,
    SoftwareOperation,
)
from proactor_trio.proactor.proactor import Proactor

StepFunction = Callable[["Sequence", Operation, Operation | None], object]

_IDLE = (OperationState.NEW, OperationState.DONE)
_LINKED_SILENT = OperationFlags.LINKED | OperationFlags.SILENT


class Sequence(SoftwareOperation):
    """Performs its steps in order and completes once. Result: None. It can be the last step of a chain only.

    steps: operations that are not in flight, none of them MULTISHOT; without steps it completes at the next poll.
    step_fn: called as `step_fn(sequence, completed, following)` after each step that succeeded, `following` being None
        after the last; what it raises is the sequence's error.
    """

    __slots__ = (
        "_attempted",
        "_awaited",
        "_cancel_requested",
        "_put_aside",
        "_running",
        "current_step",
        "step_fn",
        "steps",
    )

    can_be_linked = False

    def __init__(
        self,
        steps: Steps[Operation],
        step_fn: StepFunction | None = None,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.steps = tuple(steps)
        self.step_fn = step_fn
        #: The index of the step that runs; the number of steps when all have succeeded.
        self.current_step = 0
        self._running = 0
        #: The submission whose steps were submitted, or were about to be.
        self._attempted = 0
        #: With step_fn: the step whose completion was not dealt with yet.
        self._awaited: Operation | None = None
        self._cancel_requested = False
        #: What the steps get back at the end: their flags and completion functions.
        self._put_aside: list[tuple[OperationFlags, CompletionFunction | None]] = []

    def _prepare(self) -> None:
        if self.step_fn is not None and not callable(self.step_fn):
            raise TypeError(f"step_fn must be callable or None, not {type(self.step_fn).__name__}")
        self._check_steps()
        self._running = 0
        self.current_step = 0
        self._cancel_requested = False
        self._take_steps()
        if self.steps and self.step_fn is None:
            assert self._proactor is not None
            try:
                self._proactor.prepare(self.steps)
            except BaseException:
                self._give_steps_back()
                raise

    def _check_steps(self) -> None:
        last = self.steps[-1] if self.steps else None
        for step in self.steps:
            if not isinstance(step, Operation):
                raise TypeError(f"steps must be proactor operations, not {type(step).__name__}")
            if step.flags & OperationFlags.MULTISHOT:
                raise ValueError(f"steps: {type(step).__name__} is MULTISHOT, which has no one end")
            if step.state not in _IDLE:
                raise ValueError(f"steps: {step!r} is in flight already")
            if self.step_fn is None and step is not last and not step.can_be_linked:
                raise ValueError(f"steps: {type(step).__name__} cannot have a successor; use step_fn")

    def _take_steps(self) -> None:
        trampoline = Continuation(self._chained_step_done if self.step_fn is None else self._single_step_done)
        flags = _LINKED_SILENT if self.step_fn is None else OperationFlags.NONE
        self._put_aside = [(step.flags, step.completion_fn) for step in self.steps]
        for step in self.steps:
            step.completion_fn = trampoline
            step.flags = flags
        if self.steps:
            self.steps[-1].flags = OperationFlags.NONE

    def _give_steps_back(self) -> None:
        for step, (flags, completion_fn) in zip(self.steps, self._put_aside, strict=True):
            step.flags = flags
            step.completion_fn = completion_fn

    def _withdraw(self) -> None:
        super()._withdraw()
        if self.step_fn is None:
            for step in self.steps:
                step._withdraw()
        self._give_steps_back()

    # Beginning ---------------------------------------------------------------------------------------------------

    def _begin(self, proactor: Proactor) -> None:
        if self._running == self.identifier:
            return
        if not self.steps:
            proactor.finish(self, self.identifier, 0)
        elif self.steps[0].state in _IDLE:  # else it was begun before an interruption
            self._begin_steps(proactor)
        self._running = self.identifier

    def _begin_steps(self, proactor: Proactor) -> None:
        if self.step_fn is not None:
            self._awaited = self.steps[0]
            try:
                proactor.submit(self.steps[0])
            except Exception as error:
                self._end(proactor, error)
            return
        if self._attempted == self.identifier:
            proactor.prepare(self.steps)  # the interrupted submission has withdrawn them
        self._attempted = self.identifier
        proactor.submit_batch(self.steps)

    # Steps complete ----------------------------------------------------------------------------------------------

    def _chained_step_done(self, step: Operation, flags: CompletionFlags) -> None:
        proactor = self._proactor
        assert proactor is not None
        proactor.uncount()
        succeeded = self.current_step
        if step.error is None and self.steps[succeeded : succeeded + 1] == (step,):  # else interrupted after this
            self.current_step = succeeded + 1
        if step is self.steps[-1]:
            self._give_steps_back()
            proactor.finish(self, self.identifier, self._chain_result())

    def _chain_result(self) -> int | BaseException:
        errors = [step.error for step in self.steps if step.error is not None]
        if not errors:
            return 0
        for error in errors:
            if not isinstance(error, OperationCancelled):
                return error
        return CANCELED if self._cancel_requested else errors[0]

    def _single_step_done(self, step: Operation, flags: CompletionFlags) -> None:
        proactor = self._proactor
        assert proactor is not None
        proactor.uncount()
        interrupted = Aborted("the sequence was interrupted between two steps")
        if self._awaited is not step:  # this is called again: what it did before may have been enough
            self._fail(proactor, interrupted)
            return
        self._awaited = None
        try:
            result = self._after_step(step, proactor)
            if result is not None:
                self._end(proactor, result)
        except Exception as error:
            self._fail(proactor, error)
        except BaseException:
            self._fail(proactor, interrupted)
            raise

    def _fail(self, proactor: Proactor, error: BaseException) -> None:
        following = self._awaited
        if following is None or following.state in _IDLE:
            self._end(proactor, error)
        else:
            self._cancel(proactor)  # a signal handler raised when the next step had begun: its completion is the end

    def _after_step(self, step: Operation, proactor: Proactor) -> int | BaseException | None:
        """What the sequence ends with, None if it goes on."""
        if step.error is not None:
            return CANCELED if self._cancel_requested else step.error
        self.current_step += 1
        following = self.steps[self.current_step] if self.current_step < len(self.steps) else None
        if self._cancel_requested and following is not None:
            return CANCELED  # behind the last step a cancellation comes too late: all has been done
        assert self.step_fn is not None
        self.step_fn(self, step, following)
        if following is None:
            return 0
        if self._cancel_requested:
            return CANCELED
        following.flags = OperationFlags.NONE
        self._awaited = following
        proactor.submit(following)
        return None

    def _end(self, proactor: Proactor, result: int | BaseException) -> None:
        self._give_steps_back()
        proactor.finish(self, self.identifier, result)

    # Cancelling --------------------------------------------------------------------------------------------------

    def _cancellation(self) -> OperationCancelled:
        if not self._running:  # its turn in a chain never came
            self._withdraw()
        return super()._cancellation()

    def _cancel(self, proactor: Proactor) -> None:
        self._cancel_requested = True
        if self.step_fn is None:
            for step in self.steps:
                proactor.cancel(step)
        elif self.current_step < len(self.steps):
            proactor.cancel(self.steps[self.current_step])

    def _finish(self, result: int) -> Any:
        return None
