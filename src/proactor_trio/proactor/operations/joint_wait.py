"""JointWaitOperation: base of the operations that wait for semaphores or frontiers.

They are finished by whatever thread signals or advances. Where the kernel links, a wait that leads a chain is made
there together with the steps behind it (kernel_waits.py).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.joint_wait import JointWait, Part, WaitMode
from proactor_trio.proactor.kernel_waits import KernelWait, lead
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation, SoftwareOperation

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class JointWaitOperation(SoftwareOperation):
    """One wait for the parts that a derived class names. Its raw result is the index of the part that ended it.

    wait_mode: whether it waits for all of its parts or for any.
    """

    __slots__ = ("_lead", "_wait", "wait_mode")
    leads_in_kernel = True

    def __init__(
        self,
        mode: WaitMode,
        completion_fn: CompletionFunction | None,
        user_data: object,
        flags: OperationFlags,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.wait_mode = mode
        #: The identifier of a submission, and its wait.
        self._wait: tuple[int, JointWait] | None = None
        self._lead: KernelWait | None = None

    @abstractmethod
    def _parts(self) -> Sequence[Part]:
        """New parts for one submission."""

    def _begin(self, proactor: Proactor) -> None:
        wait = self._begun()
        if wait is None:
            ended = functools.partial(proactor.finish, self, self.identifier)
            wait = JointWait(self._parts(), self.wait_mode, ended)
            self._wait = self.identifier, wait
        wait.begin()

    def _begin_ahead_of(self, proactor: Proactor, following: Sequence[Operation]) -> int:
        leading = self._leading()
        if leading is None:
            if self.expires is not None or any(step.expires is not None for step in following):
                return 0
            leading = self._lead = lead(self, proactor, self._parts, self.wait_mode)
        return 0 if leading is None else leading.begin(following)

    def _leading(self) -> KernelWait | None:
        """What makes this submission in the kernel, if that does."""
        return self._lead if self._lead is not None and self._lead.identifier == self.identifier else None

    def _cancel(self, proactor: Proactor) -> None:
        leading = self._leading()
        if leading is not None and leading.begun:
            leading.cancel()
            return
        wait = self._begun()
        if wait is not None:
            if wait.is_over:
                return
            wait.withdraw()
        proactor.finish(self, self.identifier, CANCELED)

    def _begun(self) -> JointWait | None:
        """The wait of this submission."""
        return self._wait[1] if self._wait is not None and self._wait[0] == self.identifier else None
