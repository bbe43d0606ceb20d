"""Buffer pools in any order: leases taken and given back, receives begun, fed, cancelled and paused.

Whatever happens: every buffer is free or leased to exactly one; the bytes of a connection come in order, each once, in
leases that nobody else has; and at the end the pool has all its buffers again.
"""

from __future__ import annotations

import functools
import warnings
from contextlib import ExitStack

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cts.configurations import Configuration
from cts.machines.models import Submission
from cts.machines.running import nothing_left, run_machine
from cts.support import Sockets, poll_until
from proactor_trio.proactor import (
    Access,
    BufferPool,
    OperationFlags,
    PoolLease,
    Proactor,
    RecvPool,
    ResourceExhausted,
    Slab,
    register_slab,
)

BUFFERS = 4
BUFFER_BYTES = 8
CONNECTIONS = 3


class LeasesMachine(RuleBasedStateMachine):
    """Leases that programs take themselves."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.resources.enter_context(nothing_left())
        proactor = self.resources.enter_context(Proactor(configuration.backend, configuration.restrict()))
        slab = self.resources.enter_context(Slab.allocate(BUFFER_BYTES, BUFFERS))
        region = self.resources.enter_context(register_slab(proactor, slab, Access.READ | Access.WRITE))
        self.pool = self.resources.enter_context(BufferPool(region))
        #: Each lease with the byte that its owner has filled it with.
        self.leases: list[tuple[PoolLease, int]] = []
        self.taken = 0

    @rule()
    def take(self) -> None:
        try:
            lease = self.pool.acquire()
        except ResourceExhausted:
            assert len(self.leases) == BUFFERS
            return
        self.taken += 1
        mark = self.taken % 256
        lease.view[:] = bytes([mark]) * BUFFER_BYTES
        self.leases.append((lease, mark))

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0))
    def give_back(self, which: int) -> None:
        lease, _ = self.leases.pop(which % len(self.leases))
        lease.release()

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0))
    def give_back_twice(self, which: int) -> None:
        lease, _ = self.leases.pop(which % len(self.leases))
        lease.release()
        lease.release()

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0))
    def drop(self, which: int) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.leases.pop(which % len(self.leases))
        assert [warning.category for warning in caught] == [ResourceWarning]

    @invariant()
    def every_buffer_is_free_or_leased_once(self) -> None:
        indices = {lease.index for lease, _ in self.leases}
        assert len(indices) == len(self.leases)
        assert self.pool.available == BUFFERS - len(self.leases)

    @invariant()
    def nobody_writes_into_a_lease_of_another(self) -> None:
        for lease, mark in self.leases:
            assert bytes(lease.view) == bytes([mark]) * BUFFER_BYTES

    def teardown(self) -> None:
        with self.resources:
            while self.leases:
                self.leases.pop()[0].release()
            assert self.pool.available == BUFFERS


class ReceivesMachine(RuleBasedStateMachine):
    """A pool that feeds the receives of several connections."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.resources.enter_context(nothing_left())
        self.sockets = Sockets()
        self.resources.callback(self.sockets.close)
        self.proactor = self.resources.enter_context(Proactor(configuration.backend, configuration.restrict()))
        slab = self.resources.enter_context(Slab.allocate(BUFFER_BYTES, BUFFERS))
        region = self.resources.enter_context(register_slab(self.proactor, slab, Access.READ | Access.WRITE))
        self.pool = self.resources.enter_context(BufferPool(region))
        self.pairs = [self.sockets.pair("unix" if number % 2 else "tcp") for number in range(CONNECTIONS)]
        self.sent = [bytearray() for _ in range(CONNECTIONS)]
        self.received = [bytearray() for _ in range(CONNECTIONS)]
        self.receives: list[Submission | None] = [None] * CONNECTIONS
        self.everything: list[Submission] = []
        self.leases: list[PoolLease] = []

    @rule(which=st.integers(0, CONNECTIONS - 1), data=st.binary(min_size=1, max_size=20))
    def send(self, which: int, data: bytes) -> None:
        _, far = self.pairs[which]
        self.sent[which] += data
        assert far.stdlib.send(data) == len(data)

    @rule(which=st.integers(0, CONNECTIONS - 1), multishot=st.booleans())
    def receive(self, which: int, multishot: bool) -> None:
        if (current := self.receives[which]) is not None and not current.is_over:
            return
        self.take(which)
        flags = OperationFlags.MULTISHOT if multishot else OperationFlags.NONE
        submission = Submission(RecvPool(self.pairs[which][0], self.pool, flags=flags))
        self.receives[which] = submission
        self.everything.append(submission)
        self.proactor.submit(submission.operation)

    @rule(which=st.integers(0, CONNECTIONS - 1))
    def cancel(self, which: int) -> None:
        submission = self.receives[which]
        if submission is not None:
            self.proactor.cancel(submission.operation)

    @rule()
    def poll(self) -> None:
        self.proactor.poll(0)
        for which in range(CONNECTIONS):
            self.take(which)

    @rule(which=st.integers(0))
    def give_back(self, which: int) -> None:
        if self.leases:
            self.leases.pop(which % len(self.leases)).release()

    def take(self, which: int) -> None:
        """Enter what has come for a connection."""
        submission = self.receives[which]
        if submission is None:
            return
        for lease in submission.results:
            if lease is None:
                continue
            self.received[which] += lease.view
            if not lease.released:
                self.leases.append(lease)
        submission.results.clear()

    @invariant()
    def every_buffer_is_free_or_leased_once(self) -> None:
        waiting = sum(lease is not None and not lease.released for each in self.everything for lease in each.results)
        assert self.pool.available == BUFFERS - len(self.leases) - waiting
        assert len({lease.index for lease in self.leases}) == len(self.leases)

    @invariant()
    def bytes_come_as_they_went(self) -> None:
        for sent, received in zip(self.sent, self.received, strict=True):
            assert sent.startswith(received)

    def teardown(self) -> None:
        with self.resources:
            for which in range(CONNECTIONS):
                self.receive_the_rest(which)
            assert self.received == self.sent
            for submission in self.everything:
                self.proactor.cancel(submission.operation)
            poll_until(self.proactor, lambda: all(submission.is_over for submission in self.everything))
            while self.leases:
                self.leases.pop().release()
            assert self.pool.available == BUFFERS

    def receive_the_rest(self, which: int) -> None:
        def has_all() -> bool:
            for each in range(CONNECTIONS):
                self.take(each)
            while self.leases:
                self.leases.pop().release()
            self.receive(which, False)
            return len(self.received[which]) >= len(self.sent[which])

        poll_until(self.proactor, has_all)


def test_leases_are_had_once_and_none_is_lost(configuration: Configuration) -> None:
    run_machine(functools.partial(LeasesMachine, configuration))


def test_receives_lose_neither_bytes_nor_buffers(configuration: Configuration) -> None:
    run_machine(functools.partial(ReceivesMachine, configuration))
