"""Operations that several threads hand to each other: whoever finds one that is done fills it in and submits it again.

What one thread wrote into an operation before it submitted it, and what the polling thread wrote when it was done, must
be seen by the next.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator

import pytest

from cts.support import poll_until
from proactor_trio.proactor import CompletionFlags, Nop, Operation, Proactor

ROUNDS = 300
SECONDS = 20


@pytest.fixture(autouse=True)
def threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class SharedOperations:
    """Operations that are given back by their completion functions; what they carried is noted."""

    def __init__(self, proactor: Proactor, count: int) -> None:
        self.carried: list[object] = []
        self._proactor = proactor
        self._free: queue.SimpleQueue[Operation] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Nop(self._give_back))

    def _give_back(self, operation: Operation, flags: CompletionFlags) -> None:
        self.carried.append(operation.user_data)
        operation.user_data = None
        self._free.put(operation)

    def submit(self, carried: object) -> None:
        """Take one that is free, wait for it if need be, and submit it with this."""
        operation = self._free.get(timeout=SECONDS)
        assert operation.user_data is None and operation.error is None
        operation.user_data = carried
        self._proactor.submit(operation)


@pytest.mark.parametrize(
    ("threads", "operations"),
    [
        pytest.param(4, 16, marks=pytest.mark.reference("TsanBridgeTest.MultiThreadReuse")),
        pytest.param(2, 2, marks=pytest.mark.reference("TsanBridgeTest.TwoThreadsTwoSlots")),
    ],
)
def test_each_submission_of_a_shared_operation_completes_once_with_what_it_was_given(
    proactor: Proactor, threads: int, operations: int
) -> None:
    shared = SharedOperations(proactor, operations)

    def work(thread: int) -> None:
        for number in range(ROUNDS):
            shared.submit((thread, number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    poll_until(proactor, lambda: len(shared.carried) == threads * ROUNDS, seconds=SECONDS, polls=1_000_000)
    for worker in workers:
        worker.join(SECONDS)
    assert sorted(map(str, shared.carried)) == sorted(str((t, n)) for t in range(threads) for n in range(ROUNDS))
