"""The end of a bridge where something goes wrong: what does not end, and what could not begin. On Trio and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.hosting.hosts import Bridge, Host
from cts.hosting.support import MOST_SECONDS
from proactor_trio.integrations import asyncio_bridge, trio_bridge
from proactor_trio.proactor import FailedPrecondition, Proactor, SemaphoreWait, TimelineSemaphore
from proactor_trio.proactor.forking import open_now
from proactor_trio.proactor.operation import SoftwareOperation


class Endless(SoftwareOperation):
    """An operation that takes no notice of being cancelled."""

    def _begin(self, proactor: Proactor) -> None:
        pass

    def _cancel(self, proactor: Proactor) -> None:
        pass


def test_what_does_not_end_is_waited_for_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loop; closing the proactor then, which would stop the loop, has no patience of its own."""
    for module in (asyncio_bridge, trio_bridge):
        monkeypatch.setattr(module, "CLOSING_SECONDS", 0.02)
    monkeypatch.setattr("proactor_trio.proactor.proactor.CLOSING_SECONDS", 10 * MOST_SECONDS)
    endless = Endless()
    driven: list[Proactor] = []

    async def scene(bridge: Bridge, _host: Host) -> None:
        driven.append(bridge.proactor)
        bridge.proactor.submit(endless)

    with pytest.raises(FailedPrecondition, match=r"still in flight: .*Endless"):
        host.run(scene)
    with driven[0] as proactor:
        proactor.finish(endless, endless.identifier, 0)


class LoopThatWatchesNothing(asyncio.SelectorEventLoop):
    def add_reader(self, *_arguments: object) -> None:
        raise NotImplementedError


def test_a_loop_that_cannot_watch_descriptors_is_left_as_it_was(configuration: Configuration) -> None:
    async def main() -> None:
        async with asyncio_bridge.open_bridge(configuration.backend, configuration.restrict()):
            pass

    before = open_now()
    with asyncio.Runner(loop_factory=LoopThatWatchesNothing) as runner, pytest.raises(NotImplementedError):
        runner.run(main())
    assert open_now() == before


# An interruption in code that asks for a turn, or takes one -----------------------------------------------------------


def interrupt_once(monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop, name: str) -> None:
    """The next call of that method of the loop raises KeyboardInterrupt, as a signal handler may."""
    method: Callable[..., Any] = getattr(loop, name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(loop, name, method)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, name, interrupted)


def test_an_interruption_while_a_turn_is_asked_for(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    semaphore = TimelineSemaphore(1)

    async def main() -> None:
        async with asyncio.timeout(MOST_SECONDS):
            async with asyncio_bridge.open_bridge(configuration.backend, configuration.restrict()) as bridge:
                await bridge.perform(SemaphoreWait([semaphore], [1]))
                interrupt_once(monkeypatch, asyncio.get_running_loop(), "call_soon")
                with pytest.raises(KeyboardInterrupt):
                    bridge.proactor.submit(SemaphoreWait([semaphore], [1]))
                await bridge.perform(SemaphoreWait([semaphore], [1]))

    asyncio.run(main())


def test_an_interruption_before_a_deadline_is_noted(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn that was interrupted is taken again, so that the deadline is not forgotten."""
    wait = SemaphoreWait([TimelineSemaphore()], [1], timeout=0.02)

    async def main() -> None:
        async with asyncio_bridge.open_bridge(configuration.backend, configuration.restrict()) as bridge:
            bridge.proactor.submit(wait)
            interrupt_once(monkeypatch, asyncio.get_running_loop(), "call_at")
            while wait.error is None:
                await asyncio.sleep(0)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, MOST_SECONDS))
