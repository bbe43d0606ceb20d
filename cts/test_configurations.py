"""The table itself: here each configuration that cannot run is skipped once, with its reason."""

from __future__ import annotations

import pytest

from cts.configurations import ALL_CONFIGURATIONS, MASKED_CONFIGURATIONS, Configuration, reason_against
from proactor_trio.proactor import Capability, Proactor, ProactorOptions, Support


def test_each_configuration_is_usable_or_says_why_not(any_configuration: Configuration) -> None:
    reason = reason_against(any_configuration)
    if reason is not None:
        pytest.skip(f"{any_configuration.name}: {reason}")


def test_names_are_unique() -> None:
    names = [configuration.name for configuration in ALL_CONFIGURATIONS]
    assert len(set(names)) == len(names)


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


@pytest.mark.masked(Capability.ZERO_COPY_SEND)
def test_a_mark_adds_those_that_lack_what_it_names(
    configuration: Configuration, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--configuration"):
        assert not configuration.is_masked or Capability.ZERO_COPY_SEND not in configuration.allowed
