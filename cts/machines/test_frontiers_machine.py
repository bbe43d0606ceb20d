"""A frontier tracker in any order: axes advanced, failed and retired, frontiers waited for and let go.

The model is an epoch and a failure for each axis. Whatever happens: a wait is told exactly once, when all its axes have
come so far or one has failed, and not before; a wait that was let go is never told; a bridged semaphore follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cts.machines.running import run_machine
from proactor_trio.proactor import Frontier, FrontierTimepoint, FrontierTracker, TimelineSemaphore

AXES = (1, 2, 3, 4)
EPOCHS = st.integers(1, 8)
WANTED = st.dictionaries(st.sampled_from(AXES), EPOCHS, max_size=len(AXES))


class Lost(Exception):
    """How axes fail here."""


@dataclass
class Told:
    """A wait and what it was told."""

    wanted: Mapping[int, int]
    wait: FrontierTimepoint | None = None
    let_go: bool = False
    errors: list[BaseException | None] = field(default_factory=list)

    def __call__(self, error: BaseException | None) -> None:
        self.errors.append(error)


class FrontiersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tracker = FrontierTracker()
        self.bridges = {axis: TimelineSemaphore() for axis in AXES[:2]}
        for axis in AXES:
            self.tracker.register_axis(axis, self.bridges.get(axis))
        self.epochs = dict.fromkeys(AXES, 0)
        self.failures: dict[int, Lost] = {}
        self.retired: set[int] = set()
        self.told: list[Told] = []

    # What can happen ---------------------------------------------------------------------------------------------

    @rule(axis=st.sampled_from(AXES), epoch=EPOCHS)
    def advance(self, axis: int, epoch: int) -> None:
        before = self.told_count
        count = self.tracker.advance(axis, epoch)
        self.epochs[axis] = max(self.epochs[axis], epoch)
        assert count == self.told_count - before

    @rule(axis=st.sampled_from(AXES))
    def fail(self, axis: int) -> None:
        failure = Lost(axis)
        self.tracker.fail_axis(axis, failure)
        self.failures.setdefault(axis, failure)

    @rule(axis=st.sampled_from(AXES))
    def retire(self, axis: int) -> None:
        failure = Lost(axis)
        had_failed = axis in self.failures
        self.tracker.retire_axis(axis, failure)
        self.failures.setdefault(axis, failure)
        if not had_failed:
            self.retired.add(axis)

    @rule(wanted=WANTED)
    def wait(self, wanted: dict[int, int]) -> None:
        told = Told(wanted)
        told.wait = self.tracker.acquire_timepoint(Frontier.from_epochs(wanted), told)
        self.told.append(told)

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0))
    def let_go(self, which: int) -> None:
        told = self.told[which % len(self.told)]
        assert told.wait is not None
        pending = told.wait.cancel()
        assert pending is not (told.let_go or bool(told.errors))
        told.let_go = told.let_go or pending

    # What must be true -------------------------------------------------------------------------------------------

    @property
    def told_count(self) -> int:
        return sum(len(told.errors) for told in self.told)

    def is_decided(self, wanted: Mapping[int, int]) -> bool:
        failed = any(axis in self.failures for axis in wanted)
        return failed or all(self.epochs[axis] >= epoch for axis, epoch in wanted.items())

    @invariant()
    def waits_are_told_once_and_in_time(self) -> None:
        for told in self.told:
            assert len(told.errors) == (0 if told.let_go else int(self.is_decided(told.wanted)))

    @invariant()
    def a_failure_is_one_of_an_axis_that_was_waited_for(self) -> None:
        for told in self.told:
            for error in told.errors:
                assert error is None or any(self.failures.get(axis) is error for axis in told.wanted)

    @invariant()
    def epochs_are_those_of_the_model(self) -> None:
        assert {axis: self.tracker.query_epoch(axis) for axis in AXES} == self.epochs

    @invariant()
    def a_bridged_semaphore_follows_its_axis(self) -> None:
        for axis, semaphore in self.bridges.items():
            if axis not in self.failures:
                assert semaphore.query() == self.epochs[axis]
            elif axis not in self.retired:
                assert semaphore.error is not None

    def teardown(self) -> None:
        self.tracker.close()
        for told in self.told:
            assert len(told.errors) == int(not told.let_go)


def test_a_tracker_tells_each_wait_once_and_in_time() -> None:
    run_machine(FrontiersMachine)
