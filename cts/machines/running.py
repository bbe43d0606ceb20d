"""How the state machines run: the same settings for all, and a look for leaks around each example.

The examples are the same in every run, so that a failure is everybody's; `CTS_EXAMPLES=2000` tries other ones, at
random and as many as that, and looks for the shortest program that fails. What Hypothesis prints for a failure is a
program: the rules in order, with their values. Preconditions of rules ask for what earlier rules did and never for what
the kernel has done meanwhile, or else a program could not be repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from cts.leaks import snapshot

_EXAMPLES: Final = os.environ.get("CTS_EXAMPLES")
_STEPS: Final = 40

SETTINGS: Final = hypothesis.settings(
    max_examples=20 if _EXAMPLES is None else int(_EXAMPLES),
    stateful_step_count=_STEPS,
    derandomize=_EXAMPLES is None,
    phases=(Phase.generate,) if _EXAMPLES is None else (Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def run_machine(make: Callable[[], RuleBasedStateMachine]) -> None:
    """Run a machine's examples; the test fails with the shortest program that breaks a rule."""
    run_state_machine_as_test(make, settings=SETTINGS)  # type: ignore[no-untyped-call]


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails if the block leaves behind what was not there before."""
    before = snapshot()
    yield
    leaked = snapshot().leaked_since(before)
    assert not leaked, f"left behind: {leaked}"
