"""wait_readable(), wait_writable(), notify_closing()."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_cancel_point, is_schedule_point

SECONDS = 20


class Ends:
    """The two ends of a pipe or of a socket pair: what is written to `writer` comes out of `reader`."""

    def __init__(self, kind: str) -> None:
        self._sockets: list[stdlib_socket.socket] = []
        if kind == "pipe":
            self.reader, self.writer = os.pipe()
        else:
            self._sockets.extend(stdlib_socket.socketpair())
            self.reader, self.writer = (socket.fileno() for socket in self._sockets)
        for end in (self.reader, self.writer):
            os.set_blocking(end, False)

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()
        if not self._sockets:
            for end in (self.reader, self.writer):
                try:
                    os.close(end)
                except OSError:
                    pass

    def fill(self) -> int:
        """Write until there is no room."""
        written = 0
        while True:
            try:
                written += os.write(self.writer, b"x" * 4096)
            except BlockingIOError:
                return written

    def empty(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(os.read(self.reader, 65536))
            except BlockingIOError:
                return b"".join(pieces)


def fill(socket: stdlib_socket.socket) -> None:
    """Send until there is no room."""
    socket.setblocking(False)
    while True:
        try:
            socket.send(b"x" * 4096)
        except BlockingIOError:
            return


@pytest.fixture(params=["pipe", "socketpair"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    both = Ends(request.param)
    try:
        yield both
    finally:
        both.close()


@pytest.fixture
def pipe() -> Iterator[Ends]:
    both = Ends("pipe")
    try:
        yield both
    finally:
        both.close()


Wait = Callable[[Any, Ends], tuple[Callable[..., Any], int]]


def reading(lib: Any, ends: Ends) -> tuple[Callable[..., Any], int]:
    """A wait that blocks: there is nothing to read."""
    return lib.lowlevel.wait_readable, ends.reader


def writing(lib: Any, ends: Ends) -> tuple[Callable[..., Any], int]:
    """A wait that blocks: there is no room."""
    ends.fill()
    return lib.lowlevel.wait_writable, ends.writer


both_directions = pytest.mark.parametrize("direction", [reading, writing])


# Waiting ------------------------------------------------------------------------------------------------------------


async def test_a_reader_waits_until_something_is_there_and_reads_nothing(lib: Any, ends: Ends) -> None:
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_readable, ends.reader)
        os.write(ends.writer, b"something")
    assert call.error is None
    assert ends.empty() == b"something"


async def test_a_writer_waits_until_there_is_room_and_writes_nothing(lib: Any, ends: Ends) -> None:
    written = ends.fill()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_writable, ends.writer)
        assert len(ends.empty()) == written
    assert call.error is None
    assert ends.empty() == b""


async def test_what_is_ready_is_reported_again_and_again(lib: Any, ends: Ends) -> None:
    os.write(ends.writer, b"something")
    for _ in range(3):
        await lib.lowlevel.wait_readable(ends.reader)
        await lib.lowlevel.wait_writable(ends.writer)


async def test_readiness_that_went_away_is_waited_for_anew(lib: Any, ends: Ends) -> None:
    for _ in range(3):
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, lib.lowlevel.wait_readable, ends.reader)
            os.write(ends.writer, b"something")
        assert ends.empty() == b"something"


async def test_the_end_is_something_to_read(lib: Any) -> None:
    reader, writer = os.pipe()
    try:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, lib.lowlevel.wait_readable, reader)
            os.close(writer)
        assert call.error is None
    finally:
        os.close(reader)


async def test_a_reader_that_is_gone_ends_the_wait_of_a_writer(lib: Any) -> None:
    both = Ends("pipe")
    both.fill()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_writable, both.writer)
        os.close(both.reader)
    assert call.error is None
    os.close(both.writer)


async def test_objects_with_a_descriptor_will_do(lib: Any) -> None:
    near, far = stdlib_socket.socketpair()
    with near, far:
        far.send(b"x")
        await lib.lowlevel.wait_readable(near)
        await lib.lowlevel.wait_writable(near)


async def test_one_task_may_wait_for_each_direction(lib: Any) -> None:
    near, far = stdlib_socket.socketpair()
    with near, far:
        far.setblocking(False)
        fill(near)
        async with lib.open_nursery() as nursery:
            reader = await blocked(lib, nursery, lib.lowlevel.wait_readable, near)
            writer = await blocked(lib, nursery, lib.lowlevel.wait_writable, near)
            far.send(b"x")
            await lib.testing.wait_all_tasks_blocked()
            assert reader.done and not writer.done
            while True:
                try:
                    far.recv(65536)
                except BlockingIOError:
                    break


@pytest.mark.semantics(1)
async def test_waiting_for_what_is_ready_is_a_checkpoint(lib: Any, ends: Ends) -> None:
    os.write(ends.writer, b"x")
    for wait, descriptor in ((lib.lowlevel.wait_readable, ends.reader), (lib.lowlevel.wait_writable, ends.writer)):
        assert await is_cancel_point(lib, wait, descriptor)
        assert await is_schedule_point(lib, wait, descriptor)


# Conflicts ----------------------------------------------------------------------------------------------------------


@both_directions
async def test_a_second_task_that_waits_for_the_same_is_refused(lib: Any, ends: Ends, direction: Wait) -> None:
    wait, descriptor = direction(lib, ends)
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, wait, descriptor)
        with pytest.raises(lib.BusyResourceError):
            await wait(descriptor)
        assert not first.done
        nursery.cancel_scope.cancel()


async def test_a_number_and_its_object_are_the_same(lib: Any) -> None:
    near, far = stdlib_socket.socketpair()
    with near, far:
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, lib.lowlevel.wait_readable, near)
            with pytest.raises(lib.BusyResourceError):
                await lib.lowlevel.wait_readable(near.fileno())
            nursery.cancel_scope.cancel()


async def test_a_duplicate_is_another_descriptor(lib: Any, pipe: Ends) -> None:
    duplicate = os.dup(pipe.reader)
    try:
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, lib.lowlevel.wait_readable, pipe.reader)
            await blocked(lib, nursery, lib.lowlevel.wait_readable, duplicate)
            os.write(pipe.writer, b"x")
    finally:
        os.close(duplicate)


# Cancellation -------------------------------------------------------------------------------------------------------


@both_directions
async def test_a_cancelled_wait_leaves_the_descriptor_free_for_others(lib: Any, ends: Ends, direction: Wait) -> None:
    wait, descriptor = direction(lib, ends)
    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            nursery.start_soon(lib.testing.wait_all_tasks_blocked)
            nursery.start_soon(_cancel_when_blocked, lib, scope)
            await wait(descriptor)
        assert scope.cancelled_caught
        await blocked(lib, nursery, wait, descriptor)
        nursery.cancel_scope.cancel()


async def _cancel_when_blocked(lib: Any, scope: Any) -> None:
    await lib.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_a_wait_in_a_cancelled_scope_does_not_begin(lib: Any, pipe: Ends) -> None:
    with cancelled_block(lib):
        await lib.lowlevel.wait_readable(pipe.reader)
    with lib.move_on_after(0.001) as scope:
        await lib.lowlevel.wait_readable(pipe.reader)
    assert scope.cancelled_caught


# Closing ------------------------------------------------------------------------------------------------------------


@both_directions
async def test_who_waits_is_told_that_the_descriptor_is_closing(lib: Any, ends: Ends, direction: Wait) -> None:
    wait, descriptor = direction(lib, ends)
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, wait, descriptor)
        lib.lowlevel.notify_closing(descriptor)
    assert isinstance(call.error, lib.ClosedResourceError)


async def test_both_directions_are_told(lib: Any) -> None:
    near, far = stdlib_socket.socketpair()
    with near, far:
        fill(near)
        async with lib.open_nursery() as nursery:
            reader = await blocked(lib, nursery, lib.lowlevel.wait_readable, near)
            writer = await blocked(lib, nursery, lib.lowlevel.wait_writable, near)
            lib.lowlevel.notify_closing(near)
        assert isinstance(reader.error, lib.ClosedResourceError)
        assert isinstance(writer.error, lib.ClosedResourceError)


async def test_who_waited_is_told_even_if_it_became_ready_at_the_same_moment(lib: Any, ends: Ends) -> None:
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_readable, ends.reader)
        os.write(ends.writer, b"x")
        lib.lowlevel.notify_closing(ends.reader)
    assert isinstance(call.error, lib.ClosedResourceError)


async def test_another_descriptor_of_the_same_file_is_not_told(lib: Any, pipe: Ends) -> None:
    duplicate = os.dup(pipe.reader)
    try:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, lib.lowlevel.wait_readable, pipe.reader)
            lib.lowlevel.notify_closing(duplicate)
            await lib.testing.wait_all_tasks_blocked()
            assert not call.done
            nursery.cancel_scope.cancel()
    finally:
        os.close(duplicate)


async def test_the_descriptor_can_be_waited_for_again_at_once(lib: Any, pipe: Ends) -> None:
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, lib.lowlevel.wait_readable, pipe.reader)
        lib.lowlevel.notify_closing(pipe.reader)
        with lib.move_on_after(0) as scope:
            await lib.lowlevel.wait_readable(pipe.reader)
        assert scope.cancelled_caught
        os.write(pipe.writer, b"x")
        await lib.lowlevel.wait_readable(pipe.reader)
    assert isinstance(first.error, lib.ClosedResourceError)


class Reused:
    """A number that meant one pipe and then means another one."""

    def __init__(self) -> None:
        self.number, self.old_writer = os.pipe()
        self._new_reader, self.new_writer = os.pipe()
        self._kept = os.dup(self.number)  # so that closing does not take the file out of any event set

    def reuse(self) -> None:
        os.dup2(self._new_reader, self.number)

    def close(self) -> None:
        for descriptor in (self.number, self.old_writer, self._new_reader, self.new_writer, self._kept):
            os.close(descriptor)


@pytest.fixture
def reused() -> Iterator[Callable[[], Reused]]:
    made: list[Reused] = []

    def make() -> Reused:
        made.append(Reused())
        return made[-1]

    yield make
    for one in made:
        one.close()


async def _wait_for_the_new_file(lib: Any, reused: Reused) -> None:
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_readable, reused.number)
        os.write(reused.old_writer, b"to the former file")
        await lib.testing.wait_all_tasks_blocked()
        assert not call.done
        os.write(reused.new_writer, b"to the new file")
    assert call.error is None


async def test_a_number_that_was_given_away_brings_nothing_of_its_former_file(
    lib: Any, reused: Callable[[], Reused]
) -> None:
    one = reused()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, lib.lowlevel.wait_readable, one.number)
        lib.lowlevel.notify_closing(one.number)
        one.reuse()
        await _wait_for_the_new_file(lib, one)
    assert isinstance(call.error, lib.ClosedResourceError)


async def test_a_wait_that_was_begun_a_moment_ago_is_told_although_its_number_was_given_away(
    lib: Any, reused: Callable[[], Reused]
) -> None:
    """In about half of the rounds the kernel has not seen the wait yet when the number becomes another file's."""
    for _ in range(20):
        one = reused()
        os.write(one.new_writer, b"ready at once")
        has_begun = False
        errors: list[BaseException] = []

        async def wait() -> None:
            nonlocal has_begun
            has_begun = True
            try:
                await lib.lowlevel.wait_readable(one.number)  # noqa: B023
            except lib.ClosedResourceError as error:
                errors.append(error)  # noqa: B023

        async def close() -> None:
            while not has_begun:  # noqa: B023
                await lib.lowlevel.checkpoint()
            lib.lowlevel.notify_closing(one.number)  # noqa: B023
            one.reuse()  # noqa: B023

        async with lib.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(close)
        assert len(errors) == 1


async def test_a_descriptor_that_nobody_waits_for_may_be_announced(lib: Any, pipe: Ends) -> None:
    assert lib.lowlevel.notify_closing(pipe.reader) is None
    os.write(pipe.writer, b"x")
    await lib.lowlevel.wait_readable(pipe.reader)


# Bad input ----------------------------------------------------------------------------------------------------------


async def test_a_closed_descriptor_is_refused(lib: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    for wait in (lib.lowlevel.wait_readable, lib.lowlevel.wait_writable):
        with pytest.raises(OSError):
            await wait(reader)


async def test_a_negative_number_is_refused(lib: Any) -> None:
    with pytest.raises(ValueError):
        await lib.lowlevel.wait_readable(-1)


async def test_a_closed_socket_is_refused(lib: Any) -> None:
    socket = stdlib_socket.socket()
    socket.close()
    with pytest.raises(ValueError):
        await lib.lowlevel.wait_writable(socket)


async def test_what_has_no_descriptor_is_refused(lib: Any) -> None:
    """Real Trio takes it for a call from outside of a run."""
    for call in (lib.lowlevel.wait_readable, lib.lowlevel.wait_writable):
        with pytest.raises(RuntimeError if lib.is_trio else TypeError):
            await call("text")
    with pytest.raises(RuntimeError if lib.is_trio else TypeError):
        lib.lowlevel.notify_closing("text")


def test_outside_of_a_run_there_is_nothing_to_wait_with(lib: Any) -> None:
    coroutine = lib.lowlevel.wait_readable(0)
    with pytest.raises(RuntimeError):
        coroutine.send(None)
    with pytest.raises(RuntimeError):
        lib.lowlevel.notify_closing(0)
