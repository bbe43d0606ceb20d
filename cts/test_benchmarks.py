"""The benchmarks work: each scene is set, does its work once, and is cleared away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cts.benchmarks import core
from cts.benchmarks.__main__ import main
from cts.benchmarks.measuring import REGISTERED, Benchmark, Flat, Linear, Outcome, scene_of
from cts.tags import TAGS
from proactor_trio.proactor import Proactor, Support


def parameter(benchmark: Benchmark) -> Any:
    """A benchmark, for the configurations that have the capability which it needs."""
    native = frozenset({Support.NATIVE})
    tags = [
        name
        for name, tag in TAGS.items()
        if benchmark.needs and (tag.capability, tag.support) == (benchmark.needs, native)
    ]
    assert bool(tags) is bool(benchmark.needs)
    return pytest.param(benchmark, id=benchmark.name, marks=pytest.mark.needs(*tags))


@pytest.mark.parametrize("benchmark", [parameter(benchmark) for benchmark in REGISTERED])
def test_a_scene_works(proactor: Proactor, benchmark: Benchmark) -> None:
    with scene_of(benchmark, proactor, min(benchmark.sizes)) as work:
        work(1)


def test_names_are_given_once() -> None:
    names = [benchmark.name for benchmark in REGISTERED]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(("largest", "holds"), [(1.4, True), (1.6, False)])
def test_flat_compares_the_largest_with_the_smallest(largest: float, holds: bool) -> None:
    assert Flat(1.5).judge({1: 1.0, 16: 9.0, 256: largest})[1] is holds


@pytest.mark.parametrize(("largest", "holds"), [(22.0, True), (26.0, False)])
def test_linear_compares_a_step_of_the_largest_with_one_of_the_middle(largest: float, holds: bool) -> None:
    assert Linear(1.5).judge({1: 1.0, 4: 4.0, 16: largest})[1] is holds


def test_ratios_are_taken_within_a_round() -> None:
    outcome = Outcome(Benchmark("one", core.raw_linked, (1, 2)))
    outcome.rounds = [{1: 1.0, 2: 2.0}, {1: 10.0, 2: 20.0}, {1: 5.0, 2: 40.0}]
    assert outcome.relative() == {1: 1.0, 2: 2.0}


def test_figures_are_written_as_json(tmp_path: Path) -> None:
    main(
        ["--quick", "--configuration", "posix_poll", "--json", str(tmp_path / "figures.json"), "sequence/SequenceLink"]
    )
    report = json.loads((tmp_path / "figures.json").read_text())
    (record,) = report["benchmarks"]
    assert (record["name"], record["configuration"]) == ("core/sequence/SequenceLinkNops", "posix_poll")
    assert record["nanoseconds"]["64"] > record["nanoseconds"]["1"] > 0
