"""The table itself: here each configuration that cannot run is skipped once, with its reason."""

from __future__ import annotations

import pytest

from cts.configurations import CONFIGURATIONS, Configuration, reason_against


def test_each_configuration_is_usable_or_says_why_not(any_configuration: Configuration) -> None:
    reason = reason_against(any_configuration)
    if reason is not None:
        pytest.skip(f"{any_configuration.name}: {reason}")


def test_names_are_unique() -> None:
    names = [configuration.name for configuration in CONFIGURATIONS]
    assert len(set(names)) == len(names)
