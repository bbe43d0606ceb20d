"""SemaphoreWait and SemaphoreSignal: operations on timeline semaphores."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from cts.support import Completions, cause_of, finish, perform, settle, start
from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import (
    CancelCause,
    ClosedResourceError,
    DeadlineExceeded,
    Frontier,
    OperationCancelled,
    OperationState,
    OutOfRange,
    Proactor,
    SemaphoreSignal,
    SemaphoreSource,
    SemaphoreWait,
    StatusCode,
    TimelineSemaphore,
    WaitMode,
    status_of,
)

ALL, ANY = WaitMode.ALL, WaitMode.ANY
Make = Callable[[], SemaphoreSource]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


@pytest.fixture
def semaphore(make: Make) -> SemaphoreSource:
    return make()


@pytest.fixture
def semaphores(make: Make) -> list[SemaphoreSource]:
    return [make() for _ in range(3)]


def refuse(error: BaseException | None) -> None:
    raise LookupError("callback")


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)


# SemaphoreSignal -----------------------------------------------------------------------------------------------------


@pytest.mark.reference("SemaphoreAsyncTest.SignalSingle")
def test_a_signal(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    assert perform(proactor, SemaphoreSignal([semaphore], [5])) is None
    assert semaphore.query() == 5


@pytest.mark.reference("SemaphoreAsyncTest.SignalMultiple")
def test_signals_of_several_semaphores_are_made_in_order(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    order: list[int] = []
    for index, semaphore in enumerate(semaphores):
        semaphore.acquire_timepoint(1, lambda error, index=index: order.append(index))  # type: ignore[misc]
    perform(proactor, SemaphoreSignal(semaphores, [1, 2, 3]))
    assert ([semaphore.query() for semaphore in semaphores], order) == ([1, 2, 3], [0, 1, 2])


@pytest.mark.reference("SemaphoreAsyncTest.SignalNonMonotonicFails")
def test_a_signal_that_does_not_advance_ends_with_its_error(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    semaphore.signal(5)
    signal = finish(proactor, SemaphoreSignal([semaphore], [5]))
    assert isinstance(signal.error, ValueError)
    assert (status_of(signal.error), semaphore.query()) == (StatusCode.INVALID_ARGUMENT, 5)


def test_signals_stop_at_the_first_that_is_refused(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    semaphores[1].signal(9)
    signal = finish(proactor, SemaphoreSignal(semaphores, [1, 2, 3]))
    assert isinstance(signal.error, ValueError)
    assert [semaphore.query() for semaphore in semaphores] == [1, 9, 0]


@pytest.mark.reference("SemaphoreAsyncTest.SignalWithFrontier")
def test_a_signal_brings_its_frontier(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    known = Frontier([(1, 10)])
    perform(proactor, SemaphoreSignal(semaphores, [1, 1, 1], known))
    assert [semaphore.query_frontier() for semaphore in semaphores] == [known, known, known]


def test_no_signal_is_made_in_submit(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    """Callbacks of timepoints are the user's code; the reference makes the signal there on some backends."""
    signal = SemaphoreSignal([semaphore], [1])
    proactor.submit(signal)
    assert semaphore.query() == 0
    settle(proactor, signal)
    assert semaphore.query() == 1


def test_a_signal_that_was_cancelled_before_it_was_made_has_no_effect(
    proactor: Proactor, semaphore: SemaphoreSource
) -> None:
    signal = SemaphoreSignal([semaphore], [1])
    proactor.submit(signal)
    assert proactor.cancel(signal)
    settle(proactor, signal)
    assert (cause_of(signal), semaphore.query()) == (CancelCause.REQUESTED, 0)


def test_signals_of_nothing_succeed(proactor: Proactor) -> None:
    assert perform(proactor, SemaphoreSignal([], [])) is None


def test_a_signal_operation_can_be_submitted_again(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    signal = SemaphoreSignal([semaphore], [1])
    perform(proactor, signal)
    signal.values = [2]
    perform(proactor, signal)
    assert semaphore.query() == 2


def test_what_callbacks_raise_is_raised_by_poll_and_is_no_error_of_the_signal(
    proactor: Proactor, semaphores: list[SemaphoreSource]
) -> None:
    for semaphore in semaphores[:2]:
        semaphore.acquire_timepoint(1, refuse)
    signal = SemaphoreSignal(semaphores, [1, 1, 1])
    proactor.submit(signal)
    with pytest.raises(ExceptionGroup) as caught:
        settle(proactor, signal)
    assert [type(error) for error in caught.value.exceptions] == [LookupError, LookupError]
    settle(proactor, signal)
    assert (signal.error, semaphores[2].query()) == (None, 1)


def test_a_callback_that_looks_like_a_refusal_is_none(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    def raise_value_error(error: BaseException | None) -> None:
        raise ValueError("value")

    semaphores[0].acquire_timepoint(1, raise_value_error)
    signal = SemaphoreSignal(semaphores, [1, 1, 1])
    proactor.submit(signal)
    with pytest.raises(ValueError, match="value"):
        settle(proactor, signal)
    settle(proactor, signal)
    assert (signal.error, semaphores[2].query()) == (None, 1)


def test_signals_that_are_interrupted_go_on_in_the_next_poll(
    proactor: Proactor, semaphores: list[SemaphoreSource]
) -> None:
    def interrupt(error: BaseException | None) -> None:
        raise KeyboardInterrupt

    semaphores[1].acquire_timepoint(1, interrupt)
    signal = SemaphoreSignal(semaphores, [1, 1, 1])
    proactor.submit(signal)
    with pytest.raises(KeyboardInterrupt):
        settle(proactor, signal)
    assert [semaphore.query() for semaphore in semaphores] == [1, 1, 0]
    settle(proactor, signal)
    assert (signal.error, [semaphore.query() for semaphore in semaphores]) == (None, [1, 1, 1])


# SemaphoreWait -------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SemaphoreAsyncTest.WaitSingleAlreadySatisfied")
def test_a_wait_for_what_was_reached(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    semaphore.signal(10)
    assert perform(proactor, SemaphoreWait([semaphore], [5])) == Frontier()


def test_a_wait_does_not_complete_in_submit(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    semaphore.signal(10)
    wait = SemaphoreWait([semaphore], [5])
    proactor.submit(wait)
    assert wait.state is OperationState.SUBMITTED
    settle(proactor, wait)


@pytest.mark.reference("SemaphoreAsyncTest.WaitSinglePending")
def test_a_wait_ends_with_the_signal(proactor: Proactor, semaphore: SemaphoreSource, completions: Completions) -> None:
    wait = SemaphoreWait([semaphore], [5], ALL, completions, "wait")
    start(proactor, wait)
    semaphore.signal(4)
    proactor.poll(0)
    assert completions.labels == []
    semaphore.signal(5)
    settle(proactor, wait)
    assert completions.outcomes == [("wait", "ok")]


@pytest.mark.reference("SemaphoreAsyncTest.WaitAllModePartial")
def test_a_wait_for_all_goes_on_while_one_is_missing(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    wait = SemaphoreWait(semaphores, [1, 2, 3])
    start(proactor, wait)
    semaphores[0].signal(1)
    semaphores[2].signal(9)
    proactor.poll(0)
    assert wait.state is OperationState.SUBMITTED
    proactor.cancel(wait)
    settle(proactor, wait)


@pytest.mark.reference("SemaphoreAsyncTest.WaitAllModeComplete")
def test_a_wait_for_all_ends_with_the_last(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    wait = SemaphoreWait(semaphores, [1, 2, 3])
    start(proactor, wait)
    for semaphore in semaphores:
        semaphore.signal(3)
    settle(proactor, wait)
    assert (wait.result, wait.satisfied_index, wait.error) == (Frontier(), None, None)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.reference("SemaphoreAsyncTest.WaitAnyMode")
def test_a_wait_for_any_ends_with_the_first(proactor: Proactor, semaphores: list[SemaphoreSource], index: int) -> None:
    wait = SemaphoreWait(semaphores, [1, 1, 1], ANY)
    start(proactor, wait)
    semaphores[index].signal(1)
    settle(proactor, wait)
    assert (wait.result, wait.satisfied_index) == (index, index)


def test_a_wait_for_any_names_the_lowest_that_was_reached(
    proactor: Proactor, semaphores: list[SemaphoreSource]
) -> None:
    semaphores[2].signal(1)
    semaphores[1].signal(1)
    assert perform(proactor, SemaphoreWait(semaphores, [1, 1, 1], ANY)) == 1


@pytest.mark.parametrize("mode", [ALL, ANY])
@pytest.mark.reference("SemaphoreAsyncTest.WaitSemaphoreFailed")
def test_a_wait_ends_with_the_failure_of_any_semaphore(
    proactor: Proactor, semaphores: list[SemaphoreSource], mode: WaitMode
) -> None:
    wait = SemaphoreWait(semaphores, [1, 1, 1], mode)
    start(proactor, wait)
    semaphores[1].fail(PermissionError("not allowed"))
    settle(proactor, wait)
    assert isinstance(wait.error, PermissionError)


@pytest.mark.parametrize("mode", [ALL, ANY])
@pytest.mark.reference("SemaphoreAsyncTest.WaitSemaphoreAlreadyFailed")
@pytest.mark.regression("value-before-failure")
def test_a_failure_goes_before_values_that_were_reached(
    proactor: Proactor, semaphores: list[SemaphoreSource], mode: WaitMode
) -> None:
    """The reference's immediate check looks at the values first."""
    for semaphore in semaphores:
        semaphore.signal(1)
    semaphores[2].fail(PermissionError("not allowed"))
    wait = finish(proactor, SemaphoreWait(semaphores, [1, 1, 1], mode))
    assert isinstance(wait.error, PermissionError)


def test_what_was_reached_stays_reached_when_its_semaphore_fails_later(
    proactor: Proactor, semaphores: list[SemaphoreSource]
) -> None:
    wait = SemaphoreWait(semaphores, [1, 1, 1])
    start(proactor, wait)
    semaphores[0].signal(1)
    semaphores[0].fail(PermissionError("not allowed"))
    for semaphore in semaphores[1:]:
        semaphore.signal(1)
    settle(proactor, wait)
    assert wait.error is None


def test_each_wait_has_an_exception_of_its_own(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    semaphore.fail(OSError("broken"))
    errors = [finish(proactor, SemaphoreWait([semaphore], [1])).error for _ in range(2)]
    assert len({id(error) for error in (*errors, semaphore.error)}) == 3


@pytest.mark.reference("SemaphoreAsyncTest.WaitCancellation")
def test_cancelling_a_wait_withdraws_its_timepoints(proactor: Proactor, semaphores: list[SemaphoreSource]) -> None:
    wait = SemaphoreWait(semaphores, [1, 1, 1])
    start(proactor, wait)
    assert proactor.cancel(wait)
    settle(proactor, wait)
    assert cause_of(wait) is CancelCause.REQUESTED
    assert [semaphore._agenda.entries for semaphore in semaphores] == [[], [], []]


def test_a_semaphore_is_usable_after_a_wait_was_cancelled(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = SemaphoreWait([semaphore], [1])
    start(proactor, wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    semaphore.signal(1)
    assert perform(proactor, wait) == Frontier()


@pytest.mark.parametrize("mode", [ALL, ANY])
def test_a_wait_that_has_ended_leaves_nothing_behind(
    proactor: Proactor, semaphores: list[SemaphoreSource], mode: WaitMode
) -> None:
    wait = SemaphoreWait(semaphores, [1, 1, 1], mode)
    start(proactor, wait)
    semaphores[0].signal(1)
    semaphores[1].fail(OSError())
    settle(proactor, wait)
    assert [semaphore._agenda.entries for semaphore in semaphores] == [[], [], []]


@pytest.mark.reference("SemaphoreAsyncTest.SignalWakesPendingWait")
def test_a_signal_operation_ends_a_wait(
    proactor: Proactor, semaphore: SemaphoreSource, completions: Completions
) -> None:
    wait = SemaphoreWait([semaphore], [1], ALL, completions, "wait")
    start(proactor, wait)
    signal = SemaphoreSignal([semaphore], [1], None, completions, "signal")
    proactor.submit(signal)
    settle(proactor, wait, signal)
    assert sorted(completions.outcomes) == [("signal", "ok"), ("wait", "ok")]


def test_a_signal_from_another_thread_ends_a_poll_that_waits(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = SemaphoreWait([semaphore], [1])
    start(proactor, wait)
    signaller = threading.Thread(target=semaphore.signal, args=(1,))
    signaller.start()
    settle(proactor, wait)
    signaller.join(10)
    assert wait.error is None


def test_a_wait_for_a_device_ends_when_its_driver_tells(proactor: Proactor) -> None:
    semaphore = DeviceSemaphore()
    wait = SemaphoreWait([semaphore], [3])
    start(proactor, wait)
    semaphore.memory[0] = 3
    in_a_thread(lambda: semaphore.completed(3))
    settle(proactor, wait)
    assert wait.error is None


def test_waits_of_two_proactors_for_one_semaphore(
    make_proactor: Callable[[], Proactor], semaphore: SemaphoreSource
) -> None:
    proactors = [make_proactor(), make_proactor()]
    waits = [SemaphoreWait([semaphore], [1]) for _ in proactors]
    for proactor, wait in zip(proactors, waits, strict=True):
        start(proactor, wait)
    semaphore.signal(1)
    for proactor, wait in zip(proactors, waits, strict=True):
        settle(proactor, wait)
    assert [wait.error for wait in waits] == [None, None]


def test_a_semaphore_may_stand_in_a_wait_twice(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = SemaphoreWait([semaphore, semaphore], [1, 2])
    start(proactor, wait)
    semaphore.signal(2)
    settle(proactor, wait)
    assert wait.error is None


@pytest.mark.parametrize(("mode", "result"), [(ALL, Frontier()), (ANY, None)])
def test_a_wait_for_nothing_succeeds(proactor: Proactor, mode: WaitMode, result: object) -> None:
    wait = finish(proactor, SemaphoreWait([], [], mode))
    assert (wait.result, wait.frontier, wait.error) == (result, Frontier(), None)


@pytest.mark.parametrize("mode", [ALL, ANY])
def test_the_race_of_cancel_and_signal_has_one_end(
    proactor: Proactor, make: Make, mode: WaitMode, completions: Completions
) -> None:
    for _ in range(50):
        semaphores = [make(), make()]
        wait = SemaphoreWait(semaphores, [1, 1], mode, completions)
        start(proactor, wait)
        signaller = threading.Thread(target=lambda: [one.signal(1) for one in semaphores])  # noqa: B023
        signaller.start()
        proactor.cancel(wait)
        signaller.join(10)
        settle(proactor, wait)
        proactor.poll(0)
    assert len(completions) == 50
    assert all(error is None or isinstance(error, OperationCancelled) for error in completions.errors)


def test_threads_that_signal_and_fail_end_each_wait_once(
    proactor: Proactor, make: Make, completions: Completions
) -> None:
    for _ in range(50):
        semaphores = [make() for _ in range(4)]
        wait = SemaphoreWait(semaphores, [1] * 4, ALL, completions)
        proactor.submit(wait)
        threads = [threading.Thread(target=semaphore.signal, args=(1,)) for semaphore in semaphores]
        threads.append(threading.Thread(target=semaphores[0].fail, args=(OSError(),)))
        for thread in threads:
            thread.start()
        settle(proactor, wait)
        for thread in threads:
            thread.join(10)
        proactor.poll(0)
    assert len(completions) == 50


# Deadlines, closing --------------------------------------------------------------------------------------------------


def test_a_wait_ends_at_its_deadline(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = finish(proactor, SemaphoreWait([semaphore], [1], timeout=0.01))
    assert isinstance(wait.error, DeadlineExceeded)
    assert semaphore._agenda.entries == []


def test_closing_the_semaphore_cancels_a_wait(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = SemaphoreWait([semaphore], [1])
    start(proactor, wait)
    semaphore.close()
    settle(proactor, wait)
    assert cause_of(wait) is CancelCause.RESOURCE_CLOSED


def test_closing_the_proactor_withdraws_a_wait(
    make_proactor: Callable[[], Proactor], semaphore: SemaphoreSource
) -> None:
    proactor = make_proactor()
    wait, signal = SemaphoreWait([semaphore], [1]), SemaphoreSignal([semaphore], [1])
    proactor.submit(wait)
    proactor.submit(signal)
    proactor.close()
    assert cause_of(wait) is CancelCause.PROACTOR_CLOSED
    assert signal.state is OperationState.DONE
    assert semaphore._agenda.entries == []


def test_a_wait_keeps_its_semaphore_alive(proactor: Proactor, make: Make) -> None:
    semaphore = make()
    alive = weakref.ref(semaphore)
    wait = SemaphoreWait([semaphore], [1])
    start(proactor, wait)
    del semaphore
    found = alive()
    assert found is not None
    found.signal(1)
    settle(proactor, wait)


def test_waits_and_signals_leave_no_cyclic_garbage(proactor: Proactor, make: Make) -> None:
    def once() -> None:
        semaphore = make()
        wait = SemaphoreWait([semaphore], [1])
        proactor.submit(wait, SemaphoreSignal([semaphore], [1]))
        settle(proactor, wait)
        semaphore.fail(OSError())
        finish(proactor, SemaphoreWait([semaphore], [1]))

    once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            once()
        assert gc.collect() == 0
    finally:
        gc.enable()


# In tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_awaits_a_semaphore(run: Callable[..., object], semaphore: SemaphoreSource) -> None:
    async def main() -> object:
        signaller = threading.Thread(target=semaphore.signal, args=(1,))
        signaller.start()
        await SemaphoreWait([semaphore], [1])
        signaller.join(10)
        await SemaphoreSignal([semaphore], [2])
        return await SemaphoreWait([semaphore], [2], ANY)

    assert run(main) == 0


def test_a_task_whose_semaphore_is_closed_gets_closed_resource_error(
    run: Callable[..., object], semaphore: SemaphoreSource
) -> None:
    async def main() -> None:
        closer = threading.Thread(target=semaphore.close)
        closer.start()
        try:
            with pytest.raises(ClosedResourceError):
                await SemaphoreWait([semaphore], [1])
        finally:
            closer.join(10)

    run(main)


# Bad input -----------------------------------------------------------------------------------------------------------


def test_255_semaphores(proactor: Proactor, make: Make) -> None:
    semaphores = [make() for _ in range(255)]
    semaphores[254].signal(1)
    assert perform(proactor, SemaphoreWait(semaphores, [1] * 255, ANY)) == 254


def test_256_semaphores_are_refused_by_name(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    wait = SemaphoreWait([semaphore] * 256, [1] * 256)
    with pytest.raises(OutOfRange, match="semaphores must be at most 255, not 256") as caught:
        proactor.submit(wait)
    assert status_of(caught.value) is StatusCode.OUT_OF_RANGE
    assert (wait.state, semaphore._agenda.entries) == (OperationState.NEW, [])


@pytest.mark.parametrize("kind", [SemaphoreWait, SemaphoreSignal])
def test_as_many_values_as_semaphores(
    proactor: Proactor, semaphore: SemaphoreSource, kind: type[SemaphoreWait | SemaphoreSignal]
) -> None:
    with pytest.raises(ValueError, match="values must be as many as semaphores"):
        proactor.submit(kind([semaphore], [1, 2]))


@pytest.mark.parametrize("kind", [SemaphoreWait, SemaphoreSignal])
def test_what_is_no_semaphore_is_refused_by_name(
    proactor: Proactor, kind: type[SemaphoreWait | SemaphoreSignal]
) -> None:
    with pytest.raises(TypeError, match="semaphores must be"):
        proactor.submit(kind([object()], [1]))  # type: ignore[list-item]


@pytest.mark.parametrize("kind", [SemaphoreWait, SemaphoreSignal])
def test_a_wrong_value_is_refused_by_name(
    proactor: Proactor, semaphore: SemaphoreSource, kind: type[SemaphoreWait | SemaphoreSignal]
) -> None:
    with pytest.raises(ValueError, match="values must be from 0"):
        proactor.submit(kind([semaphore], [-1]))


def test_what_is_no_frontier_is_refused_by_name(proactor: Proactor, semaphore: SemaphoreSource) -> None:
    with pytest.raises(TypeError, match="frontier must be a Frontier"):
        proactor.submit(SemaphoreSignal([semaphore], [1], {1: 1}))  # type: ignore[arg-type]
    assert semaphore.query() == 0
