"""A task that waits for an operation is cancelled: for every kind of operation, at every moment.

Whatever is tried, the attempt ends as cancelled or with its result, one of them; when cancelled it had no effect; the
resource and the operation can be used again; and nothing is left in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from cts.runtime.operation_scenes import Attempt, Scene, WaitingScene, cancel_in_flight, in_flight
from cts.runtime.scenes_of_ending import ENDING
from cts.runtime.scenes_of_waiting import CLOSABLE, WAITING
from cts.runtime.support import cancelled_scope
from proactor_trio import (
    Cancelled,
    CancelScope,
    ClosedResourceError,
    current_time,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import OperationState
from proactor_trio.testing import wait_all_tasks_blocked

SetScene = Callable[[type[Any]], AbstractContextManager[Any]]

every_kind = pytest.mark.parametrize("kind", [*WAITING, *ENDING])
every_waiting_kind = pytest.mark.parametrize("kind", WAITING)
every_closable_kind = pytest.mark.parametrize("kind", CLOSABLE)


@every_kind
async def test_before_it_starts(set_scene: SetScene, kind: type[Scene]) -> None:
    with set_scene(kind) as scene:
        attempt = Attempt()
        attempt.scope.cancel()
        await attempt.make(scene)
        assert attempt.cancelled
        assert scene.operation.state in (OperationState.NEW, OperationState.DONE)
        scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_waiting_kind
async def test_in_flight(set_scene: SetScene, kind: type[Scene]) -> None:
    with set_scene(kind) as scene:
        attempt = await cancel_in_flight(scene)
        assert attempt.cancelled
        scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_waiting_kind
async def test_in_flight_again_and_again(set_scene: SetScene, kind: type[Scene]) -> None:
    with set_scene(kind) as scene:
        for _ in range(20):
            attempt = await cancel_in_flight(scene)
            assert attempt.cancelled
            scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_waiting_kind
async def test_a_shield_lets_it_end_and_the_cancellation_comes_behind_it(
    set_scene: SetScene, kind: type[Scene]
) -> None:
    with set_scene(kind) as scene:
        attempt = Attempt()
        attempt.scope.shield = True
        scene.arrange_end(0.005)
        async with open_nursery() as nursery:
            nursery.start_soon(attempt.make, scene)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert not attempt.cancelled
                scene.provoke()
            with pytest.raises(Cancelled):
                await checkpoint()
        assert attempt.returned
        scene.account(attempt)
    assert in_flight() == 0


@every_waiting_kind
async def test_a_deadline_cancels_it_and_says_so(set_scene: SetScene, kind: type[Scene]) -> None:
    with set_scene(kind) as scene:
        attempt = Attempt()
        caught: list[Cancelled] = []

        async def make() -> None:
            with attempt.scope:
                try:
                    await scene.perform()
                except Cancelled as cancelled:
                    caught.append(cancelled)
                    raise

        async with open_nursery() as nursery:
            nursery.start_soon(make)
            await wait_all_tasks_blocked()
            attempt.scope.deadline = current_time()
        assert [cancelled.source for cancelled in caught] == ["deadline"]
        scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_waiting_kind
async def test_cancelled_twice_it_ends_once(set_scene: SetScene, kind: type[Scene]) -> None:
    """By two scopes, twice each, and by the proactor."""
    with set_scene(kind) as scene:
        attempt = Attempt()
        with CancelScope() as outer:
            async with open_nursery() as nursery:
                nursery.start_soon(attempt.make, scene)
                await wait_all_tasks_blocked()
                attempt.scope.cancel()
                attempt.scope.cancel()
                current_proactor().cancel(scene.operation)
                with CancelScope(shield=True):
                    while not attempt.cancelled:
                        await checkpoint()
                outer.cancel()
                outer.cancel()
        assert attempt.cancelled
        scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_waiting_kind
async def test_two_cancellations_at_once_are_one(set_scene: SetScene, kind: type[Scene]) -> None:
    """The outer scope is cancelled first, so it is the one that catches."""
    with set_scene(kind) as scene:
        attempt = Attempt()
        async with open_nursery() as nursery:
            nursery.start_soon(attempt.make, scene)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            attempt.scope.cancel()
            current_proactor().cancel(scene.operation)
        assert not attempt.returned and attempt.error is None
        attempt.scope.cancelled_caught = True  # by the nursery's scope
        scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_closable_kind
async def test_closed_under_it(set_scene: SetScene, kind: type[WaitingScene]) -> None:
    with set_scene(kind) as scene:
        attempt = Attempt()
        async with open_nursery() as nursery:
            nursery.start_soon(attempt.make, scene)
            await wait_all_tasks_blocked()
            await scene.closing()
        assert isinstance(attempt.error, ClosedResourceError)
        with pytest.raises(ClosedResourceError):
            await scene.perform()
    assert in_flight() == 0


@every_closable_kind
@pytest.mark.parametrize("first", ["cancel", "close"])
async def test_closed_and_cancelled_at_once(set_scene: SetScene, kind: type[WaitingScene], first: str) -> None:
    """Either way the task is cancelled: a cancellation that is due is delivered at once."""
    with set_scene(kind) as scene:
        attempt = Attempt()
        closing = scene.closing()
        async with open_nursery() as nursery:
            nursery.start_soon(attempt.make, scene)
            await wait_all_tasks_blocked()
            if first == "cancel":
                attempt.scope.cancel()
            current_proactor().submit(closing)
            attempt.scope.cancel()
        assert attempt.cancelled
        await closing
    assert in_flight() == 0


@every_closable_kind
async def test_in_a_cancelled_scope_a_closed_resource_is_not_looked_at(
    set_scene: SetScene, kind: type[WaitingScene]
) -> None:
    with set_scene(kind) as scene:
        await scene.closing()
        with cancelled_scope():
            await scene.perform()
    assert in_flight() == 0
