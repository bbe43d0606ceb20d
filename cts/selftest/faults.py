"""Backends that break one rule of the contract on purpose, each in one place.

A fault is a class that stands before a real backend: it changes one call of the seam and leaves the rest alone. The
table below says which tests must fail because of it; `test_selftest.py` plants each and looks. A fault that no test
sees is a hole in the suite.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    BufferGroup,
    CompletionFlags,
    CompletionHook,
    Kind,
    OperationFields,
    OperationFlags,
)
from proactor_trio.proactor import OperationState

_MORE: Final = int(CompletionFlags.MORE)
_RECEIVES: Final = (Kind.RECV, Kind.RECV_BYTES)


class Fault(Backend):
    """What stands before a backend; `super()` is the backend."""

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self.complete_rightly = complete
        self.reports_seen = 0
        super().__init__(self.report, options)

    def report(self, operation: OperationFields, result: int, flags: int) -> None:
        """Stands in the place of the hook."""
        self.complete_rightly(operation, result, flags)

    def is_third(self, flags: int) -> bool:
        """Whether this is the third, sixth, ... final report."""
        if flags & _MORE:
            return False
        self.reports_seen += 1
        return self.reports_seen % 3 == 0


class DroppedCompletion(Fault):
    """Every third final report is not made (rule 3)."""

    def report(self, operation: OperationFields, result: int, flags: int) -> None:
        if not self.is_third(flags):
            self.complete_rightly(operation, result, flags)


class DoubleCompletion(Fault):
    """The completion function of every third operation is called once more (rule 3)."""

    def report(self, operation: Any, result: int, flags: int) -> None:
        self.complete_rightly(operation, result, flags)
        if self.is_third(flags) and operation.completion_fn is not None:
            operation.completion_fn(operation, CompletionFlags.NONE)


class LostCancel(Fault):
    """A request to end is forgotten (rule 4)."""

    def cancel(self, operation: OperationFields) -> None:
        return


class CancelledWithEffect(Fault):
    """A receive that was to be cancelled says so although it has taken bytes (rule 4)."""

    def report(self, operation: Any, result: int, flags: int) -> None:
        if operation.kind in _RECEIVES and operation.state is OperationState.CANCELLING and result > 0:
            result = -errno.ECANCELED
        self.complete_rightly(operation, result, flags)


class CompletionInsideStart(Fault):
    """A nop is reported before `start()` returns (rule 2)."""

    def start(self, operation: OperationFields) -> None:
        if operation.kind is not Kind.NOP:
            super().start(operation)
            return
        operation.started = True
        self.report(operation, 0, 0)


class WrongChainOrder(Fault):
    """The steps of a chain are begun in reverse order and do not wait for each other (rule 7)."""

    def linkable(self, operations: Sequence[OperationFields]) -> int:
        return len(operations) if all(operation.expires is None for operation in operations) else 0

    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        if len(operations) == 1:
            super().start_chain(operations)
            return
        for operation in reversed(operations):
            self.start(operation)


class ShortTransferGoesOn(Fault):
    """A step that moved less than it was to is reported as if it had moved everything (rule 8)."""

    def report(self, operation: OperationFields, result: int, flags: int) -> None:
        if operation.flags & OperationFlags.LINKED and operation.kind in (*_RECEIVES, Kind.FILE_READ) and result >= 0:
            result = len(operation.view) if isinstance(operation.view, memoryview) else result
        self.complete_rightly(operation, result, flags)


class LostWake(Fault):
    """`wake()` does nothing."""

    def wake(self) -> None:
        return


class ForgottenDeadline(Fault):
    """An operation with a deadline is begun without it (rule 11)."""

    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        if len(operations) > 1:
            super().start_chain(operations)
            return
        operations[0].expires = None
        self.start(operations[0])


class LeakedDescriptor(Fault):
    """An accepted connection is kept open by a second descriptor that nobody knows."""

    def report(self, operation: OperationFields, result: int, flags: int) -> None:
        if operation.kind is Kind.ACCEPT and result >= 0:
            os.dup(result)
        self.complete_rightly(operation, result, flags)


class LeakedLease(Fault):
    """Every third buffer that was given back never reaches the kernel again."""

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self.given_back_lists: deque[tuple[list[int], list[int]]] = deque()
        super().__init__(complete, options)

    def open_buffer_group(self, memory: memoryview, buffer_bytes: int, free: list[int]) -> BufferGroup | None:
        shown = list(free)
        free.clear()
        self.given_back_lists.append((free, shown))
        return super().open_buffer_group(memory, buffer_bytes, shown)

    def poll(self, timeout: float | None) -> None:
        for given_back, shown in self.given_back_lists:
            while given_back:
                index = given_back.pop(0)
                if not self.is_third(0):
                    shown.append(index)
        super().poll(timeout)


class KeptRing(Fault):
    """`close()` frees nothing."""

    def close(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a fault is planted, and the test that must see it, on each of the configurations.

    only: which of the test's parameters are tried, as an expression for pytest's `-k`.
    """

    fault: type[Fault]
    test: str
    configurations: tuple[str, ...] = ("io_uring", "posix_epoll")
    only: str = ""


_IO_URING: Final = ("io_uring",)

PLANS: Final[Mapping[str, Plan]] = {
    "dropped completion": Plan(
        DroppedCompletion, "cts/suites/test_life_cycle.py::test_each_operation_completes_exactly_once"
    ),
    "double completion": Plan(
        DoubleCompletion, "cts/suites/test_life_cycle.py::test_each_operation_completes_exactly_once"
    ),
    "lost cancel": Plan(LostCancel, "cts/suites/test_cancellation.py::test_in_flight", only="RecvBytes"),
    # Where the backend itself makes the call, cancellation and arrival have no race.
    "cancelled with effect": Plan(
        CancelledWithEffect,
        "cts/suites/test_cancellation.py::test_a_receive_that_races_with_its_bytes_loses_none",
        _IO_URING,
    ),
    "completion inside start": Plan(
        CompletionInsideStart, "cts/suites/test_life_cycle.py::test_nothing_completes_inside_submit"
    ),
    # Elsewhere the proactor goes from step to step, and no backend can have the order wrong.
    "wrong chain order": Plan(
        WrongChainOrder, "cts/suites/test_chains.py::test_the_steps_of_a_chain_complete_in_order", _IO_URING
    ),
    "short transfer goes on": Plan(
        ShortTransferGoesOn, "cts/suites/test_chains.py::test_a_read_over_the_end_of_the_file_breaks_the_chain"
    ),
    "lost wake": Plan(LostWake, "cts/suites/test_threads.py::test_wake_before_poll_ends_the_next_one_at_once"),
    "forgotten deadline": Plan(
        ForgottenDeadline, "cts/suites/test_deadlines.py::test_it_does_not_end_before_its_deadline", _IO_URING, "kernel"
    ),
    "leaked descriptor": Plan(
        LeakedDescriptor, "cts/suites/test_sockets_accept.py::test_accept_takes_a_connection_that_waits"
    ),
    # Elsewhere no backend sees a pool's buffers.
    "leaked lease": Plan(
        LeakedLease, "cts/suites/test_recv_pool.py::test_it_can_be_submitted_again_and_again", _IO_URING
    ),
    "kept ring": Plan(KeptRing, "cts/suites/test_life_cycle.py::test_states_follow_the_table"),
}
