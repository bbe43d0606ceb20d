"""ProactorPool: one proactor for each part of the machine, made when it is asked for."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.suites.test_proactor_thread import Awaited, fail, processors_of
from proactor_trio.proactor import (
    Affinity,
    ClosedResourceError,
    Nop,
    Proactor,
    ProactorPool,
    ProactorThread,
    ThreadingMode,
    query_affinities,
)

MakePool = Callable[..., ProactorPool]


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    """A machine whose first and last usable processors are two nodes: 3 and 7."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        pytest.skip("needs two processors")
    for node, processor in ((3, usable[0]), (7, usable[-1])):
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{processor}\n")
    return tmp_path


@pytest.fixture
def make_pool(configuration: Configuration, two_nodes: Path) -> Iterator[MakePool]:
    """Makes pools on the machine with two nodes."""
    made: list[ProactorPool] = []

    def make(node_ids: Any = None, **arguments: Any) -> ProactorPool:
        if "runner_factory" not in arguments:
            arguments["backend"] = configuration.backend
        pool = ProactorPool(node_ids, sysfs_root=two_nodes, **arguments)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


class Runner:
    """A runner of the caller's own, which polls when it is told to end."""

    def __init__(self, configuration: Configuration, affinity: Affinity, name: str, log: list[str]) -> None:
        self.proactor = Proactor(configuration.backend)
        self.affinity = affinity
        self.name = name
        self._log = log

    def request_stop(self) -> None:
        self._log.append(f"stop {self.affinity.numa_node}")

    def join(self, timeout: float | None = None) -> bool:
        self._log.append(f"join {self.affinity.numa_node}")
        self.proactor.close()
        return True


def test_it_has_a_place_for_each_node(make_pool: MakePool) -> None:
    pool = make_pool()
    assert [pool.node_id(index) for index in range(len(pool))] == [3, 7]


def test_a_proactor_is_made_when_it_is_first_asked_for(make_pool: MakePool) -> None:
    threads = threading.active_count()
    pool = make_pool()
    before = threading.active_count() - threads
    first = pool.get(1)
    assert (before, threading.active_count() - threads) == (0, 1)
    assert pool.get(1) is first


def test_each_is_polled_on_its_node(make_pool: MakePool) -> None:
    pool = make_pool()
    for index in range(2):
        awaited = Awaited()
        pool.get(index).submit(Nop(awaited))
        awaited.wait()
    runners: list[Any] = pool._runners
    assert [processors_of(runner) for runner in runners] == [pool.affinity(index).processors for index in range(2)]


def test_a_node_has_its_proactor(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.get_for_node(7) is pool.get(1)


@pytest.mark.parametrize("node", [0, 99, None])
def test_a_node_that_it_has_not_gets_the_first(make_pool: MakePool, node: int | None) -> None:
    pool = make_pool()
    assert pool.get_for_node(node) is pool.get(0)


def test_nodes_can_be_chosen(make_pool: MakePool) -> None:
    pool = make_pool([7])
    assert [pool.node_id(index) for index in range(len(pool))] == [7]


def test_a_number_of_proactors_is_spread_over_the_nodes(make_pool: MakePool) -> None:
    pool = make_pool(3)
    assert [pool.node_id(index) for index in range(len(pool))] == [3, 7, 3]


def test_proactors_of_one_node_are_several(make_pool: MakePool) -> None:
    pool = make_pool([3, 3])
    assert pool.get(0) is not pool.get(1)


def test_several_threads_get_the_same_proactor(make_pool: MakePool) -> None:
    pool = make_pool()
    seen: list[Proactor] = []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        seen.append(pool.get(0))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, seen))) == 1


def test_closing_stops_all_runners_and_joins_them_then(make_pool: MakePool, configuration: Configuration) -> None:
    log: list[str] = []
    pool = make_pool(runner_factory=lambda affinity, name: Runner(configuration, affinity, name, log))
    pool.get(0)
    pool.get(1)
    pool.close()
    assert log == ["stop 3", "stop 7", "join 3", "join 7"]


def test_closing_ends_what_is_pending(make_pool: MakePool) -> None:
    pool = make_pool()
    proactors = [pool.get(index) for index in range(2)]
    pool.close()
    assert all(proactor.is_closed for proactor in proactors)


def test_closing_twice_is_closing_once(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.get(0)
    pool.close()
    pool.close()


def test_a_closed_pool_has_no_proactors(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.get(0)
    pool.close()
    for index in range(2):
        with pytest.raises(ClosedResourceError):
            pool.get(index)


def test_closing_raises_what_stopped_a_runner_after_all_have_ended(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.get(0).submit(Nop(fail))
    other = pool.get(1)
    with pytest.raises(LookupError):
        pool.close()
    assert other.is_closed


def test_errors_go_to_the_error_callback(make_pool: MakePool) -> None:
    errors: list[Exception] = []
    pool = make_pool(error_callback=errors.append)
    pool.get(0).submit(Nop(fail))
    pool.close()
    assert [type(error) for error in errors] == [LookupError]


def test_a_runner_that_cannot_be_made_is_tried_again(make_pool: MakePool, configuration: Configuration) -> None:
    failures = [OSError("not yet")]

    def factory(affinity: Affinity, name: str) -> ProactorThread:
        if failures:
            raise failures.pop()
        return ProactorThread(backend=configuration.backend, affinity=affinity, debug_name=name)

    pool = make_pool(runner_factory=factory)
    with pytest.raises(OSError, match="not yet"):
        pool.get(0)
    assert not pool.get(0).is_closed


def test_one_that_is_dropped_warns_and_ends_its_threads(configuration: Configuration) -> None:
    before = set(threading.enumerate())
    pool = ProactorPool(1, backend=configuration.backend)
    pool.get(0)
    [thread] = set(threading.enumerate()) - before
    with pytest.warns(ResourceWarning, match="unclosed <ProactorPool"):
        del pool
        gc.collect()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(("node_ids", "error"), [(0, ValueError), (-1, ValueError), ([], ValueError), ("3", TypeError)])
def test_wrong_nodes_are_refused_by_name(make_pool: MakePool, node_ids: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="node_ids"):
        make_pool(node_ids)


def test_a_node_that_the_machine_has_not_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(ValueError, match="no processors of a node 5"):
        make_pool([3, 5])


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_that_does_not_exist_is_refused(make_pool: MakePool, index: int) -> None:
    with pytest.raises(ValueError, match="index"):
        make_pool().get(index)


def test_a_factory_comes_without_options_of_threads(configuration: Configuration) -> None:
    with pytest.raises(TypeError, match="runner_factory"):
        ProactorPool(backend=configuration.backend, runner_factory=ProactorThread)  # type: ignore[arg-type]


def test_this_machine_has_a_pool(configuration: Configuration) -> None:
    with ProactorPool(backend=configuration.backend) as pool:
        assert 1 <= len(pool) <= len(query_affinities())
        awaited = Awaited()
        pool.get(0).submit(Nop(awaited))
        awaited.wait()


def test_a_given_proactor_can_be_run_too(make_pool: MakePool, make_proactor: Callable[..., Proactor]) -> None:
    """A factory that makes the proactor before its thread."""

    def factory(affinity: Affinity, name: str) -> ProactorThread:
        return ProactorThread(make_proactor(threading_mode=ThreadingMode.CROSS_THREAD), affinity=affinity)

    pool = make_pool(runner_factory=factory)
    awaited = Awaited()
    pool.get(1).submit(Nop(awaited))
    awaited.wait()
    pool.close()
