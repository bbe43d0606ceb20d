"""Exceptions of signal handlers at any point of leasing and giving back: no buffer is lost, and none is there twice.

Not inside a finaliser: what is raised there Python prints and drops, and nothing can be done about it.
"""

from __future__ import annotations

import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from cts.support import alarm_handler
from proactor_trio.proactor import (
    Access,
    BufferPool,
    Lease,
    Proactor,
    SharedBufferPool,
    Slab,
    Synchronization,
    register_slab,
)
from tests.proactor.shared_pool_worker import Arena

COUNT = 4
SECONDS = 0.4
LATEST = 0.00008

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="interval timers and memfds")


class Interrupt(Exception):
    """What the handler raises."""


def interrupt(number: int, frame: FrameType | None) -> None:
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    if "lease_once" in names and "__del__" not in names:
        raise Interrupt


@pytest.fixture
def pool() -> Iterator[BufferPool]:
    with Proactor("poll") as proactor, Slab.allocate(64, COUNT) as slab:
        with register_slab(proactor, slab, Access.READ) as region, BufferPool(region) as pool:
            yield pool


@pytest.fixture(params=list(Synchronization), ids=lambda way: way.name.lower())
def shared_pool(request: pytest.FixtureRequest) -> Iterator[SharedBufferPool]:
    with Arena(COUNT) as arena, arena.create(request.param) as pool:
        yield pool


def lease_once(acquire: Callable[[], Lease]) -> None:
    lease = acquire()
    lease.view[0] = 1
    lease.release()


def hammer(acquire: Callable[[], Lease]) -> int:
    """Lease, look at the memory, give back, again and again, under interruptions; how many there were."""
    interruptions = 0
    randomness = random.Random(1)
    end = time.monotonic() + SECONDS
    with warnings.catch_warnings(), alarm_handler(interrupt):
        warnings.simplefilter("ignore", ResourceWarning)  # leases that were interrupted are dropped
        while time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, randomness.uniform(1e-6, LATEST))
            try:
                for _ in range(10):
                    lease_once(acquire)
            except Interrupt:
                interruptions += 1
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
    return interruptions


def test_interruptions_lose_no_buffer(pool: BufferPool) -> None:
    assert hammer(pool.acquire) > 100
    assert sorted(pool._free) == list(range(COUNT))


def test_interruptions_lose_no_shared_buffer(shared_pool: SharedBufferPool) -> None:
    assert hammer(shared_pool.acquire) > 100
    assert shared_pool.available == COUNT and shared_pool.owners() == {}
