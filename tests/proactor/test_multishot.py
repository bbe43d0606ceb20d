"""What begins again by our own doing: once for each delivery, at its time, and not when its submission is over."""

from __future__ import annotations

import errno

import pytest

from proactor_trio.proactor import Accept, Operation, OperationFlags, Socket
from proactor_trio.proactor.multishot import EmulatedMultishot


@pytest.fixture
def operation() -> Operation:
    with_socket = Socket()
    made = Accept(with_socket)
    with_socket.close()
    made.identifier = 7
    made.started = True
    return made


def delivered(operation: Operation) -> None:
    """What the commit of a delivery does."""
    operation.deliveries += 1


def test_what_was_delivered_begins_again(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    delivered(operation)
    assert multishot.first_due() is operation


def test_what_has_begun_again_is_not_begun_twice(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    delivered(operation)
    operation.started = True
    assert multishot.first_due() is None and not multishot.waiting


def test_an_interrupted_delivery_begins_nothing(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    assert multishot.first_due() is None


def test_a_delivery_that_was_made_again_after_an_interruption_begins_once(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    multishot.add(operation)
    delivered(operation)
    assert multishot.first_due() is operation
    operation.started = True
    assert multishot.first_due() is None


def test_what_is_over_does_not_begin_again(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    delivered(operation)
    operation.identifier = 0
    assert multishot.first_due() is None


def test_what_was_submitted_anew_is_another_submission(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.add(operation)
    delivered(operation)
    operation.identifier = 8
    assert multishot.first_due() is None


def test_a_pause_limits_the_wait_and_keeps_the_operation_back(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.pause(operation, 60)
    delivered(operation)
    assert multishot.first_due() is None
    limit = multishot.limit_wait(None)
    assert limit is not None and 0 < limit <= 60


def test_a_caller_who_waits_for_less_waits_for_less(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.pause(operation, 60)
    assert multishot.limit_wait(0.5) == 0.5


def test_a_pause_that_is_over_limits_the_wait_to_nothing(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.pause(operation, 0)
    delivered(operation)
    assert multishot.limit_wait(10) == 0 and multishot.first_due() is operation


@pytest.mark.parametrize(
    ("flags", "code", "delay"),
    [
        (OperationFlags.MULTISHOT, errno.EMFILE, 0.1),
        (OperationFlags.MULTISHOT, errno.ENFILE, 0.1),
        (OperationFlags.MULTISHOT, errno.ECONNABORTED, 0.0),
        (OperationFlags.MULTISHOT, errno.EINVAL, None),
        (OperationFlags.NONE, errno.EMFILE, None),
    ],
)
def test_only_what_is_about_the_moment_lets_a_multishot_accept_go_on(
    flags: OperationFlags, code: int, delay: float | None
) -> None:
    listener = Socket()
    accept = Accept(listener, flags=flags)
    listener.close()
    assert accept._retry_delay(-code) == delay


def test_what_pauses_on_a_resource_is_known(operation: Operation) -> None:
    multishot = EmulatedMultishot()
    multishot.pause(operation, 60)
    delivered(operation)
    assert multishot.held(operation.resource()) == [operation] and multishot.holds(operation)
    assert multishot.held(object()) == []
