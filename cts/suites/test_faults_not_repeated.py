"""Faults of the reference that are not repeated, as far as no other suite shows it."""

from __future__ import annotations

import errno
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.support import Completions, Sockets, finish, perform, settle, start
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import probe
from proactor_trio.backends.io_uring.ring import Ring
from proactor_trio.proactor import (
    Access,
    Axis,
    BackendUnavailable,
    Frontier,
    FrontierTracker,
    Nop,
    Proactor,
    Recv,
    SemaphoreWait,
    Send,
    TimelineSemaphore,
    query_affinities,
    register_buffer,
)

# Kernels ---------------------------------------------------------------------------------------------------------


class KernelWithout:
    """Answers the question for opcodes like a kernel that lacks one."""

    def __init__(self, opcode: int) -> None:
        self._lacking = opcode

    def register(self, operation: int, buffer: bytearray, count: int) -> int:
        header, entry = probe._HEADER.size, probe._ENTRY.size
        for opcode in range(count):
            supported = 0 if opcode == self._lacking else probe._SUPPORTED
            probe._ENTRY.pack_into(buffer, header + opcode * entry, opcode, 0, supported, 0)
        return 0


@pytest.mark.regression("oldest-kernel")
@pytest.mark.parametrize(("opcode", "words"), [(c.OP_SOCKET, "Linux 5.19"), (c.OP_LINK_TIMEOUT, "LINK_TIMEOUT")])
def test_a_kernel_that_is_too_old_is_told_by_what_it_lacks(opcode: int, words: str) -> None:
    kernel: Any = KernelWithout(opcode)
    with pytest.raises(BackendUnavailable, match=words):
        probe.supported_opcodes(kernel)


@pytest.mark.needs("native_links")
@pytest.mark.regression("timed-wait-not-probed")
def test_a_kernel_without_timed_waits_is_refused_by_name(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up = Ring._set_up

    def without_timed_waits(ring: Ring, entries: int, flags: int) -> tuple[Any, ...]:
        parameters = list(set_up(ring, entries, flags))
        parameters[5] &= ~c.FEATURE_EXT_ARG
        return tuple(parameters)

    with monkeypatch.context() as patched:
        patched.setattr(Ring, "_set_up", without_timed_waits)
        with pytest.raises(BackendUnavailable, match="EXT_ARG"):
            Proactor(configuration.backend, configuration.restrict())


@pytest.mark.needs("native_buffers")
@pytest.mark.regression("table-failure-is-fatal")
def test_a_refused_table_of_buffers_costs_the_table_only(
    make_proactor: Callable[..., Proactor], sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = Ring.register

    def refuse_tables(ring: Ring, opcode: int, argument: Any, count: int) -> int:
        return -errno.ENOMEM if opcode == c.REGISTER_BUFFERS2 else register(ring, opcode, argument, count)

    with monkeypatch.context() as patched:
        patched.setattr(Ring, "register", refuse_tables)
        proactor = make_proactor()
        near, far = sockets.tcp_pair()
        with register_buffer(proactor, bytearray(b"hello"), Access.READ) as region:
            assert (region.pinned, region.reason.startswith("no table of buffers")) == (False, True)
            perform(proactor, Send(near, region.span()))
    assert far.stdlib.recv(10) == b"hello"


@pytest.mark.regression("affinities-cannot-be-queried")
def test_the_affinities_of_this_machine_can_be_queried() -> None:
    affinities = query_affinities()
    assert affinities and all(affinity.processors or affinity.is_any for affinity in affinities)


# Semaphores and frontiers ----------------------------------------------------------------------------------------


@pytest.mark.regression("timepoints-do-not-retain")
def test_a_pending_timepoint_keeps_its_semaphore() -> None:
    semaphore = TimelineSemaphore()
    alive = weakref.ref(semaphore)
    told: list[BaseException | None] = []
    semaphore.acquire_timepoint(1, told.append)
    del semaphore
    gc.collect()
    found = alive()
    assert found is not None
    found.signal(1)
    assert told == [None]


@pytest.mark.regression("link-behind-its-target")
@pytest.mark.parametrize("reached", [20, 21])
def test_a_link_leaves_a_target_alone_that_is_further_already(reached: int) -> None:
    source, target = TimelineSemaphore(), TimelineSemaphore()
    source.link(1, target, 20)
    target.signal(reached)
    source.signal(1)
    assert (target.query(), target.error) == (reached, None)


@pytest.mark.regression("semaphore-wait-ends-twice")
def test_a_wait_that_was_satisfied_and_then_cancelled_ends_once(proactor: Proactor, completions: Completions) -> None:
    semaphore = TimelineSemaphore()
    wait = SemaphoreWait([semaphore], [1], completion_fn=completions)
    start(proactor, wait)
    semaphore.signal(1)
    proactor.cancel(wait)
    settle(proactor, wait)
    for _ in range(3):
        proactor.poll(0)
    assert len(completions) == 1


EARLIER, LATER = Axis(1), Axis(2)


@pytest.mark.regression("failed-axis-behind-a-pending-one")
def test_a_wait_fails_at_once_though_an_earlier_axis_is_pending() -> None:
    tracker, broken = FrontierTracker(), OSError("broken")
    told: list[BaseException | None] = []
    for axis in (EARLIER, LATER):
        tracker.register_axis(axis)
    tracker.fail_axis(LATER, broken)
    tracker.acquire_timepoint(Frontier([(EARLIER, 1), (LATER, 1)]), told.append)
    assert told == [broken]


@pytest.mark.regression("bridge-failed-under-the-lock")
def test_callbacks_of_the_semaphore_of_a_failed_axis_may_use_the_tracker() -> None:
    tracker, semaphore, broken = FrontierTracker(), TimelineSemaphore(), OSError("broken")
    told: list[BaseException | None] = []
    tracker.register_axis(EARLIER, semaphore)
    semaphore.acquire_timepoint(1, lambda error: tracker.acquire_timepoint(Frontier([(EARLIER, 1)]), told.append))
    tracker.fail_axis(EARLIER, broken)
    assert told == [broken]


# Sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.regression("cancelled-marks-the-socket")
def test_a_cancelled_receive_does_not_fail_the_next_send(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = Recv(near, bytearray(1))
    start(proactor, receive)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert perform(proactor, Send(near, b"x")) == 1
    assert (near.failure, far.stdlib.recv(1)) == (None, b"x")


@pytest.mark.regression("bare-wake-is-a-timeout")
def test_a_bare_wake_up_delivers_nothing_and_is_no_error(proactor: Proactor) -> None:
    proactor.wake()
    assert proactor.poll(5) == 0
    assert finish(proactor, Nop()).error is None
