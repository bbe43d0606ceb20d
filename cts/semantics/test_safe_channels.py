"""as_safe_channel: an async generator in a task of its own, item by item, ended with its block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cts.semantics.support import blocked, leaves, raises_group_of


@pytest.mark.semantics(27)
async def test_the_channel_gives_what_the_generator_yields_and_ends_with_it(lib: Any) -> None:
    @lib.as_safe_channel
    async def count(start: int, *, stop: int) -> AsyncIterator[int]:
        for number in range(start, stop):
            yield number

    async with count(2, stop=5) as channel:
        assert [number async for number in channel] == [2, 3, 4]
        with pytest.raises(lib.EndOfChannel):
            await channel.receive()


@pytest.mark.semantics(27)
async def test_the_channel_is_a_receive_channel(lib: Any) -> None:
    @lib.as_safe_channel
    async def nothing() -> AsyncIterator[int]:
        return
        yield

    async with nothing() as channel:
        assert isinstance(channel, lib.abc.ReceiveChannel)


@pytest.mark.semantics(27)
async def test_an_item_is_computed_when_it_is_asked_for(lib: Any) -> None:
    computed: list[int] = []

    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        for number in range(5):
            computed.append(number)
            yield number

    async with count() as channel:
        await lib.testing.wait_all_tasks_blocked()
        assert computed == []
        assert await channel.receive() == 0
        await lib.testing.wait_all_tasks_blocked()
        assert computed == [0]


@pytest.mark.semantics(27)
async def test_the_end_of_the_block_ends_the_generator(lib: Any) -> None:
    ended: list[str] = []

    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
        except GeneratorExit:
            ended.append("closed")
            raise

    async with count() as channel:
        assert await channel.receive() == 0
    assert ended == ["closed"]


@pytest.mark.semantics(27)
async def test_a_generator_that_is_in_the_middle_of_waiting_is_cancelled(lib: Any) -> None:
    ended: list[str] = []

    @lib.as_safe_channel
    async def wait() -> AsyncIterator[int]:
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            ended.append("cancelled")
            raise
        yield

    async with wait() as channel:
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as nursery:
                await blocked(lib, nursery, channel.receive)
                scope.cancel()
        assert ended == []
    assert ended == ["cancelled"]


@pytest.mark.semantics(27)
async def test_an_item_whose_receive_was_cancelled_is_not_lost(lib: Any) -> None:
    may_go_on = lib.Event()

    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        await may_go_on.wait()
        yield 0
        yield 1

    async with count() as channel:
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, channel.receive)
            nursery.cancel_scope.cancel()
        may_go_on.set()
        assert [number async for number in channel] == [0, 1]


@pytest.mark.semantics(27)
async def test_cancel_scopes_and_nurseries_may_be_around_a_yield(lib: Any) -> None:
    @lib.as_safe_channel
    async def produce() -> AsyncIterator[int]:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.sleep_forever)
            with lib.CancelScope():
                yield 1
                yield 2
            nursery.cancel_scope.cancel()

    async with produce() as channel:
        assert [number async for number in channel] == [1, 2]
    async with produce() as channel:
        assert await channel.receive() == 1


@pytest.mark.semantics(27)
async def test_a_cancelled_scope_in_the_generator_is_its_own(lib: Any) -> None:
    @lib.as_safe_channel
    async def cancel_oneself() -> AsyncIterator[int]:
        yield 1
        with lib.CancelScope() as scope:
            scope.cancel()
            yield 2

    async with cancel_oneself() as channel:
        async for _ in channel:
            await lib.lowlevel.checkpoint()
        await lib.lowlevel.checkpoint()


@pytest.mark.semantics(27)
async def test_an_exception_of_the_generator_comes_out_of_the_block_unwrapped(lib: Any) -> None:
    @lib.as_safe_channel
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise ValueError("in the generator")

    with pytest.raises(ValueError, match="in the generator"):
        async with fail() as channel:
            async for number in channel:
                assert number == 1


@pytest.mark.semantics(27)
async def test_an_exception_of_the_block_comes_out_unwrapped(lib: Any) -> None:
    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ValueError, match="in the block"):
        async with count() as channel:
            await channel.receive()
            raise ValueError("in the block")


@pytest.mark.semantics(27)
async def test_two_exceptions_come_out_as_a_group_with_a_note(lib: Any) -> None:
    @lib.as_safe_channel
    async def fail_at_the_end() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("in the generator")

    with pytest.raises(ExceptionGroup) as caught:
        async with fail_at_the_end() as channel:
            await channel.receive()
            raise TypeError("in the block")
    assert sorted(type(error).__name__ for error in caught.value.exceptions) == ["TypeError", "ValueError"]
    assert len(caught.value.__notes__) == 1 and caught.value.__suppress_context__


@pytest.mark.semantics(27)
async def test_a_group_that_the_user_raised_stays_as_it_is(lib: Any) -> None:
    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        yield 1

    error = ValueError("one")
    with pytest.raises(ExceptionGroup, match="of the user") as caught:
        async with count():
            raise ExceptionGroup("of the user", [error])
    assert caught.value.exceptions == (error,)


@pytest.mark.semantics(27)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_what_is_to_end_the_program_comes_out_whatever_came_with_it(lib: Any, kind: type[BaseException]) -> None:
    @lib.as_safe_channel
    async def fail_at_the_end() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("in the generator")

    with pytest.raises(kind) as caught:
        async with fail_at_the_end() as channel:
            await channel.receive()
            raise kind("words")
    assert caught.value.args == ("words",)
    assert {type(error) for error in leaves(caught.value.__cause__ or ValueError())} == {kind, ValueError}


@pytest.mark.semantics(27)
async def test_a_cancelled_block_is_cancelled_and_nothing_else(lib: Any) -> None:
    @lib.as_safe_channel
    async def never() -> AsyncIterator[int]:
        raise AssertionError("nobody asked for an item")
        yield

    with lib.CancelScope() as scope:
        async with never():
            scope.cancel()
            with pytest.raises(lib.Cancelled):
                await lib.lowlevel.checkpoint()
            await lib.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.semantics(27)
async def test_the_context_of_an_exception_is_kept(lib: Any) -> None:
    @lib.as_safe_channel
    async def fail() -> AsyncIterator[int]:
        try:
            raise TypeError("first")
        except TypeError:
            raise ValueError("second")
        yield

    with pytest.raises(ValueError, match="second") as caught:
        async with fail() as channel:
            async for _ in channel:
                pass
    assert isinstance(caught.value.__context__, TypeError)


@pytest.mark.semantics(27)
async def test_a_group_around_the_exit_of_the_generator_says_nothing(lib: Any) -> None:
    @lib.as_safe_channel
    async def produce() -> AsyncIterator[int]:
        async with lib.open_nursery():
            yield 1

    async with produce() as channel:
        assert await channel.receive() == 1


@pytest.mark.semantics(27)
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ((ValueError,), (ValueError,)),
        ((GeneratorExit,), (AssertionError,)),
        ((ValueError, GeneratorExit), (ValueError, AssertionError)),
    ],
)
async def test_what_a_nursery_around_a_yield_raises_beside_the_exit_is_raised(
    lib: Any, raised: tuple[type[BaseException], ...], expected: tuple[type[BaseException], ...]
) -> None:
    async def raise_when_cancelled(kind: type[BaseException]) -> None:
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            raise kind from None

    @lib.as_safe_channel
    async def produce() -> AsyncIterator[int]:
        async with lib.open_nursery() as nursery:
            for kind in raised:
                nursery.start_soon(raise_when_cancelled, kind)
            yield 1

    with raises_group_of(*expected):
        async with produce() as channel:
            await channel.receive()


@pytest.mark.semantics(27)
async def test_a_channel_that_is_closed_ends_the_generator_before_its_next_item(lib: Any) -> None:
    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        yield 1
        raise AssertionError("nobody can receive the next item")

    async with count() as channel:
        assert await channel.receive() == 1
        await channel.aclose()
        with pytest.raises(lib.ClosedResourceError):
            await channel.receive()
        await lib.testing.wait_all_tasks_blocked()


@pytest.mark.semantics(27)
async def test_a_channel_may_be_closed_while_the_generator_computes(lib: Any) -> None:
    @lib.as_safe_channel
    async def close_channel() -> AsyncIterator[int]:
        yield 1
        await channel.aclose()
        while True:
            yield 2

    async with close_channel() as channel:
        with pytest.raises(lib.ClosedResourceError):
            async for _ in channel:
                pass
        await lib.testing.wait_all_tasks_blocked()


@pytest.mark.semantics(27)
async def test_several_tasks_may_receive(lib: Any) -> None:
    may_go_on = lib.Event()

    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        await may_go_on.wait()
        for number in range(3):
            yield number

    async with count() as channel:
        async with lib.open_nursery() as nursery:
            calls = [await blocked(lib, nursery, channel.receive) for _ in range(3)]
            may_go_on.set()
        assert [call.value for call in calls] == [0, 1, 2]


@pytest.mark.semantics(27)
async def test_blocks_may_be_nested(lib: Any) -> None:
    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        for number in range(2):
            yield number

    pairs: list[tuple[int, int]] = []
    async with count() as outer:
        async for first in outer:
            async with count() as inner:
                pairs += [(first, second) async for second in inner]
    assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.semantics(27)
async def test_each_step_of_a_safe_channel_is_a_checkpoint(lib: Any) -> None:
    @lib.as_safe_channel
    async def count() -> AsyncIterator[int]:
        yield 1

    async with count() as channel:
        with lib.testing.assert_checkpoints():
            await channel.receive()


@pytest.mark.semantics(27)
def test_the_name_of_the_generator_function_is_kept(lib: Any) -> None:
    async def count() -> AsyncIterator[int]:
        """Counts."""
        yield 1

    decorated: Callable[..., Any] = lib.as_safe_channel(count)
    assert (decorated.__name__, decorated.__doc__) == ("count", "Counts.")
