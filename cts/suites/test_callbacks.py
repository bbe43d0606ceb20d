"""Completion functions: what they may do, and what happens when one of them, or a signal handler, raises."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from types import FrameType

import pytest

from cts.support import Completions, Sockets, cause_of, perform, poll_until, settle, start
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Capability,
    FailedPrecondition,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
    Timer,
)


class Complaint(Exception):
    """Raised by completion functions of these tests."""


def complain(operation: Operation, flags: object) -> None:
    raise Complaint(operation.user_data)


def interrupt(operation: Operation, flags: object) -> None:
    raise KeyboardInterrupt


def poll_all(proactor: Proactor, *operations: Operation) -> list[BaseException]:
    """Poll until all are done; returns what the polls raised."""
    raised: list[BaseException] = []
    end = time.monotonic() + 5
    while any(operation.state is not OperationState.DONE for operation in operations):
        assert time.monotonic() < end, f"not done: {operations}"
        try:
            proactor.poll(0.1)
        except (Exception, KeyboardInterrupt) as error:
            raised.append(error)
    return raised


# Raising -------------------------------------------------------------------------------------------------------------


def test_one_that_raises_disturbs_no_other(proactor: Proactor, completions: Completions) -> None:
    nops = [Nop(complain if number == 2 else completions, number) for number in range(5)]
    proactor.submit(*nops)
    poll_all(proactor, *nops)
    assert completions.labels == [0, 1, 3, 4]


def test_what_it_raises_is_raised_by_poll_as_it_is(proactor: Proactor) -> None:
    nop = Nop(complain, "text")
    proactor.submit(nop)
    with pytest.raises(Complaint, match="text"):
        poll_until(proactor, lambda: nop.state is OperationState.DONE)


def test_a_note_names_the_operation(proactor: Proactor) -> None:
    nop = Nop(complain)
    proactor.submit(nop)
    (error,) = poll_all(proactor, nop)
    assert any("Nop" in note for note in error.__notes__)


def test_several_that_raise_in_one_poll_are_a_group(proactor: Proactor) -> None:
    nops = [Nop(complain, number) for number in range(3)]
    proactor.submit(*nops)
    raised = poll_all(proactor, *nops)
    complaints = [part for error in raised for part in (error.exceptions if isinstance(error, ExceptionGroup) else [error])]
    assert sorted(part.args[0] for part in complaints) == [0, 1, 2]  # type: ignore[union-attr]
    assert len(raised) == 1 and isinstance(raised[0], ExceptionGroup)


def test_the_next_poll_is_clean(proactor: Proactor) -> None:
    nop = Nop(complain)
    proactor.submit(nop)
    poll_all(proactor, nop)
    assert proactor.poll(0) == 0


def test_one_that_raises_for_a_connection_does_not_end_the_multishot(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    taken: list[Socket] = []

    def take(operation: Operation, flags: object) -> None:
        if operation.error is None:
            taken.append(sockets.keep(operation.result))
            raise Complaint("a connection")

    accept = Accept(listener, take, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    for count in (1, 2):
        sockets.client_of(listener)
        with pytest.raises(Complaint):
            poll_until(proactor, lambda: len(taken) == count)  # noqa: B023
    proactor.cancel(accept)
    settle(proactor, accept)
    assert len(taken) == 2


def test_one_that_raises_in_a_chain_does_not_stop_the_chain(proactor: Proactor, completions: Completions) -> None:
    chain = [Nop(complain, 0, OperationFlags.LINKED), Nop(completions, 1, OperationFlags.LINKED), Nop(completions, 2)]
    proactor.submit(*chain)
    poll_all(proactor, *chain)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_close_delivers_everything_and_raises_at_the_end(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor()
    later = time.monotonic() + 3600
    start(proactor, Timer(later, complain), Timer(later, completions))
    with pytest.raises(Complaint):
        proactor.close()
    assert completions.outcomes == [(None, "cancelled")]


# What a completion function may do -----------------------------------------------------------------------------------


def test_it_may_submit(proactor: Proactor, completions: Completions) -> None:
    second = Nop(completions)
    proactor.submit(Nop(lambda operation, flags: proactor.submit(second)))
    settle(proactor, second)
    assert len(completions) == 1


def test_what_it_submits_does_not_complete_inside_it(proactor: Proactor, completions: Completions) -> None:
    seen = []

    def submit(operation: Operation, flags: object) -> None:
        proactor.submit(second)
        seen.append((len(completions), second.state))

    second = Nop(completions)
    proactor.submit(Nop(submit))
    settle(proactor, second)
    assert seen == [(0, OperationState.SUBMITTED)]


def test_it_may_cancel_another(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 3600)
    proactor.submit(timer, Nop(lambda operation, flags: None if proactor.cancel(timer) else None))
    settle(proactor, timer)
    assert cause_of(timer) is CancelCause.REQUESTED


def test_it_may_cancel_its_own_multishot(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    taken = []

    def once(operation: Operation, flags: object) -> None:
        if operation.error is None:
            taken.append(sockets.keep(operation.result))
            proactor.cancel(operation)

    accept = Accept(listener, once, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    sockets.client_of(listener)
    settle(proactor, accept)
    assert len(taken) == 1


def test_cancelling_an_operation_that_completed_in_the_same_poll_changes_nothing(
    proactor: Proactor, completions: Completions
) -> None:
    nops: list[Operation] = []

    def cancel_all(operation: Operation, flags: object) -> None:
        for nop in nops:
            proactor.cancel(nop)

    nops += [Nop(cancel_all), *(Nop(completions) for _ in range(5))]
    proactor.submit(*nops)
    settle(proactor, *nops)
    proactor.poll(0)
    assert len(completions) == 5


def test_it_may_close_its_socket(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    closing = SocketClose(near)
    receive = RecvBytes(near, 10, lambda operation, flags: proactor.submit(closing))
    start(proactor, receive)
    far.stdlib.send(b"x")
    settle(proactor, closing)
    assert perform(proactor, RecvBytes(far, 10)) == b""


def test_it_may_close_the_socket_of_another_operation(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    receive, closing = RecvBytes(near, 10), SocketClose(near)
    start(proactor, receive)
    proactor.submit(Nop(lambda operation, flags: proactor.submit(closing)))
    settle(proactor, receive, closing)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED


def test_it_may_wake(proactor: Proactor) -> None:
    nop = Nop(lambda operation, flags: proactor.wake())
    proactor.submit(nop)
    settle(proactor, nop)


def test_poll_inside_it_is_refused(proactor: Proactor) -> None:
    nop = Nop(lambda operation, flags: proactor.poll(0) and None)
    proactor.submit(nop)
    with pytest.raises(FailedPrecondition, match="inside a completion function"):
        poll_until(proactor, lambda: nop.state is OperationState.DONE)


def test_close_of_the_proactor_inside_it_is_refused(proactor: Proactor) -> None:
    nop = Nop(lambda operation, flags: proactor.close())
    proactor.submit(nop)
    with pytest.raises(FailedPrecondition, match="inside a completion function"):
        poll_until(proactor, lambda: nop.state is OperationState.DONE)
    settle(proactor, following := Nop())
    proactor.submit(following)
    settle(proactor, following)


def test_an_operation_submitted_while_the_proactor_closes_ends(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor()
    second = Timer(time.monotonic() + 3600, completions)
    start(proactor, Timer(time.monotonic() + 3600, lambda operation, flags: proactor.submit(second)))
    try:
        proactor.close()
    except FailedPrecondition:
        assert second.state is OperationState.NEW  # refused is an answer too
    else:
        assert completions.outcomes == [(None, "cancelled")]


# KeyboardInterrupt ---------------------------------------------------------------------------------------------------


def test_an_interrupt_in_a_completion_function_leaves_at_once_and_loses_nothing(
    proactor: Proactor, completions: Completions
) -> None:
    nops = [Nop(interrupt if number == 2 else completions, number) for number in range(6)]
    proactor.submit(*nops)
    with pytest.raises(KeyboardInterrupt):
        poll_until(proactor, lambda: nops[2].state is OperationState.DONE)
    settle(proactor, *nops)
    assert completions.labels == [0, 1, 3, 4, 5]


def test_an_interrupt_for_a_connection_neither_ends_nor_stops_the_multishot(
    proactor: Proactor, sockets: Sockets
) -> None:
    check_interrupted_multishot(proactor, sockets)


def test_an_interrupt_for_a_connection_does_not_stop_an_emulated_multishot(
    make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    check_interrupted_multishot(make_proactor(allowed_capabilities=Capability.NONE), sockets)


def check_interrupted_multishot(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    taken: list[Socket] = []

    def take(operation: Operation, flags: object) -> None:
        if operation.error is None:
            taken.append(sockets.keep(operation.result))
            if len(taken) == 1:
                raise KeyboardInterrupt

    accept = Accept(listener, take, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    sockets.client_of(listener)
    with pytest.raises(KeyboardInterrupt):
        poll_until(proactor, lambda: taken)
    sockets.client_of(listener)
    poll_until(proactor, lambda: len(taken) == 2)
    assert taken[0].getpeername() != taken[1].getpeername()
    proactor.cancel(accept)
    settle(proactor, accept)


@pytest.mark.parametrize("allowed", [Capability.ALL, Capability.NONE], ids=["native", "emulated"])
@pytest.mark.parametrize("place", range(3))
def test_an_interrupt_in_a_step_does_not_stop_the_chain(
    make_proactor: Callable[..., Proactor], completions: Completions, allowed: Capability, place: int
) -> None:
    proactor = make_proactor(allowed_capabilities=allowed)
    flags = (OperationFlags.LINKED, OperationFlags.LINKED, OperationFlags.NONE)
    chain = [Nop(interrupt if number == place else completions, number, flags[number]) for number in range(3)]
    proactor.submit(*chain)
    poll_all(proactor, *chain)
    assert completions.outcomes == [(number, "ok") for number in range(3) if number != place]


@pytest.mark.parametrize("allowed", [Capability.ALL, Capability.NONE], ids=["native", "emulated"])
@pytest.mark.parametrize("place", range(3))
def test_an_interrupt_in_a_step_of_a_broken_chain_loses_no_later_step(
    make_proactor: Callable[..., Proactor],
    sockets: Sockets,
    completions: Completions,
    allowed: Capability,
    place: int,
) -> None:
    proactor = make_proactor(allowed_capabilities=allowed)
    broken, gone = sockets.unix_pair()
    gone.close()
    functions = [interrupt if number == place else completions for number in range(4)]
    chain: list[Operation] = [
        Send(broken, b"x", functions[0], 0, OperationFlags.LINKED),
        Nop(functions[1], 1, OperationFlags.LINKED),
        Nop(functions[2], 2, OperationFlags.LINKED),
        Nop(functions[3], 3),
    ]
    proactor.submit(*chain)
    poll_all(proactor, *chain)
    assert completions.labels == [number for number in range(4) if number != place]


def test_a_signal_handler_that_raises_in_a_waiting_poll_leaves_at_once(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 0.05)
    proactor.submit(timer)
    before = signal.signal(signal.SIGALRM, raise_interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            proactor.poll(5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert timer.state is OperationState.SUBMITTED
    settle(proactor, timer)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Stress:
    """Nops, timers, sends and connections that complete while a signal handler raises at random moments of poll().

    Only poll() is under fire: the handler raises while `armed`, which is set around it.
    """

    def __init__(self, proactor: Proactor, sockets: Sockets, seed: int) -> None:
        self.proactor = proactor
        self.choice = random.Random(seed)
        self.finals: dict[int, int] = {}
        self.pending: dict[int, Operation] = {}
        self.armed = False
        self.interruptions = 0
        self.listener = sockets.listener()
        self.near, self.far = sockets.unix_pair()
        self.accepted: list[Socket] = []
        self.connections = 0
        self.bytes_sent = 0
        self.accept = Accept(self.listener, self.note, "accept", OperationFlags.MULTISHOT)

    def note(self, operation: Operation, flags: object) -> None:
        """A completion function that a signal may interrupt: what it does is one step or may be done before it."""
        if flags:
            self.accepted.append(operation.result)
        else:
            key = operation.user_data
            assert isinstance(key, int | str)
            self.finals[key] = self.finals.get(key, 0) + 1  # type: ignore[index, arg-type]

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            self.interruptions += 1
            raise KeyboardInterrupt

    def fire_later(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self.choice.uniform(0.00002, 0.0006))
        self.armed = True

    def poll(self, timeout: float) -> None:
        try:
            self.fire_later()
            self.proactor.poll(timeout)
            self.armed = False
        except KeyboardInterrupt:
            pass
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


def test_interrupts_at_random_moments_lose_no_completion_and_repeat_none(
    proactor: Proactor, sockets: Sockets
) -> None:
    stress = Stress(proactor, sockets, seed=7)
    proactor.submit(stress.accept)
    before = signal.signal(signal.SIGALRM, stress.handle)
    operations: list[Operation] = []
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            number = len(operations)
            batch: list[Operation] = [
                Nop(user_data=number),
                Timer(time.monotonic() + stress.choice.random() / 2000, user_data=number + 1),
                Send(stress.near, b"x", user_data=number + 2),
                RecvBytes(stress.far, 1, user_data=number + 3),
            ]
            proactor.submit(*batch)
            operations += batch
            if number % 40 == 0 and stress.connections < 100:
                sockets.client_of(stress.listener)
                stress.connections += 1
            stress.poll(stress.choice.choice((0, 0.0005)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    settle(proactor, *operations)
    failures = [operation.error for operation in operations if operation.error is not None]
    assert stress.interruptions > 20
    assert failures == []
    # The note of one connection may have been interrupted after its delivery began, so they are counted at the clients.
    poll_until(proactor, lambda: proactor.statistics()["in_flight"] == 1)
    proactor.cancel(stress.accept)
    settle(proactor, stress.accept)
    for socket in stress.accepted:
        socket.close()
    assert len({id(socket) for socket in stress.accepted}) == len(stress.accepted)
    assert proactor.statistics()["delivered"] >= len(operations) + len(stress.accepted)


@pytest.mark.parametrize("seed", [1, 2])
def test_interrupts_at_random_moments_call_each_completion_function_exactly_once(
    proactor: Proactor, seed: int
) -> None:
    """The handler raises in poll() but not while a completion function runs: those guard themselves."""
    stress = Stress.__new__(Stress)
    stress.proactor, stress.choice, stress.armed, stress.interruptions = proactor, random.Random(seed), False, 0
    calls: list[int] = []
    add = calls.append

    class Recorder:
        """list.append as a completion function: no Python code of its own, so no signal handler runs within it."""

    before = signal.signal(signal.SIGALRM, stress.handle)
    operations: list[Operation] = []
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            batch = [Recording(len(operations) + index, add) for index in range(20)]
            proactor.submit(*batch)
            operations += batch
            stress.poll(0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    settle(proactor, *operations)
    proactor.poll(0)
    assert stress.interruptions > 10
    assert len(calls) == len(set(calls))
    assert all(operation.error is None for operation in operations)


class Recording(Nop):
    """A nop that notes its delivery."""

    __slots__ = ()

    def __init__(self, number: int, add: Callable[[int], None]) -> None:
        super().__init__(lambda operation, flags: add(number))
