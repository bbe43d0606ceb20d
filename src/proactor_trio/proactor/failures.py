"""One failure that several waiters raise.

What failed stays failed, and everybody who waits for it gets the failure. Raising one exception object in several
tasks or threads would mix their tracebacks, and each time it grew. So each waiter that raises gets a copy: of the same
type, with the same arguments and attributes. If the original was raised somewhere itself, it is the cause of every
copy, so that the place is shown; an original that never was raised says nothing more than its copy.
"""

from __future__ import annotations

import copy


def copy_of_failure(error: BaseException) -> BaseException:
    """A fresh exception of the same type for one waiter. One that cannot be copied is given out itself."""
    try:
        copied = copy.copy(error)
    except Exception:  # whatever the constructor of a foreign class says about arguments that are not its own
        return error
    if type(copied) is not type(error):
        return error
    if error.__traceback__ is not None:
        copied.__cause__ = error
    return copied
