"""Each planted fault makes the test fail that is there for it; each leak and each hang fails the test that did it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from cts.configurations import find, reason_against
from cts.selftest.faults import PLANS, Plan

_ROOT: Final = Path(__file__).parents[2]
_SCENES: Final = "cts/selftest/scenes"
_SECONDS: Final = 50

_FAILED_LINE: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)::(\w+)(?:\[(.*?)\])?", re.MULTILINE)


def pytest_of(*arguments: str) -> str:
    """The output of a pytest in a process of its own, without the plugins that these scenes do not need."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfE",
        "-p",
        "pytest_timeout",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    ).stdout


def failed_tests(output: str) -> set[str]:
    """The names of the tests that failed, with their parameters."""
    return {f"{name}[{parameters}]" if parameters else name for _, name, parameters in _FAILED_LINE.findall(output)}


def usable(plan: Plan) -> list[str]:
    return [name for name in plan.configurations if reason_against(find(name)) is None]


@pytest.mark.parametrize("name", PLANS)
def test_a_planted_fault_is_seen(name: str) -> None:
    plan = PLANS[name]
    chosen = [argument for configuration in usable(plan) for argument in ("--configuration", configuration)]
    if not chosen:
        pytest.skip(f"none of {', '.join(plan.configurations)} is usable here")
    selection = ["-k", plan.only] if plan.only else []
    output = pytest_of("-p", "cts.selftest.planting", "--plant", name, *chosen, *selection, plan.test)
    failed = failed_tests(output)
    unseen = [configuration for configuration in usable(plan) if not any(configuration in test for test in failed)]
    assert unseen == [], output


@pytest.fixture(scope="module")
def leaking() -> str:
    """The output of the leaking scenes."""
    return pytest_of("--configuration", "posix_poll", f"{_SCENES}/leaking.py")


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("test_a_descriptor", r"left behind: \['descriptor \d+: pipe"),
        ("test_a_proactor", r"1 proactors that nobody closed"),
        ("test_an_operation_in_flight", r"the test left 1 operations in flight"),
        ("test_a_thread", r"left behind: \['thread left behind'"),
        ("test_a_task", r"tasks of a run that is over"),
    ],
)
def test_a_leak_fails_the_test_that_leaked(leaking: str, test: str, words: str) -> None:
    of_this_test = re.search(
        rf"^_+ ERROR at teardown of {test}\b.*?(?=^_+ ERROR|\Z)", leaking, re.MULTILINE | re.DOTALL
    )
    assert of_this_test is not None, leaking
    assert re.search(words, of_this_test.group())


@pytest.fixture(scope="module")
def hanging() -> str:
    """The output of the hanging scenes."""
    return pytest_of("--configuration", "posix_poll", "--timeout", "0.5", f"{_SCENES}/hanging.py")


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("test_a_poll", r"<RecvBytes submitted"),
        ("test_a_task", r"waits_for_bytes, waiting: <RecvBytes submitted(?s:.*)in waits_for_bytes"),
        ("test_a_thread", r"--- thread MainThread(?s:.*)in test_a_thread"),
    ],
)
def test_a_hang_ends_and_says_where_everything_stands(hanging: str, test: str, words: str) -> None:
    of_this_test = re.search(rf"^_+ {test}\b.*?(?=^_{{3,}} |\Z)", hanging, re.MULTILINE | re.DOTALL)
    assert of_this_test is not None, hanging
    assert re.search(words, of_this_test.group()), hanging
