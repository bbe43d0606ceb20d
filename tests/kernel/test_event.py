"""Event: it happens once, everybody who waits for it goes on."""

from __future__ import annotations

import pytest

from proactor_trio import CancelScope, Event, lowlevel, open_nursery
from proactor_trio.testing import wait_all_tasks_blocked


async def test_an_event_has_not_happened_until_it_is_set() -> None:
    event = Event()
    assert not event.is_set()
    event.set()
    assert event.is_set()


def test_an_event_needs_no_run_to_be_made_set_and_read() -> None:
    event = Event()
    event.set()
    assert event.is_set()


async def test_setting_an_event_twice_changes_nothing() -> None:
    event = Event()
    event.set()
    event.set()
    assert event.is_set()


async def test_all_who_wait_go_on_when_the_event_is_set() -> None:
    event = Event()
    woken: list[int] = []

    async def waiter(number: int) -> None:
        await event.wait()
        assert event.is_set()
        woken.append(number)

    async with open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(waiter, number)
        await wait_all_tasks_blocked()
        assert woken == []
        event.set()
    assert sorted(woken) == list(range(1000))


async def test_waiting_for_an_event_that_has_happened_does_not_block() -> None:
    event = Event()
    event.set()
    await event.wait()
    await event.wait()


async def test_waiting_for_an_event_that_has_happened_is_a_checkpoint() -> None:
    event = Event()
    event.set()
    with CancelScope() as scope:
        scope.cancel()
        await event.wait()
    assert scope.cancelled_caught


async def test_a_cancelled_waiter_is_gone_and_the_others_still_wait() -> None:
    event = Event()
    woken: list[str] = []

    async def waiter(name: str, scope: CancelScope) -> None:
        with scope:
            await event.wait()
            woken.append(name)

    leaver = CancelScope()
    async with open_nursery() as nursery:
        nursery.start_soon(waiter, "leaver", leaver)
        nursery.start_soon(waiter, "stayer", CancelScope())
        await wait_all_tasks_blocked()
        leaver.cancel()
        await wait_all_tasks_blocked()
        assert event.statistics().tasks_waiting == 1
        event.set()
    assert woken == ["stayer"]
    assert leaver.cancelled_caught


async def test_an_event_set_before_the_cancel_wins() -> None:
    """The waiter was already woken: there is nothing left to cancel."""
    event = Event()
    reached: list[str] = []
    scope = CancelScope()

    async def waiter() -> None:
        with scope:
            await event.wait()
            reached.append("woken")

    async with open_nursery() as nursery:
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        event.set()
        scope.cancel()
    assert reached == ["woken"]
    assert not scope.cancelled_caught


async def test_a_cancel_before_the_set_wins() -> None:
    event = Event()
    reached: list[str] = []
    scope = CancelScope()

    async def waiter() -> None:
        with scope:
            await event.wait()
            reached.append("woken")

    async with open_nursery() as nursery:
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        scope.cancel()
        event.set()
    assert reached == []
    assert scope.cancelled_caught


async def test_statistics_count_who_waits() -> None:
    event = Event()
    assert event.statistics().tasks_waiting == 0
    async with open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(event.wait)
        await wait_all_tasks_blocked()
        assert event.statistics().tasks_waiting == 3
        event.set()
        assert event.statistics().tasks_waiting == 0


def test_an_event_has_no_truth_value() -> None:
    """`if event:` would always be true; who writes it means `event.is_set()`."""
    with pytest.raises(NotImplementedError, match="is_set"):
        bool(Event())


def test_an_event_cannot_unhappen() -> None:
    assert not hasattr(Event(), "clear")


async def test_an_event_set_by_a_callback_wakes_its_waiters() -> None:
    event = Event()
    lowlevel.current_trio_token().run_sync_soon(event.set)
    await event.wait()
