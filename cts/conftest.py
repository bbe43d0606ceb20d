"""Fixtures of the conformance suite: each test that asks for `configuration`, `proactor`, `make_proactor` or `run` runs
once for each configuration that is usable here and has what the test needs (applicability.py).

Around each test what the process holds is compared: what a test leaves open is a leak, its own or the backend's
(leaks.py). A proactor must be idle when the test is over: whoever starts an operation waits for its end. A test that
hangs ends with the state of everything (time_limit.py).
"""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts import applicability
from cts.applicability import NOT_APPLICABLE
from cts.configurations import ALL_CONFIGURATIONS, Configuration, find, reason_against
from cts.leaks import AbandonedTasks, snapshot
from cts.matrix import WORKER_OUTPUT
from cts.support import Completions, Files, Sockets
from cts.time_limit import pytest_timeout_cancel_timer, pytest_timeout_set_timer
from proactor_trio.proactor import Proactor, ProactorOptions

__all__ = ["pytest_timeout_cancel_timer", "pytest_timeout_set_timer"]

_HAS_FAILED = pytest.StashKey[bool]()
_RAN = pytest.StashKey[int]()
#: After so many tests what pytest holds is set aside again.
_TESTS_BETWEEN = 500

#: Proactors of failed tests: nobody knows whether they can be closed in time, and their memory must stay.
_stuck: list[Proactor] = []


# Which tests there are -----------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--configuration",
        action="append",
        default=[],
        metavar="NAME",
        help="run the conformance suite on this configuration only (may be given several times)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_APPLICABLE] = Counter()
    for line in (
        "needs(*tags): run only on configurations that have all of these (cts/tags.py)",
        "lacks(*tags): run only on configurations that have none of these (cts/tags.py)",
        "reference(*cases): covers these cases of the reference's suite (cts/reference/cases.py)",
        "regression(*names): shows that these faults of the reference are not repeated (cts/reference/divergences.py)",
        "ring_rule(*numbers): would fail if these rules of rings and chains were broken (cts/reference/ring_rules.py)",
    ):
        config.addinivalue_line("markers", line)


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = chosen_configurations(metafunc.config)
    if "configuration" in metafunc.fixturenames:
        usable = [configuration for configuration in chosen if reason_against(configuration) is None]
        metafunc.parametrize("configuration", usable, ids=lambda configuration: configuration.name, scope="session")
    if "any_configuration" in metafunc.fixturenames:
        metafunc.parametrize("any_configuration", chosen, ids=lambda configuration: configuration.name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    taken, counts = applicability.take_out(items)
    config.stash[NOT_APPLICABLE].update(counts)
    config.hook.pytest_deselected(items=taken)


def pytest_sessionfinish(session: pytest.Session) -> None:
    workeroutput: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:  # this is a worker of pytest-xdist
        counts = session.config.stash[NOT_APPLICABLE]
        workeroutput[WORKER_OUTPUT] = [[list(key), count] for key, count in counts.items()]


def pytest_collection_finish() -> None:
    _set_aside()


def pytest_runtest_setup(item: pytest.Item) -> None:
    ran = item.config.stash[_RAN] = item.config.stash.get(_RAN, 0) + 1
    if ran % _TESTS_BETWEEN == 0:
        _set_aside()


def _set_aside() -> None:
    """Many tests collect garbage, and need not look each time through all that pytest holds."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in applicability.summary(config.stash[NOT_APPLICABLE]):
        terminalreporter.write_line(line)


# What a test may not leave -------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_HAS_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def abandoned_tasks() -> Iterator[AbandonedTasks]:
    """Tasks that a run left behind."""
    with AbandonedTasks() as abandoned:
        yield abandoned


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, abandoned_tasks: AbandonedTasks) -> Iterator[None]:
    """Fails the test that leaves something open. A test that failed already is not asked."""
    before = snapshot()
    yield
    tasks = abandoned_tasks.take()
    if request.node.stash.get(_HAS_FAILED, False):
        return
    leaked = snapshot().leaked_since(before)
    if leaked:
        gc.collect()
        leaked = snapshot().leaked_since(before)
    assert not leaked + tasks, f"left behind: {leaked + tasks}"


# What tests are written with -----------------------------------------------------------------------------------------


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test's own. (pytest's fixture looks through the folders of all earlier tests each time.)"""
    return Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Makes sockets and connected pairs."""
    maker = Sockets()
    yield maker
    maker.close()


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Iterator[Files]:
    """Makes open files in `tmp_path`, which is made only then: most tests have no use for it."""
    maker = Files(lambda: request.getfixturevalue("tmp_path"))
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
