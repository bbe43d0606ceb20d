"""CapacityLimiter: tokens that are lent to borrowers, one to each, in the order of asking."""

from __future__ import annotations

import math
from dataclasses import dataclass

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.errors import WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PASS, checkpoint_if_cancelled
from proactor_trio.sync.acquirable import Acquirable


@dataclass(frozen=True, slots=True)
class CapacityLimiterStatistics:
    """borrowed_tokens and total_tokens: now; borrowers: who holds them; tasks_waiting: how many tasks wait for one."""

    borrowed_tokens: int
    total_tokens: int | float
    borrowers: list[Task | object]
    tasks_waiting: int


class CapacityLimiter(Acquirable):
    """A number of tokens of which each borrower may hold one, handed out in the order of asking.

    total_tokens: an integer of at least 0, or math.inf.
    """

    __slots__ = ("__weakref__", "_borrowers", "_lot", "_pending_borrowers", "_total_tokens")

    def __init__(self, total_tokens: int | float) -> None:
        self._lot = ParkingLot()
        self._borrowers: set[Task | object] = set()
        self._pending_borrowers: dict[Task, Task | object] = {}
        self.total_tokens = total_tokens

    def __init_subclass__(cls) -> None:
        raise TypeError("CapacityLimiter does not support subclassing")

    def __repr__(self) -> str:
        held = f"{len(self._borrowers)}/{self._total_tokens}"
        return f"<CapacityLimiter at {id(self):#x}, {held} with {len(self._lot)} waiting>"

    @property
    def total_tokens(self) -> int | float:
        """How many tokens there are. More let tasks go on at once; fewer take effect as tokens come back."""
        return self._total_tokens

    @total_tokens.setter
    def total_tokens(self, new_total_tokens: int | float) -> None:
        if not isinstance(new_total_tokens, int) and new_total_tokens != math.inf:
            raise TypeError("total_tokens must be an int or math.inf")
        if new_total_tokens < 0:
            raise ValueError("total_tokens must be >= 0")
        self._total_tokens = new_total_tokens
        self._hand_out()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are held."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> int | float:
        """How many tokens are free; negative after total_tokens was lowered below those held."""
        return self._total_tokens - len(self._borrowers)

    def _hand_out(self) -> None:
        available = self._total_tokens - len(self._borrowers)
        if available > 0:
            for task in self._lot.unpark(count=available):
                self._borrowers.add(self._pending_borrowers.pop(task))

    def acquire_nowait(self) -> None:
        """Take a token for the calling task at once. Raises WouldBlock."""
        self.acquire_on_behalf_of_nowait(current_task())

    @enable_ki_protection
    def acquire_on_behalf_of_nowait(self, borrower: Task | object) -> None:
        """Take a token for `borrower` at once. Raises WouldBlock, or RuntimeError if it holds one."""
        if borrower in self._borrowers:
            raise RuntimeError("this borrower is already holding one of this CapacityLimiter's tokens")
        if len(self._borrowers) < self._total_tokens and not self._lot:
            self._borrowers.add(borrower)
        else:
            raise WouldBlock

    async def acquire(self) -> None:
        """Take a token for the calling task; wait for one if need be. Cancelled: none was taken."""
        await self.acquire_on_behalf_of(current_task())

    @enable_ki_protection
    async def acquire_on_behalf_of(self, borrower: Task | object) -> None:
        """Take a token for `borrower`, any object; wait for one if need be. Cancelled: none was taken."""
        await checkpoint_if_cancelled()
        try:
            self.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            task = current_task()
            self._pending_borrowers[task] = borrower
            try:
                await self._lot.park()
            except BaseException:
                self._pending_borrowers.pop(task, None)
                raise
        else:
            await PASS

    def release(self) -> None:
        """Give the calling task's token back. Raises RuntimeError if it holds none."""
        self.release_on_behalf_of(current_task())

    @enable_ki_protection
    def release_on_behalf_of(self, borrower: Task | object) -> None:
        """Give the token of `borrower` back. Raises RuntimeError if it holds none."""
        if borrower not in self._borrowers:
            raise RuntimeError("this borrower isn't holding any of this CapacityLimiter's tokens")
        self._borrowers.remove(borrower)
        self._hand_out()

    def statistics(self) -> CapacityLimiterStatistics:
        """Who holds tokens and how many tasks wait."""
        return CapacityLimiterStatistics(
            borrowed_tokens=len(self._borrowers),
            total_tokens=self._total_tokens,
            borrowers=list(self._borrowers),
            tasks_waiting=len(self._lot),
        )
