"""Small pure models: what must be true of operations, chains and connections, whatever the order of events."""

from __future__ import annotations

import select
from typing import Any, Final

from proactor_trio.proactor import CompletionFlags, Operation, OperationCancelled, OperationState, Socket

#: How long bytes may be on their way from one socket of this machine to another.
_MOST_SECONDS: Final = 2.0


class Submission:
    """One submission of an operation: it ends exactly once.

    ends: the errors with which it was reported finally, None for success.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.ends: list[BaseException | None] = []
        self.results: list[Any] = []
        operation.completion_fn = self.completed

    def completed(self, operation: Operation, flags: CompletionFlags) -> None:
        assert operation is self.operation
        assert not self.ends, f"{operation!r} was reported after its final completion"
        self.results.append(operation.result)
        if not flags & CompletionFlags.MORE:
            assert operation.state is OperationState.DONE
            self.ends.append(operation.error)

    @property
    def is_over(self) -> bool:
        return bool(self.ends)

    @property
    def succeeded(self) -> bool:
        return self.ends == [None]

    @property
    def was_cancelled(self) -> bool:
        return len(self.ends) == 1 and isinstance(self.ends[0], OperationCancelled)


class Chain:
    """Steps of a linked batch: they end in order; behind the first that failed all are cancelled."""

    def __init__(self, steps: list[Submission]) -> None:
        self.steps = steps

    def check(self) -> None:
        """True at every moment."""
        over = [step.is_over for step in self.steps]
        assert over == sorted(over, reverse=True), f"a later step ended first: {over}"
        broken = False
        for step in self.steps:
            if not step.is_over:
                break
            if broken:
                assert step.was_cancelled, f"behind a failure: {step.operation!r} ended with {step.ends!r}"
            broken = broken or not step.succeeded


class Direction:
    """The bytes that go one way through a connection: what came out is what went in, in order, each once."""

    def __init__(self, sender: Socket, receiver: Socket) -> None:
        self.sender = sender
        self.receiver = receiver
        self.sent = bytearray()
        self.received = bytearray()
        self.payload = b""
        self.buffer = bytearray()
        self.sending: Submission | None = None
        self.receiving: Submission | None = None

    def settle(self) -> None:
        """Enter what was moved by operations that are over."""
        if self.sending is not None and self.sending.is_over:
            if self.sending.succeeded:
                self.sent += self.payload[: self.sending.results[-1]]
            self.sending = None
        if self.receiving is not None and self.receiving.is_over:
            if self.receiving.succeeded:
                self.received += self.buffer[: self.receiving.results[-1]]
            self.receiving = None

    def check(self) -> None:
        """True at every moment: nothing comes out that did not go in. What a pending send has moved is not known."""
        assert self.sent.startswith(self.received) or self.sending is not None

    def check_at_the_end(self) -> None:
        """Nothing is pending: the rest is still on its way, and nothing more."""
        come = bytes(self.received)
        while len(come) < len(self.sent) and select.select([self.receiver.stdlib], [], [], _MOST_SECONDS)[0]:
            come += self.receiver.stdlib.recv(1 << 16)
        try:
            come += self.receiver.stdlib.recv(1 << 16)
        except BlockingIOError:
            pass
        assert come == self.sent
