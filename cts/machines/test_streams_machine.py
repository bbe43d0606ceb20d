"""Streams in any order: two ends of a connection in a run, with scopes that end calls at any moment.

A program is a list of steps for each end, drawn beforehand and run by two tasks. Whatever happens: what one end has
received is the beginning of what the other has sent; a receive that was cancelled has taken nothing; and afterwards no
operation is in flight and no descriptor is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from cts.configurations import Configuration
from cts.machines.running import SETTINGS, nothing_left
from cts.support import PAIR_KINDS, Sockets, pattern
from proactor_trio import (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    SocketStream,
    move_on_after,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint

#: What a call of a stream may end with, once either end is closed or in use.
ERRORS = (BrokenResourceError, ClosedResourceError, BusyResourceError)

CANCELLED = -1.0
#: How long bytes may be on their way.
MOST_SECONDS = 2.0
#: How long two ends may wait for each other.
STUCK_SECONDS = 0.02

#: How a call is limited: already cancelled, by a deadline that comes in the middle, not at all.
LIMITS = st.sampled_from((CANCELLED, 0.0, 0.0002, math.inf))
LENGTHS = st.one_of(st.integers(1, 100), st.sampled_from((5_000, 300_000)))
STEPS = st.one_of(
    st.tuples(st.just("send"), LENGTHS, LIMITS),
    st.tuples(st.just("receive"), LENGTHS, LIMITS),
    st.tuples(st.just("pass"), st.integers(1, 3), st.just(math.inf)),
    st.tuples(st.just("end"), st.just(0), LIMITS),
    st.tuples(st.just("close"), st.just(0), LIMITS),
)
PROGRAMS = st.tuples(st.lists(STEPS, max_size=12), st.lists(STEPS, max_size=12))
Step = tuple[str, int, float]


class End:
    """One end: what its stream was given, and what it got.

    offered: all bytes that `send_all()` was called with, in order; `completed`: how many of them went out for sure.
    is_cut: a send did not complete; nobody knows how much of it went out, so nothing is sent after it.
    """

    def __init__(self, stream: SocketStream, seed: int) -> None:
        self.stream = stream
        self.offered = bytearray()
        self.completed = 0
        self.is_cut = False
        self.is_closed = False
        self.received = bytearray()
        self._seed = seed

    async def run(self, steps: list[Step]) -> None:
        """Run a program; what a stream raises for the state of its connection ends that step only."""
        for name, count, limit in steps:
            with move_on_after(0.001 if limit == CANCELLED else limit) as scope:
                if limit == CANCELLED:
                    scope.cancel()
                try:
                    await self._step(name, count)
                except ERRORS:
                    pass

    async def _step(self, name: str, count: int) -> None:
        match name:
            case "send":
                await self._send(count)
            case "receive":
                self.received += await self.stream.receive_some(count)
            case "end":
                self.is_cut = True
                await self.stream.send_eof()
            case "close":
                self.is_closed = True
                await self.stream.aclose()
            case _:
                for _ in range(count):
                    await checkpoint()

    async def _send(self, count: int) -> None:
        if self.is_cut:
            return
        data = pattern(count, self._seed)
        self.offered += data
        self.is_cut = True
        await self.stream.send_all(data)
        self.is_cut = False
        self.completed = len(self.offered)

    async def receive_up_to(self, count: int) -> None:
        """What is still on its way, as far as it comes."""
        with move_on_after(MOST_SECONDS):
            while len(self.received) < count and (piece := await self.stream.receive_some()):
                self.received += piece


async def run_both(near: End, far: End, programs: tuple[list[Step], list[Step]]) -> None:
    """Run the programs side by side; then receive the rest, look, and close."""
    with move_on_after(STUCK_SECONDS):  # two ends that both wait for bytes, or for room, are no mistake of the streams
        async with open_nursery() as nursery:
            nursery.start_soon(near.run, programs[0])
            nursery.start_soon(far.run, programs[1])
    for sender, receiver in ((near, far), (far, near)):
        if not sender.is_closed and not receiver.is_closed:
            await receiver.receive_up_to(sender.completed)
            assert len(receiver.received) >= sender.completed
        assert sender.offered.startswith(receiver.received)
    await near.stream.aclose()
    await far.stream.aclose()


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_streams_lose_double_and_mix_no_byte(configuration: Configuration, run: Callable[..., Any], kind: str) -> None:
    @SETTINGS
    @hypothesis.given(PROGRAMS)
    def one_program(programs: tuple[list[Step], list[Step]]) -> None:
        sockets = Sockets()
        with nothing_left():
            near, far = (End(SocketStream(socket), seed) for seed, socket in enumerate(sockets.pair(kind), 1))
            run(run_both, near, far, programs)
            sockets.close()

    one_program()
