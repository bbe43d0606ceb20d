"""Frontier: validation, comparison, merging, what is satisfied and undominated, and the form on the wire.

Reference: frontier_test, ValidateTest, CompareTest, MergeTest, IsSatisfiedTest, FindUndominatedTest, ScenarioTest.
"""

from __future__ import annotations

import itertools
import pickle
import random
from collections.abc import Callable

import pytest

from proactor_trio.proactor import Axis, AxisDomain, Frontier, FrontierComparison, ResourceExhausted
from proactor_trio.proactor.frontier import LARGEST_EPOCH, LARGEST_FRONTIER

A, B, C, D, E = (Axis.make(1, 0, AxisDomain.HOST, number) for number in range(1, 6))
LARGEST_AXIS = (1 << 64) - 1

EQUAL, BEFORE = FrontierComparison.EQUAL, FrontierComparison.BEFORE
AFTER, CONCURRENT = FrontierComparison.AFTER, FrontierComparison.CONCURRENT


def frontier(epochs: dict[Axis, int] | None = None) -> Frontier:
    return Frontier.from_epochs(epochs or {})


def many(count: int, epoch: int = 1) -> Frontier:
    return Frontier([(axis, epoch) for axis in range(count)])


# Validation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [[], [(A, 1)], [(A, 1), (B, 1)], [(A, 3), (B, 2), (C, 1)], [(0, LARGEST_EPOCH), (LARGEST_AXIS, 1)]],
    ids=["empty", "one", "sorted", "any epochs", "the limits"],
)
def test_ascending_entries_are_a_frontier(entries: list[tuple[int, int]]) -> None:
    """Reference: ValidateTest: empty, one, sorted."""
    assert list(Frontier(entries).items()) == entries


def test_ten_entries_are_a_frontier() -> None:
    """Reference: ValidateTest: ten valid."""
    assert len(many(10)) == 10


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([(B, 1), (A, 1)], "entries must be strictly ascending"),
        ([(A, 1), (A, 2)], "entries must be strictly ascending"),
        ([(A, 0)], "entries: epoch"),
        ([(A, LARGEST_EPOCH + 1)], "entries: epoch"),
        ([(-1, 1)], "entries: axis"),
        ([(LARGEST_AXIS + 1, 1)], "entries: axis"),
        ([(number, 1) for number in range(5)] + [(2, 1)] + [(number, 1) for number in range(6, 10)], "ascending"),
    ],
    ids=["unsorted", "duplicate", "zero epoch", "large epoch", "negative axis", "large axis", "a fault in the middle"],
)
def test_other_entries_are_refused_by_name(entries: list[tuple[int, int]], words: str) -> None:
    """Reference: ValidateTest: unsorted, duplicate, zero epoch, ten with middle fault."""
    with pytest.raises(ValueError, match=words):
        Frontier(entries)


def test_a_frontier_has_at_most_255_entries() -> None:
    assert len(many(LARGEST_FRONTIER)) == 255
    with pytest.raises(ValueError, match="entries must be at most 255, not 256"):
        many(256)


def test_an_epoch_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="entries: epoch"):
        Frontier([(A, "1")])  # type: ignore[list-item]


def test_validate_refuses_what_the_constructor_refuses() -> None:
    Frontier.validate([(A, 1), (B, 1)])
    with pytest.raises(ValueError, match="entries"):
        Frontier.validate([(B, 1), (A, 1)])


# A mapping -----------------------------------------------------------------------------------------------------------


def test_it_is_a_mapping_from_axes_to_epochs() -> None:
    known = frontier({B: 2, A: 1})
    assert (known[A], known[B], known.get(C), list(known), len(known)) == (1, 2, None, [A, B], 2)
    assert A in known and C not in known


def test_an_axis_that_it_does_not_know_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        frontier({A: 1})[B]


def test_from_epochs_sorts_and_leaves_out_epoch_0() -> None:
    assert list(Frontier.from_epochs({C: 3, A: 1, B: 0}).items()) == [(A, 1), (C, 3)]


def test_frontiers_with_the_same_entries_are_equal_and_have_one_hash() -> None:
    assert frontier({A: 1, B: 2}) == Frontier([(A, 1), (B, 2)])
    assert hash(frontier({A: 1})) == hash(frontier({A: 1}))


@pytest.mark.parametrize("other", [frontier(), frontier({A: 2}), frontier({B: 1}), {A: 1}, None])
def test_other_things_are_not_equal_to_it(other: object) -> None:
    assert frontier({A: 1}) != other


def test_it_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(frontier({A: 1, B: 2}))) == frontier({A: 1, B: 2})


def test_it_shows_its_entries() -> None:
    assert repr(Frontier([(1, 2)])) == "<Frontier {0x1: 2}>"


# Comparing -----------------------------------------------------------------------------------------------------------

COMPARISONS = [
    ("both empty", {}, {}, EQUAL),
    ("the first empty", {}, {A: 1}, BEFORE),
    ("the second empty", {A: 1}, {}, AFTER),
    ("disjoint", {A: 1}, {B: 1}, CONCURRENT),
    ("a subset", {A: 1}, {A: 1, B: 1}, BEFORE),
    ("a superset", {A: 1, B: 1}, {A: 1}, AFTER),
    ("an overlap", {A: 1, B: 1}, {B: 1, C: 1}, CONCURRENT),
    ("a subset that is later", {A: 2}, {A: 1, B: 1}, CONCURRENT),
    ("a subset that is earlier", {B: 1}, {A: 1, B: 2}, BEFORE),
    ("the same axes, equal", {A: 1, B: 2}, {A: 1, B: 2}, EQUAL),
    ("the same axes, earlier", {A: 1, B: 2}, {A: 2, B: 2}, BEFORE),
    ("the same axes, later", {A: 2, B: 2}, {A: 1, B: 2}, AFTER),
    ("the same axes, both", {A: 1, B: 2}, {A: 2, B: 1}, CONCURRENT),
    ("as many, but other axes", {A: 1, C: 1}, {A: 1, B: 1}, CONCURRENT),
    ("the largest epochs", {A: LARGEST_EPOCH}, {A: LARGEST_EPOCH - 1}, AFTER),
]
comparisons = pytest.mark.parametrize(
    ("one", "other", "expected"), [case[1:] for case in COMPARISONS], ids=[case[0] for case in COMPARISONS]
)


@comparisons
def test_comparing(one: dict[Axis, int], other: dict[Axis, int], expected: FrontierComparison) -> None:
    """Reference: CompareTest."""
    assert frontier(one).compare(frontier(other)) is expected


@comparisons
def test_comparing_the_other_way_round(
    one: dict[Axis, int], other: dict[Axis, int], expected: FrontierComparison
) -> None:
    """Reference: CompareTest: antisymmetric."""
    mirrored = {EQUAL: EQUAL, CONCURRENT: CONCURRENT, BEFORE: AFTER, AFTER: BEFORE}
    assert frontier(other).compare(frontier(one)) is mirrored[expected]


def test_a_frontier_is_equal_to_itself() -> None:
    """Reference: CompareTest: reflexive."""
    known = many(8)
    assert known.compare(known) is EQUAL


def test_before_is_transitive() -> None:
    """Reference: CompareTest: transitive."""
    first, second, third = frontier({A: 1}), frontier({A: 1, B: 1}), frontier({A: 2, B: 1, C: 1})
    assert [first.compare(second), second.compare(third), first.compare(third)] == [BEFORE, BEFORE, BEFORE]


def test_eight_entries_of_which_the_last_differs() -> None:
    """Reference: CompareTest: 8 entries."""
    later = Frontier([*list(many(8).items())[:7], (7, 2)])
    assert many(8).compare(later) is BEFORE


# Merging -------------------------------------------------------------------------------------------------------------

MERGES = [
    ("both empty", {}, {}, {}),
    ("into an empty one", {}, {A: 1}, {A: 1}),
    ("of an empty one", {A: 1}, {}, {A: 1}),
    ("the same axis, higher", {A: 1}, {A: 2}, {A: 2}),
    ("the same axis, lower", {A: 2}, {A: 1}, {A: 2}),
    ("the same axis, equal", {A: 2}, {A: 2}, {A: 2}),
    ("the same axes, mixed", {A: 1, B: 5, C: 3}, {A: 4, B: 2, C: 3}, {A: 4, B: 5, C: 3}),
    ("disjoint, behind", {A: 1, B: 1}, {C: 1, D: 1}, {A: 1, B: 1, C: 1, D: 1}),
    ("disjoint, before", {C: 1, D: 1}, {A: 1, B: 1}, {A: 1, B: 1, C: 1, D: 1}),
    ("disjoint, between", {A: 1, C: 1, E: 1}, {B: 2, D: 2}, {A: 1, B: 2, C: 1, D: 2, E: 1}),
    ("an overlap", {A: 1, B: 5, C: 1}, {B: 2, C: 3, D: 1}, {A: 1, B: 5, C: 3, D: 1}),
    ("a subset", {A: 1, B: 5, C: 1}, {B: 7}, {A: 1, B: 7, C: 1}),
    ("a superset", {B: 7}, {A: 1, B: 5, C: 1}, {A: 1, B: 7, C: 1}),
    ("the largest epoch", {A: 1}, {A: LARGEST_EPOCH}, {A: LARGEST_EPOCH}),
]
merges = pytest.mark.parametrize(
    ("target", "source", "expected"), [case[1:] for case in MERGES], ids=[case[0] for case in MERGES]
)


@merges
def test_merging_takes_the_later_epoch_of_each_axis(
    target: dict[Axis, int], source: dict[Axis, int], expected: dict[Axis, int]
) -> None:
    """Reference: MergeTest."""
    assert frontier(target).merge(frontier(source)) == frontier(expected)


@merges
def test_merging_is_commutative(target: dict[Axis, int], source: dict[Axis, int], expected: dict[Axis, int]) -> None:
    """Reference: MergeTest: commutative."""
    assert frontier(source).merge(frontier(target)) == frontier(expected)


@merges
def test_what_was_merged_is_sorted_dominates_both_and_absorbs_them(
    target: dict[Axis, int], source: dict[Axis, int], expected: dict[Axis, int]
) -> None:
    """Reference: MergeTest: idempotent, dominates inputs, sorted."""
    merged = frontier(target).merge(frontier(source))
    assert list(merged) == sorted(merged)
    assert {frontier(part).compare(merged) for part in (target, source)} <= {EQUAL, BEFORE}
    assert merged.merge(frontier(source)) == merged.merge(merged) == merged


@merges
def test_merging_leaves_both_as_they_were(
    target: dict[Axis, int], source: dict[Axis, int], expected: dict[Axis, int]
) -> None:
    one, other = frontier(target), frontier(source)
    one.merge(other)
    assert (dict(one), dict(other)) == (dict(frontier(target)), dict(frontier(source)))


def test_merging_is_associative() -> None:
    one, two, three = frontier({A: 1, B: 5}), frontier({B: 2, C: 3}), frontier({A: 4, D: 1})
    assert one.merge(two).merge(three) == one.merge(two.merge(three))


def test_eight_entries_of_the_same_axes() -> None:
    """Reference: MergeTest: same axis, 8."""
    odd = Frontier([(axis, 10 if axis % 2 else 1) for axis in range(8)])
    even = Frontier([(axis, 1 if axis % 2 else 10) for axis in range(8)])
    assert odd.merge(even) == many(8, 10)


def test_a_capacity_that_suffices_exactly() -> None:
    """Reference: MergeTest: capacity exact."""
    assert frontier({A: 1}).merge(frontier({B: 1}), capacity=2) == frontier({A: 1, B: 1})


@pytest.mark.parametrize(
    ("target", "source", "capacity"),
    [({A: 1}, {B: 1}, 1), ({}, {A: 1}, 0), ({A: 1, B: 1}, {B: 2, C: 1, D: 1}, 3), ({A: 1, B: 1}, {A: 2, B: 2}, 1)],
)
def test_a_result_beyond_the_capacity_is_refused(
    target: dict[Axis, int], source: dict[Axis, int], capacity: int
) -> None:
    """Reference: MergeTest: capacity insufficient, overflow."""
    with pytest.raises(ResourceExhausted, match="capacity"):
        frontier(target).merge(frontier(source), capacity)


def test_256_axes_are_too_many_for_any_capacity() -> None:
    with pytest.raises(ResourceExhausted, match="capacity"):
        many(255).merge(Frontier([(1000, 1)]))


def test_merging_agrees_with_dictionaries() -> None:
    numbers = random.Random(7)

    def some_epochs() -> dict[int, int]:
        return {axis: numbers.randint(1, 5) for axis in numbers.sample(range(12), numbers.randint(0, 9))}

    for _ in range(300):
        one, other = some_epochs(), some_epochs()
        expected = {axis: max(one.get(axis, 0), other.get(axis, 0)) for axis in {*one, *other}}
        merged = Frontier.from_epochs(one).merge(Frontier.from_epochs(other))
        assert list(merged.items()) == sorted(expected.items())


@pytest.mark.parametrize(
    ("target", "source", "dominates"),
    [
        ({}, {}, True),
        ({A: 1}, {}, False),
        ({}, {A: 1}, True),
        ({A: 1}, {A: 1}, True),
        ({A: 1}, {A: 2}, True),
        ({A: 2}, {A: 1}, False),
        ({A: 1}, {A: 1, B: 1}, True),
        ({A: 1, B: 1}, {A: 2}, False),
        ({A: 1, C: 1}, {A: 2, B: 9}, False),
        ({A: 1, B: 2}, {A: 2, B: 1}, False),
    ],
)
def test_merging_says_whether_the_source_covers_the_target(
    target: dict[Axis, int], source: dict[Axis, int], dominates: bool
) -> None:
    """Reference: MergeTest: dominance true, false."""
    merged = frontier(target).merge(frontier(source))
    assert frontier(target).merge_with_dominance(frontier(source)) == (merged, dominates)


def test_a_source_that_dominates_is_the_result() -> None:
    source = frontier({A: 2, B: 1})
    assert frontier({A: 1}).merge_with_dominance(source)[0] is source


@pytest.mark.parametrize("source", [frontier({A: 1, B: 1}), frontier({B: 1})])
def test_merging_with_dominance_has_a_capacity(source: Frontier) -> None:
    with pytest.raises(ResourceExhausted, match="capacity"):
        frontier({A: 1}).merge_with_dominance(source, capacity=1)


# Satisfied and undominated -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "current", "satisfied"),
    [
        ({}, {}, True),
        ({}, {A: 1}, True),
        ({A: 1}, {}, False),
        ({A: 1}, {A: 1}, True),
        ({A: 1}, {A: 2}, True),
        ({A: 2}, {A: 1}, False),
        ({B: 1}, {A: 1, B: 1, C: 1}, True),
        ({B: 1}, {A: 1, C: 1}, False),
        ({A: 1, C: 3}, {A: 1, B: 1, C: 2}, False),
        ({A: 1, C: 3}, {A: 9, B: 1, C: 3}, True),
    ],
)
@pytest.mark.parametrize("kind", [Frontier.from_epochs, dict])
def test_satisfied_is_what_every_axis_has_reached(
    wanted: dict[Axis, int],
    current: dict[Axis, int],
    satisfied: bool,
    kind: Callable[[dict[Axis, int]], dict[Axis, int]],
) -> None:
    """Reference: IsSatisfiedTest."""
    assert frontier(wanted).is_satisfied(kind(current)) is satisfied


@pytest.mark.parametrize(
    ("target", "reference", "expected"),
    [
        ({}, {}, {}),
        ({}, {A: 1}, {}),
        ({A: 1}, {}, {A: 1}),
        ({A: 1}, {A: 1}, {}),
        ({A: 1}, {A: 2}, {}),
        ({A: 2}, {A: 1}, {A: 2}),
        ({A: 1, B: 1, C: 1}, {B: 1}, {A: 1, C: 1}),
        ({A: 5, B: 5, C: 5}, {A: 5, B: 4, C: 6}, {B: 5}),
        ({A: 1, B: 1}, {C: 1, D: 1}, {A: 1, B: 1}),
        ({C: 1, D: 1}, {A: 1, B: 1}, {C: 1, D: 1}),
        ({A: LARGEST_EPOCH}, {A: LARGEST_EPOCH - 1}, {A: LARGEST_EPOCH}),
    ],
)
@pytest.mark.parametrize("kind", [Frontier.from_epochs, dict])
def test_undominated_is_what_the_reference_does_not_cover(
    target: dict[Axis, int],
    reference: dict[Axis, int],
    expected: dict[Axis, int],
    kind: Callable[[dict[Axis, int]], dict[Axis, int]],
) -> None:
    """Reference: FindUndominatedTest."""
    assert frontier(target).find_undominated(kind(reference)) == frontier(expected)


def test_undominated_entries_are_a_frontier_of_their_own() -> None:
    """Reference: FindUndominatedTest: ascending, full count."""
    rest = many(100, 2).find_undominated(Frontier([(axis, 2) for axis in range(0, 100, 2)]))
    assert list(rest) == list(range(1, 100, 2))
    assert rest.merge(many(100)).compare(many(100, 2)) is BEFORE


# On the wire ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 8, 255])
def test_bytes_and_back(count: int) -> None:
    known = many(count, LARGEST_EPOCH)
    assert Frontier.from_bytes(known.to_bytes()) == known


def test_a_header_of_8_bytes_and_16_an_entry() -> None:
    data = Frontier([(0x0102, 3), (LARGEST_AXIS, 4)]).to_bytes()
    assert data.hex(" ", 8) == ("0200000000000000 0201000000000000 0300000000000000 ffffffffffffffff 0400000000000000")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_can_be_read(kind: Callable[[bytes], bytes]) -> None:
    assert Frontier.from_bytes(kind(many(3).to_bytes())) == many(3)


VALID = Frontier([(1, 1), (2, 2)]).to_bytes()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "data must have a header of 8 bytes, not 0"),
        (VALID[:7], "data must have a header of 8 bytes, not 7"),
        (VALID[:-1], "data must have 40 bytes for 2 entries, not 39"),
        (VALID + b"\0", "data must have 40 bytes for 2 entries, not 41"),
        (b"\3" + VALID[1:], "data must have 56 bytes for 3 entries, not 40"),
        (b"\2\0\1" + VALID[3:], "data: the reserved bytes 1 to 7 must be 0"),
        (VALID[:8] + VALID[24:] + VALID[8:24], "data: entries must be strictly ascending"),
        (VALID[:24] + VALID[8:24], "data: entries must be strictly ascending"),
        (VALID[:16] + bytes(8) + VALID[24:], "data: entries: epoch must be from 1"),
    ],
    ids=["empty", "short header", "short", "long", "count", "reserved", "unsorted", "duplicate", "epoch 0"],
)
def test_what_is_not_exactly_a_frontier_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Frontier.from_bytes(data)


def test_what_is_not_bytes_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="data must be a bytes-like object"):
        Frontier.from_bytes("frontier")


# Scenarios -----------------------------------------------------------------------------------------------------------


def test_work_of_one_queue_is_ordered() -> None:
    """Reference: ScenarioTest: sequential GPU."""
    queue = Axis.make_queue(1, 0, 0, 0)
    states = [frontier({queue: epoch}) for epoch in (1, 2, 3)]
    assert [one.compare(next_one) for one, next_one in itertools.pairwise(states)] == [BEFORE, BEFORE]


def test_what_fans_out_is_concurrent_and_what_fans_in_comes_after_all() -> None:
    """Reference: ScenarioTest: fan-out, fan-in."""
    begin = frontier({A: 1})
    left, right = begin.merge(frontier({B: 1})), begin.merge(frontier({C: 1}))
    joined = left.merge(right)
    assert left.compare(right) is CONCURRENT
    assert [begin.compare(left), left.compare(joined), right.compare(joined)] == [BEFORE, BEFORE, BEFORE]


def test_a_collective_stands_for_the_work_of_many_machines() -> None:
    """Reference: ScenarioTest: collective compression."""
    channel = Axis.make(1, 0, AxisDomain.COLLECTIVE, 7)
    participants = Frontier([(Axis.make_queue(1, machine, 0, 0), 100) for machine in range(200)])
    compressed = frontier({channel: 1})
    assert compressed.is_satisfied(participants.merge(compressed))
    assert len(compressed.to_bytes()) < len(participants.to_bytes()) / 100


def test_what_another_machine_sends_is_known_here_afterwards() -> None:
    """Reference: ScenarioTest: network propagation, causality chain."""
    here, there = frontier({A: 5}), frontier({B: 7, C: 1})
    received = here.merge(Frontier.from_bytes(there.to_bytes()))
    assert there.is_satisfied(received) and here.is_satisfied(received)
    assert received.find_undominated(here) == there
