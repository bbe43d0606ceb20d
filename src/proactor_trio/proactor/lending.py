"""Lending: what owns a Socket, a File or a descriptor lets the operations of a graph use it for a while.

A stream has an order of its own: bytes that it has received already come first, one task may send and one may receive.
So an operation that is made for a stream instead of a Socket does not go past that. It can run in a graph only, which
asks the owner for a loan when the node begins, and gives it back when the node has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from proactor_trio.proactor.operation import Operation


class Nothing:
    """The type of NOTHING."""

    __slots__ = ()


#: What `Loan.begin()` returns when the operation has to run.
NOTHING: Final = Nothing()


class Loan:
    """What an owner has lent to one operation. For the tasks of one run.

    taken: how many bytes the operation was given by the owner, which come before those that it moves itself.
    """

    __slots__ = ("taken",)

    #: Whether later steps of a chain may use it, too: closing the owner ends them as well.
    can_be_shared: ClassVar[bool] = False

    def __init__(self) -> None:
        self.taken = 0

    @property
    def has_something(self) -> bool:
        """Whether the owner has something that comes first, so that the operation cannot be handed over beforehand."""
        return False

    def begin(self, operation: Operation) -> Any:
        """Its turn has come: give it what is there. The result if that is all, else NOTHING: it has to run.

        Raises what the owner has to say to it.
        """
        return NOTHING

    def return_unread(self, operation: Operation, unread: int) -> None:
        """The owner gets bytes again that the operation has received into its memory; nothing where it sends."""

    def give_back(self, operation: Operation, unread: int) -> None:
        """The operation has ended. unread: how many bytes it had received that nobody is going to use."""
        raise NotImplementedError


class SharedLoan(Loan):
    """A later step of a chain uses what an earlier one was lent."""

    __slots__ = ("_loan",)

    def __init__(self, loan: Loan) -> None:
        super().__init__()
        self._loan = loan

    def give_back(self, operation: Operation, unread: int) -> None:
        """See Loan; what it shares is given back by the earlier step."""
        self._loan.return_unread(operation, unread)


class UseLoan(Loan):
    """The use of something of which nothing comes first. `ended`: called when it is given back."""

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self._ended = ended

    def give_back(self, operation: Operation, unread: int) -> None:
        """See Loan."""
        self._ended()


class Lender:
    """Base of the owners. Not an abstract base class: these make isinstance() slow."""

    __slots__ = ()

    def lent_resource(self) -> Any:
        """The Socket, File or descriptor that operations work on. Raises TypeError with the reason if there is none."""
        raise NotImplementedError

    def lend(self, operation: Operation) -> Loan:
        """Reserve for an operation what it uses.

        Raises BusyResourceError while a task uses that, ClosedResourceError, and TypeError for a kind of operation that
            would go past the owner.
        """
        raise NotImplementedError
