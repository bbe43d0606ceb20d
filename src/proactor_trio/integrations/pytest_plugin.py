"""The pytest plugin: async tests and fixtures run on proactor_trio, by the machinery of pytest-trio.

pytest-trio knows how async fixtures depend on each other, what a crash in the background means for a test, and where a
clock comes from. All of that is written against names of Trio that exist here too, so nothing is done again: its engine
is exchanged.

Rules:

1. One line in the ini file, `proactor_trio_mode = true`, switches it on. Without the line nothing is exchanged or
   marked, pytest-trio is not imported, and suites for other libraries see no difference but that this package, in which
   the plugin lies, is imported.
2. Whatever is exchanged is put back when the session ends, since pytest may run inside of pytest.
3. Tests that belong to AnyIO's plugin are left to it.
4. `--proactor-backend NAME` holds for the whole session, also for tests that call `run()` themselves. A backend that
   is unknown, or cannot run here, is said once before the first test.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

import pytest

import proactor_trio
from proactor_trio._kernel.run import batch_order
from proactor_trio.backends.select import ENVIRONMENT_VARIABLE, backend_names
from proactor_trio.proactor import BackendUnavailable, Proactor

MODE: Final = "proactor_trio_mode"
BACKEND_OPTION: Final = "--proactor-backend"
_ENGINE: Final = "pytest_trio.plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(MODE, "run async tests and fixtures on proactor_trio, by pytest-trio", type="bool", default=False)
    parser.getgroup("proactor_trio").addoption(
        BACKEND_OPTION,
        metavar="NAME",
        help=f"the backend of every proactor_trio.run() that names none: one of {', '.join(backend_names())}",
    )


def pytest_configure(config: pytest.Config) -> None:
    undo = ExitStack()
    config.add_cleanup(undo.close)
    backend = config.getoption(BACKEND_OPTION)
    if backend is not None:
        _check_backend(backend)
        undo.enter_context(_environment(ENVIRONMENT_VARIABLE, backend))
    if config.getini(MODE):
        plugin = _plugin_of_pytest_trio(config)
        undo.enter_context(engine_of_pytest_trio(proactor_trio, plugin))
        _make_examples_of_hypothesis_repeatable()


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.getini(MODE) and config.getoption(BACKEND_OPTION) is None:
        return None
    with Proactor() as proactor:
        return f"proactor_trio: backend {proactor.backend_name}, {proactor.backend_variant}"


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    if not config.getini(MODE):
        return
    for item in items:
        if isinstance(item, pytest.Function) and _is_ours(item):
            item.add_marker(pytest.mark.trio)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> object:
    if not request.config.getini(MODE) or "anyio_backend" in request.fixturenames:
        return None
    placeholder: object = import_module(_ENGINE).handle_fixture(fixturedef, request, force_trio_mode=True)
    return placeholder


@contextmanager
def engine_of_pytest_trio(library: Any, plugin: ModuleType) -> Iterator[None]:
    """For the length of a block, `plugin` runs tests on `library`, a module (or the like) with Trio's names."""
    engine = {
        "trio": library,
        "Clock": library.abc.Clock,
        "Instrument": library.abc.Instrument,
        "MockClock": library.testing.MockClock,
    }
    before = {name: getattr(plugin, name) for name in engine}
    vars(plugin).update(engine)
    try:
        yield
    finally:
        vars(plugin).update(before)


def _plugin_of_pytest_trio(config: pytest.Config) -> ModuleType:
    try:
        plugin = import_module(_ENGINE)
    except ImportError as error:
        raise pytest.UsageError(
            f"{MODE} is set, but pytest-trio, which does the work, cannot be imported ({error}): "
            "`pip install pytest-trio`"
        ) from None
    if not config.pluginmanager.is_registered(plugin):
        raise pytest.UsageError(
            f"{MODE} is set, but pytest did not load the plugin of pytest-trio: take `-p no:trio` away, or give "
            f"`-p {_ENGINE}` where plugins are not loaded automatically"
        )
    return plugin


def _is_ours(item: pytest.Function) -> bool:
    if item.get_closest_marker("anyio") is not None or item.get_closest_marker("trio") is not None:
        return False
    hypothesis = getattr(item.obj, "hypothesis", None)
    return inspect.iscoroutinefunction(item.obj if hypothesis is None else hypothesis.inner_test)


def _make_examples_of_hypothesis_repeatable() -> None:
    """The order of the tasks in a tick is a matter of chance, which hypothesis has to be able to repeat."""
    if find_spec("hypothesis") is not None:
        # Hypothesis asks the collector whether somebody holds it, and is not told of what gc.freeze() has set aside.
        holders = [batch_order]
        import_module("hypothesis").register_random(holders[0])


def _check_backend(name: str) -> None:
    if name not in backend_names():
        known = ", ".join(backend_names())
        raise pytest.UsageError(f"{BACKEND_OPTION}: there is no backend {name!r}; known are {known}")
    try:
        Proactor(name).close()
    except BackendUnavailable as error:
        raise pytest.UsageError(f"{BACKEND_OPTION}: {error}") from None


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
