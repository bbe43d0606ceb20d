"""How the unit tests run.

An async test function is the main task of a run of its own. If one of its fixtures is a clock, the run uses it:
`mock_clock` stands still until the test moves it, `autojump_clock` leaps to the next deadline whenever nothing else
can happen. Tests marked `trio` or `anyio` belong to the plugins of these names and are left to them.
"""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable

import pytest

import proactor_trio
import proactor_trio.abc
from proactor_trio.testing import MockClock


@pytest.fixture
def mock_clock() -> MockClock:
    """A clock that moves only when the test says `jump`."""
    return MockClock()


@pytest.fixture
def autojump_clock() -> MockClock:
    """A clock that leaps to the next deadline as soon as every task is blocked."""
    return MockClock(autojump_threshold=0)


@pytest.fixture
def gc_collect() -> Callable[[], None]:
    """Collects until nothing is left: a finaliser may create garbage of its own."""

    def collect() -> None:
        for _ in range(4):
            gc.collect()

    return collect


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if pyfuncitem.get_closest_marker("trio") or pyfuncitem.get_closest_marker("anyio"):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    clocks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, proactor_trio.abc.Clock)]
    if len(clocks) > 1:
        raise ValueError(f"{pyfuncitem.name} has {len(clocks)} clocks among its fixtures, but a run has one")
    proactor_trio.run(functools.partial(pyfuncitem.obj, **arguments), clock=clocks[0] if clocks else None)
    return True
