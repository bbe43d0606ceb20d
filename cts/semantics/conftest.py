"""How these suites run: by pytest-trio, each test once on real Trio and once on each usable configuration of ours.

A test is written against `lib`, which has the names of Trio: the library whose engine pytest-trio runs the test with.
So a test that fails on Trio is a wrong test, and one that fails only on ours has found a difference. Those on purpose
are in the tests as two values, or where Trio gives none, under the mark `unlike_trio`. `run` is `lib.run()` for tests
that are not async functions themselves.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import pytest
import trio

import proactor_trio
from cts.configurations import CONFIGURATIONS, Configuration, reason_against
from cts.semantics.tls_scenes import Certificates
from proactor_trio.integrations.pytest_plugin import engine_of_pytest_trio

_ENGINE: Final = import_module("pytest_trio.plugin")


class Library:
    """A library with Trio's names. run, start_guest_run: its functions of these names, on one backend.

    is_trio: whether it is the one that the others are compared with.
    """

    def __init__(self, module: ModuleType, identifier: str, **options: Any) -> None:
        self._module = module
        self.identifier = identifier
        self.is_trio = module is trio
        self.run = functools.partial(module.run, **options)
        self.start_guest_run = functools.partial(module.lowlevel.start_guest_run, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __repr__(self) -> str:
        return self.identifier


def _library_of(configuration: Configuration) -> Library:
    options = {"backend": configuration.backend, "proactor_options": configuration.restrict()}
    return Library(proactor_trio, f"proactor_trio-{configuration.name}", **options)


@functools.cache
def _libraries(names: tuple[str, ...]) -> list[Library]:
    """Trio, and each configuration that is usable and was asked for."""
    ours = [
        _library_of(configuration)
        for configuration in CONFIGURATIONS
        if (not names or configuration.name in names) and reason_against(configuration) is None
    ]
    return [Library(trio, "trio"), *ours]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unlike_trio(reason): a difference on purpose that Trio gives no answer to")
    config.addinivalue_line("markers", "semantics(*numbers): the points of cts/semantics/checklist.py that this tests")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lib" in metafunc.fixturenames:
        libraries = _libraries(tuple(metafunc.config.getoption("--configuration")))
        if metafunc.definition.get_closest_marker("unlike_trio") is not None:
            libraries = [library for library in libraries if not library.is_trio]
        metafunc.parametrize("lib", libraries, ids=repr)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _library_under(item) is not None and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio)


def _library_under(item: pytest.Item) -> Library | None:
    parameters = getattr(item, "callspec", None)
    library = None if parameters is None else parameters.params.get("lib")
    return library if isinstance(library, Library) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    library = _library_under(item)
    if library is None:
        return (yield)
    with engine_of_pytest_trio(library, _ENGINE):
        return (yield)


@pytest.fixture
def run(lib: Library) -> Callable[..., Any]:
    """`lib.run()`."""
    return lib.run


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """An authority and what it has signed."""
    return Certificates.issue()
