"""Timeline semaphores in any order: signalled, failed, linked, waited for by timepoints and by operations.

The model is a number, a failure, and for each waiter the condition that it waits for. Whatever happens: a waiter is
told exactly once, when its condition holds and not before; a failure goes before every value; what was withdrawn is
never told; no timepoint is left.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cts.configurations import Configuration
from cts.machines.models import Submission
from cts.machines.running import nothing_left, run_machine
from cts.support import poll_until
from proactor_trio.proactor import (
    Nop,
    OperationFlags,
    Proactor,
    SemaphoreSignal,
    SemaphoreWait,
    TimelineSemaphore,
    Timepoint,
    WaitMode,
)

SEMAPHORES = 3
VALUES = st.integers(1, 12)
WHICH = st.integers(0, SEMAPHORES - 1)


class Broken(Exception):
    """How semaphores fail here."""


@dataclass
class Model:
    """What a semaphore is: how far it has come, and whether it has failed."""

    semaphore: TimelineSemaphore
    value: int = 0
    failure: Broken | None = None

    def decides(self, wanted: int) -> bool:
        """Whether a wait for `wanted` is over."""
        return self.failure is not None or self.value >= wanted


@dataclass
class Told:
    """A timepoint and what it was told."""

    model: Model
    wanted: int
    timepoint: Timepoint | None = None
    withdrawn: bool = False
    errors: list[BaseException | None] = field(default_factory=list)

    def __call__(self, error: BaseException | None) -> None:
        self.errors.append(error)


class Wait:
    """An operation that waits for several semaphores. What was reached while it waited stays reached, whatever its
    semaphore does later; a failure of one that is still missing ends it."""

    def __init__(self, operation: SemaphoreWait, models: list[Model], values: list[int]) -> None:
        self.submission = Submission(operation)
        self.is_due = any(model.failure is not None for model in models)
        self._mode = operation.wait_mode
        self._missing = list(zip(models, values, strict=True))
        self.look()

    def look(self) -> None:
        """Something has happened to a semaphore."""
        if self.is_due:
            return
        self.is_due = any(model.failure is not None for model, _ in self._missing)
        reached = [each for each in self._missing if each[0].value >= each[1]]
        self._missing = [each for each in self._missing if each not in reached]
        self.is_due = self.is_due or (bool(reached) if self._mode is WaitMode.ANY else not self._missing)


class SemaphoresMachine(RuleBasedStateMachine):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.resources.enter_context(nothing_left())
        self.proactor = self.resources.enter_context(Proactor(configuration.backend, configuration.restrict()))
        self.models = [Model(TimelineSemaphore()) for _ in range(SEMAPHORES)]
        self.told: list[Told] = []
        self.waits: list[Wait] = []
        self.others: list[Submission] = []

    # What can happen ---------------------------------------------------------------------------------------------

    @rule(which=WHICH, value=VALUES)
    def signal(self, which: int, value: int) -> None:
        model = self.models[which]
        try:
            model.semaphore.signal(value)
        except ValueError:
            assert value <= model.value
        else:
            assert value > model.value
            model.value = value
            self.look()

    @rule(which=WHICH)
    def fail(self, which: int) -> None:
        model = self.models[which]
        failure = Broken(len(self.told))
        model.semaphore.fail(failure)
        if model.failure is None:
            model.failure = failure
            self.look()

    @rule(which=WHICH, value=VALUES)
    def acquire(self, which: int, value: int) -> None:
        told = Told(self.models[which], value)
        told.timepoint = told.model.semaphore.acquire_timepoint(value, told)
        self.told.append(told)

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0))
    def withdraw(self, which: int) -> None:
        told = self.told[which % len(self.told)]
        assert told.timepoint is not None
        withdrawn = told.timepoint.cancel()
        assert withdrawn is not (told.withdrawn or bool(told.errors))
        told.withdrawn = told.withdrawn or withdrawn

    @rule(values=st.lists(VALUES, min_size=1, max_size=SEMAPHORES), mode=st.sampled_from(WaitMode))
    def wait(self, values: list[int], mode: WaitMode) -> None:
        self.begin_wait(values, mode, behind=0)

    @rule(values=st.lists(VALUES, min_size=1, max_size=SEMAPHORES), behind=st.integers(1, 2))
    def wait_at_the_head_of_a_chain(self, values: list[int], behind: int) -> None:
        self.begin_wait(values, WaitMode.ALL, behind=behind)

    def begin_wait(self, values: list[int], mode: WaitMode, behind: int) -> None:
        models = self.models[: len(values)]
        wait = SemaphoreWait([model.semaphore for model in models], values, mode)
        following = [Nop() for _ in range(behind)]
        if following:
            wait.flags = OperationFlags.LINKED
            for nop in following[:-1]:
                nop.flags = OperationFlags.LINKED

        self.waits.append(Wait(wait, models, values))
        self.others += [Submission(nop) for nop in following]
        self.proactor.submit(wait, *following)

    @rule(which=WHICH, value=VALUES)
    def signal_by_an_operation(self, which: int, value: int) -> None:
        """The model follows at the poll in which it is done."""
        model = self.models[which]
        submission = Submission(SemaphoreSignal([model.semaphore], [value]))
        self.others.append(submission)
        self.proactor.submit(submission.operation)
        before = model.value
        poll_until(self.proactor, lambda: submission.is_over)
        assert submission.succeeded is (value > before)
        model.value = max(value, before)
        self.look()

    @precondition(lambda self: self.waits)
    @rule(which=st.integers(0))
    def cancel(self, which: int) -> None:
        submission = self.waits[which % len(self.waits)].submission
        self.proactor.cancel(submission.operation)
        poll_until(self.proactor, lambda: submission.is_over)

    @rule()
    def poll(self) -> None:
        """What is due ends; a wait in the kernel may take more than one turn."""
        due = [wait.submission for wait in self.waits if wait.is_due]
        poll_until(self.proactor, lambda: all(submission.is_over for submission in due))

    def look(self) -> None:
        for wait in self.waits:
            wait.look()

    # What must be true -------------------------------------------------------------------------------------------

    @invariant()
    def values_are_those_of_the_model(self) -> None:
        for model in self.models:
            assert model.semaphore.query() == model.value
            assert model.semaphore.error is model.failure

    @invariant()
    def timepoints_are_told_once_and_in_time(self) -> None:
        for told in self.told:
            if told.withdrawn:
                assert told.errors == []
            else:
                assert len(told.errors) == int(told.model.decides(told.wanted))

    @invariant()
    def waits_end_only_when_they_are_due_or_cancelled(self) -> None:
        for wait in self.waits:
            submission = wait.submission
            if submission.succeeded:
                assert wait.is_due
            elif submission.is_over and not submission.was_cancelled:
                assert isinstance(submission.ends[0], Broken)

    def teardown(self) -> None:
        with self.resources:
            everything = [*(wait.submission for wait in self.waits), *self.others]
            for submission in everything:
                self.proactor.cancel(submission.operation)
            poll_until(self.proactor, lambda: all(submission.is_over for submission in everything))
            for told in self.told:
                if told.timepoint is not None and not told.errors:
                    told.timepoint.cancel()
            for model in self.models:
                assert model.semaphore._agenda.entries == [], "a timepoint was left"


def test_semaphores_tell_each_waiter_once_and_in_time(configuration: Configuration) -> None:
    run_machine(functools.partial(SemaphoresMachine, configuration))
