"""Operations in any order: submitted alone and in chains, cancelled, closed under, submitted again.

Whatever happens: each ends exactly once, inside `poll()`; chains end in order; no byte is lost, doubled or taken by an
operation that says that it was cancelled; steps behind a failure have no effect; nothing is left at the end.
"""

from __future__ import annotations

import functools
import time
from contextlib import ExitStack

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cts.configurations import Configuration
from cts.machines.models import Chain, Direction, Submission
from cts.machines.running import nothing_left, run_machine
from cts.support import Sockets, poll_until
from proactor_trio.proactor import (
    Event,
    EventWait,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    ProactorOptions,
    Recv,
    SemaphoreSignal,
    Send,
    SocketClose,
    TimelineSemaphore,
    Timer,
)

#: A small queue, so that it is full now and then.
QUEUE = 8
DELAYS = (-1.0, 0.0, 0.0003, 1000.0)
STEPS = ("nop", "past timer", "far timer", "event", "signal")


class OperationsMachine(RuleBasedStateMachine):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.resources.enter_context(nothing_left())
        self.sockets = Sockets()
        self.resources.callback(self.sockets.close)
        options = configuration.restrict(ProactorOptions(max_concurrent_operations=QUEUE))
        self.proactor = self.resources.enter_context(Proactor(configuration.backend, options))
        self.events = [self.resources.enter_context(Event()) for _ in range(2)]
        self.submissions: list[Submission] = []
        self.chains: list[Chain] = []
        self.signals: list[tuple[Submission, TimelineSemaphore]] = []
        self.directions: list[Direction] = []
        self.open: list[tuple[Direction, Direction]] = []
        for kind in ("unix", "tcp"):
            near, far = self.sockets.pair(kind)
            both = Direction(near, far), Direction(far, near)
            self.open.append(both)
            self.directions += both

    # What can happen ---------------------------------------------------------------------------------------------

    def submit(self, *operations: Operation) -> list[Submission]:
        made = [Submission(operation) for operation in operations]
        self.submissions += made
        delivered = self.proactor.statistics()["delivered"]
        self.proactor.submit(*operations)
        assert self.proactor.statistics()["delivered"] == delivered, "something completed inside submit()"
        return made

    @rule(count=st.integers(1, 2 * QUEUE))
    def nops(self, count: int) -> None:
        self.submit(*(Nop() for _ in range(count)))

    @rule(delay=st.sampled_from(DELAYS))
    def timer(self, delay: float) -> None:
        self.submit(Timer(time.monotonic() + delay))

    @rule(index=st.integers(0, 1))
    def wait_for_event(self, index: int) -> None:
        self.submit(EventWait(self.events[index]))

    @rule(index=st.integers(0, 1))
    def set_event(self, index: int) -> None:
        self.events[index].set()

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 3), data=st.binary(min_size=1, max_size=40))
    def send(self, which: int, data: bytes) -> None:
        direction = self.direction(which)
        self.settle_bytes()
        if direction.sending is None:
            direction.payload = data
            (direction.sending,) = self.submit(Send(direction.sender, data))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 3), length=st.integers(1, 40), whole=st.booleans())
    def receive(self, which: int, length: int, whole: bool) -> None:
        direction = self.direction(which)
        self.settle_bytes()
        if direction.receiving is None:
            direction.buffer = bytearray(length)
            (direction.receiving,) = self.submit(Recv(direction.receiver, direction.buffer, whole=whole))

    @rule(kinds=st.lists(st.sampled_from(STEPS), min_size=2, max_size=QUEUE + 2), silent=st.booleans())
    def chain(self, kinds: list[str], silent: bool) -> None:
        steps = [self.step(kind) for kind in kinds]
        for step in steps[:-1]:
            step.flags = OperationFlags.LINKED | (OperationFlags.SILENT if silent else OperationFlags.NONE)
        made = self.submit(*steps)
        self.chains.append(Chain(made))
        self.signals += [
            (submission, submission.operation.semaphores[0])
            for submission in made
            if isinstance(submission.operation, SemaphoreSignal)
            and isinstance(submission.operation.semaphores[0], TimelineSemaphore)
        ]

    def step(self, kind: str) -> Operation:
        match kind:
            case "past timer":
                return Timer(0.0)
            case "far timer":
                return Timer(time.monotonic() + 1000)
            case "event":
                return EventWait(self.events[0])
            case "signal":
                return SemaphoreSignal([TimelineSemaphore()], [1])
            case _:
                return Nop()

    @precondition(lambda self: self.submissions)
    @rule(which=st.integers(0))
    def cancel(self, which: int) -> None:
        submission = self.submissions[which % len(self.submissions)]
        was_over = submission.is_over
        requested = self.proactor.cancel(submission.operation)
        assert requested is not was_over
        assert submission.is_over is was_over, "it completed inside cancel()"

    @rule()
    def poll(self) -> None:
        self.proactor.poll(0)
        self.settle_bytes()

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 1))
    def close(self, which: int) -> None:
        there, back = self.open.pop(which % len(self.open))
        self.directions = [each for each in self.directions if each is not there and each is not back]
        self.submit(SocketClose(there.sender))

    # What must be true -------------------------------------------------------------------------------------------

    def direction(self, which: int) -> Direction:
        both = [direction for pair in self.open for direction in pair]
        return both[which % len(both)]

    def settle_bytes(self) -> None:
        """Enter what was moved by operations that are over."""
        for direction in self.directions:
            direction.settle()

    @invariant()
    def chains_end_in_order(self) -> None:
        for chain in self.chains:
            chain.check()

    @invariant()
    def bytes_come_as_they_went(self) -> None:
        for direction in self.directions:
            direction.check()

    @invariant()
    def only_steps_that_ran_have_signalled(self) -> None:
        for submission, semaphore in self.signals:
            if submission.is_over:
                assert semaphore.query() == int(submission.succeeded)

    def teardown(self) -> None:
        with self.resources:
            for submission in self.submissions:
                self.proactor.cancel(submission.operation)
            poll_until(self.proactor, lambda: all(submission.is_over for submission in self.submissions))
            self.settle_bytes()
            self.chains_end_in_order()
            self.only_steps_that_ran_have_signalled()
            for direction in self.directions:
                direction.check_at_the_end()
            assert self.proactor.statistics()["in_flight"] == 0


def test_operations_in_any_order_end_once_and_lose_nothing(configuration: Configuration) -> None:
    run_machine(functools.partial(OperationsMachine, configuration))
