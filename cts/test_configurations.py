"""The table itself: here each configuration that cannot run is skipped once, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint

import pytest

from cts import configurations
from cts.configurations import (
    MASKED_CONFIGURATIONS,
    Configuration,
    capability_reports,
    reason_against,
)
from cts.tags import TAGS, reason_against_tag
from proactor_trio.proactor import Capability, Proactor, ProactorOptions, Support


def test_each_configuration_is_usable_or_says_why_not(any_configuration: Configuration) -> None:
    reason = reason_against(any_configuration)
    if reason is not None:
        pytest.skip(f"{any_configuration.name}: {reason}")


@pytest.mark.parametrize("masked", MASKED_CONFIGURATIONS, ids=lambda configuration: configuration.name)
def test_what_a_masked_one_lacks_is_not_native(masked: Configuration) -> None:
    reason = reason_against(masked)
    if reason is not None:
        pytest.skip(f"{masked.name}: {reason}")
    with Proactor(masked.backend, masked.restrict()) as proactor:
        native = [name for name, report in proactor.capability_reports.items() if report.support is Support.NATIVE]
    assert [capability for capability in native if capability not in masked.allowed] == []


def test_a_masked_one_allows_no_more_than_the_options_do() -> None:
    masked = MASKED_CONFIGURATIONS[0]
    options = masked.restrict(ProactorOptions(allowed_capabilities=Capability.ALL & ~Capability.MULTISHOT))
    assert options.allowed_capabilities == masked.allowed & ~Capability.MULTISHOT


def test_a_tag_that_stands_for_a_capability_is_met_exactly_where_the_capability_is(
    configuration: Configuration,
) -> None:
    reports = capability_reports(configuration)
    for name, tag in TAGS.items():
        if tag.capability is not None and name in configuration.tags:
            assert (configuration.reason_against(name) is None) is (reports[tag.capability].support in tag.support)


def test_no_configuration_hides_a_capability_that_it_has(configuration: Configuration) -> None:
    reports = capability_reports(configuration)
    hidden = [
        name
        for name, tag in TAGS.items()
        if tag.capability is not None
        and name not in configuration.tags
        and reports[tag.capability].support in tag.support
    ]
    assert hidden == []


def test_a_tag_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(LookupError, match=r"no tag 'fast'; known are multishot"):
        reason_against_tag("fast", "some", frozenset(), {})


def test_two_configurations_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two configurations are named 'some'"):
        configurations.checked([Configuration("some", "poll", frozenset())] * 2)


def test_a_configuration_with_an_unknown_tag_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="some has tags that do not exist: fast"):
        configurations.checked([Configuration("some", "poll", frozenset({"fast"}))])


def test_a_configuration_of_a_backend_that_does_not_exist_says_so() -> None:
    assert "unknown backend 'no_such'" in (reason_against(Configuration("some", "no_such", frozenset())) or "")


def made_elsewhere(make: type[Configuration]) -> Iterable[Configuration]:
    """What the author of a further backend would write."""
    yield make("elsewhere", "poll", frozenset({"files"}))


def test_further_configurations_come_through_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    group = configurations.ENTRY_POINT_GROUP
    entry_point = EntryPoint("elsewhere", f"{__name__}:made_elsewhere", group)
    monkeypatch.setattr(EntryPoint, "load", lambda _: made_elsewhere)
    monkeypatch.setattr(
        configurations, "entry_points", lambda **wanted: [entry_point] if wanted["group"] == group else []
    )
    assert [each.name for each in configurations.external_configurations()] == ["elsewhere"]
