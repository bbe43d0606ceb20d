"""Bad input and bad days: refused before anything runs, in words that name the argument; or endured."""

from __future__ import annotations

import gc
import math
import mmap
import os
import resource
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.support import Completions, Files, Sockets, finish, perform, settle, start
from proactor_trio.proactor import (
    BackendUnavailable,
    Capability,
    ClosedResourceError,
    FailedPrecondition,
    File,
    FileClose,
    FileOpen,
    FileRead,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationState,
    Proactor,
    ProactorOptions,
    Recv,
    RecvBytes,
    Send,
    Socket,
    Timer,
)


def assert_refused(proactor: Proactor, operation: Operation, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        proactor.submit(operation)
    assert operation.state is OperationState.NEW
    assert proactor.statistics()["in_flight"] == 0


# Foreign objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda thing: RecvBytes(thing, 1), lambda thing: Send(thing, b"x")])
@pytest.mark.parametrize("thing", [None, 3, "socket"])
def test_something_else_than_a_socket_is_refused(make: Callable[[object], Operation], thing: object) -> None:
    with pytest.raises(TypeError, match="socket must be"):
        make(thing)


@pytest.mark.parametrize("thing", [None, 3, "file"])
def test_something_else_than_a_file_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="file must be"):
        FileRead(thing, bytearray(1), 0)


def test_something_else_than_a_stdlib_socket_cannot_be_taken_over() -> None:
    with pytest.raises(TypeError, match="stdlib must be"):
        Socket.from_stdlib(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [-1, None, "3"])
def test_something_else_than_a_descriptor_is_no_file(thing: Any) -> None:
    with pytest.raises(ValueError, match="descriptor must be"):
        File(thing)


@pytest.mark.parametrize("thing", [None, 3, object()])
def test_something_else_than_an_operation_cannot_be_submitted(proactor: Proactor, thing: Any) -> None:
    with pytest.raises(TypeError, match="operations must be"):
        proactor.submit(thing)


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [None, 3, "text", [1, 2]])
def test_something_else_than_memory_is_refused(proactor: Proactor, sockets: Sockets, buffer: object) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused(proactor, Recv(near, buffer), TypeError, "buffer must be")
    assert_refused(proactor, Send(near, buffer), TypeError, "data must be")


@pytest.mark.needs("files")
def test_read_only_memory_is_refused_for_receiving(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused(proactor, Recv(near, b"read-only"), TypeError, "writable")
    assert_refused(proactor, FileRead(files.holding(b"x"), b"read-only", 0), TypeError, "writable")


def test_memory_with_gaps_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    view = memoryview(bytearray(10))[::2]
    assert_refused(proactor, Recv(near, view), TypeError, "contiguous")
    assert_refused(proactor, Send(near, view), TypeError, "contiguous")


@pytest.mark.needs("files")
def test_a_read_into_more_than_four_gibibytes_is_cut_not_wrapped(proactor: Proactor, files: Files) -> None:
    """2**32 + 8 bytes asked for must not turn into 8 (or an error): all of the small file comes."""
    file = files.holding(b"0123456789abcdef")
    memory = mmap.mmap(-1, (1 << 32) + mmap.PAGESIZE)
    view = memoryview(memory)[: (1 << 32) + 8]
    try:
        read = FileRead(file, view, 0)
        assert perform(proactor, read) == 16
        assert memory[:16] == b"0123456789abcdef"
    finally:
        view.release()
        memory.close()


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_a_timeout_that_is_negative_or_nan_is_refused(proactor: Proactor, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        proactor.poll(timeout)


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 1e10, 10**400])
def test_a_huge_timeout_is_as_good_as_none(proactor: Proactor, timeout: float) -> None:
    proactor.submit(Nop())
    assert proactor.poll(timeout) <= 1
    while proactor.statistics()["in_flight"]:
        proactor.poll(0)


def test_a_tiny_timeout_returns(proactor: Proactor) -> None:
    assert proactor.poll(5e-324) == 0


@pytest.mark.parametrize("deadline", [1e300, 1e12])
def test_a_huge_deadline_waits_or_is_refused(proactor: Proactor, deadline: float) -> None:
    timer = Timer(deadline)
    try:
        proactor.submit(timer)
    except ValueError as error:
        assert "deadline" in str(error)
        assert timer.state is OperationState.NEW
        assert proactor.statistics()["in_flight"] == 0
        return
    proactor.poll(0.005)
    assert timer.state is OperationState.SUBMITTED
    proactor.cancel(timer)
    settle(proactor, timer)


@pytest.mark.needs("files")
@pytest.mark.parametrize("offset", [-1, 1 << 63, 1 << 64])
def test_an_offset_out_of_range_is_refused(proactor: Proactor, files: Files, offset: int) -> None:
    file = files.holding(b"x")
    assert_refused(proactor, FileRead(file, bytearray(1), offset), ValueError, "offset")
    assert_refused(proactor, FileWrite(file, b"x", offset), ValueError, "offset")


@pytest.mark.needs("files")
@pytest.mark.parametrize("offset", [1.0, None, "0"])
def test_an_offset_that_is_no_integer_is_refused(proactor: Proactor, files: Files, offset: Any) -> None:
    assert_refused(proactor, FileRead(files.holding(b"x"), bytearray(1), offset), TypeError, "offset")


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_max_bytes_below_one_is_refused(proactor: Proactor, sockets: Sockets, max_bytes: int) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused(proactor, RecvBytes(near, max_bytes), ValueError, "max_bytes")


@pytest.mark.parametrize("max_bytes", [1.5, "1", None])
def test_max_bytes_that_is_no_integer_is_refused(proactor: Proactor, sockets: Sockets, max_bytes: Any) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused(proactor, RecvBytes(near, max_bytes), TypeError, "max_bytes")


@pytest.mark.parametrize("max_bytes", [1 << 32, 1 << 40])
def test_huge_max_bytes_are_refused_or_served(proactor: Proactor, sockets: Sockets, max_bytes: int) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")
    receive = RecvBytes(near, max_bytes)
    try:
        proactor.submit(receive)
    except (ValueError, OverflowError, MemoryError):
        assert receive.state is OperationState.NEW
        return
    settle(proactor, receive)
    assert receive.result == b"x" or isinstance(receive.error, OSError)


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("handle", [1 << 31, 1 << 40])
def test_a_descriptor_out_of_range_is_refused_or_ebadf(proactor: Proactor, handle: int) -> None:
    poll = HandlePoll(handle)
    try:
        proactor.submit(poll)
    except (ValueError, OverflowError):
        assert proactor.statistics()["in_flight"] == 0
        return
    settle(proactor, poll)
    assert isinstance(poll.error, OSError)


@pytest.mark.needs("files")
@pytest.mark.parametrize("open_flags", [1 << 40, -(1 << 40)])
def test_open_flags_out_of_range_are_refused_or_fail(proactor: Proactor, files: Files, open_flags: int) -> None:
    files.holding(b"x")
    opening = FileOpen(files.folder / "file", open_flags)
    try:
        proactor.submit(opening)
    except (ValueError, OverflowError):
        assert proactor.statistics()["in_flight"] == 0
        return
    settle(proactor, opening)
    assert isinstance(opening.error, OSError)


# More than fits ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("ResourceExhaustionTest.RapidNopSubmissions")
def test_many_more_nops_than_the_submission_queue_holds_complete_in_order(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor(max_concurrent_operations=8)
    nops = [Nop(completions, number) for number in range(500)]
    proactor.submit(*nops)
    settle(proactor, *nops)
    assert completions.labels == list(range(500))


@pytest.mark.needs("files")
def test_many_more_operations_than_the_submission_queue_holds_all_complete(
    make_proactor: Callable[..., Proactor], sockets: Sockets, files: Files, completions: Completions
) -> None:
    proactor = make_proactor(max_concurrent_operations=8)
    near, far = sockets.unix_pair()
    file = files.holding(b"x" * 1000)
    operations: list[Operation] = []
    for number in range(125):
        operations += [
            Timer(time.monotonic() + number / 100_000, completions),
            RecvBytes(far, 1, completions),
            Send(near, b"x", completions),
            FileRead(file, bytearray(8), number, completions),
        ]
    for operation in operations:
        proactor.submit(operation)
    settle(proactor, *operations)
    assert len(completions) == 500
    assert [error for error in completions.errors if error is not None] == []


def test_many_more_cancellations_than_the_submission_queue_holds(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor(max_concurrent_operations=8)
    timers = [Timer(time.monotonic() + 3600, completions) for _ in range(500)]
    start(proactor, *timers)
    for timer in timers:
        proactor.cancel(timer)
    settle(proactor, *timers)
    assert completions.outcomes == [(None, "cancelled")] * 500


@pytest.mark.needs("descriptors")
def test_more_operations_than_the_completion_queue_holds_may_wait_and_end_at_once(
    make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    proactor = make_proactor(max_concurrent_operations=1)
    near, far = sockets.unix_pair()
    polls = [HandlePoll(near) for _ in range(300)]
    start(proactor, *polls)
    far.stdlib.send(b"x")
    settle(proactor, *polls)
    assert all(poll.error is None for poll in polls)


# A closed proactor ---------------------------------------------------------------------------------------------------


def test_a_closed_proactor_refuses_operations_and_polls(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    proactor.close()
    for call in (lambda: proactor.submit(Nop()), lambda: proactor.poll(0)):
        with pytest.raises(FailedPrecondition, match="closed"):
            call()


def test_closing_twice_is_harmless(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    proactor.close()
    proactor.close()


def test_a_proactor_that_is_dropped_warns_and_is_closed(configuration: Configuration) -> None:
    """The check for leaked descriptors around each test sees that it is."""
    dropped = Proactor(configuration.backend, configuration.restrict())
    finish(dropped, Nop())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        del dropped
        gc.collect()
    assert any("unclosed <Proactor" in str(warning.message) for warning in caught)


def test_waking_a_closed_proactor_does_nothing(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    proactor.close()
    proactor.wake()


def test_waking_while_the_proactor_is_closed_elsewhere_raises_nothing(make_proactor: Callable[..., Proactor]) -> None:
    """A thread that has just finished its work wakes a proactor that is being closed at that moment."""
    errors: list[BaseException] = []
    proactor = make_proactor()
    stop = threading.Event()
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        try:
            while not stop.is_set():
                proactor.wake()
                wakes += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wake)
    thread.start()
    proactor.poll(0.01)
    proactor.close()
    before = wakes
    while wakes < before + 100 and thread.is_alive():
        os.sched_yield()
    stop.set()
    thread.join()
    assert errors == []


def test_cancelling_on_a_closed_proactor_is_false(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    timer = Timer(time.monotonic() + 3600)
    start(proactor, timer)
    proactor.close()
    assert proactor.cancel(timer) is False


@pytest.mark.needs("descriptors", "files")
def test_close_delivers_every_final_completion(
    make_proactor: Callable[..., Proactor], sockets: Sockets, files: Files, completions: Completions
) -> None:
    proactor = make_proactor()
    near, _ = sockets.tcp_pair()
    operations: list[Operation] = [
        Timer(time.monotonic() + 3600, completions),
        RecvBytes(near, 1, completions),
        Recv(near, bytearray(10), completions),
        HandlePoll(near, completion_fn=completions),
        FileRead(files.holding(b"x" * 300_000), bytearray(300_000), 0, completions),
        Nop(completions),
    ]
    start(proactor, *operations)
    proactor.close()
    assert sorted(map(id, completions.operations)) == sorted(map(id, operations))
    assert all(record.is_final for record in completions.records)


def test_the_context_manager_closes(configuration: Configuration, completions: Completions) -> None:
    with Proactor(backend=configuration.backend) as proactor:
        proactor.submit(Timer(time.monotonic() + 3600, completions))
    assert completions.outcomes == [(None, "cancelled")]
    with pytest.raises(FailedPrecondition):
        proactor.poll(0)


def test_operations_of_a_closed_proactor_can_go_to_another(
    make_proactor: Callable[..., Proactor], proactor: Proactor
) -> None:
    other = make_proactor()
    timer = Timer(time.monotonic() + 3600)
    other.submit(timer)
    other.close()
    timer.deadline = 0.0
    assert finish(proactor, timer).error is None


def test_sockets_and_files_outlive_the_proactor(
    make_proactor: Callable[..., Proactor], proactor: Proactor, sockets: Sockets
) -> None:
    other = make_proactor()
    near, far = sockets.tcp_pair()
    start(other, RecvBytes(near, 1))
    other.close()
    far.stdlib.send(b"x")
    assert perform(proactor, RecvBytes(near, 1)) == b"x"


# Options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_concurrent_operations": 0}, ValueError),
        ({"max_concurrent_operations": -1}, ValueError),
        ({"max_concurrent_operations": 1.5}, TypeError),
        ({"message_pool_capacity": 0}, ValueError),
        ({"allowed_capabilities": 7}, TypeError),
        ({"threading_mode": "same thread"}, TypeError),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    configuration: Configuration, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Proactor(backend=configuration.backend, options=ProactorOptions(**options))


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_any_number_of_expected_operations_works(make_proactor: Callable[..., Proactor], count: int) -> None:
    finish(make_proactor(max_concurrent_operations=count), Nop())


def test_an_absurd_number_of_expected_operations_works_or_says_why_not(configuration: Configuration) -> None:
    try:
        proactor = Proactor(configuration.backend, ProactorOptions(max_concurrent_operations=1 << 40))
    except (ValueError, BackendUnavailable) as error:
        assert str(error)
        return
    with proactor:
        finish(proactor, Nop())


def test_an_unknown_backend_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="io_uring"):
        Proactor(backend="nonsense")


def test_reports_show_the_debug_name(make_proactor: Callable[..., Proactor]) -> None:
    assert "the name" in repr(make_proactor(debug_name="the name"))


@pytest.mark.needs("files")
def test_a_closed_file_says_so(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x")
    file.close()
    assert_refused(proactor, FileClose(file), ClosedResourceError, "file was closed")


def test_the_proactor_masks_are_flags() -> None:
    assert Capability.ALL.bit_count() == 11


def test_a_creation_that_runs_out_of_descriptors_leaves_none_open(configuration: Configuration) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")
    lowest_free = os.dup(0)
    os.close(lowest_free)
    try:
        for spare in range(6):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
            try:
                Proactor(backend=configuration.backend).close()
            except (OSError, BackendUnavailable):
                continue
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir("/proc/self/fd") == before
