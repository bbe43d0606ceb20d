"""Messages between proactors: fire-and-forget from any thread, and as operations; by the kernel or by a queue."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import pytest

from cts.support import Completions, finish, poll_until, settle
from proactor_trio.proactor import (
    Capability,
    FailedPrecondition,
    Message,
    Nop,
    OperationFlags,
    OperationState,
    Proactor,
    ResourceExhausted,
    Timer,
)

pytestmark = pytest.mark.needs("messages")

LINKED = OperationFlags.LINKED
LARGEST = (1 << 64) - 1


class Mailbox:
    """A message callback that records."""

    def __init__(self, proactor: Proactor) -> None:
        self.received: list[int] = []
        self.proactor = proactor
        proactor.set_message_callback(self)

    def __call__(self, proactor: Proactor, data: int) -> None:
        assert proactor is self.proactor
        self.received.append(data)

    def wait_for(self, count: int) -> list[int]:
        poll_until(self.proactor, lambda: len(self.received) >= count)
        return self.received


@pytest.fixture(params=["kernel", "queue"])
def make(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Callable[..., Proactor]:
    """Makes proactors that send by the kernel where it can, and others that do not."""
    if request.param == "kernel":
        return make_proactor
    allowed = Capability.ALL & ~Capability.PROACTOR_MESSAGING
    return lambda **options: make_proactor(allowed_capabilities=allowed, **options)


@pytest.mark.parametrize("data", [0, 1, 1 << 31, (1 << 32) + 5, LARGEST])
@pytest.mark.reference("MessageTest.BasicSend")
def test_an_operation_delivers_64_bits(make: Callable[..., Proactor], data: int) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    message = finish(source, Message(target, data))
    assert (message.error, mailbox.wait_for(1)) == (None, [data])


@pytest.mark.reference("MessageTest.SelfMessage")
def test_a_message_to_oneself_is_delivered(make: Callable[..., Proactor]) -> None:
    proactor = make()
    mailbox = Mailbox(proactor)
    finish(proactor, Message(proactor, 5))
    assert mailbox.wait_for(1) == [5]


@pytest.mark.reference("MessageTest.Bidirectional")
def test_messages_go_both_ways(make: Callable[..., Proactor]) -> None:
    first, second = make(), make()
    answers = Mailbox(first)
    second.set_message_callback(lambda proactor, data: proactor.submit(Message(first, data + 1)))
    finish(first, Message(second, 1))
    poll_until(second, lambda: second.poll(0) or second.statistics()["delivered"])
    assert answers.wait_for(1) == [2]


@pytest.mark.reference("MessageTest.MultipleInFlight")
def test_many_in_flight_all_arrive(make: Callable[..., Proactor]) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    messages = [Message(target, number) for number in range(50)]
    source.submit(*messages)
    settle(source, *messages)
    assert sorted(mailbox.wait_for(50)) == list(range(50))


@pytest.mark.regression("message-before-its-turn")
def test_in_a_chain_nothing_is_sent_before_its_turn(make: Callable[..., Proactor]) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    blocked = Timer(1e9, flags=LINKED)
    message = Message(target, 1)
    source.submit(blocked, message)
    source.poll(0)
    target.poll(0)
    source.cancel(blocked)
    settle(source, message)
    target.poll(0)
    assert (mailbox.received, message.state) == ([], OperationState.DONE)


@pytest.mark.reference("MessageTest.LinkChainTimerThenMessage")
def test_behind_a_timer_it_is_sent_when_the_timer_has_fired(
    make: Callable[..., Proactor], completions: Completions
) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    due = time.monotonic() + 0.01
    steps = (Timer(due, completions, "timer", LINKED), Message(target, 8, completions, "message"))
    source.submit(*steps)
    settle(source, *steps)
    assert (mailbox.wait_for(1), completions.labels) == ([8], ["timer", "message"])
    assert time.monotonic() >= due


def test_in_a_chain_it_is_sent_when_its_turn_comes(make: Callable[..., Proactor], completions: Completions) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    steps = (Nop(completions, 1, LINKED), Message(target, 9, completions, 2, LINKED), Nop(completions, 3))
    source.submit(*steps)
    settle(source, *steps)
    assert (mailbox.wait_for(1), completions.labels) == ([9], [1, 2, 3])


@pytest.mark.reference("MessageTest.SendMessage")
def test_fire_and_forget_is_delivered_in_order(make: Callable[..., Proactor]) -> None:
    target = make()
    mailbox = Mailbox(target)
    for number in range(5):
        target.send_message(number)
    assert mailbox.wait_for(5) == [0, 1, 2, 3, 4]


@pytest.mark.reference("MessageTest.SkipSourceCompletion")
def test_fire_and_forget_completes_nowhere(make: Callable[..., Proactor]) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    target.send_message(6)
    assert mailbox.wait_for(1) == [6]
    assert [proactor.statistics()["delivered"] for proactor in (source, target)] == [0, 0]


@pytest.mark.reference("MessageTest.SkipSourceCompletion")
def test_a_message_of_which_nobody_is_told_arrives_after_it_was_dropped(make: Callable[..., Proactor]) -> None:
    source, target = make(), make()
    mailbox = Mailbox(target)
    source.submit(Message(target, 6))
    gc.collect()
    poll_until(source, lambda: not source.statistics()["in_flight"])
    assert mailbox.wait_for(1) == [6]


@pytest.mark.reference("MessageTest.SendMessageFromMultipleThreads")
def test_messages_of_four_threads_all_arrive(make: Callable[..., Proactor]) -> None:
    target = make()
    mailbox = Mailbox(target)
    threads = [
        threading.Thread(target=lambda base=base: [target.send_message(base + number) for number in range(50)])
        for base in (0, 50, 100, 150)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mailbox.wait_for(200)) == list(range(200))


def test_a_message_from_another_thread_wakes_the_target(make: Callable[..., Proactor]) -> None:
    target = make()
    mailbox = Mailbox(target)
    thread = threading.Thread(target=target.send_message, args=(3,))
    thread.start()
    assert mailbox.wait_for(1) == [3]
    thread.join()


def test_an_operation_wakes_a_target_that_waits(make: Callable[..., Proactor]) -> None:
    source, target = make(), None
    received: list[int] = []
    ready = threading.Event()
    made: list[Proactor] = []

    def serve() -> None:
        with Proactor(backend=source.backend_name, options=source.options) as own:
            own.set_message_callback(lambda _proactor, data: received.append(data))
            made.append(own)
            ready.set()
            while not received:
                own.poll(10)

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    target = made[0]
    finish(source, Message(target, 7))
    thread.join()
    assert received == [7]


def test_a_full_target_refuses_more_until_it_polls(make: Callable[..., Proactor]) -> None:
    target = make(message_pool_capacity=2)
    mailbox = Mailbox(target)
    target.send_message(1)
    target.send_message(2)
    with pytest.raises(ResourceExhausted):
        target.send_message(3)
    target.poll(0)
    target.send_message(4)
    assert mailbox.wait_for(3) == [1, 2, 4]


def test_messages_do_not_count_as_completions(make: Callable[..., Proactor]) -> None:
    target = make()
    Mailbox(target)
    target.send_message(1)
    assert target.poll(0) == 0


def test_without_a_callback_they_are_dropped(make: Callable[..., Proactor]) -> None:
    target = make()
    mailbox = Mailbox(target)
    target.set_message_callback(None)
    target.send_message(1)
    target.poll(0)
    target.set_message_callback(mailbox)
    target.poll(0)
    assert mailbox.received == []


def test_a_callback_that_raises_is_raised_by_poll_after_the_others(make: Callable[..., Proactor]) -> None:
    target = make()
    received: list[int] = []

    def callback(_proactor: Proactor, data: int) -> None:
        received.append(data)
        if data == 1:
            raise LookupError("mine")

    target.set_message_callback(callback)
    target.send_message(1)
    target.send_message(2)
    with pytest.raises(LookupError):
        target.poll(0)
    assert received == [1, 2]


@pytest.mark.parametrize("data", [-1, LARGEST + 1])
def test_a_message_has_64_bits(make: Callable[..., Proactor], data: int) -> None:
    proactor = make()
    with pytest.raises(ValueError, match="data"):
        proactor.send_message(data)
    with pytest.raises(ValueError, match="data"):
        proactor.submit(Message(proactor, data))


def test_a_target_is_a_proactor() -> None:
    with pytest.raises(TypeError, match="target"):
        Message(None, 1)  # type: ignore[arg-type]


def test_a_closed_target_is_refused(make: Callable[..., Proactor]) -> None:
    source, target = make(), make()
    target.close()
    with pytest.raises(FailedPrecondition, match="target is closed"):
        source.submit(Message(target, 1))
