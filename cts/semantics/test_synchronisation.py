"""Event and CapacityLimiter: once for all, and fair."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cts.semantics.support import cancelled_block


@pytest.mark.semantics(25)
async def test_an_event_happens_once_for_all_who_wait(lib: Any) -> None:
    event = lib.Event()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await event.wait()
        woken.append(number)

    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        await lib.testing.wait_all_tasks_blocked()
        assert event.statistics().tasks_waiting == 3
        event.set()
        event.set()
    assert sorted(woken) == [0, 1, 2]
    assert event.is_set() and event.statistics().tasks_waiting == 0


@pytest.mark.semantics(25)
def test_an_event_has_no_way_back_and_no_truth_value(lib: Any) -> None:
    event = lib.Event()
    assert not hasattr(event, "clear")
    with pytest.raises((TypeError, NotImplementedError)):
        bool(event)


@pytest.mark.semantics(25)
async def test_a_cancelled_wait_leaves_the_event(lib: Any) -> None:
    event = lib.Event()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(event.wait)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert event.statistics().tasks_waiting == 0 and not event.is_set()


@pytest.mark.semantics(25)
async def test_tokens_are_handed_out_in_the_order_of_asking(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    order: list[int] = []

    async def use(number: int) -> None:
        async with limiter:
            order.append(number)

    await limiter.acquire_on_behalf_of("the test")
    async with lib.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(use, number)
            await lib.testing.wait_all_tasks_blocked()
        limiter.release_on_behalf_of("the test")
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.semantics(25)
async def test_nobody_overtakes_those_who_wait(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("holder")
    async with lib.open_nursery() as nursery:
        nursery.start_soon(limiter.acquire)
        await lib.testing.wait_all_tasks_blocked()
        limiter.release_on_behalf_of("holder")
        with pytest.raises(lib.WouldBlock):
            limiter.acquire_on_behalf_of_nowait("newcomer")


@pytest.mark.semantics(25)
async def test_a_borrower_holds_one_token(lib: Any) -> None:
    limiter = lib.CapacityLimiter(2)
    limiter.acquire_nowait()
    with pytest.raises(RuntimeError):
        limiter.acquire_nowait()
    with pytest.raises(RuntimeError):
        await limiter.acquire()
    limiter.release()
    with pytest.raises(RuntimeError):
        limiter.release()


@pytest.mark.semantics(25)
async def test_more_tokens_let_waiting_tasks_go_on(lib: Any) -> None:
    limiter = lib.CapacityLimiter(0)
    entered: list[int] = []

    async def use(number: int) -> None:
        async with limiter:
            entered.append(number)
            await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(use, number)
            await lib.testing.wait_all_tasks_blocked()
        limiter.total_tokens = 2
        await lib.testing.wait_all_tasks_blocked()
        assert sorted(entered) == [0, 1]
        nursery.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 0


@pytest.mark.semantics(25)
async def test_a_limiter_refuses_what_is_no_number_of_tokens(lib: Any) -> None:
    assert lib.CapacityLimiter(math.inf).total_tokens == math.inf
    for wrong in (1.5, "1"):
        with pytest.raises(TypeError):
            lib.CapacityLimiter(wrong)
    with pytest.raises(ValueError):
        lib.CapacityLimiter(-1)


@pytest.mark.semantics(25)
async def test_a_cancelled_wait_for_a_token_leaves_the_queue(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    limiter.acquire_nowait()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(limiter.acquire)
        await lib.testing.wait_all_tasks_blocked()
        assert limiter.statistics().tasks_waiting == 1
        nursery.cancel_scope.cancel()
    assert limiter.statistics().tasks_waiting == 0
    limiter.release()
    with cancelled_block(lib):
        await limiter.acquire()
    assert limiter.available_tokens == 1
