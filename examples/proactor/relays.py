"""Relays: when a source speaks, a sink is told, and no code of ours runs in between.

A source is a descriptor that becomes readable or a notification; so is a sink, a descriptor to which a number is
written or a notification that is signalled. All four pairs are here. A relay fires once unless it is PERSISTENT.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from proactor_trio.proactor import (
    Notification,
    Proactor,
    Relay,
    RelayFlags,
    RelayState,
    SignalHandle,
    SignalNotification,
)


def eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def poll_until(proactor: Proactor, condition: Callable[[], object]) -> None:
    while not condition():
        proactor.poll(timeout=10)


def descriptor_to_descriptor(proactor: Proactor) -> None:
    """On io_uring this one is done by the kernel alone: a poll, linked to a write."""
    source, sink = eventfd(), eventfd()
    relay = Relay(proactor, source, SignalHandle(sink, 42))
    os.eventfd_write(source, 1)
    poll_until(proactor, lambda: relay.state is RelayState.FIRED)
    print(f"  the sink has {os.eventfd_read(sink)}, the source still {os.eventfd_read(source)}")
    os.close(source)
    os.close(sink)


def descriptor_to_notification(proactor: Proactor) -> None:
    """PERSISTENT: the source is read each time, so that it can speak anew. And it is the relay's now."""
    source, notification = eventfd(), Notification()
    flags = RelayFlags.PERSISTENT | RelayFlags.OWN_SOURCE_PRIMITIVE
    relay = Relay(proactor, source, SignalNotification(notification), flags)
    for count in (1, 2, 3):
        os.eventfd_write(source, 1)
        poll_until(proactor, lambda count=count: relay.fired == count)
    print(f"  {relay.fired} times, the epoch is {notification.query_epoch()}")
    relay.close()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])  # which closes the source, too


def notification_to_descriptor(proactor: Proactor) -> None:
    """Signals that come before the relay has seen the last one are as good as one."""
    notification, sink = Notification(), eventfd()
    relay = Relay(proactor, notification, SignalHandle(sink), RelayFlags.PERSISTENT)
    notification.signal()
    notification.signal()
    poll_until(proactor, lambda: relay.fired)
    print(f"  two signals, told {os.eventfd_read(sink)} time")
    relay.close()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    os.close(sink)


def notification_to_notification(proactor: Proactor) -> None:
    first, second = Notification(), Notification()
    relay = Relay(proactor, first, SignalNotification(second))
    first.signal()
    poll_until(proactor, lambda: relay.state is RelayState.FIRED)
    print(f"  the second one's epoch is {second.query_epoch()}")


def a_source_that_breaks(proactor: Proactor) -> None:
    """ERROR_SENSITIVE: a source that only hangs up has said nothing. The sink is not told, we are."""
    reader, writer = os.pipe()
    notification = Notification()
    relay = Relay(
        proactor,
        reader,
        SignalNotification(notification),
        RelayFlags.ERROR_SENSITIVE,
        on_error=lambda relay, error: print(f"  {error!r}"),
    )
    os.close(writer)
    poll_until(proactor, lambda: relay.state is RelayState.FAULTED)
    print(f"  the epoch is {notification.query_epoch()}")
    os.close(reader)


SCENES = (
    descriptor_to_descriptor,
    descriptor_to_notification,
    notification_to_descriptor,
    notification_to_notification,
    a_source_that_breaks,
)


def main() -> None:
    with Proactor() as proactor:
        for scene in SCENES:
            print(scene.__name__.replace("_", " "))
            scene(proactor)


if __name__ == "__main__":
    main()
