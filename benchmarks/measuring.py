"""What a workload is, and how it is measured: interleaved rounds, fresh child processes, ratios per round.

Rules:
1. A number is CPU time (user + system, all threads of the measured process) for one unit of work, or the
   memory that it takes. Wall time and requests per second are never used: on a shared machine they
   measure the neighbours.
2. Rounds are interleaved (A B C D, A B C D, ...). A ratio is taken inside one round, between runs that
   were neighbours in time; the median of these ratios is the result, not the ratio of two medians.
3. A contender that cannot run is kept with its reason. One that fails in a later round keeps the rounds it
   has.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .child_processes import ChildFailed


@dataclass(frozen=True)
class Contender:
    """One way of doing the work of a workload."""

    name: str
    library: str
    """What ``--libraries`` calls it; several contenders may be one library on different backends."""
    run: Callable[[Mapping[str, Any]], None]
    """Does the work, inside the child process, from the parameters that the parent passed on."""


@dataclass(frozen=True)
class Mark:
    """A ratio that the project wants `contender` to reach against `baseline`, in every row or in some of them."""

    contender: str
    baseline: str
    at_most: float
    rows: tuple[str, ...] | None = None
    """The rows that it is about; None: all."""

    def is_about(self, contender: Contender, row: str) -> bool:
        """Whether it is held against what `contender` does in `row`."""
        return self.contender == contender.name and (self.rows is None or row in self.rows)

    def verdict(self, ratio: float) -> str:
        """Say in words whether `ratio` reaches this mark."""
        if ratio <= self.at_most:
            return f"mark {self.at_most:.2f} ✓"
        return f"mark {self.at_most:.2f} missed by {100 * (ratio / self.at_most - 1):.0f} %"


@dataclass(frozen=True)
class Sample:
    """One measurement of one row by one contender."""

    units: int
    cpu_ns: int | None = None
    user_share: float | None = None
    """The part of the CPU time spent outside the kernel, as the kernel's tick sampled it."""
    sleeps: int | None = None
    """How often the process went to sleep."""
    memory_bytes: int | None = None
    """Instead of CPU time: the memory that all units together take."""

    @property
    def figure(self) -> float:
        """CPU microseconds for one unit, or bytes where memory is measured."""
        if self.cpu_ns is not None:
            return self.cpu_ns / self.units / 1000
        assert self.memory_bytes is not None
        return self.memory_bytes / self.units


@contextmanager
def nothing_to_prepare() -> Iterator[dict[str, Any]]:
    """The preparation of a workload that needs none."""
    yield {}


@dataclass(frozen=True)
class Workload:
    """A kind of work, the contenders that do it, and how one round of one contender is measured."""

    name: str
    title: str
    unit: str
    rows: tuple[str, ...]
    contenders: tuple[Contender, ...]
    baselines: tuple[str, ...]
    """Contenders that the others are divided by; each gets a column."""
    marks: tuple[Mark, ...]
    sizes: Mapping[str, Any]
    """Parameters of a full run."""
    quick_sizes: Mapping[str, Any]
    """What ``--quick`` changes in them."""
    measure: Callable[[str, str, Mapping[str, Any]], dict[str, Sample]]
    """Called in the parent with the names of workload and contender, and the parameters; one sample a row."""
    prepare: Callable[[], AbstractContextManager[dict[str, Any]]] = nothing_to_prepare
    """Entered around all rounds; gives further parameters."""
    quantity: str = "CPU microseconds"
    """What the figures of its samples are."""

    def parameters(self, *, quick: bool) -> dict[str, Any]:
        """The parameters of a run."""
        return {**self.sizes, **(self.quick_sizes if quick else {})}

    def contender(self, name: str) -> Contender:
        """The contender of that name."""
        return next(contender for contender in self.contenders if contender.name == name)


@dataclass
class Outcome:
    """All rounds of one contender in one workload. A round that was not measured is None."""

    contender: Contender
    rounds: list[dict[str, Sample] | None] = field(default_factory=list)
    reason: str | None = None
    """Why rounds are missing."""

    def figures(self, row: str) -> list[float]:
        """The figures of all measured rounds."""
        return [samples[row].figure for samples in self.rounds if samples is not None]

    def user_share(self, row: str) -> float | None:
        """The median part of user time, where it was sampled."""
        shares = [samples[row].user_share for samples in self.rounds if samples is not None]
        known = [share for share in shares if share is not None]
        return statistics.median(known) if known else None

    def sleeps_per_unit(self, row: str) -> float | None:
        """The median over all measured rounds, where sleeps were counted."""
        measured = [samples[row] for samples in self.rounds if samples is not None]
        counted = [sample.sleeps / sample.units for sample in measured if sample.sleeps is not None]
        return statistics.median(counted) if counted else None

    def ratio(self, row: str, baseline: Outcome) -> float | None:
        """The median of the ratios within each round that both have; None if there is no such round."""
        ratios = [
            mine[row].figure / theirs[row].figure
            for mine, theirs in zip(self.rounds, baseline.rounds, strict=True)
            if mine is not None and theirs is not None
        ]
        return statistics.median(ratios) if ratios else None


def run_rounds(
    workload: Workload,
    contenders: Sequence[Contender],
    rounds: int,
    *,
    quick: bool,
    progress: Callable[[str], None],
) -> list[Outcome]:
    """Measure `contenders` in `rounds` interleaved rounds."""
    outcomes = [Outcome(contender) for contender in contenders]
    with workload.prepare() as prepared:
        parameters = {**workload.parameters(quick=quick), **prepared}
        for number in range(rounds):
            for outcome in outcomes:
                progress(f"{workload.name}: round {number + 1} of {rounds}, {outcome.contender.name}")
                outcome.rounds.append(_one_round(workload, outcome, parameters))
    return outcomes


def _one_round(workload: Workload, outcome: Outcome, parameters: Mapping[str, Any]) -> dict[str, Sample] | None:
    """One measurement; None, with the reason in `outcome`, if it fails or has failed before."""
    if outcome.reason is not None:
        return None
    try:
        return workload.measure(workload.name, outcome.contender.name, parameters)
    except ChildFailed as error:
        outcome.reason = str(error)
        return None


def choose(workload: Workload, libraries: Sequence[str] | None) -> list[Contender]:
    """The contenders whose library or name was asked for; all of them when nothing was."""
    return [
        contender
        for contender in workload.contenders
        if libraries is None or contender.library in libraries or contender.name in libraries
    ]
