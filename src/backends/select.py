"""Which backend runs here: by trying, never by a version number, and always with the reason.

A named backend is strict: it is that one or an error. `auto` takes the first that works, in the order of `PREFERENCE`,
and keeps the reason of each that did not. Backends of other distributions are found by the entry point group
`proactor_trio.backends` (name = the backend's name, value = a `Backend` class) and are used when named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from proactor_trio.backends.contract import Backend, BackendUnavailable

ENVIRONMENT_VARIABLE: Final = "PROACTOR_TRIO_BACKEND"
ENTRY_POINT_GROUP: Final = "proactor_trio.backends"
AUTO: Final = "auto"

PREFERENCE: Final = ("io_uring", "epoll", "poll")
_BUILT_IN: Final = {
    "io_uring": ("proactor_trio.backends.io_uring.backend", "IoUringBackend"),
    "io_uring_abi": ("proactor_trio.backends.io_uring.backend", "IoUringAbiBackend"),
    "epoll": ("proactor_trio.backends.posix.backend", "EpollBackend"),
    "poll": ("proactor_trio.backends.posix.backend", "PollBackend"),
}


@dataclass(slots=True)
class Selection:
    """The backend that was taken, why, and why each better one was not."""

    backend: Backend
    reason: str
    refused: dict[str, BackendUnavailable] = field(default_factory=dict)


def requested_name(name: str | None) -> tuple[str, str]:
    """The name that decides and where it came from: the argument, else the environment, else `auto`."""
    if name is not None:
        return name, "the backend argument"
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if from_environment:
        return from_environment, f"{ENVIRONMENT_VARIABLE} in the environment"
    return AUTO, "the default"


def backend_names() -> tuple[str, ...]:
    """All names that can be asked for."""
    external = (entry_point.name for entry_point in entry_points(group=ENTRY_POINT_GROUP))
    return (AUTO, *_BUILT_IN, *external)


def load_backend_class(name: str) -> type[Backend]:
    """The class behind a name. Raises ValueError for an unknown name, BackendUnavailable if it cannot be loaded."""
    try:
        if name in _BUILT_IN:
            module, attribute = _BUILT_IN[name]
            return _as_backend_class(getattr(import_module(module), attribute))
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            if entry_point.name == name:
                return _as_backend_class(entry_point.load())
    except (ImportError, AttributeError) as error:
        raise BackendUnavailable(f"cannot be imported: {error}") from error
    raise ValueError(f"unknown backend {name!r}; known are {', '.join(backend_names())}")


def _as_backend_class(loaded: object) -> type[Backend]:
    if isinstance(loaded, type) and issubclass(loaded, Backend):
        return loaded
    raise BackendUnavailable(f"what was registered is not a Backend class: {loaded!r}")


def select_backend(name: str | None, create: Callable[[type[Backend]], Backend]) -> Selection:
    """Create the backend that `name` asks for.

    name: one of `backend_names()`; None looks at the environment, then means `auto`.
    create: makes a backend of a class; it raises BackendUnavailable where that cannot run.
    Raises BackendUnavailable when nothing works, with every reason in the text; ValueError for an unknown name.
    """
    wanted, origin = requested_name(name)
    if wanted != AUTO:
        try:
            return Selection(create(load_backend_class(wanted)), f"{wanted} was named by {origin}")
        except ValueError as error:
            raise ValueError(f"{error} (it was named by {origin})") from None
        except BackendUnavailable as error:
            text = f"{wanted} was named by {origin} but cannot run here: {error.reason}"
            raise BackendUnavailable(text, error.errno_value) from error
    refused: dict[str, BackendUnavailable] = {}
    for candidate in PREFERENCE:
        try:
            backend = create(load_backend_class(candidate))
        except BackendUnavailable as error:
            refused[candidate] = error
        else:
            return Selection(backend, _explain_choice(candidate, refused), refused)
    raise BackendUnavailable("; ".join(f"{name}: {error.reason}" for name, error in refused.items()))


def _explain_choice(name: str, refused: dict[str, BackendUnavailable]) -> str:
    if not refused:
        return f"{name} is the best backend and works here"
    return f"{name} is the best that works here; " + "; ".join(f"{n}: {e.reason}" for n, e in refused.items())
