"""Relays: descriptor or notification to descriptor or notification."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.support import pipe, poll_until
from proactor_trio.proactor import (
    FailedPrecondition,
    Notification,
    Proactor,
    Relay,
    RelayFlags,
    RelayState,
    SignalHandle,
    SignalNotification,
)

PERSISTENT = RelayFlags.PERSISTENT
OWN = RelayFlags.OWN_SOURCE_PRIMITIVE
ERROR_SENSITIVE = RelayFlags.ERROR_SENSITIVE


class Handles:
    """Makes eventfds and closes those that are still open."""

    def __init__(self) -> None:
        self._made: list[int] = []

    def eventfd(self) -> int:
        descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._made.append(descriptor)
        return descriptor

    def given_away(self) -> int:
        """One whose closing is somebody else's."""
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        for descriptor in self._made:
            os.close(descriptor)


@pytest.fixture
def handles() -> Iterator[Handles]:
    made = Handles()
    yield made
    made.close()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def fire_once(proactor: Proactor, relay: Relay, speak: Callable[[], Any]) -> None:
    """Let the source speak, and poll until the sink was told."""
    before = relay.fired
    speak()
    poll_until(proactor, lambda: relay.fired > before)


# The four ways ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.PrimitiveToPrimitive")
def test_descriptor_to_descriptor(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink, 7))
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    assert os.eventfd_read(sink) == 7


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.PrimitiveToNotification")
def test_descriptor_to_notification(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink))
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    assert sink.query_epoch() == 1


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.NotificationToPrimitive")
def test_notification_to_descriptor(proactor: Proactor, handles: Handles) -> None:
    source, sink = Notification(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink))
    fire_once(proactor, relay, source.signal)
    assert os.eventfd_read(sink) == 1


@pytest.mark.reference("RelayTest.NotificationToNotification")
def test_notification_to_notification(proactor: Proactor) -> None:
    source, sink = Notification(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink))
    fire_once(proactor, relay, source.signal)
    assert sink.query_epoch() == 1


@pytest.mark.needs("descriptors")
def test_a_source_that_has_spoken_before_fires_at_once(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    os.eventfd_write(source, 1)
    relay = Relay(proactor, source, SignalHandle(sink))
    poll_until(proactor, lambda: relay.fired)


def test_a_signal_right_after_its_creation_is_not_lost(proactor: Proactor) -> None:
    source, sink = Notification(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink))
    source.signal()
    poll_until(proactor, lambda: relay.fired)


def test_a_signal_of_another_thread_fires_it(proactor: Proactor) -> None:
    source, sink = Notification(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink))
    thread = threading.Thread(target=source.signal)
    thread.start()
    poll_until(proactor, lambda: relay.fired)
    thread.join()


@pytest.mark.needs("descriptors")
def test_firings_are_not_counted_by_poll(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink))
    os.eventfd_write(source, 1)
    counted = 0
    while not relay.fired:
        counted += proactor.poll(1)
    assert counted == 0


@pytest.mark.needs("native_links", "descriptors")
@pytest.mark.regression("relays-not-in-the-kernel")
def test_a_one_shot_relay_of_descriptors_is_made_by_the_kernel(
    proactor: Proactor, handles: Handles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        pytest.fail("written in user space")

    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink, 7))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    assert os.eventfd_read(sink) == 7


# Once, and again -------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.OneShotAutoCleanup")
def test_a_one_shot_relay_is_over_when_it_has_fired(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink))
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    os.eventfd_read(sink)
    os.eventfd_write(source, 1)
    proactor.poll(0)
    assert (relay.state, relay.fired) == (RelayState.FIRED, 1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(sink)


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("descriptor", marks=pytest.mark.reference("RelayPosixTest.PersistentMultipleTransfers")),
        pytest.param("notification", marks=pytest.mark.reference("RelayTest.PersistentNotificationRelay")),
    ],
)
def test_a_persistent_relay_fires_each_time(proactor: Proactor, handles: Handles, kind: str) -> None:
    sink = handles.eventfd()
    source: Any = handles.eventfd() if kind == "descriptor" else Notification()
    speak = source.signal if isinstance(source, Notification) else lambda: os.eventfd_write(source, 1)
    relay = Relay(proactor, source, SignalHandle(sink), PERSISTENT)
    for _ in range(3):
        fire_once(proactor, relay, speak)
    assert os.eventfd_read(sink) == 3
    relay.close()
    proactor.poll(0)


@pytest.mark.needs("descriptors")
def test_a_persistent_relay_reads_its_source(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), PERSISTENT)
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    with pytest.raises(BlockingIOError):
        os.eventfd_read(source)
    relay.close()
    proactor.poll(0)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.MultipleActiveRelays")
def test_several_relays_are_told_apart(proactor: Proactor, handles: Handles) -> None:
    pairs = [(handles.eventfd(), handles.eventfd()) for _ in range(4)]
    relays = [Relay(proactor, source, SignalHandle(sink, 1 + index)) for index, (source, sink) in enumerate(pairs)]
    for source, _sink in reversed(pairs):
        os.eventfd_write(source, 1)
    poll_until(proactor, lambda: all(relay.fired for relay in relays))
    assert [os.eventfd_read(sink) for _source, sink in pairs] == [1, 2, 3, 4]


@pytest.mark.reference("RelayTest.MultipleNotificationRelays")
def test_several_relays_of_notifications_are_told_apart(proactor: Proactor) -> None:
    pairs = [(Notification(), Notification()) for _ in range(4)]
    relays = [Relay(proactor, source, SignalNotification(sink)) for source, sink in pairs]
    for index in (3, 1):
        pairs[index][0].signal()
    poll_until(proactor, lambda: relays[1].fired and relays[3].fired)
    assert [sink.query_epoch() for _source, sink in pairs] == [0, 1, 0, 1]
    for relay in relays:
        relay.close()
    proactor.poll(0)


def test_one_notification_feeds_many_sinks(proactor: Proactor) -> None:
    source = Notification()
    sinks = [Notification() for _ in range(8)]
    relays = [Relay(proactor, source, SignalNotification(sink)) for sink in sinks]
    source.signal()
    poll_until(proactor, lambda: all(relay.fired for relay in relays))
    assert [sink.query_epoch() for sink in sinks] == [1] * 8


# Ending ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("flags", [RelayFlags.NONE, PERSISTENT])
@pytest.mark.reference("RelayPosixTest.UnregisterWhilePending")
def test_a_closed_relay_tells_its_sink_no_more(proactor: Proactor, handles: Handles, flags: RelayFlags) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), flags)
    proactor.poll(0)
    relay.close()
    relay.close()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    os.eventfd_write(source, 1)
    proactor.poll(0)
    assert relay.state is RelayState.CLOSED
    with pytest.raises(BlockingIOError):
        os.eventfd_read(sink)


@pytest.mark.reference("RelayTest.UnregisterNotificationWhilePending")
def test_a_closed_relay_of_notifications_tells_its_sink_no_more(proactor: Proactor) -> None:
    source, sink = Notification(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink))
    relay.close()
    source.signal()
    proactor.poll(0)
    assert sink.query_epoch() == 0


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.OwnSourcePrimitive")
def test_an_owned_source_is_closed_when_a_one_shot_relay_has_fired(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.given_away(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), OWN)
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))
    assert not is_open(source)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.OwnSourcePrimitiveOnUnregister")
def test_an_owned_source_is_closed_with_its_relay(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.given_away(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), OWN | PERSISTENT)
    proactor.poll(0)
    relay.close()
    poll_until(proactor, lambda: not is_open(source))


@pytest.mark.needs("descriptors")
def test_an_owned_source_is_closed_with_the_proactor(make_proactor: Callable[..., Proactor], handles: Handles) -> None:
    proactor = make_proactor()
    source, sink = handles.given_away(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), OWN)
    proactor.close()
    assert (relay.state, is_open(source)) == (RelayState.CLOSED, False)


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.ErrorSensitiveSuppressesSinkOnPollHup")
@pytest.mark.regression("error-sensitive")
@pytest.mark.ring_rule(18)
def test_a_hang_up_alone_does_not_fire_an_error_sensitive_relay(proactor: Proactor, handles: Handles) -> None:
    sink = handles.eventfd()
    errors: list[BaseException] = []
    with pipe() as (reader, writer):
        relay = Relay(proactor, reader, SignalHandle(sink), ERROR_SENSITIVE, lambda _relay, error: errors.append(error))
        os.close(writer)
        poll_until(proactor, lambda: relay.state is RelayState.FAULTED)
    assert (relay.fired, errors) == (0, [relay.error])


@pytest.mark.needs("descriptors")
@pytest.mark.regression("error-sensitive")
def test_data_beside_a_hang_up_fires_it(proactor: Proactor, handles: Handles) -> None:
    sink = handles.eventfd()
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        os.close(writer)
        relay = Relay(proactor, reader, SignalHandle(sink), ERROR_SENSITIVE)
        poll_until(proactor, lambda: relay.fired)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("RelayPosixTest.ErrorSensitiveFiresOnNormalPollin")
def test_data_fires_an_error_sensitive_relay(proactor: Proactor, handles: Handles) -> None:
    source, sink = handles.eventfd(), handles.eventfd()
    relay = Relay(proactor, source, SignalHandle(sink), ERROR_SENSITIVE)
    fire_once(proactor, relay, lambda: os.eventfd_write(source, 1))


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("flags", [RelayFlags.NONE, PERSISTENT])
def test_a_sink_that_cannot_be_told_ends_the_relay_and_says_so(
    proactor: Proactor, handles: Handles, flags: RelayFlags
) -> None:
    source = handles.eventfd()
    told: list[tuple[Relay, BaseException]] = []
    with pipe() as (reader, writer):
        os.close(reader)
        relay = Relay(proactor, source, SignalHandle(writer), flags, lambda *arguments: told.append(arguments))
        os.eventfd_write(source, 1)
        poll_until(proactor, lambda: told)
    assert told == [(relay, relay.error)]
    assert (relay.state, type(relay.error)) == (RelayState.FAULTED, BrokenPipeError)


@pytest.mark.needs("descriptors")
def test_a_persistent_source_that_ends_ends_the_relay_and_does_not_spin(proactor: Proactor, handles: Handles) -> None:
    sink = handles.eventfd()
    with pipe() as (reader, writer):
        relay = Relay(proactor, reader, SignalHandle(sink), PERSISTENT)
        os.close(writer)
        poll_until(proactor, lambda: relay.state is RelayState.FAULTED)
    assert relay.fired == 0


@pytest.mark.needs("descriptors")
def test_an_error_callback_that_raises_is_raised_by_poll(proactor: Proactor, handles: Handles) -> None:
    def callback(relay: Relay, error: BaseException) -> None:
        raise LookupError("mine")

    with pipe() as (reader, writer):
        Relay(proactor, reader, SignalHandle(handles.eventfd()), ERROR_SENSITIVE, callback)
        os.close(writer)
        with pytest.raises(LookupError):
            poll_until(proactor, lambda: False)


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
def test_a_closed_descriptor_is_no_source(proactor: Proactor, handles: Handles) -> None:
    sink, source = SignalHandle(handles.eventfd()), handles.given_away()
    os.close(source)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Relay(proactor, source, sink)


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("source", [None, "fd"])
def test_a_source_is_a_descriptor_or_a_notification(proactor: Proactor, handles: Handles, source: Any) -> None:
    with pytest.raises(TypeError, match="source"):
        Relay(proactor, source, SignalHandle(handles.eventfd()))


@pytest.mark.needs("descriptors")
def test_a_sink_is_one_of_two(proactor: Proactor, handles: Handles) -> None:
    with pytest.raises(TypeError, match="sink"):
        Relay(proactor, handles.eventfd(), handles.eventfd())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, 1 << 64])
def test_a_value_fits_an_eventfd(handles: Handles, value: int) -> None:
    with pytest.raises(ValueError, match="value"):
        SignalHandle(handles.eventfd(), value)


@pytest.mark.parametrize("flags", [OWN, ERROR_SENSITIVE])
def test_flags_of_descriptors_are_not_for_notifications(proactor: Proactor, flags: RelayFlags) -> None:
    with pytest.raises(ValueError, match="flags"):
        Relay(proactor, Notification(), SignalNotification(Notification()), flags)


@pytest.mark.needs("descriptors")
def test_it_is_for_the_polling_thread(proactor: Proactor, handles: Handles) -> None:
    errors: list[str] = []
    source, sink = handles.eventfd(), handles.eventfd()

    def make() -> None:
        try:
            Relay(proactor, source, SignalHandle(sink))
        except FailedPrecondition as error:
            errors.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert "belongs to thread" in errors[0]
