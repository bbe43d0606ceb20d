"""Fences: descriptors that signal semaphores, and semaphores that make descriptors readable."""

from __future__ import annotations

import gc
import os
import select
import threading
from collections.abc import Callable, Iterator

import pytest

from cts.support import finish, pipe, poll_until, settle, start
from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import (
    CancelCause,
    DataLoss,
    FailedPrecondition,
    HandlePoll,
    OperationCancelled,
    PollEvents,
    Proactor,
    SemaphoreSignal,
    SemaphoreSource,
    SemaphoreWait,
    StatusCode,
    TimelineSemaphore,
    status_of,
)

pytestmark = pytest.mark.needs("fences", "descriptors")

Make = Callable[..., SemaphoreSource]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


@pytest.fixture
def semaphore(make: Make) -> Iterator[SemaphoreSource]:
    with make() as semaphore:
        yield semaphore


@pytest.fixture
def fence() -> int:
    """An eventfd that is given away."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


class Exports:
    """Exports fences and closes them at the end of the test."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def __call__(self, semaphore: SemaphoreSource, value: int) -> int:
        descriptor = semaphore.export_fence(value)
        self._descriptors.append(descriptor)
        return descriptor

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


@pytest.fixture
def export() -> Iterator[Exports]:
    exports = Exports()
    yield exports
    exports.close()


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def until_settled(proactor: Proactor, semaphore: SemaphoreSource, value: int) -> None:
    poll_until(proactor, lambda: semaphore.query() >= value or semaphore.error is not None)


# Importing -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference("FencePosixTest.ImportFence_SignalAdvancesSemaphore")
def test_an_imported_fence_signals_its_value(proactor: Proactor, semaphore: SemaphoreSource, fence: int) -> None:
    peer = os.dup(fence)
    semaphore.import_fence(proactor, fence, 5)
    proactor.poll(0)
    assert semaphore.query() == 0
    os.eventfd_write(peer, 1)
    until_settled(proactor, semaphore, 5)
    assert (semaphore.query(), semaphore.error) == (5, None)
    os.close(peer)


@pytest.mark.reference("FencePosixTest.ImportFence_AlreadySignaled")
def test_a_fence_that_was_signalled_before(proactor: Proactor, semaphore: SemaphoreSource, fence: int) -> None:
    os.eventfd_write(fence, 1)
    semaphore.import_fence(proactor, fence, 5)
    until_settled(proactor, semaphore, 5)
    assert semaphore.query() == 5


def test_an_imported_fence_is_closed_when_it_has_spoken(
    proactor: Proactor, semaphore: SemaphoreSource, fence: int
) -> None:
    os.eventfd_write(fence, 1)
    semaphore.import_fence(proactor, fence, 5)
    until_settled(proactor, semaphore, 5)
    assert not is_open(fence)


def test_an_imported_fence_is_none_of_the_callers_completions(
    proactor: Proactor, semaphore: SemaphoreSource, fence: int
) -> None:
    os.eventfd_write(fence, 1)
    semaphore.import_fence(proactor, fence, 5)
    delivered = 0
    while semaphore.query() < 5:
        delivered += proactor.poll(1)
    assert delivered == 0


@pytest.mark.parametrize("fd", [-1, -100])
@pytest.mark.reference("FencePosixTest.ImportFence_InvalidFd")
def test_what_is_no_descriptor_is_refused_by_name(proactor: Proactor, semaphore: SemaphoreSource, fd: int) -> None:
    with pytest.raises(ValueError, match="fd must be") as caught:
        semaphore.import_fence(proactor, fd, 1)
    assert status_of(caught.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("FencePosixTest.ImportFence_NonePrimitive")
def test_nothing_instead_of_a_descriptor_is_refused_by_name(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    with pytest.raises(TypeError, match="fd must be an integer") as caught:
        semaphore.import_fence(proactor, None, 1)  # type: ignore[arg-type]
    assert status_of(caught.value) is StatusCode.INVALID_ARGUMENT


def test_a_number_that_is_not_open_is_refused_by_name(
    proactor: Proactor, semaphore: SemaphoreSource, fence: int
) -> None:
    os.close(fence)
    with pytest.raises(OSError, match="fd: "):
        semaphore.import_fence(proactor, fence, 1)


def test_a_fence_that_is_refused_stays_the_callers(proactor: Proactor, semaphore: SemaphoreSource, fence: int) -> None:
    with pytest.raises(ValueError, match="value must be"):
        semaphore.import_fence(proactor, fence, -1)
    os.close(fence)


def test_a_closed_proactor_refuses_and_leaves_the_fence(
    make_proactor: Callable[[], Proactor], semaphore: SemaphoreSource, fence: int
) -> None:
    proactor = make_proactor()
    proactor.close()
    with pytest.raises(FailedPrecondition):
        semaphore.import_fence(proactor, fence, 1)
    os.close(fence)


def test_a_signal_that_is_refused_fails_the_semaphore(
    proactor: Proactor, semaphore: SemaphoreSource, fence: int
) -> None:
    semaphore.signal(9)
    os.eventfd_write(fence, 1)
    semaphore.import_fence(proactor, fence, 5)
    poll_until(proactor, lambda: semaphore.error is not None)
    assert isinstance(semaphore.error, ValueError)
    assert semaphore.query() == 9


def test_a_peer_that_vanishes_is_data_loss(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    with pipe() as (reader, writer):
        semaphore.import_fence(proactor, os.dup(reader), 5)
        proactor.poll(0)
        os.close(writer)
        poll_until(proactor, lambda: semaphore.error is not None)
    assert isinstance(semaphore.error, DataLoss)
    assert (status_of(semaphore.error), semaphore.query()) == (StatusCode.DATA_LOSS, 0)


def test_a_peer_that_speaks_and_vanishes_has_spoken(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        os.close(writer)
        semaphore.import_fence(proactor, os.dup(reader), 5)
        until_settled(proactor, semaphore, 5)
    assert (semaphore.query(), semaphore.error) == (5, None)


def test_closing_the_proactor_fails_the_semaphore_and_closes_the_fence(
    make_proactor: Callable[[], Proactor], semaphore: SemaphoreSource, fence: int
) -> None:
    proactor = make_proactor()
    semaphore.import_fence(proactor, fence, 5)
    proactor.poll(0)
    proactor.close()
    assert isinstance(semaphore.error, OperationCancelled)
    assert semaphore.error.cause is CancelCause.PROACTOR_CLOSED
    assert not is_open(fence)


def test_closing_the_proactor_before_it_has_begun_to_watch(
    make_proactor: Callable[[], Proactor], semaphore: SemaphoreSource, fence: int
) -> None:
    proactor = make_proactor()
    semaphore.import_fence(proactor, fence, 5)
    proactor.close()
    assert isinstance(semaphore.error, OperationCancelled)
    assert not is_open(fence)


def test_what_callbacks_raise_is_raised_by_poll(proactor: Proactor, semaphore: SemaphoreSource, fence: int) -> None:
    def refuse(error: BaseException | None) -> None:
        raise LookupError("callback")

    semaphore.acquire_timepoint(5, refuse)
    os.eventfd_write(fence, 1)
    semaphore.import_fence(proactor, fence, 5)
    with pytest.raises(LookupError):
        until_settled(proactor, semaphore, 6)
    assert (semaphore.query(), semaphore.error) == (5, None)


@pytest.mark.reference("FencePosixTest.ImportFence_CrossThreadImportDuringPoll")
def test_a_fence_that_another_thread_imports_while_the_owner_waits(
    proactor: Proactor, semaphore: SemaphoreSource, fence: int
) -> None:
    os.eventfd_write(fence, 1)
    wait = SemaphoreWait([semaphore], [5])
    start(proactor, wait)
    importer = threading.Thread(target=semaphore.import_fence, args=(proactor, fence, 5))
    importer.start()
    settle(proactor, wait)
    importer.join(10)
    assert wait.error is None


@pytest.mark.reference("FencePosixTest.ImportFence_MultipleCrossThreadImports")
def test_fences_that_several_threads_import(proactor: Proactor, make: Make) -> None:
    semaphores = [make() for _ in range(8)]

    def import_two(first: SemaphoreSource, second: SemaphoreSource) -> None:
        for semaphore in (first, second):
            fence = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            semaphore.import_fence(proactor, fence, 3)

    threads = [threading.Thread(target=import_two, args=semaphores[index : index + 2]) for index in range(0, 8, 2)]
    for thread in threads:
        thread.start()
    poll_until(proactor, lambda: all(semaphore.query() == 3 for semaphore in semaphores))
    for thread in threads:
        thread.join(10)


def test_an_imported_fence_leaves_no_cyclic_garbage(proactor: Proactor, make: Make) -> None:
    def once() -> None:
        semaphore = make()
        semaphore.import_fence(proactor, os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK), 1)
        until_settled(proactor, semaphore, 1)

    once()
    gc.collect()
    gc.disable()
    try:
        once()
        assert gc.collect() == 0
    finally:
        gc.enable()


# Exporting -----------------------------------------------------------------------------------------------------------


@pytest.mark.reference("FencePosixTest.ExportFence_SemaphoreAdvanceSignalsFence")
def test_an_exported_fence_becomes_readable_at_its_value(semaphore: SemaphoreSource, export: Exports) -> None:
    fence = export(semaphore, 5)
    semaphore.signal(4)
    assert not is_readable(fence)
    semaphore.signal(5)
    assert is_readable(fence)


def test_an_exported_fence_stays_readable(semaphore: SemaphoreSource, export: Exports) -> None:
    fence = export(semaphore, 5)
    semaphore.signal(5)
    semaphore.signal(6)
    semaphore.fail(OSError())
    assert is_readable(fence)


@pytest.mark.reference("FencePosixTest.ExportFence_SemaphoreAlreadyReached")
def test_a_fence_for_what_was_reached_is_readable_at_once(make: Make, export: Exports) -> None:
    assert is_readable(export(make(5), 5))


def test_a_fence_is_not_inherited_by_programs_and_does_not_block(semaphore: SemaphoreSource, export: Exports) -> None:
    fence = export(semaphore, 1)
    assert (os.get_inheritable(fence), os.get_blocking(fence)) == (False, False)


@pytest.mark.reference("FencePosixTest.ExportFence_SemaphoreFailsAfterExport")
def test_a_fence_of_a_semaphore_that_fails_never_becomes_readable(semaphore: SemaphoreSource, export: Exports) -> None:
    fence = export(semaphore, 5)
    semaphore.fail(OSError())
    semaphore.signal(5)
    assert not is_readable(fence)


@pytest.mark.reference("FencePosixTest.ExportFence_SemaphoreAlreadyFailed")
def test_a_fence_of_a_failed_semaphore_never_becomes_readable(make: Make, export: Exports) -> None:
    semaphore = make(5)
    semaphore.fail(OSError())
    assert not is_readable(export(semaphore, 5))


def test_a_fence_of_a_closed_semaphore_never_becomes_readable(semaphore: SemaphoreSource, export: Exports) -> None:
    fence = export(semaphore, 5)
    semaphore.close()
    assert not is_readable(fence)


def test_a_fence_of_a_semaphore_that_was_dropped_never_becomes_readable(make: Make, export: Exports) -> None:
    """And nothing of it stays open but the caller's descriptor: the fixture of the suite would say so."""
    semaphore = make()
    fence = export(semaphore, 5)
    del semaphore
    assert not is_readable(fence)


@pytest.mark.reference("FencePosixTest.ExportFence_MultipleExportsDifferentValues")
def test_fences_for_different_values_are_independent(semaphore: SemaphoreSource, export: Exports) -> None:
    fences = [export(semaphore, value) for value in (1, 2, 3)]
    semaphore.signal(2)
    assert [is_readable(fence) for fence in fences] == [True, True, False]


def test_a_caller_who_closes_its_fence_early_disturbs_nobody(semaphore: SemaphoreSource, fence: int) -> None:
    """Its number may stand for something else by then."""
    os.close(semaphore.export_fence(5))
    semaphore.signal(5)
    assert not is_readable(fence)
    os.close(fence)


def test_the_fences_that_a_value_will_make_readable_can_be_asked_for(
    semaphore: SemaphoreSource, export: Exports
) -> None:
    for value in (3, 1, 2):
        export(semaphore, value)
    semaphore.acquire_timepoint(1, lambda error: None)
    assert [fence.value for fence in semaphore.pending_fences(2)] == [1, 2]
    semaphore.close()


def test_a_fence_that_is_asked_for_stays_open_as_long_as_it_is_held(
    semaphore: SemaphoreSource, export: Exports
) -> None:
    """For a kernel that writes to it: the caller and the semaphore may be done with it before."""
    descriptor = export(semaphore, 1)
    fences = semaphore.pending_fences(1)
    semaphore.signal(1)
    os.eventfd_write(fences[0].descriptor, 1)
    assert os.eventfd_read(descriptor) == 2


def test_exporting_at_the_limit_of_descriptors_leaves_nothing_open(semaphore: SemaphoreSource) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        with pytest.raises(OSError):
            semaphore.export_fence(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert semaphore._agenda.entries == []


# Both ----------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("FencePosixTest.ImportExportRoundTrip")
def test_from_semaphore_to_fence_to_semaphore(proactor: Proactor, make: Make) -> None:
    near, far = make(), make()
    far.import_fence(proactor, near.export_fence(1), 10)
    near.signal(1)
    until_settled(proactor, far, 10)
    assert far.query() == 10


def test_an_exported_fence_can_be_polled(proactor: Proactor, semaphore: SemaphoreSource, export: Exports) -> None:
    poll = HandlePoll(export(semaphore, 1))
    start(proactor, poll)
    finish(proactor, SemaphoreSignal([semaphore], [1]))
    settle(proactor, poll)
    assert poll.result & PollEvents.IN


def test_a_callback_that_raises_leaves_no_imported_fence_open(proactor: Proactor) -> None:
    semaphore = TimelineSemaphore()

    def callback(error: BaseException | None) -> None:
        raise LookupError("mine")

    semaphore.acquire_timepoint(1, callback)
    fence = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    semaphore.import_fence(proactor, fence, 1)
    with pytest.raises(LookupError):
        poll_until(proactor, lambda: False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fence)
