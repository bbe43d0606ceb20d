"""Memory channels in any order: random programs, compared call by call with a few lines that say what is true.

After each step everything settles, so the model knows what each call, blocked or not, has come to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from cts.machines.running import SETTINGS

EXAMPLES = hypothesis.settings(SETTINGS, max_examples=max(100, SETTINGS.max_examples))

#: Each kind of step, as often as it is in the list; an end that is closed early leaves nothing to be seen.
KINDS = (
    ["send", "receive"] * 6
    + ["send_nowait", "receive_nowait", "cancel"] * 2
    + ["clone sender", "clone receiver", "close sender", "close receiver"]
)
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 5))
PROGRAMS = st.tuples(st.sampled_from((0, 1, 2, math.inf)), st.lists(STEPS, min_size=10, max_size=60))

WAITING, CANCELLED = "waiting", "cancelled"


@dataclass(eq=False)
class Call:
    """One call: by which end, what it offers, and what it came to: a value, an error's name, or that it waits."""

    end: int
    offered: object = None
    result: object = WAITING


@dataclass
class Model:
    """What is true. Ends are numbers; of each kind number 0 is there from the beginning."""

    size: float
    buffer: list[object] = field(default_factory=list)
    senders: list[Call] = field(default_factory=list)
    receivers: list[Call] = field(default_factory=list)
    open_senders: set[int] = field(default_factory=lambda: {0})
    open_receivers: set[int] = field(default_factory=lambda: {0})

    def send(self, call: Call, *, nowait: bool) -> None:
        if call.end not in self.open_senders:
            call.result = "ClosedResourceError"
        elif not self.open_receivers:
            call.result = "BrokenResourceError"
        elif self.receivers:
            self.receivers.pop(0).result = call.offered
            call.result = None
        elif len(self.buffer) < self.size:
            self.buffer.append(call.offered)
            call.result = None
        elif nowait:
            call.result = "WouldBlock"
        else:
            self.senders.append(call)

    def receive(self, call: Call, *, nowait: bool) -> None:
        if call.end not in self.open_receivers:
            call.result = "ClosedResourceError"
        elif self.buffer or self.senders:
            if self.senders:
                sender = self.senders.pop(0)
                self.buffer.append(sender.offered)
                sender.result = None
            call.result = self.buffer.pop(0)
        elif not self.open_senders:
            call.result = "EndOfChannel"
        elif nowait:
            call.result = "WouldBlock"
        else:
            self.receivers.append(call)

    def cancel(self, call: Call) -> None:
        call.result = CANCELLED
        for waiting in (self.senders, self.receivers):
            if call in waiting:
                waiting.remove(call)

    def close_sender(self, end: int) -> None:
        self.open_senders.discard(end)
        self._end([call for call in self.senders if call.end == end], "ClosedResourceError")
        if not self.open_senders:
            self._end(list(self.receivers), "EndOfChannel")

    def close_receiver(self, end: int) -> None:
        self.open_receivers.discard(end)
        self._end([call for call in self.receivers if call.end == end], "ClosedResourceError")
        if not self.open_receivers:
            self._end(list(self.senders), "BrokenResourceError")
            self.buffer.clear()

    def _end(self, calls: list[Call], error: str) -> None:
        for call in calls:
            self.cancel(call)
            call.result = error


class Player:
    """Plays a program on a real channel and on the model."""

    def __init__(self, lib: Any, nursery: Any, size: float) -> None:
        self._lib = lib
        self._nursery = nursery
        self._model = Model(size)
        sender, receiver = lib.open_memory_channel(size)
        self._senders, self._receivers = [sender], [receiver]
        self._calls: list[tuple[Call, Call, Any]] = []
        self._number = 0

    async def play(self, name: str, number: int) -> None:
        """Make one step, let everything settle, and compare."""
        side = self._senders if "send" in name else self._receivers
        end = number % len(side)
        match name:
            case "send" | "send_nowait":
                self._number += 1
                self._call(name, side[end], Call(end, self._number), self._model.send)
            case "receive" | "receive_nowait":
                self._call(name, side[end], Call(end), self._model.receive)
            case "cancel":
                self._cancel(number)
            case "clone sender" | "clone receiver":
                self._clone(side, end)
            case "close sender":
                side[end].close()
                self._model.close_sender(end)
            case _:
                side[end].close()
                self._model.close_receiver(end)
        await self._lib.testing.wait_all_tasks_blocked()
        self._compare()

    def _call(self, name: str, end: Any, expected: Call, play_on_model: Callable[..., None]) -> None:
        nowait = name.endswith("nowait")
        arguments = () if expected.offered is None else (expected.offered,)
        real, scope = Call(expected.end), self._lib.CancelScope()
        self._calls.append((real, expected, scope))
        play_on_model(expected, nowait=nowait)
        if nowait:
            try:
                real.result = getattr(end, name)(*arguments)
            except Exception as error:
                real.result = type(error).__name__
        else:
            self._nursery.start_soon(self._call_in_task, real, scope, getattr(end, name), arguments)

    async def _call_in_task(self, real: Call, scope: Any, method: Any, arguments: tuple[Any, ...]) -> None:
        with scope:
            try:
                real.result = await method(*arguments)
            except Exception as error:
                real.result = type(error).__name__
        if scope.cancelled_caught:
            real.result = CANCELLED

    def _cancel(self, number: int) -> None:
        waiting = [(expected, scope) for _, expected, scope in self._calls if expected.result is WAITING]
        if waiting:
            expected, scope = waiting[number % len(waiting)]
            scope.cancel()
            self._model.cancel(expected)

    def _clone(self, side: list[Any], end: int) -> None:
        is_sender = side is self._senders
        open_ends = self._model.open_senders if is_sender else self._model.open_receivers
        if end in open_ends:
            open_ends.add(len(side))
            side.append(side[end].clone())
        else:
            with pytest.raises(self._lib.ClosedResourceError):
                side[end].clone()

    def _compare(self) -> None:
        assert [real.result for real, _, _ in self._calls] == [expected.result for _, expected, _ in self._calls]
        model, statistics = self._model, self._senders[0].statistics()
        assert statistics.current_buffer_used == len(model.buffer)
        assert statistics.tasks_waiting_send == len(model.senders)
        assert statistics.tasks_waiting_receive == len(model.receivers)
        assert statistics.open_send_channels == len(model.open_senders)
        assert statistics.open_receive_channels == len(model.open_receivers)


@pytest.mark.semantics(27)
def test_a_channel_does_what_its_model_does(lib: Any, run: Callable[..., Any]) -> None:
    async def play(size: float, steps: list[tuple[str, int]]) -> None:
        async with lib.open_nursery() as nursery:
            player = Player(lib, nursery, size)
            for name, number in steps:
                await player.play(name, number)
            nursery.cancel_scope.cancel()

    @EXAMPLES
    @hypothesis.given(PROGRAMS)
    def one_program(program: tuple[float, list[tuple[str, int]]]) -> None:
        run(play, *program)

    one_program()
