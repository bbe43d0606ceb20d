"""Errors of the scheduler and of everything that stands on it."""

from __future__ import annotations


class TrioDeprecationWarning(FutureWarning):
    """Something that works today and is going to be taken away."""


class TrioInternalError(Exception):
    """The run cannot go on: a bug in the library, a crashed system task, or its rules were broken from outside."""


class RunFinishedError(RuntimeError):
    """The run that a call was meant for is over."""


class WouldBlock(Exception):
    """A `_nowait` call could not be done at once."""


class EndOfChannel(Exception):
    """A channel has nothing more to give, and nobody is left who could send."""


class BusyResourceError(Exception):
    """Two tasks wanted to use one thing at a time that only one can use."""


class BrokenResourceError(Exception):
    """Something outside (a peer, the network) made further use impossible; the cause is chained."""
