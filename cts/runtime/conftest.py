"""How the task-level suites run.

Every test here runs once for each usable configuration. An async test function is the main task of a run of its own on
it, and fails after `MOST_SECONDS` instead of hanging.
"""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import proactor_trio
from cts.configurations import Configuration
from cts.runtime.operation_scenes import Place, Scene
from cts.support import PAIR_KINDS, Files, Sockets
from proactor_trio import SocketStream
from proactor_trio.proactor import Proactor

MOST_SECONDS: Final = 20.0

Pair = tuple[SocketStream, SocketStream]


@pytest.fixture(autouse=True)
def on_each_configuration(configuration: Configuration, no_leaks: None) -> Configuration:
    """Makes every test of this folder run on each configuration, inside the comparison of descriptors."""
    return configuration


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        with proactor_trio.fail_after(MOST_SECONDS):
            await pyfuncitem.obj(**arguments)

    configuration = pyfuncitem.funcargs["configuration"]
    assert isinstance(configuration, Configuration)
    proactor_trio.run(bounded, backend=configuration.backend, proactor_options=configuration.restrict())
    return True


@pytest.fixture
def make_pair(sockets: Sockets) -> Callable[[str], Pair]:
    """Makes two connected streams, "tcp" or "unix"; what the test leaves open is closed after it."""

    def make(kind: str) -> Pair:
        near, far = sockets.pair(kind)
        return SocketStream(near), SocketStream(far)

    return make


@pytest.fixture(params=PAIR_KINDS)
def pair(request: pytest.FixtureRequest, make_pair: Callable[[str], Pair]) -> Pair:
    """Two connected streams, once of TCP and once of Unix sockets."""
    return make_pair(request.param)


@pytest.fixture
def tcp_pair(make_pair: Callable[[str], Pair]) -> Pair:
    """Two streams connected by TCP."""
    return make_pair("tcp")


@pytest.fixture
def collected() -> Iterator[Callable[[], None]]:
    """Collects until nothing is left, now and after the test."""

    def collect() -> None:
        for _ in range(3):
            gc.collect()

    yield collect
    collect()


@pytest.fixture
def run_with(configuration: Configuration) -> Callable[..., Any]:
    """`proactor_trio.run()` on the configuration's backend, for tests that are not async functions themselves.

    Their options are passed on as they are, so nothing is masked here.
    """
    return functools.partial(proactor_trio.run, backend=configuration.backend)


@pytest.fixture
def set_scene(
    sockets: Sockets, files: Files, make_proactor: Callable[[], Proactor]
) -> Callable[[type[Scene]], AbstractContextManager[Any]]:
    """Sets the scene of an operation (operation_scenes.py) for a block inside the run."""

    @contextmanager
    def setting(kind: type[Scene]) -> Iterator[Scene]:
        with ExitStack() as stack:
            yield kind(Place(sockets, files, stack, make_proactor))

    return setting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path where there is no file yet."""
    return tmp_path / "file"
