"""Counters of a proactor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from cts.support import Sockets, finish, settle, start
from proactor_trio.proactor import Accept, Nop, OperationFlags, Proactor, Timer


def test_a_new_proactor_has_done_nothing(proactor: Proactor) -> None:
    statistics = proactor.statistics()
    assert (statistics["submitted"], statistics["delivered"], statistics["in_flight"]) == (0, 0, 0)


def test_operations_are_counted(proactor: Proactor) -> None:
    for _ in range(7):
        finish(proactor, Nop())
    statistics = proactor.statistics()
    assert (statistics["submitted"], statistics["delivered"], statistics["in_flight"]) == (7, 7, 0)


def test_what_is_in_flight_is_counted(proactor: Proactor) -> None:
    timers = [Timer(time.monotonic() + 3600) for _ in range(3)]
    start(proactor, *timers)
    assert proactor.statistics()["in_flight"] == 3
    for timer in timers:
        proactor.cancel(timer)
    settle(proactor, *timers)
    assert proactor.statistics()["in_flight"] == 0


def test_each_delivery_of_a_multishot_is_counted(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(
        listener, lambda operation, flags: operation.result and operation.result.close(), flags=OperationFlags.MULTISHOT
    )
    start(proactor, accept)
    for _ in range(3):
        sockets.client_of(listener)
    end = time.monotonic() + 3
    while proactor.statistics()["delivered"] < 3 and time.monotonic() < end:
        proactor.poll(0.1)
    proactor.cancel(accept)
    settle(proactor, accept)
    assert proactor.statistics()["delivered"] == 4


def test_every_counter_is_a_named_number(proactor: Proactor) -> None:
    finish(proactor, Nop())
    assert all(isinstance(name, str) and isinstance(value, int) for name, value in proactor.statistics().items())


def test_another_thread_may_look(proactor: Proactor) -> None:
    seen: list[Mapping[str, int]] = []
    thread = threading.Thread(target=lambda: seen.append(proactor.statistics()))
    thread.start()
    thread.join()
    assert seen[0]["in_flight"] == 0


def test_counters_can_be_read_after_close(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    finish(proactor, Nop())
    proactor.close()
    assert proactor.statistics()["delivered"] == 1
