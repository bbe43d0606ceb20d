"""The thread that waits with poll(2) for a loop which is not ours."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Iterator

import pytest

from cts.support import pipe
from proactor_trio.backends.doorbell import Doorbell
from proactor_trio.backends.posix import wait_thread
from proactor_trio.backends.posix.event_set import IN
from proactor_trio.backends.posix.wait_thread import WaitThread

MOST_SECONDS = 10


@pytest.fixture
def waiter() -> Iterator[WaitThread]:
    made = WaitThread("test")
    yield made
    made.end()
    made.close()


def is_readable(waiter: WaitThread, seconds: float) -> bool:
    return bool(select.select([waiter.descriptor], [], [], seconds)[0])


def test_it_reports_what_is_ready(waiter: WaitThread) -> None:
    with pipe() as (reader, writer):
        waiter.watch({reader: IN})
        os.write(writer, b"x")
        assert is_readable(waiter, MOST_SECONDS)


def test_it_reports_once_for_each_order(waiter: WaitThread) -> None:
    with pipe() as (reader, writer):
        waiter.watch({reader: IN})
        os.write(writer, b"x")
        assert is_readable(waiter, MOST_SECONDS)
        waiter.take_report()
        assert not is_readable(waiter, 0.02)


def test_the_same_order_again_costs_nothing(waiter: WaitThread) -> None:
    with pipe() as (reader, _writer):
        waiter.watch({reader: IN})
        waiter.watch({reader: IN})
        assert waiter._number == 1


def test_of_many_orders_the_last_one_counts(waiter: WaitThread) -> None:
    """They come faster than the thread wakes up: one interruption stands for several."""
    for _ in range(100):
        with pipe() as (reader, writer), pipe() as (other, _other_writer):
            for _ in range(10):
                waiter.watch({other: IN})
                waiter.watch({reader: IN})
            os.write(writer, b"x")
            assert is_readable(waiter, MOST_SECONDS)
            waiter.take_report()


def test_an_old_order_is_dropped_without_a_report(waiter: WaitThread) -> None:
    with pipe() as (reader, writer), pipe() as (other, _other_writer):
        waiter.watch({reader: IN})
        waiter.watch({other: IN})
        os.write(writer, b"x")
        assert not is_readable(waiter, 0.02)


def test_its_thread_ends(waiter: WaitThread) -> None:
    with pipe() as (reader, _writer):
        waiter.watch({reader: IN})
        waiter.watch({})
        waiter.end()
        assert waiter._thread not in threading.enumerate()


def test_where_there_is_no_second_doorbell_the_first_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Doorbell] = []

    def make() -> Doorbell:
        if made:
            raise OSError(errno.EMFILE, "no descriptor is left")
        made.append(Doorbell())
        return made[0]

    monkeypatch.setattr(wait_thread, "Doorbell", make)
    with pytest.raises(OSError, match="no descriptor is left"):
        wait_thread.WaitThread("some")
    assert made[0].reader() == -1
