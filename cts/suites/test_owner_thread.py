"""The second part of the table of docs/proactor-threads.md: what only the owner may do, and what others are told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.support import settle
from proactor_trio.proactor import (
    Access,
    EventSource,
    FailedPrecondition,
    Nop,
    Operation,
    Proactor,
    ProgressCallback,
    Relay,
    Signal,
    SignalHandle,
    SignalSubscription,
    Slab,
    register_buffer,
    register_dmabuf,
    register_slab,
)


class Refused:
    """What a call on another thread raises."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._call = call
        thread = threading.Thread(target=self._run)
        thread.start()
        thread.join()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error.with_traceback(None)  # which would keep what the call has made


def eventfd_for(keep: list[int]) -> int:
    keep.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
    return keep[-1]


BeginCall = Callable[[Proactor, list[int]], object]

#: What may be called by the owner only, on a resource or a proactor of his.
OWNER_ONLY: dict[str, BeginCall] = {
    "poll()": lambda proactor, keep: proactor.poll(0),
    "close()": lambda proactor, keep: proactor.close(),
    "ProgressCallback": lambda proactor, keep: ProgressCallback(proactor, lambda: 0),
    "EventSource": lambda proactor, keep: EventSource(proactor, eventfd_for(keep), lambda *_: None),
    "Relay": lambda proactor, keep: Relay(proactor, eventfd_for(keep), SignalHandle(eventfd_for(keep))),
    "set_message_callback()": lambda proactor, keep: proactor.set_message_callback(None),
    "register_buffer()": lambda proactor, keep: register_buffer(proactor, bytearray(8), Access.READ),
}

#: Resources that the owner makes and only he may end.
OWNED: dict[str, Callable[[Proactor, list[int]], Any]] = {
    "ProgressCallback.remove()": lambda proactor, keep: ProgressCallback(proactor, lambda: 0),
    "EventSource.close()": lambda proactor, keep: EventSource(proactor, eventfd_for(keep), lambda *_: None),
    "Relay.close()": lambda proactor, keep: Relay(proactor, eventfd_for(keep), SignalHandle(eventfd_for(keep))),
    "Region.close()": lambda proactor, keep: register_buffer(proactor, bytearray(8), Access.READ),
    "SignalSubscription.close()": lambda proactor, keep: SignalSubscription(proactor, Signal.USER1, lambda *_: None),
}


@pytest.fixture
def keep() -> Iterator[list[int]]:
    """Descriptors to be closed at the end."""
    kept: list[int] = []
    yield kept
    for descriptor in kept:
        os.close(descriptor)


def assert_names_the_owner(error: BaseException | None, call: str) -> None:
    assert isinstance(error, FailedPrecondition), error
    owner = threading.current_thread()
    assert str(error).startswith(f"{call}: ")
    assert f"belongs to thread {owner.ident} ({owner.name})" in str(error)


@pytest.mark.parametrize("call", OWNER_ONLY)
def test_what_the_owner_does_is_refused_to_others(proactor: Proactor, call: str, keep: list[int]) -> None:
    refused = Refused(lambda: OWNER_ONLY[call](proactor, keep))
    assert_names_the_owner(refused.error, call)


@pytest.mark.parametrize("call", OWNED)
def test_what_the_owner_has_made_is_ended_by_no_other(proactor: Proactor, call: str, keep: list[int]) -> None:
    resource = OWNED[call](proactor, keep)
    end = getattr(resource, call.split(".")[1].removesuffix("()"))
    refused = Refused(end)
    end()
    proactor.poll(0)
    assert_names_the_owner(refused.error, call)


@pytest.mark.parametrize("register", [register_slab, pytest.param(register_dmabuf, marks=pytest.mark.needs("dmabuf"))])
@pytest.mark.ring_rule(14)
def test_registering_is_refused_to_others(proactor: Proactor, register: Any) -> None:
    descriptor = os.memfd_create("stand-in", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, 4096)
    with Slab.allocate(64, 4) as slab:
        arguments = (slab,) if register is register_slab else (descriptor, 0, 4096)
        refused = Refused(lambda: register(proactor, *arguments, Access.READ))
    os.close(descriptor)
    assert_names_the_owner(refused.error, f"{register.__name__}()")


@pytest.mark.needs("signals")
def test_signals_are_refused_to_others(proactor: Proactor) -> None:
    refused = Refused(lambda: SignalSubscription(proactor, Signal.USER1, lambda *_: None))
    assert isinstance(refused.error, FailedPrecondition) and "main thread" in str(refused.error)


def test_a_completion_function_does_not_poll(proactor: Proactor) -> None:
    """Reference: none; the owner is refused too while it polls."""
    errors: list[BaseException] = []

    def poll(operation: Operation, flags: object) -> None:
        try:
            proactor.poll(0)
        except FailedPrecondition as error:
            errors.append(error)

    settle_one = Nop(poll)
    proactor.submit(settle_one)
    settle(proactor, settle_one)
    assert "inside a completion function" in str(errors[0])
