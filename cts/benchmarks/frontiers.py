"""frontier: vector clocks compared, merged, asked; no backend takes part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cts.benchmarks.measuring import Benchmark, Linear, Scene, Work, register
from proactor_trio.proactor import Frontier, Proactor

ENTRIES = (1, 8, 32, 120)
SOME_ENTRIES = ENTRIES[1:]
EIGHT = (8,)


def frontier_of(entries: int, epoch: int = 5, first: int = 1, step: int = 1) -> Frontier:
    """So many axes from `first` on, all at one epoch."""
    return Frontier.from_epochs({first + step * index: epoch for index in range(entries)})


def repeated(call: Callable[[], object]) -> Work:
    """A unit of work is one such call."""

    def work(units: int) -> None:
        for _ in range(units):
            call()

    return work


def _scene(make: Callable[[int], Callable[[], object]]) -> Scene:
    """What `make(size)` gives is called once a unit."""

    def scene(proactor: Proactor, size: int) -> Iterator[Work]:
        yield repeated(make(size))

    return scene


def _compare_fast(size: int) -> Callable[[], object]:
    left, right = frontier_of(size, 5), frontier_of(size, 6)
    return lambda: left.compare(right)


def _compare_slow(size: int) -> Callable[[], object]:
    left, right = frontier_of(size, 5, 1, 2), frontier_of(size, 6, 2, 2)
    return lambda: left.compare(right)


def _merge_epoch_max(size: int) -> Callable[[], object]:
    left, right = frontier_of(size, 5), frontier_of(size, 6)
    return lambda: left.merge(right)


def _merge_right_to_left(size: int) -> Callable[[], object]:
    left, right = frontier_of(size, 5, 1, 2), frontier_of(size, 6, 2, 2)
    return lambda: left.merge(right)


def _merge_source_empty(size: int) -> Callable[[], object]:
    left, right = frontier_of(size), Frontier()
    return lambda: left.merge(right)


def _merge_fast_path_miss(size: int) -> Callable[[], object]:
    """As many axes on both sides; the last differs."""
    left = frontier_of(size)
    right = Frontier.from_epochs({**dict(frontier_of(size - 1, 6)), size + 1: 6})
    return lambda: left.merge(right)


def _is_satisfied_when(behind: Callable[[int], int | None]) -> Callable[[int], Callable[[], object]]:
    """Everything has come far enough but the axis that `behind(size)` names."""

    def make(size: int) -> Callable[[], object]:
        wanted, current = frontier_of(size, 5), dict(frontier_of(size, 6))
        if (axis := behind(size)) is not None:
            current[axis] = 4
        return lambda: wanted.is_satisfied(current)

    return make


def _is_satisfied_sparse(size: int) -> Callable[[], object]:
    """A quarter of the axes is wanted."""
    wanted, current = frontier_of(size // 4, 5, 1, 4), dict(frontier_of(size, 6))
    return lambda: wanted.is_satisfied(current)


def _validate(size: int) -> Callable[[], object]:
    entries = list(frontier_of(size).items())
    return lambda: Frontier.validate(entries)


def _undominated(reference_epoch: int, first: int = 1) -> Callable[[int], Callable[[], object]]:
    """All of the target are at 6, the reference at `reference_epoch` from axis `first` on."""

    def make(size: int) -> Callable[[], object]:
        reference, target = frontier_of(size, reference_epoch, first), frontier_of(size, 6)
        return lambda: target.find_undominated(reference)

    return make


def _half_undominated(size: int) -> Callable[[], object]:
    reference = Frontier.from_epochs({axis: 5 + axis % 2 for axis in range(1, size + 1)})
    target = frontier_of(size, 6)
    return lambda: target.find_undominated(reference)


def _nothing_known(size: int) -> Callable[[], object]:
    reference, target = Frontier(), frontier_of(size, 6)
    return lambda: target.find_undominated(reference)


def _much_known(size: int) -> Callable[[], object]:
    """A small target and a reference of many axes."""
    reference, target = frontier_of(120, 5), frontier_of(min(size, 8), 6)
    return lambda: target.find_undominated(reference)


def _network_update(size: int) -> Callable[[], object]:
    """A frontier that arrives as bytes and is merged."""
    known, wire = frontier_of(size, 5), frontier_of(size, 6).to_bytes()
    return lambda: known.merge(Frontier.from_bytes(wire))


def _waiter_check(size: int) -> Callable[[], object]:
    """A merge, and sixteen who look whether theirs is reached now."""
    known, news = frontier_of(size, 5), frontier_of(size, 6)
    wanted = [frontier_of(max(1, size // 2), 5 + number % 2) for number in range(16)]

    def check() -> None:
        merged = known.merge(news)
        for frontier in wanted:
            frontier.is_satisfied(merged)

    return check


def _register(name: str, make: Callable[[int], Callable[[], object]], sizes: tuple[int, ...] = ENTRIES) -> None:
    register(Benchmark(f"frontier/{name}", _scene(make), sizes, Linear(1.5)))


_register("Compare/FastPath", _compare_fast)
_register("Compare/SlowPath", _compare_slow)
register(Benchmark("frontier/Compare/8", _scene(_compare_slow), EIGHT, limit_us=3.0))
_register("Merge/EpochMax", _merge_epoch_max)
_register("Merge/RightToLeft", _merge_right_to_left)
_register("Merge/SourceEmpty", _merge_source_empty)
_register("Merge/FastPathMiss", _merge_fast_path_miss)
register(Benchmark("frontier/Merge/8", _scene(_merge_right_to_left), EIGHT, limit_us=3.0))
_register("IsSatisfied/All", _is_satisfied_when(lambda size: None))
_register("IsSatisfied/First", _is_satisfied_when(lambda size: 1))
_register("IsSatisfied/Last", _is_satisfied_when(lambda size: size))
_register("IsSatisfied/Mid", _is_satisfied_when(lambda size: size // 2), SOME_ENTRIES)
_register("IsSatisfied/Sparse", _is_satisfied_sparse, SOME_ENTRIES)
_register("Validate", _validate)
_register("FindUndominated/All", _undominated(5))
_register("FindUndominated/None", _undominated(6))
_register("FindUndominated/Half", _half_undominated)
_register("FindUndominated/Disjoint", _undominated(6, first=1000))
_register("FindUndominated/EmptyReference", _nothing_known)
_register("FindUndominated/LargeReference", _much_known)
_register("Scenario/NetworkUpdate", _network_update)
_register("Scenario/WaiterCheck", _waiter_check)
