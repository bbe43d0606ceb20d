"""The stream checks: right streams pass all of them, and each fault of a wrong one is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK, MORE_THAN_FITS, leaves


def make(pair: Callable[[], tuple[Any, Any]]) -> Callable[[], Any]:
    async def make_pair() -> tuple[Any, Any]:
        return pair()

    return make_pair


async def test_memory_streams_pass(lib: Any) -> None:
    testing = lib.testing
    await testing.check_one_way_stream(make(testing.memory_stream_one_way_pair), None)
    await testing.check_half_closeable_stream(make(testing.memory_stream_pair), None)


async def test_lockstep_streams_pass(lib: Any) -> None:
    testing = lib.testing
    one_way, two_way = make(testing.lockstep_stream_one_way_pair), make(testing.lockstep_stream_pair)
    await testing.check_one_way_stream(one_way, one_way)
    await testing.check_two_way_stream(two_way, two_way)


@pytest.mark.semantics(31)
async def test_socket_streams_pass(lib: Any) -> None:
    (listener,) = await lib.open_tcp_listeners(0, host=LOOPBACK)

    async def make_pair() -> tuple[Any, Any]:
        client = await lib.testing.open_stream_to_socket_listener(listener)
        return client, await listener.accept()

    async def make_clogged_pair() -> tuple[Any, Any]:
        pair = await make_pair()
        for stream in pair:
            with lib.CancelScope() as scope:
                async with lib.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, bytes(MORE_THAN_FITS))
                    await lib.testing.wait_all_tasks_blocked(0.001)
                    scope.cancel()
        return pair

    async with listener:
        await lib.testing.check_half_closeable_stream(make_pair, make_clogged_pair)


def wrong_pair(lib: Any, side: int, **methods: Callable[..., Any]) -> Callable[[], tuple[Any, Any]]:
    """Lockstep pairs of which one end has some methods exchanged: `method(stream, *arguments)`."""

    def pair() -> tuple[Any, Any]:
        ends: list[Any] = list(lib.testing.lockstep_stream_one_way_pair())
        right = ends[side]
        interface = (lib.abc.SendStream, lib.abc.ReceiveStream)[side]
        names = ("aclose", *(("send_all", "wait_send_all_might_not_block"), ("receive_some",))[side])

        def method(name: str) -> Callable[..., Any]:
            async def call(self: Any, *arguments: Any) -> Any:
                if name in methods:
                    return await methods[name](right, *arguments)
                return await getattr(right, name)(*arguments)

            return call

        ends[side] = type("Wrong", (interface,), {name: method(name) for name in names})()
        return ends[0], ends[1]

    return pair


def ignoring(error: str, name: str) -> Callable[[Any], dict[str, Callable[..., Any]]]:
    def methods(lib: Any) -> dict[str, Callable[..., Any]]:
        async def call(stream: Any, *arguments: Any) -> Any:
            try:
                return await getattr(stream, name)(*arguments)
            except getattr(lib, error):
                await lib.lowlevel.checkpoint()
                return b""

        return {name: call}

    return methods


def without_checkpoint(lib: Any) -> dict[str, Callable[..., Any]]:
    async def aclose(stream: Any) -> None:
        stream.close()

    return {"aclose": aclose}


def never_waiting_for_room(lib: Any) -> dict[str, Callable[..., Any]]:
    async def wait_send_all_might_not_block(stream: Any) -> None:
        with lib.CancelScope() as scope:
            scope.cancel()
            await stream.wait_send_all_might_not_block()
        await lib.lowlevel.checkpoint()

    return {"wait_send_all_might_not_block": wait_send_all_might_not_block}


def changing_the_bytes(lib: Any) -> dict[str, Callable[..., Any]]:
    async def send_all(stream: Any, data: Any) -> None:
        await stream.send_all(bytes(byte ^ 1 for byte in bytes(data)))

    return {"send_all": send_all}


def returning_something(lib: Any) -> dict[str, Callable[..., Any]]:
    async def send_all(stream: Any, data: Any) -> int:
        await stream.send_all(data)
        return len(data)

    return {"send_all": send_all}


SENDER, RECEIVER = 0, 1

FAULTS: dict[str, tuple[int, Callable[[Any], dict[str, Callable[..., Any]]]]] = {
    "a send that changes bytes": (SENDER, changing_the_bytes),
    "a send that returns something": (SENDER, returning_something),
    "a close without a checkpoint, sending": (SENDER, without_checkpoint),
    "a close without a checkpoint, receiving": (RECEIVER, without_checkpoint),
    "a wait for room that does not wait": (SENDER, never_waiting_for_room),
    "a send that does not know it is closed": (SENDER, ignoring("ClosedResourceError", "send_all")),
    "a wait that does not know it is closed": (
        SENDER,
        ignoring("ClosedResourceError", "wait_send_all_might_not_block"),
    ),
    "a receive that does not know it is closed": (RECEIVER, ignoring("ClosedResourceError", "receive_some")),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_found(lib: Any, fault: str) -> None:
    side, methods = FAULTS[fault]
    pair = make(wrong_pair(lib, side, **methods(lib)))
    with pytest.raises(BaseException) as caught:
        with lib.move_on_after(5):
            await lib.testing.check_one_way_stream(pair, pair)
    assert {type(error) for error in leaves(caught.value)} <= {AssertionError}
