"""What a benchmark of the conformance suite is, how it is measured, and how its shape is judged.

Rules:
1. A number is CPU time of this process (user + system, all threads) for one unit of work.
2. The sizes of a benchmark, and the benchmarks of one comparison, are measured in interleaved rounds; a ratio is taken
   inside one round, and the median over the rounds is the result.
3. Shapes are judged by ratios. What is stated in microseconds is stated beside them, for this machine.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from cts.configurations import Configuration
from proactor_trio.backends.contract import Capability, Support
from proactor_trio.proactor import Proactor

#: `work(units)` does so many units of work; it may return the nanoseconds of CPU that count, where not all of it does.
Work = Callable[[int], int | None]
#: Sets the scene for a size, yields the work, and clears the scene away.
Scene = Callable[[Proactor, int], Iterator[Work]]

_SECONDS: Final = 0.05
_QUICK_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Flat:
    """The cost of a unit does not depend on the size: largest by smallest at most `factor`."""

    factor: float

    def judge(self, ratios: dict[int, float]) -> tuple[str, bool]:
        first, last = min(ratios), max(ratios)
        ratio = ratios[last] / ratios[first]
        return f"flat: {last} costs {ratio:.2f} × {first} (at most {self.factor})", ratio <= self.factor


@dataclass(frozen=True)
class Linear:
    """The cost of a unit grows no faster than the size: per step, largest by middle at most `factor`."""

    factor: float

    def judge(self, ratios: dict[int, float]) -> tuple[str, bool]:
        sizes = sorted(ratios)
        middle, last = sizes[len(sizes) // 2], sizes[-1]
        ratio = (ratios[last] / last) / (ratios[middle] / middle)
        return f"linear: a step of {last} costs {ratio:.2f} × one of {middle} (at most {self.factor})", (
            ratio <= self.factor
        )


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its name in the reference's terms, its sizes, and its shape.

    compared_with: the name of another benchmark; for each size the ratio to it is at most `at_most`.
    limit_us: microseconds for one unit that must not be exceeded, whatever the size.
    needs: a capability without whose native form it is left out.
    """

    name: str
    scene: Scene
    sizes: tuple[int, ...] = (1,)
    shape: Flat | Linear | None = None
    compared_with: str | None = None
    at_most: float | None = None
    limit_us: float | None = None
    needs: Capability = Capability.NONE


@dataclass(frozen=True)
class Verdict:
    """One thing that was to hold."""

    text: str
    holds: bool


@dataclass
class Outcome:
    """All rounds of one benchmark: nanoseconds for a unit, by size."""

    benchmark: Benchmark
    rounds: list[dict[int, float]] = field(default_factory=list)
    reason: str | None = None

    def nanoseconds(self, size: int) -> float:
        """The median over the rounds."""
        return statistics.median(samples[size] for samples in self.rounds)

    def relative(self) -> dict[int, float]:
        """For each size the median of its ratios to the smallest one, within each round."""
        smallest = min(self.benchmark.sizes)
        return {
            size: statistics.median(samples[size] / samples[smallest] for samples in self.rounds)
            for size in self.benchmark.sizes
        }

    def ratio_to(self, other: Outcome, size: int) -> float:
        """The median of the ratios within each round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(mine[size] / theirs[size] for mine, theirs in pairs)

    def verdicts(self, others: Mapping[str, Outcome]) -> list[Verdict]:
        """What was to hold, and whether it does. `others`: the outcomes of the same rounds, by name."""
        benchmark = self.benchmark
        found = []
        if benchmark.shape is not None:
            found.append(Verdict(*benchmark.shape.judge(self.relative())))
        if benchmark.compared_with is not None and benchmark.at_most is not None:
            ratio = max(self.ratio_to(others[benchmark.compared_with], size) for size in benchmark.sizes)
            text = f"{ratio:.2f} × {benchmark.compared_with} (at most {benchmark.at_most})"
            found.append(Verdict(text, ratio <= benchmark.at_most))
        if benchmark.limit_us is not None:
            most = max(self.nanoseconds(size) for size in benchmark.sizes) / 1000
            found.append(Verdict(f"{most:.2f} µs (less than {benchmark.limit_us})", most < benchmark.limit_us))
        return found

    def record(self, verdicts: Sequence[Verdict]) -> dict[str, object]:
        """All of it, for JSON: nanoseconds of CPU for one unit, by size."""
        return {
            "name": self.benchmark.name,
            "left_out": self.reason,
            "nanoseconds": {size: self.nanoseconds(size) for size in self.benchmark.sizes} if self.rounds else {},
            "verdicts": [{"text": verdict.text, "holds": verdict.holds} for verdict in verdicts],
        }


REGISTERED: Final[list[Benchmark]] = []


def register(benchmark: Benchmark) -> None:
    """Make a benchmark known."""
    REGISTERED.append(benchmark)


def measure(configuration: Configuration, benchmarks: list[Benchmark], rounds: int, *, quick: bool) -> list[Outcome]:
    """Measure these in so many interleaved rounds."""
    outcomes = [Outcome(benchmark) for benchmark in benchmarks]
    for _ in range(rounds):
        for outcome in outcomes:
            if outcome.reason is None:
                _measure_round(configuration, outcome, _QUICK_SECONDS if quick else _SECONDS)
    return outcomes


def _measure_round(configuration: Configuration, outcome: Outcome, seconds: float) -> None:
    samples: dict[int, float] = {}
    for size in outcome.benchmark.sizes:
        with Proactor(configuration.backend, configuration.restrict()) as proactor:
            needs = outcome.benchmark.needs
            if needs and proactor.capability_reports[needs].support is not Support.NATIVE:
                outcome.reason = f"needs {needs.name}"
                return
            with scene_of(outcome.benchmark, proactor, size) as work:
                samples[size] = _nanoseconds(work, seconds)
    outcome.rounds.append(samples)


@contextmanager
def scene_of(benchmark: Benchmark, proactor: Proactor, size: int) -> Iterator[Work]:
    """The work of a benchmark for a size, with its scene set around."""
    scene = benchmark.scene(proactor, size)
    yield next(scene)
    for _ in scene:
        raise AssertionError(f"{benchmark.name} yields twice")


def _nanoseconds(work: Work, seconds: float) -> float:
    work(1)
    units = 1
    gc.collect()
    gc.disable()
    try:
        while True:
            begun, wall = time.process_time_ns(), time.perf_counter()
            counted = work(units)
            spent, passed = time.process_time_ns() - begun, time.perf_counter() - wall
            spent = spent if counted is None else counted
            if spent >= seconds * 1e9 or passed >= 5 * seconds:
                return spent / units
            units *= 2
    finally:
        gc.enable()


def drive(proactor: Proactor, condition: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    while not condition():
        proactor.poll(1)
