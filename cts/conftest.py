"""Fixtures of the conformance suite: each test that asks for `configuration`, `proactor`, `make_proactor` or `run` runs
once for each base configuration that is usable here. A test (or a module, by `pytestmark`) with the mark
`masked(Capability.A | Capability.B)` runs also on the masked configurations that lack A or B.

Around each test the descriptors of the process are compared: what a test leaves open is a leak, its own or the
backend's. And a proactor must be idle when the test is over: whoever starts an operation waits for its end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.configurations import ALL_CONFIGURATIONS, Configuration, find, reason_against
from cts.support import Completions, Files, Sockets, open_descriptors
from proactor_trio.proactor import Proactor, ProactorOptions

_HAS_FAILED = pytest.StashKey[bool]()

#: Proactors of failed tests: nobody knows whether they can be closed in time, and their memory must stay.
_stuck: list[Proactor] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--configuration",
        action="append",
        default=[],
        metavar="NAME",
        help="run the conformance suite on this configuration only (may be given several times)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "masked(capabilities): run also on io_uring configurations where one of these is switched off"
    )


def chosen_configurations(config: pytest.Config) -> list[Configuration]:
    """Those that the command line asks for, all without it."""
    names: list[str] = config.getoption("--configuration")
    try:
        return [find(name, ALL_CONFIGURATIONS) for name in names] or list(ALL_CONFIGURATIONS)
    except LookupError as error:
        raise pytest.UsageError(f"--configuration: {error.args[0]}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = []
    for configuration in chosen_configurations(config):
        reason = reason_against(configuration)
        lines.append(f"configuration {configuration.name}: {'usable' if reason is None else f'not here: {reason}'}")
    return lines


def is_meant_for(metafunc: pytest.Metafunc, configuration: Configuration) -> bool:
    """Whether a test runs there: it is a base one, or was asked for, or lacks what the test is marked with."""
    if not configuration.is_masked or metafunc.config.getoption("--configuration"):
        return True
    return any(marker.args[0] & ~configuration.allowed for marker in metafunc.definition.iter_markers("masked"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = chosen_configurations(metafunc.config)
    if "configuration" in metafunc.fixturenames:
        usable = [
            configuration
            for configuration in chosen
            if is_meant_for(metafunc, configuration) and reason_against(configuration) is None
        ]
        metafunc.parametrize("configuration", usable, ids=lambda configuration: configuration.name, scope="session")
    if "any_configuration" in metafunc.fixturenames:
        metafunc.parametrize("any_configuration", chosen, ids=lambda configuration: configuration.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_HAS_FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def no_descriptor_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves a descriptor open. A test that failed already is not asked."""
    before = open_descriptors()
    yield
    if request.node.stash.get(_HAS_FAILED, False):
        return
    leaked = _new_descriptors(before)
    if leaked:
        gc.collect()
        leaked = _new_descriptors(before)
    assert not leaked, f"left open: {leaked}"


def _new_descriptors(before: dict[int, str]) -> dict[int, str]:
    return {number: target for number, target in open_descriptors().items() if before.get(number) != target}


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Makes sockets and connected pairs."""
    maker = Sockets()
    yield maker
    maker.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """Makes open files in a folder of the test's own."""
    maker = Files(tmp_path)
    yield maker
    maker.close()


@pytest.fixture
def completions() -> Completions:
    """A completion function that records."""
    return Completions()


@pytest.fixture
def make_proactor(
    configuration: Configuration, request: pytest.FixtureRequest, sockets: Sockets, files: Files
) -> Iterator[Callable[..., Proactor]]:
    """Makes proactors of the configuration: `make_proactor(max_concurrent_operations=8)`; closes them afterwards.

    It depends on the makers of sockets and files so that the proactor goes first.
    """
    made: list[Proactor] = []

    def make(**options: Any) -> Proactor:
        proactor = Proactor(configuration.backend, configuration.restrict(ProactorOptions(**options)))
        made.append(proactor)
        return proactor

    yield make
    if request.node.stash.get(_HAS_FAILED, False):
        _stuck.extend(made)
        return
    for proactor in made:
        left = proactor.statistics()["in_flight"]
        proactor.close()
        assert not left, f"the test left {left} operations in flight"


@pytest.fixture
def proactor(make_proactor: Callable[..., Proactor]) -> Proactor:
    """A proactor of the configuration with default options."""
    return make_proactor()


@pytest.fixture
def run(configuration: Configuration) -> Callable[..., Any]:
    """`proactor_trio.run()` on the configuration."""

    def run_there(*arguments: Any, proactor_options: ProactorOptions | None = None, **options: Any) -> Any:
        restricted = configuration.restrict(proactor_options)
        return proactor_trio.run(*arguments, backend=configuration.backend, proactor_options=restricted, **options)

    return run_there
