"""trio_test: an async test function that a plain test runner can call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.instruments import Instrument
from proactor_trio._kernel.running import run

P = ParamSpec("P")
T = TypeVar("T")


def trio_test(fn: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Decorate an async test function, so that a call of it is a run of its own.

    Among the keyword arguments (a test's fixtures) the run takes what is an abc.Clock as its clock, and every
    abc.Instrument as an instrument. Raises ValueError if there are several clocks.
    """

    @wraps(fn)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> T:
        clocks = [value for value in kwargs.values() if isinstance(value, Clock)]
        if len(clocks) > 1:
            raise ValueError(f"a run has one clock, and this test was given {len(clocks)}")
        result: T = run(
            partial(fn, *args, **kwargs),
            clock=clocks[0] if clocks else None,
            instruments=[value for value in kwargs.values() if isinstance(value, Instrument)],
        )
        return result

    return run_test
