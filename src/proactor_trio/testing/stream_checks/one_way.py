"""check_one_way_stream(): what every SendStream and the ReceiveStream at its other end promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from proactor_trio._kernel.cancel import Cancelled, CancelScope
from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.abc import ReceiveStream, SendStream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.testing.stream_checks.scene import (
    Check,
    StreamMaker,
    checked,
    raises,
    raises_in_nursery,
    require,
    run_checks,
    together,
)
from proactor_trio.testing.waiting import wait_all_tasks_blocked

_PIECE: Final = b"x" * 100


async def _send(sender: SendStream, data: bytes | bytearray | memoryview) -> None:
    result: object = await checked(sender.send_all(data))
    require(result is None, "send_all() returned something")


async def _send_until_broken(sender: SendStream) -> None:
    with raises(BrokenResourceError):
        while True:
            await _send(sender, _PIECE)


async def _receive(receiver: ReceiveStream, expected: bytes, max_bytes: int | None = 1) -> None:
    received = await checked(receiver.receive_some(max_bytes))
    require(received == expected, f"{expected!r} was sent, and {received!r} received")


async def _expect_end(receiver: ReceiveStream) -> None:
    await _receive(receiver, b"")


async def it_has_the_interface(sender: SendStream, receiver: ReceiveStream) -> None:
    require(isinstance(sender, SendStream), f"{sender!r} is no SendStream")
    require(isinstance(receiver, ReceiveStream), f"{receiver!r} is no ReceiveStream")


async def bytes_go_through_in_any_form(sender: SendStream, receiver: ReceiveStream) -> None:
    for data in (b"1", bytearray(b"2"), memoryview(b"3")):
        await together(lambda data=data: _send(sender, data), lambda data=data: _receive(receiver, bytes(data)))  # type: ignore[misc]


async def sending_nothing_means_nothing(sender: SendStream, receiver: ReceiveStream) -> None:
    async def send_nothing_then_something() -> None:
        await _send(sender, b"")
        await _send(sender, b"y")

    await together(send_nothing_then_something, lambda: _receive(receiver, b"y"))


async def a_receive_of_no_or_a_bad_number_of_bytes_is_refused(sender: SendStream, receiver: ReceiveStream) -> None:
    for wrong_number in (-1, 0):
        with raises(ValueError):
            await receiver.receive_some(wrong_number)
    with raises(TypeError):
        await receiver.receive_some(1.5)  # type: ignore[arg-type]


async def a_receive_needs_no_number_of_bytes(sender: SendStream, receiver: ReceiveStream) -> None:
    async def receive_without() -> None:
        require(await checked(receiver.receive_some()) == b"x", "receive_some() did not give what was sent")

    await together(lambda: _send(sender, b"x"), receive_without)
    await together(lambda: _send(sender, b"x"), lambda: _receive(receiver, b"x", None))


async def two_tasks_cannot_receive(sender: SendStream, receiver: ReceiveStream) -> None:
    with raises_in_nursery(BusyResourceError):
        await together(lambda: receiver.receive_some(1), lambda: receiver.receive_some(1))


async def while_a_task_receives_a_send_might_not_block(sender: SendStream, receiver: ReceiveStream) -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(receiver.receive_some, 1)
        await checked(sender.wait_send_all_might_not_block())
        nursery.cancel_scope.cancel()


async def a_closed_receiver_breaks_the_sender_for_good(sender: SendStream, receiver: ReceiveStream) -> None:
    await together(lambda: _send_until_broken(sender), lambda: checked(receiver.aclose()))
    with raises(BrokenResourceError):
        await _send(sender, _PIECE)


async def closing_is_idempotent_and_final(sender: SendStream, receiver: ReceiveStream) -> None:
    for _ in range(3):
        await checked(receiver.aclose())
    with raises(ClosedResourceError):
        await receiver.receive_some(4096)
    for _ in range(3):
        await checked(sender.aclose())
    for data in (_PIECE, b""):
        with raises(ClosedResourceError):
            await _send(sender, data)
    with raises(ClosedResourceError):
        await checked(sender.wait_send_all_might_not_block())


async def what_was_sent_before_a_close_arrives(sender: SendStream, receiver: ReceiveStream) -> None:
    async def send_and_close() -> None:
        await _send(sender, b"y")
        await checked(sender.aclose())

    async def receive_all() -> None:
        await wait_all_tasks_blocked()  # the sender is closed, or as far as it gets without a receiver
        await _receive(receiver, b"y")
        await _expect_end(receiver)
        await checked(receiver.aclose())

    await together(send_and_close, receive_all)


async def a_receiver_closed_by_force_breaks_the_sender(sender: SendStream, receiver: ReceiveStream) -> None:
    await aclose_forcefully(receiver)
    await _send_until_broken(sender)
    with raises(ClosedResourceError):
        await receiver.receive_some(4096)


async def a_sender_closed_by_force_ends_or_breaks_the_receiver(sender: SendStream, receiver: ReceiveStream) -> None:
    await aclose_forcefully(sender)
    with raises(ClosedResourceError):
        await _send(sender, b"123")
    with suppress(BrokenResourceError):
        await _expect_end(receiver)


async def a_cancelled_close_closes(sender: SendStream, receiver: ReceiveStream) -> None:
    for end in (receiver, sender):
        with CancelScope() as scope:
            scope.cancel()
            await end.aclose()
    with raises(ClosedResourceError):
        await _send(sender, b"123")
    with raises(ClosedResourceError):
        await receiver.receive_some(4096)


async def it_can_be_closed_after_a_cancelled_call(sender: SendStream, receiver: ReceiveStream) -> None:
    async def expect_cancelled(call: Callable[[], Awaitable[object]]) -> None:
        with raises(Cancelled):
            await call()

    with CancelScope() as scope:
        scope.cancel()
        await together(
            lambda: expect_cancelled(lambda: sender.send_all(b"x")),
            lambda: expect_cancelled(lambda: receiver.receive_some(1)),
        )
    await together(lambda: checked(sender.aclose()), lambda: checked(receiver.aclose()))


async def closing_ends_a_receive(sender: SendStream, receiver: ReceiveStream) -> None:
    async def receive_from_closed() -> None:
        with raises(ClosedResourceError):
            await receiver.receive_some(10)

    await together(receive_from_closed, lambda: _close_when_all_wait(receiver))


async def _close_when_all_wait(end: SendStream | ReceiveStream) -> None:
    await wait_all_tasks_blocked()
    await aclose_forcefully(end)


ONE_WAY_CHECKS: Final[tuple[Check, ...]] = (
    it_has_the_interface,
    bytes_go_through_in_any_form,
    sending_nothing_means_nothing,
    a_receive_of_no_or_a_bad_number_of_bytes_is_refused,
    a_receive_needs_no_number_of_bytes,
    two_tasks_cannot_receive,
    while_a_task_receives_a_send_might_not_block,
    a_closed_receiver_breaks_the_sender_for_good,
    closing_is_idempotent_and_final,
    what_was_sent_before_a_close_arrives,
    a_receiver_closed_by_force_breaks_the_sender,
    a_sender_closed_by_force_ends_or_breaks_the_receiver,
    a_cancelled_close_closes,
    it_can_be_closed_after_a_cancelled_call,
    closing_ends_a_receive,
)


# Clogged: nothing goes in before a task receives ---------------------------------------------------------------------


async def waiting_for_room_ends_when_a_task_receives(sender: SendStream, receiver: ReceiveStream) -> None:
    happened: list[str] = []

    async def wait_for_room() -> None:
        await checked(sender.wait_send_all_might_not_block())
        happened.append("there is room")
        nursery.cancel_scope.cancel()

    async def receive_all() -> None:
        happened.append("a task receives")
        while True:
            await receiver.receive_some(16 * 1024)

    async with open_nursery() as nursery:
        nursery.start_soon(wait_for_room)
        await wait_all_tasks_blocked()
        nursery.start_soon(receive_all)
    require(happened == ["a task receives", "there is room"], f"it did not wait for room: {happened}")


async def two_tasks_cannot_wait_for_room(sender: SendStream, receiver: ReceiveStream) -> None:
    with raises_in_nursery(BusyResourceError):
        await together(sender.wait_send_all_might_not_block, sender.wait_send_all_might_not_block)


async def a_task_cannot_send_while_another_waits_for_room(sender: SendStream, receiver: ReceiveStream) -> None:
    with raises_in_nursery(BusyResourceError):
        await together(sender.wait_send_all_might_not_block, lambda: sender.send_all(b"123"))


async def two_tasks_cannot_send(sender: SendStream, receiver: ReceiveStream) -> None:
    with raises_in_nursery(BusyResourceError):
        await together(lambda: sender.send_all(b"123"), lambda: sender.send_all(b"123"))


async def closing_the_receiver_ends_waiting_for_room(sender: SendStream, receiver: ReceiveStream) -> None:
    await together(lambda: _wait_for_room_or_break(sender), lambda: _close_when_all_wait(receiver))


async def nobody_waits_for_room_when_the_receiver_is_closed(sender: SendStream, receiver: ReceiveStream) -> None:
    await aclose_forcefully(receiver)
    await _wait_for_room_or_break(sender)


async def _wait_for_room_or_break(sender: SendStream) -> None:
    with suppress(BrokenResourceError):
        await checked(sender.wait_send_all_might_not_block())


async def closing_ends_a_send(sender: SendStream, receiver: ReceiveStream) -> None:
    async def send_on_closed() -> None:
        with raises(ClosedResourceError):
            await sender.send_all(b"xyzzy")

    await together(send_on_closed, lambda: _close_when_all_wait(sender))


async def closing_ends_waiting_for_room(sender: SendStream, receiver: ReceiveStream) -> None:
    async def wait_on_closed() -> None:
        with raises(ClosedResourceError):
            await sender.wait_send_all_might_not_block()

    await together(wait_on_closed, lambda: _close_when_all_wait(sender))


CLOGGED_ONE_WAY_CHECKS: Final[tuple[Check, ...]] = (
    waiting_for_room_ends_when_a_task_receives,
    two_tasks_cannot_wait_for_room,
    a_task_cannot_send_while_another_waits_for_room,
    two_tasks_cannot_send,
    closing_the_receiver_ends_waiting_for_room,
    nobody_waits_for_room_when_the_receiver_is_closed,
    closing_ends_a_send,
    closing_ends_waiting_for_room,
)


async def check_one_way_stream(
    stream_maker: StreamMaker[SendStream, ReceiveStream],
    clogged_stream_maker: StreamMaker[SendStream, ReceiveStream] | None,
) -> None:
    """Check a SendStream and the ReceiveStream at its other end. Raises AssertionError, or what the streams raise.

    stream_maker: an async function that returns a new pair, connected.
    clogged_stream_maker: the same, but nothing can be sent by the pair before a task receives; None leaves the checks
        out that need such a pair.
    """
    await run_checks(ONE_WAY_CHECKS, stream_maker)
    if clogged_stream_maker is not None:
        await run_checks(CLOGGED_ONE_WAY_CHECKS, clogged_stream_maker)
