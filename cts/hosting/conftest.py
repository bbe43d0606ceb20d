"""Fixtures of the tests of hosts: a plain function is a test, and runs the loop that it is about by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cts.hosting.support import OutsideLoop
from proactor_trio.proactor import Proactor


@pytest.fixture
def loop(proactor: Proactor) -> Iterator[OutsideLoop]:
    """A proactor of the configuration, driven by the smallest loop."""
    outside = OutsideLoop(proactor)
    yield outside
    outside.close()
