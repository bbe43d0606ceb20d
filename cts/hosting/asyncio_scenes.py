"""What the tests of the asyncio bridge are written with: a run of asyncio with a bridge on a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.hosting.support import MOST_SECONDS
from proactor_trio.integrations import asyncio_bridge
from proactor_trio.integrations.asyncio_bridge import Bridge
from proactor_trio.proactor import (
    Operation,
)

Scene = Callable[[Bridge], Awaitable[Any]]


@pytest.fixture
def run(configuration: Configuration) -> Callable[[Scene], Any]:
    """`asyncio.run()` of a scene with a bridge on the configuration."""

    def run_there(scene: Scene) -> Any:
        async def main() -> Any:
            async with asyncio.timeout(MOST_SECONDS):
                async with open_on(configuration) as bridge:
                    return await scene(bridge)

        return asyncio.run(main())

    return run_there


def open_on(configuration: Configuration) -> Bridge:
    return asyncio_bridge.open_bridge(configuration.backend, configuration.restrict())


def fail(_operation: Operation, _flags: object) -> None:
    raise ZeroDivisionError


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
