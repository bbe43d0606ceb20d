"""Completion functions: what they may do, and what happens when one of them, or a signal handler, raises."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from types import FrameType

import pytest

from cts.support import Completions, Files, Sockets, alarm_handler, cause_of, finish, perform, poll_until, settle, start
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Capability,
    FailedPrecondition,
    FileOpen,
    FileRead,
    FileWrite,
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

#: How long a test is interrupted at random moments; each configuration has its turn.
SECONDS = 0.25


class Complaint(Exception):
    """Raised by completion functions of these tests."""


def complain(operation: Operation, flags: object) -> None:
    raise Complaint(operation.user_data)


def interrupt(operation: Operation, flags: object) -> None:
    raise KeyboardInterrupt


def poll_all(proactor: Proactor, *operations: Operation) -> list[BaseException]:
    """Poll until all are done; returns what the polls raised."""
    raised: list[BaseException] = []
    end = time.monotonic() + 2
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
    complaints: list[BaseException] = []
    for error in raised:
        complaints += error.exceptions if isinstance(error, ExceptionGroup) else [error]
    assert sorted(part.args[0] for part in complaints) == [0, 1, 2]
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
    seen: list[tuple[int, OperationState]] = []

    def submit(operation: Operation, flags: object) -> None:
        proactor.submit(second)
        seen.append((len(completions), second.state))

    second = Nop(completions)
    proactor.submit(Nop(submit))
    settle(proactor, second)
    assert seen == [(0, OperationState.SUBMITTED)]


def test_it_may_cancel_another(proactor: Proactor) -> None:
    def cancel(operation: Operation, flags: object) -> None:
        assert proactor.cancel(timer)

    timer = Timer(time.monotonic() + 3600)
    proactor.submit(timer, Nop(cancel))
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
    def poll(operation: Operation, flags: object) -> None:
        proactor.poll(0)

    nop = Nop(poll)
    proactor.submit(nop)
    with pytest.raises(FailedPrecondition, match="inside a completion function"):
        poll_until(proactor, lambda: nop.state is OperationState.DONE)


def test_close_of_the_proactor_inside_it_is_refused(proactor: Proactor) -> None:
    nop = Nop(lambda operation, flags: proactor.close())
    proactor.submit(nop)
    with pytest.raises(FailedPrecondition, match="inside a completion function"):
        poll_until(proactor, lambda: nop.state is OperationState.DONE)
    finish(proactor, Nop())


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


@pytest.mark.needs("signals")
def test_a_signal_handler_that_raises_in_a_waiting_poll_leaves_at_once(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 0.05)
    proactor.submit(timer)
    with alarm_handler(raise_interrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            proactor.poll(5)
    assert timer.state is OperationState.SUBMITTED
    settle(proactor, timer)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Fire:
    """Polls while a signal handler raises KeyboardInterrupt at a random moment of each poll.

    Only `poll()` is under fire, and there not the completion functions of these tests, which would have to guard what
    they note: the handler spares a moment at which one of them is running.
    """

    def __init__(self, proactor: Proactor, seed: int) -> None:
        self.proactor = proactor
        self.choice = random.Random(seed)
        self.armed = False
        self.interruptions = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        # What a finaliser raises is lost, whoever wrote it.
        while frame is not None and frame.f_code not in SPARED and frame.f_code.co_name != "__del__":
            frame = frame.f_back
        if self.armed and frame is None:
            self.armed = False
            self.interruptions += 1
            raise KeyboardInterrupt

    def poll(self, timeout: float) -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, self.choice.uniform(0.00001, 0.0004))
            self.armed = True
            self.proactor.poll(timeout)
            self.armed = False
        except KeyboardInterrupt:
            pass
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


SPARED = frozenset((Completions.__call__.__code__,))


@pytest.mark.needs("signals")
@pytest.mark.ring_rule(17)
def test_interrupts_at_random_moments_lose_no_completion_and_repeat_none(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=7)
    near, far = sockets.unix_pair()
    listener = sockets.listener()
    accept = Accept(listener, completions, "accept", OperationFlags.MULTISHOT)
    proactor.submit(accept)
    clients: set[object] = set()
    operations: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            batch: list[Operation] = [
                *(Nop(completions) for _ in range(10)),
                Timer(time.monotonic() + fire.choice.random() / 2000, completions),
                Send(near, b"x", completions),
                RecvBytes(far, 1, completions),
                Nop(completions, flags=OperationFlags.LINKED),
                Timer(0.0, completions, flags=OperationFlags.LINKED),
                Nop(completions),
            ]
            proactor.submit(*batch)
            operations += batch
            if len(clients) < 100 and fire.choice.random() < 0.2:
                clients.add(sockets.client_of(listener).getsockname())
            fire.poll(fire.choice.choice((0, 0.0005)))
    settle(proactor, *operations)
    poll_until(proactor, lambda: sum(not record.is_final for record in completions.records) >= len(clients))
    proactor.cancel(accept)
    settle(proactor, accept)
    accepted = [sockets.keep(record.result) for record in completions.records if not record.is_final]
    finals = [id(record.operation) for record in completions.finals]
    assert fire.interruptions > 20
    assert len(finals) == len(set(finals)) == len(operations) + 1
    assert [operation.error for operation in operations if operation.error is not None] == []
    assert len(accepted) == len(clients)
    assert {socket.getpeername() for socket in accepted} == clients


@pytest.mark.needs("files", "signals")
def test_interrupts_at_random_moments_of_file_operations_lose_none(
    proactor: Proactor, files: Files, completions: Completions
) -> None:
    fire = Fire(proactor, seed=8)
    file = files.holding(bytes(200_000))
    operations: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            batch: list[Operation] = [
                FileRead(file, bytearray(1000), 0, completions),
                FileRead(file, bytearray(200_000), 0, completions),
                FileWrite(file, b"x", 0, completions),
                FileOpen(files.folder / "file", completion_fn=completions),
            ]
            proactor.submit(*batch)
            operations += batch
            fire.poll(fire.choice.choice((0, 0.0005)))
            if len(operations) % 200 == 0:
                settle(proactor, *operations[-200:])
                for operation in operations[3::4]:
                    if operation.result is not None and not operation.result.closed:
                        operation.result.close()
    settle(proactor, *operations)
    for operation in operations[3::4]:
        assert operation.error is None
        if not operation.result.closed:
            operation.result.close()
    assert fire.interruptions > 10
    finals = list(map(id, completions.operations))
    assert len(finals) == len(set(finals)) == len(operations)


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_while_operations_are_cancelled_end_each_once(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=9)
    near, _ = sockets.tcp_pair()
    operations: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            batch: list[Operation] = [
                Timer(time.monotonic() + 3600, completions),
                RecvBytes(near, 1, completions),
                Accept(sockets.listener(), completions) if len(operations) < 200 else Nop(completions),
            ]
            proactor.submit(*batch)
            operations += batch
            fire.poll(0)
            for operation in batch:
                proactor.cancel(operation)
            fire.poll(0)
    settle(proactor, *operations)
    finals = list(map(id, completions.operations))
    assert len(finals) == len(set(finals)) == len(operations)


@pytest.mark.needs("signals")
@pytest.mark.ring_rule(17)
def test_interrupts_during_the_submission_lose_no_operation(proactor: Proactor, completions: Completions) -> None:
    """An interrupted submit() has either not begun (the operation is NEW or DONE), or its operation completes."""
    fire = Fire(proactor, seed=10)
    operations: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            nop = Nop(completions)
            operations.append(nop)
            try:
                signal.setitimer(signal.ITIMER_REAL, fire.choice.uniform(0.00001, 0.00005))
                fire.armed = True
                proactor.submit(nop)
                proactor.poll(0)
                proactor.poll(0)
                fire.armed = False
            except KeyboardInterrupt:
                pass
            finally:
                fire.armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
    submitted = [nop for nop in operations if nop.state is not OperationState.NEW]
    settle(proactor, *submitted)
    assert fire.interruptions > 10
    assert len(completions) == len(submitted)
