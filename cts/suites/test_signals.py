"""Signals: callbacks inside poll(), and a process that is as it was when nobody is subscribed any more."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import proactor_trio
from cts.runtime.support import in_main_thread_only
from cts.support import finish, poll_until, until_asleep
from proactor_trio.lowlevel import current_proactor
from proactor_trio.proactor import (
    FailedPrecondition,
    Nop,
    Proactor,
    Signal,
    SignalSubscription,
    StatusCode,
    ThreadingMode,
    Unimplemented,
    signal_block_default,
    signal_ignore_broken_pipe,
    signal_name,
    status_of,
)
from tests.proactor.interruptions import interrupt_at

pytestmark = [in_main_thread_only, pytest.mark.needs("signals")]


@pytest.fixture(autouse=True)
def the_process_is_as_it_was() -> Iterator[None]:
    """Handlers, blocked mask and wakeup descriptor."""

    def state() -> tuple[object, ...]:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        handlers = [signal.getsignal(each.number) for each in Signal]
        return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), wakeup

    before = state()
    yield
    assert state() == before


class Calls:
    """A callback that records."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    def __call__(self, subscription: SignalSubscription, signal: Signal) -> None:
        self.signals.append(signal)


def send(which: Signal) -> None:
    os.kill(os.getpid(), which.number)


def send_when_asleep(thread: threading.Thread) -> None:
    """SIGUSR1, when the thread waits in the kernel."""
    until_asleep(thread)
    send(Signal.USER1)


def not_to_be_called(subscription: SignalSubscription, signal: Signal) -> None:
    pytest.fail(f"{subscription!r} was called")


# Names and refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", Signal)
@pytest.mark.reference("SignalTest.SignalName")
@pytest.mark.regression("signal-names")
def test_a_signal_has_a_name(which: Signal) -> None:
    assert signal_name(which) == signal_name(which.value) == which.name


@pytest.mark.parametrize("value", [0, 7, -1, 99])
@pytest.mark.reference("SignalTest.SignalName")
@pytest.mark.regression("signal-names")
def test_what_is_no_signal_is_called_unknown(value: int) -> None:
    assert signal_name(value) == "UNKNOWN"


@pytest.mark.parametrize("value", [0, 7, 99, signal.SIGTERM, None])
@pytest.mark.reference("SignalTest.InvalidSignal")
def test_what_is_no_signal_is_refused(proactor: Proactor, value: Any) -> None:
    with pytest.raises(TypeError, match="signal must be a Signal") as refused:
        SignalSubscription(proactor, value, not_to_be_called)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


def test_a_callback_is_callable(proactor: Proactor) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        SignalSubscription(proactor, Signal.USER1, None)  # type: ignore[arg-type]


@pytest.mark.reference("SignalTest.WindowsUnsupportedSignals")
def test_a_signal_that_the_system_lacks_is_refused_by_name(proactor: Proactor, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delattr(signal, "SIGHUP")
        with pytest.raises(Unimplemented, match="HANGUP"):
            SignalSubscription(proactor, Signal.HANGUP, not_to_be_called)


@pytest.mark.ring_rule(9)
def test_another_thread_is_refused_with_words(make_proactor: Callable[..., Proactor]) -> None:
    refusals: list[str] = []

    def subscribe() -> None:
        with make_proactor() as own, pytest.raises(FailedPrecondition) as refused:
            SignalSubscription(own, Signal.USER1, not_to_be_called)
        refusals.append(str(refused.value))

    thread = threading.Thread(target=subscribe)
    thread.start()
    thread.join()
    assert "main thread" in refusals[0]


def test_a_proactor_of_another_thread_is_refused(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    may_close = threading.Event()
    is_owned = threading.Event()

    def own() -> None:
        finish(proactor, Nop())
        is_owned.set()
        may_close.wait()
        proactor.close()

    thread = threading.Thread(target=own)
    thread.start()
    is_owned.wait()
    with pytest.raises(FailedPrecondition, match="belongs to thread"):
        SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    may_close.set()
    thread.join()


def test_a_closed_proactor_is_refused(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    proactor.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        SignalSubscription(proactor, Signal.USER1, not_to_be_called)


# Delivery -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", Signal)
@pytest.mark.reference("SignalTest.SignalDelivery")
def test_a_signal_is_delivered_inside_poll(proactor: Proactor, which: Signal) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, which, calls)
    send(which)
    assert calls.signals == []
    poll_until(proactor, lambda: calls.signals)
    subscription.close()
    assert calls.signals == [which]


def test_a_signal_ends_a_poll_that_waits(proactor: Proactor) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)
    sender = threading.Thread(target=send_when_asleep, args=(threading.current_thread(),))
    sender.start()
    while not calls.signals:
        proactor.poll(None)
    sender.join()
    subscription.close()


@pytest.mark.ring_rule(9)
def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_poll(proactor: Proactor) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)

    owner = threading.current_thread()

    def send_to_myself() -> None:
        until_asleep(owner)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    sender = threading.Thread(target=send_to_myself)
    sender.start()
    while not calls.signals:
        proactor.poll(None)
    sender.join()
    subscription.close()


def test_it_is_not_a_completion(proactor: Proactor) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)
    send(Signal.USER1)
    counts = []
    while not calls.signals:
        counts.append(proactor.poll(1))
    subscription.close()
    assert sum(counts) == 0


def test_it_is_delivered_again_and_again(proactor: Proactor) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)
    for number in range(1, 11):
        send(Signal.USER1)
        poll_until(proactor, lambda number=number: len(calls.signals) == number)  # type: ignore[misc]
    subscription.close()


def test_signals_that_arrive_before_the_callback_are_one(proactor: Proactor) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)
    for _ in range(5):
        send(Signal.USER1)
    poll_until(proactor, lambda: calls.signals)
    proactor.poll(0)
    subscription.close()
    assert calls.signals == [Signal.USER1]


@pytest.mark.reference("SignalTest.MultipleSubscribers")
def test_subscriptions_of_one_signal_are_called_in_their_order(proactor: Proactor) -> None:
    order: list[int] = []
    subscriptions = [
        SignalSubscription(proactor, Signal.USER1, lambda *_, number=number: order.append(number))
        for number in range(4)
    ]
    send(Signal.USER1)
    poll_until(proactor, lambda: len(order) == 4)
    for subscription in subscriptions:
        subscription.close()
    assert order == [0, 1, 2, 3]


def test_signals_do_not_mix(proactor: Proactor) -> None:
    first, second = Calls(), Calls()
    subscriptions = [
        SignalSubscription(proactor, Signal.USER1, first),
        SignalSubscription(proactor, Signal.USER2, second),
    ]
    send(Signal.USER2)
    poll_until(proactor, lambda: second.signals)
    for subscription in subscriptions:
        subscription.close()
    assert (first.signals, second.signals) == ([], [Signal.USER2])


def test_what_a_callback_raises_is_raised_by_poll_after_the_others_were_called(proactor: Proactor) -> None:
    def fail(subscription: SignalSubscription, signal: Signal) -> None:
        raise LookupError("mine")

    calls = Calls()
    subscriptions = [
        SignalSubscription(proactor, Signal.USER1, fail),
        SignalSubscription(proactor, Signal.USER1, calls),
    ]
    send(Signal.USER1)
    with pytest.raises(LookupError, match="mine"):
        poll_until(proactor, lambda: False)
    for subscription in subscriptions:
        subscription.close()
    assert calls.signals == [Signal.USER1]


def test_a_callback_may_submit(proactor: Proactor) -> None:
    completed: list[object] = []
    nop = Nop(lambda operation, flags: completed.append(operation))
    subscription = SignalSubscription(proactor, Signal.USER1, lambda *_: proactor.submit(nop))
    send(Signal.USER1)
    poll_until(proactor, lambda: completed)
    subscription.close()


# Unsubscribing ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SignalTest.SubscribeUnsubscribe")
def test_closing_gives_the_former_handler_back(proactor: Proactor) -> None:

    def former(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGUSR1, former)
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    while_subscribed = signal.getsignal(signal.SIGUSR1)
    subscription.close()
    after = signal.signal(signal.SIGUSR1, before)
    assert while_subscribed is not former and after is former


@pytest.mark.reference("SignalTest.SubscribeUnsubscribe")
def test_closing_is_idempotent(proactor: Proactor) -> None:
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    subscription.close()
    subscription.close()
    assert not subscription.is_active


def test_only_the_last_one_of_a_signal_gives_it_back(proactor: Proactor) -> None:
    calls = Calls()
    first = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    second = SignalSubscription(proactor, Signal.USER1, calls)
    first.close()
    send(Signal.USER1)
    poll_until(proactor, lambda: calls.signals)
    second.close()


def test_a_signal_that_was_not_delivered_yet_is_not_delivered_after_closing(proactor: Proactor) -> None:
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    send(Signal.USER1)
    subscription.close()
    proactor.poll(0)
    proactor.poll(0)


def test_a_callback_may_close_its_own_subscription(proactor: Proactor) -> None:
    calls: list[str] = []

    def close(subscription: SignalSubscription, signal: Signal) -> None:
        subscription.close()
        calls.append("closed")

    SignalSubscription(proactor, Signal.USER1, close)
    send(Signal.USER1)
    poll_until(proactor, lambda: calls)


def test_one_that_a_callback_closes_is_not_called_any_more(proactor: Proactor) -> None:
    first = SignalSubscription(proactor, Signal.USER1, lambda *_: second.close())
    second = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    calls = Calls()
    third = SignalSubscription(proactor, Signal.USER1, calls)
    send(Signal.USER1)
    poll_until(proactor, lambda: calls.signals)
    first.close()
    third.close()


@pytest.mark.regression("signals-after-the-last-unsubscribe")
def test_a_signal_can_be_subscribed_to_again(proactor: Proactor) -> None:
    for _ in range(3):
        calls = Calls()
        subscription = SignalSubscription(proactor, Signal.USER1, calls)
        send(Signal.USER1)
        poll_until(proactor, lambda calls=calls: calls.signals)  # type: ignore[misc]
        subscription.close()


def test_closing_the_proactor_ends_its_subscriptions(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    proactor.close()
    assert not subscription.is_active
    subscription.close()


def test_a_signal_is_not_swallowed_by_a_handler_that_somebody_has_put_back(proactor: Proactor) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    ours = signal.getsignal(signal.SIGUSR1)
    subscription.close()
    signal.signal(signal.SIGUSR1, ours)
    send(Signal.USER1)
    signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


def test_a_handler_that_was_installed_since_stays(proactor: Proactor) -> None:
    def newer(number: int, frame: object) -> None: ...

    before = signal.getsignal(signal.SIGUSR1)
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    signal.signal(signal.SIGUSR1, newer)
    subscription.close()
    after = signal.signal(signal.SIGUSR1, before)
    assert after is newer


# Ownership ----------------------------------------------------------------------------------------------------------


def test_one_proactor_owns_the_signals(make_proactor: Callable[..., Proactor]) -> None:
    owner, other = make_proactor(debug_name="first"), make_proactor()
    subscription = SignalSubscription(owner, Signal.USER1, not_to_be_called)
    with pytest.raises(FailedPrecondition, match=r"first.* owns the signals"):
        SignalSubscription(other, Signal.USER2, not_to_be_called)
    subscription.close()


@pytest.mark.parametrize("end", ["the last subscription", "the proactor"])
@pytest.mark.regression("signal-ownership")
def test_ownership_ends(make_proactor: Callable[..., Proactor], end: str) -> None:
    owner, other = make_proactor(), make_proactor()
    subscriptions = [SignalSubscription(owner, which, not_to_be_called) for which in (Signal.USER1, Signal.USER2)]
    for ending in subscriptions if end == "the last subscription" else [owner]:
        ending.close()
    calls = Calls()
    subscription = SignalSubscription(other, Signal.USER1, calls)
    send(Signal.USER1)
    poll_until(other, lambda: calls.signals)
    subscription.close()


# Masks --------------------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(9)
def test_nothing_is_blocked_by_a_subscription(proactor: Proactor) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    subscription = SignalSubscription(proactor, Signal.TERMINATE, not_to_be_called)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    subscription.close()


def test_a_signal_that_the_program_has_blocked_is_delivered_and_blocked_again(proactor: Proactor) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal_block_default()
        # To this thread: any other one, which blocks nothing, would take it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        calls = Calls()
        subscription = SignalSubscription(proactor, Signal.USER1, calls)
        poll_until(proactor, lambda: calls.signals)
        subscription.close()
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_block_default_blocks_the_six_for_threads_that_start_later() -> None:
    masks: list[set[int]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal_block_default()
        thread = threading.Thread(target=lambda: masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))))
        thread.start()
        thread.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert masks[0] - set(before) == {each.number for each in Signal}


def test_a_broken_pipe_is_an_error_and_no_signal() -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        signal_ignore_broken_pipe()
        reader, writer = os.pipe()
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"x")
        os.close(writer)
    finally:
        signal.signal(signal.SIGPIPE, before)


# Runs ---------------------------------------------------------------------------------------------------------------


def test_a_subscription_to_interrupt_goes_before_the_runs_own_handling(run: Callable[..., Any]) -> None:
    calls: list[Signal] = []

    async def main() -> None:
        arrived = proactor_trio.Event()

        def callback(subscription: SignalSubscription, which: Signal) -> None:
            calls.append(which)
            arrived.set()

        subscription = SignalSubscription(current_proactor(), Signal.INTERRUPT, callback)
        send(Signal.INTERRUPT)
        await arrived.wait()
        subscription.close()

    run(main)
    assert calls == [Signal.INTERRUPT]


def test_after_it_the_run_handles_interrupts_itself_again(run: Callable[..., Any]) -> None:
    unwound: list[bool] = []

    async def main() -> None:
        SignalSubscription(current_proactor(), Signal.INTERRUPT, not_to_be_called).close()
        try:
            send(Signal.INTERRUPT)
            await proactor_trio.sleep_forever()
        finally:
            unwound.append(True)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert unwound == [True]


def test_a_subscription_that_a_run_leaves_open_ends_with_its_proactor(run: Callable[..., Any]) -> None:
    """Handler and wakeup descriptor of the process are checked by the fixture of this file."""
    subscriptions: list[SignalSubscription] = []

    async def main() -> None:
        subscriptions.append(SignalSubscription(current_proactor(), Signal.INTERRUPT, not_to_be_called))

    run(main)
    assert not subscriptions[0].is_active


def test_a_subscription_from_outside_hears_of_signals_during_a_run(proactor: Proactor, run: Callable[..., Any]) -> None:
    calls = Calls()
    subscription = SignalSubscription(proactor, Signal.USER1, calls)

    async def main() -> None:
        send(Signal.USER1)
        await proactor_trio.sleep(0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main)
    poll_until(proactor, lambda: calls.signals)
    subscription.close()


def test_a_subscription_that_ends_inside_a_run_leaves_the_run_its_wakeups(
    make_proactor: Callable[..., Proactor], run: Callable[..., Any]
) -> None:
    outer = make_proactor()
    subscription = SignalSubscription(outer, Signal.USER1, not_to_be_called)
    descriptors: list[int] = []

    async def main() -> None:
        subscription.close()
        outer.close()
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        descriptors.extend([descriptor, current_proactor().wakeup_descriptor()])

    run(main)
    assert descriptors[0] == descriptors[1]


def test_a_foreign_wakeup_descriptor_is_hidden_with_a_warning_and_given_back(proactor: Proactor) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer)
    with pytest.warns(RuntimeWarning, match="set_wakeup_fd"):
        subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)
    subscription.close()
    restored = signal.set_wakeup_fd(before)
    os.close(reader)
    os.close(writer)
    assert restored == writer


def test_an_interruption_before_the_callback_does_not_silence_a_subscription(proactor: Proactor) -> None:
    calls: list[Signal] = []
    subscription = SignalSubscription(proactor, Signal.USER1, lambda _subscription, which: calls.append(which))
    point, came = 0, True
    while came:
        point += 1
        before = len(calls)
        os.kill(os.getpid(), signal.SIGUSR1)
        came = interrupt_at(point, lambda: proactor.poll(0))
        proactor.poll(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        proactor.poll(0)
        assert len(calls) > before
    subscription.close()
