"""`-p cts.selftest.planting --plant "lost cancel"`: the built-in backends of this pytest run have that fault."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import pytest

import cts.support
from cts.selftest.faults import PLANS
from proactor_trio.backends.contract import Backend

_BACKENDS: Final = (
    ("proactor_trio.backends.io_uring.backend", "IoUringBackend"),
    ("proactor_trio.backends.posix.backend", "EpollBackend"),
)
#: How long a test waits for what does not come.
_MOST_SECONDS: Final = 0.3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plant", choices=list(PLANS), default=None, help="the fault that the backends have")


def pytest_configure(config: pytest.Config) -> None:
    name: str | None = config.getoption("--plant")
    if name is None:
        return
    cts.support.MOST_SECONDS = _MOST_SECONDS
    fault = PLANS[name].fault
    for module_name, attribute in _BACKENDS:
        module = import_module(module_name)
        backend: type[Backend] = getattr(module, attribute)
        setattr(module, attribute, type(f"{fault.__name__}Of{attribute}", (fault, backend), {"name": backend.name}))
