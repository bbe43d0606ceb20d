"""Processes that share a pool: never two owners, no epoch lost, and a death at any moment stops nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proactor_trio.proactor import SharedBufferPool, Synchronization
from proactor_trio.proactor.memory.slot_words import HAS_ATOMICS
from tests.proactor import shared_pool_worker
from tests.proactor.shared_pool_worker import Arena

PROCESSES = 4
LEASES = 100_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and /proc/self/fd")


@pytest.fixture(params=list(Synchronization), ids=lambda way: way.name.lower())
def synchronization(request: pytest.FixtureRequest) -> Synchronization:
    way: Synchronization = request.param
    if way is Synchronization.ATOMICS and not HAS_ATOMICS:
        pytest.skip("this installation has no compiled helper")
    return way


@contextmanager
def arena_with_pool(count: int, synchronization: Synchronization) -> Iterator[tuple[Arena, SharedBufferPool]]:
    with Arena(count) as arena, arena.create(synchronization) as pool:
        yield arena, pool


def start(task: str, arena: Arena, count: int, number: int) -> subprocess.Popen[str]:
    words = [sys.executable, shared_pool_worker.__file__, task, str(arena.descriptor), str(count), str(number)]
    return subprocess.Popen(
        words, pass_fds=[arena.descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def begin(*workers: subprocess.Popen[str]) -> None:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()


def conflicts_of(worker: subprocess.Popen[str]) -> int:
    worker.communicate(timeout=50)
    return worker.returncode


def test_four_processes_never_share_a_buffer_and_lose_no_epoch(synchronization: Synchronization) -> None:
    """With three buffers for four processes, so that the pool is often empty."""
    with arena_with_pool(3, synchronization) as (arena, pool):
        workers = [start("hammer", arena, 3, LEASES) for _ in range(PROCESSES)]
        begin(*workers)
        assert [conflicts_of(worker) for worker in workers] == [0] * PROCESSES
        assert sum(pool.epochs()) == PROCESSES * LEASES
        assert pool.available == 3


def test_the_others_go_on_when_one_is_killed_and_its_leases_can_be_reclaimed(synchronization: Synchronization) -> None:
    with arena_with_pool(8, synchronization) as (arena, pool):
        holder = start("hold", arena, 8, 5)
        assert holder.stdout is not None and holder.stdout.readline() == "5\n"
        workers = [start("hammer", arena, 8, 20_000) for _ in range(PROCESSES - 1)]
        begin(*workers)
        holder.kill()
        assert conflicts_of(holder) == -signal.SIGKILL
        assert [conflicts_of(worker) for worker in workers] == [0] * (PROCESSES - 1)
        assert pool.owners() == {holder.pid: 5} and pool.available == 3
        assert pool.reclaim_by_owner(holder.pid) == 5
        assert pool.available == 8


def test_a_process_that_is_killed_at_any_moment_stops_nobody(synchronization: Synchronization) -> None:
    """While it leases and gives back as fast as it can, so also in the middle of that."""
    with arena_with_pool(4, synchronization) as (arena, pool):
        survivor = start("hammer", arena, 4, 10_000_000)
        begin(survivor)
        held = 0
        for _ in range(8):
            victim = start("hammer", arena, 4, 10_000_000)
            begin(victim)
            assert victim.stdout is not None and victim.stdout.readline() == "going\n"
            victim.kill()
            conflicts_of(victim)
            held += pool.reclaim_by_owner(victim.pid)
        before = sum(pool.epochs())
        while sum(pool.epochs()) < before + 1000:
            assert survivor.poll() is None
        survivor.terminate()
        assert conflicts_of(survivor) == 0
        assert pool.owners() == {} and pool.available == 4 and pool.reclaimed == held
