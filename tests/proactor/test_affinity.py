"""Affinities: read from recorded trees of machines with 1, 2 and 4 nodes, and from this one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from proactor_trio.proactor import ANY_NODE, Affinity, Slab, affinity_any, query_affinities
from proactor_trio.proactor.affinity import bind_thread, parse_processor_list


def record(root: Path, nodes: dict[int, str], cores: dict[int, str] | None = None, online: str | None = None) -> Path:
    """A tree as sysfs has it: cpulist of each node, core_cpus_list of each processor."""
    for number, processors in nodes.items():
        folder = root / "devices/system/node" / f"node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(processors + "\n")
        (folder / "distance").write_text("10 21\n")
    if nodes:
        (root / "devices/system/node/online").write_text("0\n")
    for processor, siblings in (cores or {}).items():
        folder = root / f"devices/system/cpu/cpu{processor}/topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(siblings + "\n")
    if online is not None:
        (root / "devices/system/cpu").mkdir(parents=True, exist_ok=True)
        (root / "devices/system/cpu/online").write_text(online + "\n")
    return root


@pytest.fixture
def one_node(tmp_path: Path) -> Path:
    """A laptop: four cores with two threads each."""
    return record(tmp_path, {0: "0-7"}, {number: f"{number % 4},{number % 4 + 4}" for number in range(8)}, "0-7")


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    """Two sockets whose second hardware threads are numbered behind all first ones."""
    return record(
        tmp_path,
        {0: "0-15,32-47", 1: "16-31,48-63"},
        {number: f"{number % 32},{number % 32 + 32}" for number in range(64)},
    )


@pytest.fixture
def four_nodes(tmp_path: Path) -> Path:
    """One socket in four parts, with even and odd processors apart, and a fifth node of memory only."""
    return record(tmp_path, {0: "0,4,8", 1: "1,5,9", 2: "2,6", 3: "3,7", 4: ""})


def test_one_node(one_node: Path) -> None:
    [affinity] = query_affinities(one_node)
    assert (affinity.id, affinity.numa_node, affinity.processors) == (0, 0, frozenset(range(8)))


def test_two_nodes(two_nodes: Path) -> None:
    first, second = query_affinities(two_nodes)
    assert (first.numa_node, second.numa_node) == (0, 1)
    assert first.processors == {*range(16), *range(32, 48)}
    assert second.processors == {*range(16, 32), *range(48, 64)}


def test_four_nodes_and_one_of_memory_only(four_nodes: Path) -> None:
    affinities = query_affinities(four_nodes)
    assert [affinity.numa_node for affinity in affinities] == [0, 1, 2, 3]
    assert [sorted(affinity.processors) for affinity in affinities] == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]


def test_identifiers_count_from_zero(four_nodes: Path) -> None:
    assert [affinity.id for affinity in query_affinities(four_nodes)] == [0, 1, 2, 3]


def test_nodes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    root = record(tmp_path, {10: "10", 9: "9", 2: "2"})
    assert [affinity.numa_node for affinity in query_affinities(root)] == [2, 9, 10]


def test_processors_of_one_core_stand_together(one_node: Path) -> None:
    [affinity] = query_affinities(one_node)
    assert affinity.cores == tuple(frozenset((number, number + 4)) for number in range(4))


def test_older_kernels_call_them_thread_siblings(tmp_path: Path) -> None:
    root = record(tmp_path, {0: "0-1"})
    folder = root / "devices/system/cpu/cpu0/topology"
    folder.mkdir(parents=True)
    (folder / "thread_siblings_list").write_text("0-1\n")
    assert query_affinities(root)[0].cores == (frozenset((0, 1)),)


def test_without_topology_each_processor_is_a_core(four_nodes: Path) -> None:
    assert query_affinities(four_nodes)[2].cores == (frozenset((2,)), frozenset((6,)))


def test_without_nodes_all_processors_are_one_place(tmp_path: Path) -> None:
    [affinity] = query_affinities(record(tmp_path, {}, online="0-3"))
    assert (affinity.numa_node, affinity.processors) == (ANY_NODE, frozenset(range(4)))


def test_a_tree_that_tells_nothing_is_any(tmp_path: Path) -> None:
    assert query_affinities(tmp_path) == [affinity_any()]


def test_a_tree_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"node0/cpulist: "):
        query_affinities(record(tmp_path, {0: "zero"}))


def test_any_restricts_nothing() -> None:
    assert affinity_any().is_any
    assert affinity_any().numa_node is ANY_NODE


def test_an_affinity_is_a_value() -> None:
    assert Affinity(id=1, processors=frozenset((2,))) == Affinity(id=1, processors=frozenset((2,)))
    assert hash(affinity_any()) == hash(Affinity())


def test_it_carries_what_the_caller_likes() -> None:
    context = object()
    assert Affinity(user_context=context).user_context is context


@pytest.mark.parametrize("field", ["id", "numa_node"])
def test_a_wrong_number_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Affinity(**{field: -1})


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("\n", []),
        ("0\n", [0]),
        ("0-3,8,10-11\n", [0, 1, 2, 3, 8, 10, 11]),
    ],
)
def test_the_kernels_lists_are_understood(text: str, numbers: list[int]) -> None:
    assert sorted(parse_processor_list(text)) == numbers


@pytest.mark.parametrize("text", ["3-1", "a", "0-", "1:1", "-4", "0-99999999"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_processor_list(text)


# This machine -------------------------------------------------------------------------------------------------------


def test_this_machine_has_an_affinity() -> None:
    affinities = query_affinities()
    assert affinities and all(affinity.processors or affinity.is_any for affinity in affinities)


def test_a_thread_that_is_bound_runs_there() -> None:
    processor = min(os.sched_getaffinity(0))
    seen: list[set[int]] = []

    def work() -> None:
        bind_thread([processor])
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{processor}]


def test_processors_that_do_not_exist_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="affinity"):
        bind_thread([65000])


@pytest.mark.parametrize("affinity", query_affinities(), ids=lambda affinity: f"node{affinity.numa_node}")
def test_a_slab_for_an_affinity_lies_on_its_node(affinity: Affinity) -> None:
    """Where get_mempolicy(2) says nothing, or mbind(2) is forbidden, there is nothing to see."""
    with Slab.allocate(4096, 16, node=affinity.numa_node) as slab:
        placement = slab.placement()
    if placement.node is None or placement.notes or affinity.numa_node is None:
        pytest.skip(f"not to be told here: {placement}")
    assert placement.node == affinity.numa_node
