"""The error of a file that is closed: of the streams' class and of the standard library's at once."""

from __future__ import annotations

from proactor_trio.proactor.errors import ClosedResourceError


class ClosedFileError(ClosedResourceError, ValueError):
    """A call on a closed or detached file: also a ValueError, for programs that know builtin files."""
