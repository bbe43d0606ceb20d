"""Capabilities: each is reported with its reason; one that is masked off is really not used, and all still works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from cts.configurations import Configuration
from cts.support import Completions, Files, Sockets, cause_of, finish, perform, poll_until, settle, start
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Capability,
    CompletionFlags,
    FileOpen,
    Nop,
    OperationFlags,
    Proactor,
    Recv,
    Send,
    SocketClose,
    Support,
    Timer,
)

MASKS = {
    "nothing": Capability.NONE,
    "no links": Capability.ALL & ~Capability.LINKED_OPERATIONS,
    "no multishot": Capability.ALL & ~Capability.MULTISHOT,
    "no absolute timeout": Capability.ALL & ~Capability.ABSOLUTE_TIMEOUT,
    "no links, no multishot": Capability.ALL & ~(Capability.LINKED_OPERATIONS | Capability.MULTISHOT),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
LINKED = OperationFlags.LINKED


def test_each_of_the_eleven_is_reported_with_a_reason(proactor: Proactor) -> None:
    reports = proactor.capability_reports
    assert set(reports) == set(Capability.ALL) and len(reports) == 11
    assert all(report.reason for report in reports.values())


@pytest.mark.reference("LifecycleTest.QueryCapabilities")
def test_the_mask_agrees_with_the_reports(proactor: Proactor) -> None:
    assert proactor.capabilities in Capability.ALL
    for capability, report in proactor.capability_reports.items():
        assert bool(proactor.capabilities & capability) is (report.support is not Support.MISSING)


def test_what_the_configuration_promises_is_there(proactor: Proactor, configuration: Configuration) -> None:
    assert configuration.present & ~proactor.capabilities == Capability.NONE


def test_links_are_native_where_the_configuration_says_so(proactor: Proactor, configuration: Configuration) -> None:
    native = proactor.capability_reports[Capability.LINKED_OPERATIONS].support is Support.NATIVE
    assert native is ("native_links" in configuration.tags)


@pytest.mark.reference("LifecycleTest.CreateSucceeds")
def test_a_proactor_is_made_of_the_backend_that_was_named(proactor: Proactor, configuration: Configuration) -> None:
    assert configuration.backend.startswith(proactor.backend_name) and not proactor.is_closed


def test_variant_and_reason_are_shown(proactor: Proactor) -> None:
    assert proactor.backend_variant and proactor.selection_reason


@every_mask
def test_what_is_masked_off_is_not_native(make_proactor: Callable[..., Proactor], mask: Capability) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    native = [name for name, report in proactor.capability_reports.items() if report.support is Support.NATIVE]
    assert all(capability in mask for capability in native)


@pytest.mark.parametrize("capability", list(Capability.ALL), ids=lambda capability: str(capability.name).lower())
def test_masking_a_native_one_off_says_that_it_was_switched_off(
    make_proactor: Callable[..., Proactor], proactor: Proactor, capability: Capability
) -> None:
    masked = make_proactor(allowed_capabilities=Capability.ALL & ~capability)
    before, after = proactor.capability_reports[capability], masked.capability_reports[capability]
    if before.support is Support.NATIVE:
        assert "switched off" in after.reason


@pytest.mark.regression("emulated-capabilities-hidden")
def test_masking_is_reported_alike_by_every_backend(make_proactor: Callable[..., Proactor]) -> None:
    """What works emulated although it was masked off is reported as emulated, not as missing."""
    proactor = make_proactor(allowed_capabilities=Capability.NONE)
    emulated = Capability.MULTISHOT | Capability.LINKED_OPERATIONS | Capability.ABSOLUTE_TIMEOUT
    emulated |= Capability.REGISTERED_BUFFERS | Capability.PROACTOR_MESSAGING | Capability.DEVICE_FENCE
    assert proactor.capabilities == emulated


def test_links_that_are_masked_off_are_started_step_by_step(
    make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    """The kernel is not given the second step before the first has completed: its counter of submissions shows it."""
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.LINKED_OPERATIONS)
    order: list[str] = []
    near, far = sockets.tcp_pair()

    def first_done(operation: object, flags: object) -> None:
        order.append("first")
        # Had the kernel linked the two, the bytes would be there by now.
        with pytest.raises(BlockingIOError):
            far.stdlib.recv(1)

    chain = [Nop(first_done, flags=LINKED), Send(near, b"x")]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert order == ["first"] and far.stdlib.recv(1) == b"x"


@every_mask
def test_chains_keep_their_order(
    make_proactor: Callable[..., Proactor], completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    chain = [
        Timer(time.monotonic() + 0.01, completions, 0, LINKED),
        Nop(completions, 1, LINKED),
        Timer(0.0, completions, 2, LINKED),
        Nop(completions, 3),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(number, "ok") for number in range(4)]


@pytest.mark.needs("files")
@every_mask
def test_a_failing_step_ends_its_chain(
    make_proactor: Callable[..., Proactor], files: Files, completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    chain = [
        Nop(completions, 0, LINKED),
        FileOpen(files.folder / "missing", os.O_RDONLY, 0, completions, 1, LINKED),
        Nop(completions, 2, LINKED),
        Nop(completions, 3),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "FileNotFoundError"), (2, "cancelled"), (3, "cancelled")]
    assert cause_of(chain[3]) is CancelCause.EARLIER_STEP_FAILED


@every_mask
def test_a_short_receive_ends_its_chain(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abc")
    far.close()
    chain = [Recv(near, bytearray(10), completions, 0, LINKED), Nop(completions, 1)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert chain[0].result == 3 and completions.outcomes == [(0, "ok"), (1, "cancelled")]


@every_mask
def test_cancelling_a_middle_step_names_the_causes(
    make_proactor: Callable[..., Proactor], completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    chain = [
        Timer(time.monotonic() + 0.01, completions, 0, LINKED),
        Timer(time.monotonic() + 3600, completions, 1, LINKED),
        Nop(completions, 2),
    ]
    start(proactor, *chain)
    proactor.cancel(chain[1])
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "cancelled"), (2, "cancelled")]
    assert [cause_of(step) for step in chain[1:]] == [CancelCause.REQUESTED, CancelCause.EARLIER_STEP_FAILED]


@every_mask
def test_multishot_accept_takes_several_connections_and_ends(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    clients = {sockets.client_of(listener).getsockname() for _ in range(5)}
    poll_until(proactor, lambda: len(completions) == 5)
    assert {sockets.keep(result).getpeername() for result in completions.results} == clients
    closing = SocketClose(listener)
    proactor.submit(closing)
    settle(proactor, accept, closing)
    assert [record.flags for record in completions.records] == [CompletionFlags.MORE] * 5 + [CompletionFlags.NONE]
    assert cause_of(accept) is CancelCause.RESOURCE_CLOSED


@every_mask
def test_timers_keep_their_order_and_can_be_cancelled(
    make_proactor: Callable[..., Proactor], completions: Completions, mask: Capability
) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    now = time.monotonic()
    timers = [Timer(now + delay / 1000, completions, delay) for delay in (9, 3, 6, 3600_000)]
    start(proactor, *timers)
    proactor.cancel(timers[3])
    settle(proactor, *timers)
    assert [label for label, ended in completions.outcomes if ended == "ok"] == [3, 6, 9]
    assert (3600_000, "cancelled") in completions.outcomes


@every_mask
def test_echo_works(make_proactor: Callable[..., Proactor], sockets: Sockets, mask: Capability) -> None:
    proactor = make_proactor(allowed_capabilities=mask)
    near, far = sockets.tcp_pair()
    finish(proactor, Send(near, b"hello"))
    buffer = bytearray(5)
    assert perform(proactor, Recv(far, buffer, whole=True)) == 5 and buffer == b"hello"
