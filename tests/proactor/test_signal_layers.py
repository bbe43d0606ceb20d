"""Layers of signal handlers and wakeup descriptors: taken off in any order, what was there before them is back."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from proactor_trio.proactor.signal_layers import NO_DESCRIPTOR, HandlerLayer, SignalHandler, WakeupLayer

ORDERS = list(itertools.permutations(range(3)))


def handler_of(number: int) -> SignalHandler:
    def handle(signal_number: int, frame: FrameType | None) -> None: ...

    handle.__name__ = f"handle_{number}"
    return handle


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Four descriptors that may be written to."""
    made = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(4)]
    before = signal.set_wakeup_fd(NO_DESCRIPTOR)
    yield made
    signal.set_wakeup_fd(before)
    for descriptor in made:
        os.close(descriptor)


def wakeup_descriptor() -> int:
    descriptor = signal.set_wakeup_fd(NO_DESCRIPTOR)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    return descriptor


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_handlers_end_in_any_order(order: tuple[int, ...]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    layers = [HandlerLayer(signal.SIGUSR1, handler_of(number)) for number in range(3)]
    for layer in layers:
        layer.put()
    left = list(layers)
    for number in order:
        layers[number].take()
        left.remove(layers[number])
        assert signal.getsignal(signal.SIGUSR1) == (left[-1].value if left else before)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_wakeup_descriptors_end_in_any_order(order: tuple[int, ...], descriptors: list[int]) -> None:
    layers = [WakeupLayer(descriptor) for descriptor in descriptors[:3]]
    for layer in layers:
        layer.put()
    left = descriptors[:3]
    for number in order:
        layers[number].take()
        left.remove(descriptors[number])
        assert wakeup_descriptor() == (left[-1] if left else NO_DESCRIPTOR)


def test_one_that_was_never_put_changes_nothing(descriptors: list[int]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    HandlerLayer(signal.SIGUSR1, handler_of(0)).take()
    WakeupLayer(descriptors[0]).take()
    assert (signal.getsignal(signal.SIGUSR1), wakeup_descriptor()) == (before, NO_DESCRIPTOR)


def test_taking_twice_is_taking_once(descriptors: list[int]) -> None:
    signal.set_wakeup_fd(descriptors[3], warn_on_full_buffer=False)
    layer = WakeupLayer(descriptors[0])
    layer.put()
    layer.take()
    layer.take()
    assert wakeup_descriptor() == descriptors[3]


def test_what_others_have_put_on_top_stays(descriptors: list[int]) -> None:
    layer = WakeupLayer(descriptors[0])
    layer.put()
    signal.set_wakeup_fd(descriptors[3], warn_on_full_buffer=False)
    layer.take()
    assert wakeup_descriptor() == descriptors[3]


def test_a_descriptor_that_was_closed_meanwhile_is_not_put_back(descriptors: list[int]) -> None:
    signal.set_wakeup_fd(descriptors[3], warn_on_full_buffer=False)
    layer = WakeupLayer(descriptors[0])
    layer.put()
    os.close(descriptors.pop())
    layer.take()
    assert wakeup_descriptor() == NO_DESCRIPTOR


def test_only_somebody_elses_descriptor_is_hidden(descriptors: list[int]) -> None:
    signal.set_wakeup_fd(descriptors[3], warn_on_full_buffer=False)
    lower, upper = WakeupLayer(descriptors[0]), WakeupLayer(descriptors[1])
    lower.put()
    upper.put()
    assert (lower.hides_foreign(), upper.hides_foreign()) == (True, False)
    upper.take()
    lower.take()


@pytest.mark.parametrize("kind", ["handler", "descriptor"])
def test_one_whose_putting_was_interrupted_can_be_taken_off(
    kind: str, descriptors: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    layer = HandlerLayer(signal.SIGUSR1, handler_of(0)) if kind == "handler" else WakeupLayer(descriptors[0])
    install = type(layer)._install

    def interrupted(self: object) -> None:
        install(layer)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(type(layer), "_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        layer.put()
    layer.take()
    assert (signal.getsignal(signal.SIGUSR1), wakeup_descriptor()) == (before, NO_DESCRIPTOR)
