"""What is said of Windows only: sockets by their handles, and relays into event objects."""

from __future__ import annotations

import ctypes
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.support import LOOPBACK, Sockets, poll_until
from proactor_trio.proactor import (
    Notification,
    Proactor,
    Relay,
    RelayFlags,
    SignalHandle,
    Socket,
    SocketOptions,
    SocketType,
    StatusCode,
    status_of,
)

pytestmark = pytest.mark.needs("windows")

INVALID_SOCKET = (1 << 64) - 1


# Sockets -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SocketWin32Test.ImportSocket_FromWinsock")
def test_a_handle_of_winsock_can_be_taken_over(configuration: Configuration, sockets: Sockets) -> None:
    handle = stdlib_socket.socket().detach()
    imported = sockets.keep(Socket.from_descriptor(handle))
    imported.bind((LOOPBACK, 0))
    assert imported.fileno() == handle and imported.getsockname()[1] > 0


@pytest.mark.reference("SocketWin32Test.ImportSocket_InvalidHandle")
def test_the_invalid_handle_is_refused(configuration: Configuration) -> None:
    with pytest.raises(ValueError, match="descriptor") as refused:
        Socket.from_descriptor(INVALID_SOCKET)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("SocketWin32Test.ImportSocket_ClosedHandle")
def test_a_closed_handle_is_an_error_of_the_system(configuration: Configuration) -> None:
    with stdlib_socket.socket() as closed:
        handle = closed.fileno()
    with pytest.raises(OSError):
        Socket.from_descriptor(handle)


def option_of_the_reference(case: str, option: SocketOptions, level: str, name: str) -> Any:
    """A parameter that covers `case`."""
    return pytest.param(option, level, name, id=name, marks=pytest.mark.reference(f"SocketWin32Test.{case}"))


@pytest.mark.parametrize(
    ("option", "level", "name"),
    [
        option_of_the_reference("VerifyOption_ReuseAddr", SocketOptions.REUSE_ADDR, "SOL_SOCKET", "SO_REUSEADDR"),
        option_of_the_reference("VerifyOption_NoDelay", SocketOptions.NO_DELAY, "IPPROTO_TCP", "TCP_NODELAY"),
        option_of_the_reference("VerifyOption_KeepAlive", SocketOptions.KEEP_ALIVE, "SOL_SOCKET", "SO_KEEPALIVE"),
    ],
)
def test_an_option_is_set_at_creation(
    configuration: Configuration, sockets: Sockets, option: SocketOptions, level: str, name: str
) -> None:
    with_it, without = (sockets.keep(Socket.of_type(SocketType.TCP, chosen)) for chosen in (option, SocketOptions.NONE))
    place = getattr(stdlib_socket, level), getattr(stdlib_socket, name)
    assert (bool(with_it.getsockopt(*place)), bool(without.getsockopt(*place))) == (True, False)


@pytest.mark.reference("SocketWin32Test.VerifyOption_LingerZero")
def test_linger_zero_is_set_at_creation(configuration: Configuration, sockets: Sockets) -> None:
    """Two numbers of 16 bits there: switched on, for no seconds."""
    created = sockets.keep(Socket(options=SocketOptions.LINGER_ZERO))
    switched_on = created.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, 4)
    assert (int.from_bytes(switched_on[:2], "little") != 0, switched_on[2:]) == (True, b"\0\0")


# Relays into event objects -------------------------------------------------------------------------------------------


class EventObjects:
    """Makes event objects that go back by themselves when somebody has seen them set, and closes them."""

    def __init__(self) -> None:
        library: Any = ctypes
        self._kernel = library.WinDLL("kernel32", use_last_error=True)
        self._kernel.CreateEventW.restype = ctypes.c_void_p
        self._made: list[int] = []

    def make(self) -> int:
        handle = self._kernel.CreateEventW(None, False, False, None)
        assert handle
        self._made.append(handle)
        return int(handle)

    def take(self, handle: int) -> bool:
        """Whether it is set; it is not any more afterwards."""
        return bool(self._kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == 0)

    def close(self) -> None:
        for handle in self._made:
            self._kernel.CloseHandle(ctypes.c_void_p(handle))


@pytest.fixture
def event_objects(configuration: Configuration) -> Iterator[EventObjects]:
    made = EventObjects()
    yield made
    made.close()


def fire_once(proactor: Proactor, relay: Relay, speak: Callable[[], Any]) -> None:
    """Let the source speak, and poll until the sink was told."""
    before = relay.fired
    speak()
    poll_until(proactor, lambda: relay.fired > before)


@pytest.mark.reference("RelayWindowsTest.NotificationToPrimitive")
def test_notification_to_event_object(proactor: Proactor, event_objects: EventObjects) -> None:
    source, sink = Notification(), event_objects.make()
    relay = Relay(proactor, source, SignalHandle(sink))
    before = event_objects.take(sink)
    fire_once(proactor, relay, source.signal)
    assert (before, event_objects.take(sink)) == (False, True)


@pytest.mark.reference("RelayWindowsTest.PersistentNotificationToPrimitive")
def test_a_persistent_relay_sets_the_event_object_each_time(proactor: Proactor, event_objects: EventObjects) -> None:
    source, sink = Notification(), event_objects.make()
    relay = Relay(proactor, source, SignalHandle(sink), RelayFlags.PERSISTENT)
    seen = []
    for _ in range(3):
        fire_once(proactor, relay, source.signal)
        seen.append(event_objects.take(sink))
    relay.close()
    proactor.poll(0)
    assert seen == [True, True, True]


@pytest.mark.reference("RelayWindowsTest.MultipleRelaysToDifferentPrimitives")
def test_several_relays_are_told_apart(proactor: Proactor, event_objects: EventObjects) -> None:
    pairs = [(Notification(), event_objects.make()) for _ in range(3)]
    relays = [Relay(proactor, source, SignalHandle(sink)) for source, sink in pairs]
    fire_once(proactor, relays[1], pairs[1][0].signal)
    assert [event_objects.take(sink) for _source, sink in pairs] == [False, True, False]
    for relay in relays:
        relay.close()
    proactor.poll(0)


@pytest.mark.reference("RelayWindowsTest.UnregisterWhilePending")
def test_a_closed_relay_leaves_its_event_object_alone(proactor: Proactor, event_objects: EventObjects) -> None:
    source, sink = Notification(), event_objects.make()
    relay = Relay(proactor, source, SignalHandle(sink))
    proactor.poll(0)
    relay.close()
    source.signal()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    assert (relay.fired, event_objects.take(sink)) == (0, False)
