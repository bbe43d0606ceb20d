"""The life of an operation: the promises that hold for every kind, each with a test that fails when it is broken."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from pathlib import Path

import pytest

from cts.support import (
    Completions,
    Files,
    Sockets,
    cause_of,
    fill,
    finish,
    pattern,
    perform,
    pipe,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Connect,
    FailedPrecondition,
    FileOpen,
    FileRead,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    PollEvents,
    Proactor,
    ProactorError,
    Recv,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
    StatusCode,
    Timer,
)

# 1. The caller owns an operation before submit and after its final completion ----------------------------------------


def test_states_follow_the_table(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 3600)
    states = [timer.state]
    proactor.submit(timer)
    states.append(timer.state)
    proactor.cancel(timer)
    states.append(timer.state)
    settle(proactor, timer)
    states.append(timer.state)
    assert states == [
        OperationState.NEW,
        OperationState.SUBMITTED,
        OperationState.CANCELLING,
        OperationState.DONE,
    ]


@pytest.mark.reference("TsanBridgeTest.SingleThreadReuse")
def test_one_object_can_be_submitted_again_and_again(proactor: Proactor, completions: Completions) -> None:
    nop = Nop(completions)
    for _ in range(10):
        finish(proactor, nop)
    assert len(completions) == 10


def test_an_operation_in_flight_is_refused_when_submitted_again(proactor: Proactor, completions: Completions) -> None:
    nop = Nop(completions)
    proactor.submit(nop)
    with pytest.raises(FailedPrecondition, match="in flight already"):
        proactor.submit(nop)
    settle(proactor, nop)
    assert len(completions) == 1


def test_the_same_operation_twice_in_a_batch_is_refused_whole(proactor: Proactor) -> None:
    nop = Nop()
    with pytest.raises(ValueError, match="twice"):
        proactor.submit(nop, nop)
    assert nop.state is OperationState.NEW


def test_an_operation_in_flight_elsewhere_is_refused(proactor: Proactor, make_proactor: type[Proactor]) -> None:
    timer = Timer(time.monotonic() + 3600)
    proactor.submit(timer)
    with pytest.raises(FailedPrecondition, match="in flight already"):
        make_proactor().submit(timer)
    proactor.cancel(timer)
    settle(proactor, timer)


def test_an_operation_can_go_to_another_proactor_when_it_is_done(
    proactor: Proactor, make_proactor: type[Proactor]
) -> None:
    nop = finish(proactor, Nop())
    finish(make_proactor(), nop)


def test_fields_may_be_changed_between_two_submissions(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 1)
    far.stdlib.send(b"abc")
    assert perform(proactor, receive) == b"a"
    receive.length = 10
    assert perform(proactor, receive) == b"bc"


def test_a_result_and_an_error_of_an_earlier_life_are_gone(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 3600)
    start(proactor, timer)
    proactor.cancel(timer)
    settle(proactor, timer)
    assert timer.error is not None
    timer.deadline = 0.0
    assert finish(proactor, timer).error is None


def test_the_cause_of_an_earlier_cancellation_is_not_carried_over(proactor: Proactor, sockets: Sockets) -> None:
    """An operation that was cancelled with its chain, submitted again, is cancelled by request only."""
    broken, far = sockets.unix_pair()
    far.close()
    timer = Timer(time.monotonic() + 3600)
    send = Send(broken, b"x", flags=OperationFlags.LINKED)
    proactor.submit(send, timer)
    settle(proactor, send, timer)
    assert cause_of(timer) is CancelCause.EARLIER_STEP_FAILED
    start(proactor, timer)
    proactor.cancel(timer)
    settle(proactor, timer)
    assert cause_of(timer) is CancelCause.REQUESTED


def test_an_operation_may_be_submitted_again_inside_its_completion_function(proactor: Proactor) -> None:
    count = 0

    def again(operation: Operation, flags: object) -> None:
        nonlocal count
        count += 1
        if count < 50:
            proactor.submit(operation)

    proactor.submit(Nop(again))
    poll_until(proactor, lambda: count == 50)


# 2. One final completion, inside poll(), on the polling thread -------------------------------------------------------


@pytest.mark.needs("descriptors", "files")
def test_nothing_completes_inside_submit(
    proactor: Proactor, sockets: Sockets, files: Files, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"there already")
    operations: list[Operation] = [
        Nop(completions),
        Timer(0.0, completions),
        RecvBytes(near, 3, completions),
        Send(near, b"x", completions),
        FileRead(files.holding(b"x"), bytearray(1), 0, completions),
        HandlePoll(near, PollEvents.OUT, completions),
    ]
    for operation in operations:
        proactor.submit(operation)
    assert len(completions) == 0
    settle(proactor, *operations)
    assert len(completions) == len(operations)


def test_nothing_completes_inside_cancel(proactor: Proactor, completions: Completions) -> None:
    timer = Timer(time.monotonic() + 3600, completions)
    start(proactor, timer)
    proactor.cancel(timer)
    assert len(completions) == 0 and timer.state is OperationState.CANCELLING
    settle(proactor, timer)


@pytest.mark.needs("files")
def test_completion_functions_run_on_the_polling_thread(proactor: Proactor, files: Files) -> None:
    threads = set()
    file = files.holding(b"x" * 100_000)

    def note(operation: Operation, flags: object) -> None:
        threads.add(threading.get_ident())

    operations = [FileRead(file, bytearray(100_000), 0, note), Nop(note), Timer(0.0, note)]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert threads == {threading.get_ident()}


@pytest.mark.needs("files")
def test_each_operation_completes_exactly_once(
    proactor: Proactor, sockets: Sockets, files: Files, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    file = files.holding(b"x")
    operations: list[Operation] = []
    for number in range(50):
        operations += [
            Nop(completions),
            Timer(time.monotonic() + number / 10_000, completions),
            Send(near, b"x", completions),
            RecvBytes(far, 1, completions),
            FileRead(file, bytearray(1), 0, completions),
        ]
    proactor.submit(*operations)
    settle(proactor, *operations)
    proactor.poll(0)
    assert len(completions) == len(operations) == len(set(map(id, completions.operations)))


def test_result_state_and_identifier_are_settled_when_the_completion_function_runs(proactor: Proactor) -> None:
    seen = []

    def look(operation: Operation, flags: object) -> None:
        seen.append((operation.state, operation.identifier, operation.error))

    finish(proactor, Nop(look))
    assert seen == [(OperationState.DONE, 0, None)]


def test_an_operation_without_a_completion_function_completes(proactor: Proactor) -> None:
    assert finish(proactor, Nop()).state is OperationState.DONE


# 3. What an operation names stays alive until its final completion ---------------------------------------------------


def test_an_operation_in_flight_is_kept_alive(proactor: Proactor, completions: Completions) -> None:
    proactor.submit(Timer(time.monotonic() + 0.01, completions))
    gc.collect()
    poll_until(proactor, lambda: len(completions) == 1)


def test_received_bytes_land_in_memory_that_everybody_else_dropped(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    landed = []

    def keep(operation: Operation, flags: object) -> None:
        assert isinstance(operation, Recv)
        landed.append(bytes(operation.buffer))

    start(proactor, Recv(near, bytearray(100_000), keep, whole=True))
    gc.collect()
    junk = [bytearray(100_000) for _ in range(50)]
    contents = pattern(100_000)
    sending = Send(far, contents, whole=True)
    proactor.submit(sending)
    poll_until(proactor, lambda: landed)
    settle(proactor, sending)
    assert landed == [contents]
    assert not any(any(piece) for piece in junk)


def test_sent_bytes_are_those_of_memory_that_everybody_else_dropped(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    filled = fill(near)
    done = Completions()
    start(proactor, Send(near, bytes(bytearray(pattern(50_000))), done, whole=True))
    gc.collect()
    junk = [b"\xff" * 50_000 for _ in range(50)]
    received = bytearray()
    while len(received) < filled + 50_000:
        received += perform(proactor, RecvBytes(far, 65536))
    poll_until(proactor, lambda: len(done) == 1)
    assert received[filled:] == pattern(50_000) and junk


@pytest.mark.needs("files")
def test_a_read_lands_in_memory_that_everybody_else_dropped(proactor: Proactor, files: Files) -> None:
    contents = pattern(1 << 20)
    file = files.holding(contents)
    landed: list[bytes] = []
    for _ in range(4):
        proactor.submit(
            FileRead(file, bytearray(1 << 20), 0, lambda operation, flags: landed.append(bytes(operation.buffer)))  # type: ignore[attr-defined]
        )
    gc.collect()
    poll_until(proactor, lambda: len(landed) == 4)
    assert landed == [contents] * 4


@pytest.mark.reference("SocketTest.SocketRetainRelease")
def test_a_socket_in_use_stays_open_when_it_is_dropped(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    done = Completions()
    proactor.submit(RecvBytes(sockets_pop(proactor, Accept(listener)), 10, done))
    proactor.poll(0)
    gc.collect()
    client.send(b"hello")
    poll_until(proactor, lambda: len(done) == 1)
    assert done.results == [b"hello"]
    done.operations[0].socket.close()  # type: ignore[attr-defined]


def sockets_pop(proactor: Proactor, accept: Accept) -> Socket:
    """The accepted socket, of which nothing else keeps a reference."""
    accepted: Socket = perform(proactor, accept)
    accept.result = None
    return accepted


@pytest.mark.needs("files")
def test_a_path_stays_alive_until_the_file_is_open(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    done = Completions()
    (tmp_path / "there").write_bytes(b"x")
    proactor.submit(FileOpen(str(tmp_path / "there"), completion_fn=done))
    gc.collect()
    poll_until(proactor, lambda: len(done) == 1)
    files.keep(done.results[0])


def test_a_bytearray_in_flight_cannot_be_resized(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(10)
    receive = Recv(near, buffer)
    start(proactor, receive)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    far.stdlib.send(b"x")
    settle(proactor, receive)


@pytest.mark.parametrize("ends_by", ["result", "cancel", "error"])
def test_a_bytearray_can_be_resized_after_the_final_completion(
    proactor: Proactor, sockets: Sockets, ends_by: str
) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(10)
    receive = Recv(near, buffer)
    start(proactor, receive)
    if ends_by == "result":
        far.stdlib.send(b"x")
    elif ends_by == "cancel":
        proactor.cancel(receive)
    else:
        far.stdlib.close()
        far.closed, far.descriptor = True, -1
    settle(proactor, receive)
    buffer.extend(b"more")


def test_a_bytearray_can_be_resized_inside_the_completion_function(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(10)
    receive = Recv(near, buffer, lambda operation, flags: buffer.extend(b"more"))
    far.stdlib.send(b"x")
    finish(proactor, receive)
    assert len(buffer) == 14


def test_a_refused_submission_lets_go_of_memory(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    buffer = bytearray(10)
    with pytest.raises(ValueError, match="max_bytes"):
        proactor.submit(Recv(near, buffer), RecvBytes(near, 0))
    buffer.extend(b"more")


@pytest.mark.needs("files")
def test_a_finished_operation_is_not_kept_alive_by_the_proactor(
    proactor: Proactor, sockets: Sockets, files: Files
) -> None:
    near, far = sockets.tcp_pair()
    file = files.holding(b"x" * 200_000)
    far.stdlib.send(b"x")
    operations: list[Operation] = [
        Nop(),
        Timer(0.0),
        Recv(near, bytearray(1)),
        Send(near, b"x"),
        FileRead(file, bytearray(200_000), 0),
        FileWrite(file, bytes(200_000), 0),
    ]
    references = [weakref.ref(operation) for operation in operations]
    proactor.submit(*operations)
    settle(proactor, *operations)
    operations.clear()
    proactor.poll(0)
    gc.collect()
    # A worker thread may be about to drop the last one.
    poll_until(proactor, lambda: [reference() for reference in references] == [None] * len(references))


# 4. cancel() is a request; a result that won is delivered, never leaked ----------------------------------------------


def test_a_cancelled_operation_has_had_no_effect(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert isinstance(receive.error, OperationCancelled) and receive.result is None
    far.stdlib.send(b"kept")
    assert perform(proactor, RecvBytes(near, 10)) == b"kept"


def test_bytes_that_came_before_the_cancellation_are_delivered_or_left(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    for _ in range(50):
        receive = RecvBytes(near, 10)
        start(proactor, receive)
        far.stdlib.send(b"x")
        proactor.cancel(receive)
        settle(proactor, receive)
        if receive.error is not None:
            assert perform(proactor, RecvBytes(near, 10)) == b"x"
        else:
            assert receive.result == b"x"


def test_a_connection_that_came_before_the_cancellation_is_delivered_or_left(
    proactor: Proactor, sockets: Sockets
) -> None:
    listener = sockets.listener()
    for _ in range(30):
        accept = Accept(listener)
        start(proactor, accept)
        client = sockets.client_of(listener)
        proactor.cancel(accept)
        settle(proactor, accept)
        accepted = accept.result if accept.error is None else perform(proactor, Accept(listener))
        assert accepted.getpeername() == client.getsockname()
        accepted.close()


def test_connections_that_came_before_the_cancellation_of_a_multishot_are_delivered_or_left(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    clients = {sockets.client_of(listener).getsockname() for _ in range(10)}
    proactor.cancel(accept)
    settle(proactor, accept)
    taken = [result for result in completions.results if result is not None]
    while len(taken) < len(clients):
        taken.append(perform(proactor, Accept(listener)))
    assert {sockets.keep(accepted).getpeername() for accepted in taken} == clients


@pytest.mark.needs("files")
def test_a_file_that_was_opened_before_the_cancellation_is_delivered(
    proactor: Proactor, tmp_path: Path, completions: Completions
) -> None:
    """The check for leaked descriptors around each test is the judge of the cancelled ones."""
    (tmp_path / "there").write_bytes(b"x")
    opens = [FileOpen(tmp_path / "there", completion_fn=completions) for _ in range(30)]
    proactor.submit(*opens)
    for opening in opens:
        proactor.cancel(opening)
    settle(proactor, *opens)
    for opening in opens:
        if opening.error is None:
            opening.result.close()
        else:
            assert cause_of(opening) is CancelCause.REQUESTED


@pytest.mark.needs("files")
def test_a_write_reported_as_cancelled_has_not_happened(proactor: Proactor, files: Files) -> None:
    file = files.holding(bytes(40))
    writes = [FileWrite(file, b"x", offset) for offset in range(40)]
    proactor.submit(*writes)
    for write in writes:
        proactor.cancel(write)
    settle(proactor, *writes)
    contents = os.pread(file.fileno(), 40, 0)
    assert [byte == ord("x") for byte in contents] == [write.error is None for write in writes]


# 5. Closing a resource ends what is pending on it, waits, then closes: see test_close.py -----------------------------


def test_the_close_completes_after_what_was_pending(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, _ = sockets.tcp_pair()
    receives = [RecvBytes(near, 1, completions, user_data="receive") for _ in range(3)]
    start(proactor, *receives)
    closing = SocketClose(near, completions, user_data="close")
    proactor.submit(closing)
    settle(proactor, closing, *receives)
    assert completions.labels == ["receive", "receive", "receive", "close"]


# 6. Identifiers are never reused -------------------------------------------------------------------------------------


def test_identifiers_are_never_reused(proactor: Proactor) -> None:
    nop = Nop()
    seen = []
    for _ in range(100):
        proactor.submit(nop)
        seen.append(nop.identifier)
        settle(proactor, nop)
    assert len(set(seen)) == 100 and 0 not in seen


def test_a_cancel_of_an_earlier_life_does_not_reach_the_next(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    for _ in range(50):
        far.stdlib.send(b"x")
        start(proactor, receive)
        proactor.cancel(receive)
        settle(proactor, receive)
        if receive.error is not None:
            perform(proactor, RecvBytes(near, 10))
        far.stdlib.send(b"y")
        assert perform(proactor, receive) == b"y"


# 8. Errors -----------------------------------------------------------------------------------------------------------


def test_a_cancellation_is_a_proactor_error_with_its_status_code(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 3600)
    start(proactor, timer)
    proactor.cancel(timer)
    settle(proactor, timer)
    assert isinstance(timer.error, ProactorError)
    assert timer.error.status is StatusCode.CANCELLED


def test_an_error_of_the_system_is_an_oserror_of_the_fitting_class(proactor: Proactor, sockets: Sockets) -> None:
    connect = finish(proactor, Connect(sockets.tcp(), sockets.refusing_address()))
    assert type(connect.error) is ConnectionRefusedError


def test_exactly_one_of_result_and_error_is_set(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")
    good, bad = RecvBytes(near, 1), Connect(sockets.tcp(), sockets.refusing_address())
    proactor.submit(good, bad)
    settle(proactor, good, bad)
    assert (good.result, good.error) == (b"x", None)
    assert bad.result is None and bad.error is not None


def test_user_data_is_never_looked_at(proactor: Proactor) -> None:
    thing = object()
    assert finish(proactor, Nop(user_data=thing)).user_data is thing


@pytest.mark.needs("descriptors")
def test_a_poll_on_a_pipe_keeps_its_completion_function_alive_but_not_longer(proactor: Proactor) -> None:
    recorder = Completions()
    reference = weakref.ref(recorder)
    with pipe() as (reader, writer):
        start(proactor, HandlePoll(reader, PollEvents.IN, recorder))
        del recorder
        gc.collect()
        assert reference() is not None
        os.write(writer, b"x")
        poll_until(proactor, lambda: proactor.statistics()["in_flight"] == 0)
    gc.collect()
    assert reference() is None
