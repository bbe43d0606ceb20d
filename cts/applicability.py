"""Which tests run on which configuration, and what is written down of those that do not.

A test that uses the fixture `configuration`, directly or not, is made once for each configuration that is usable here;
those whose tags do not fit are taken out again and entered into `NotApplicable` with the reason, so that none is
missing without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from cts.configurations import Configuration

#: (file of the suite, name of the configuration, reason) to the number of tests.
NotApplicable = Counter[tuple[str, str, str]]

NOT_APPLICABLE = pytest.StashKey[NotApplicable]()
#: The name under which a test's report says on which configuration it ran.
CONFIGURATION_PROPERTY = "configuration"


def suite_of(nodeid: str) -> str:
    """The file of a test, as it is shown: "suites/test_chains"."""
    return nodeid.partition("::")[0].removeprefix("cts/").removesuffix(".py")


def configuration_of(item: pytest.Item) -> Configuration | None:
    """The configuration that a collected test is for; None if it is for none."""
    callspec = getattr(item, "callspec", None)
    found = None if callspec is None else callspec.params.get("configuration")
    return found if isinstance(found, Configuration) else None


def column_of(item: pytest.Item) -> str | None:
    """Where a test runs, as a column of the matrix: a configuration, or real Trio; None: anywhere."""
    callspec = getattr(item, "callspec", None)
    library = None if callspec is None else callspec.params.get("lib")
    if library is not None:
        return str(library).removeprefix("proactor_trio-")
    configuration = configuration_of(item)
    return None if configuration is None else configuration.name


def reason_against_test(item: pytest.Item, configuration: Configuration) -> str | None:
    """Why a test does not run on a configuration; None if it does. Raises UsageError for a mark with an unknown tag."""
    try:
        for marker in item.iter_markers("needs"):
            for tag in marker.args:
                if reason := configuration.reason_against(tag):
                    return reason
        for marker in item.iter_markers("lacks"):
            for tag in marker.args:
                if configuration.reason_against(tag) is None:
                    return f"{configuration.name} has what the test does without: {tag}"
    except LookupError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error.args[0]}") from None
    return None


def take_out(items: list[pytest.Item]) -> tuple[list[pytest.Item], NotApplicable]:
    """Take those out of a collection that do not run on their configuration: they, and the count with the reasons."""
    taken: list[pytest.Item] = []
    counts: NotApplicable = Counter()
    for item in items:
        if (column := column_of(item)) is not None:
            item.user_properties.append((CONFIGURATION_PROPERTY, column))
        configuration = configuration_of(item)
        if configuration is None:
            continue
        reason = reason_against_test(item, configuration)
        if reason is not None:
            counts[suite_of(item.nodeid), configuration.name, reason] += 1
            taken.append(item)
    gone = set(taken)
    items[:] = [item for item in items if item not in gone]
    return taken, counts


def summary(counts: NotApplicable) -> Iterable[str]:
    """One line for each configuration and reason."""
    by_reason: Counter[tuple[str, str]] = Counter()
    for (_, configuration, reason), count in counts.items():
        by_reason[configuration, reason] += count
    for (configuration, reason), count in sorted(by_reason.items()):
        yield f"{configuration}: {count} not applicable: {reason}"
