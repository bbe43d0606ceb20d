"""The way from memory to the kernel's tables of it: the backend of the proactor, on the thread that may talk to it.

The kernel binds registrations to the thread that owns a ring (IORING_SETUP_SINGLE_ISSUER), so all backends ask for it.
A proactor that any thread may still begin to poll has no owner; its creator registers then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proactor_trio.backends.contract import Backend
    from proactor_trio.proactor.proactor import Proactor


def backend_of(proactor: Proactor, call: str) -> Backend:
    """The backend, for `call`. Raises FailedPrecondition on a wrong thread and for a closed proactor."""
    proactor._check_usable()
    if proactor._owner is not None:
        proactor.check_owner(call)
    return proactor._backend


def has_kernel_side(proactor: Proactor) -> bool:
    """Whether its tables are there, and ours: it is not closed, and not inherited by fork()."""
    return not proactor._closed and not proactor._inherited
