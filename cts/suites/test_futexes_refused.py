"""FutexWait and FutexWake where the kernel does not have them, or must not use them: refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proactor_trio.proactor import (
    Capability,
    FutexWait,
    FutexWake,
    Operation,
    OperationState,
    Proactor,
    StatusCode,
    Unimplemented,
    status_of,
)

OPERATIONS: tuple[Callable[[], Operation], ...] = (lambda: FutexWait(bytearray(4), 0), lambda: FutexWake(bytearray(4)))
both_operations = pytest.mark.parametrize("make", OPERATIONS, ids=["FutexWait", "FutexWake"])


def assert_refused(proactor: Proactor, operation: Operation) -> None:
    with pytest.raises(Unimplemented, match=type(operation).__name__) as refused:
        proactor.submit(operation)
    assert (status_of(refused.value), operation.state) == (StatusCode.UNIMPLEMENTED, OperationState.NEW)


@both_operations
@pytest.mark.reference("FutexTest.NotAvailable")
def test_with_the_capability_switched_off_they_are_refused_by_name(
    make_proactor: Callable[..., Proactor], make: Callable[[], Operation]
) -> None:
    assert_refused(make_proactor(allowed_capabilities=Capability.ALL & ~Capability.FUTEX_OPERATIONS), make())


@both_operations
@pytest.mark.lacks("futex")
@pytest.mark.reference("FutexTest.NotAvailable")
def test_where_there_are_none_they_are_refused_by_name(proactor: Proactor, make: Callable[[], Operation]) -> None:
    assert_refused(proactor, make())
