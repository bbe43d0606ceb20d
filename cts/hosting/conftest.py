"""Fixtures of the tests of hosts: a plain function is a test, and runs the loop that it is about by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cts.configurations import Configuration
from cts.hosting.hosts import HOSTS, Host
from cts.hosting.support import OutsideLoop
from proactor_trio.proactor import Proactor


@pytest.fixture
def loop(proactor: Proactor) -> Iterator[OutsideLoop]:
    """A proactor of the configuration, driven by the smallest loop."""
    outside = OutsideLoop(proactor)
    yield outside
    outside.close()


@pytest.fixture(params=HOSTS, ids=lambda host: host.name)
def host(request: pytest.FixtureRequest, configuration: Configuration) -> Host:
    """Trio, then asyncio, with bridges on the configuration."""
    made = request.param(configuration)
    assert isinstance(made, Host)
    return made
