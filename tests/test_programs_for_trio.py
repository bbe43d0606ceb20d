"""Programs that were written for Trio run after one import was changed, and do the same."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import proactor_trio

PROGRAMS = sorted(Path(__file__).with_name("programs_for_trio").glob("*.py"))
BACKENDS = ("io_uring", "epoll", "poll")
LOOPBACK = "127.0.0.1"


def output_of(program: str, backend: str = "auto") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env={"PROACTOR_TRIO_BACKEND": backend},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_it_does_the_same_with_the_import_changed(path: Path, backend: str) -> None:
    program = path.read_text()
    assert program.count("import trio\n") == 1
    ours = program.replace("import trio\n", "import proactor_trio as trio\n")
    assert output_of(ours, backend) == output_of(program)


# Modules of Trio itself that use nothing but its public interface: programs by others. -----------------------------


def module_of_trio(name: str) -> Any:
    """A module of the installed Trio, with our library in the place of Trio."""
    spec = find_spec(f"trio.{name}")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    source = source.replace("import trio\n", "import proactor_trio as trio\n").replace(
        "from trio.socket import", "from proactor_trio.socket import"
    )
    names: dict[str, Any] = {"__name__": f"{name}_on_proactor_trio"}
    exec(compile(source, spec.origin, "exec"), names)
    return SimpleNamespace(**names)


async def test_its_happy_eyeballs_connect() -> None:
    theirs = module_of_trio("_highlevel_open_tcp_stream")
    (listener,) = await proactor_trio.open_tcp_listeners(0, host=LOOPBACK)
    async with listener:
        near = await theirs.open_tcp_stream(LOOPBACK, listener.socket.getsockname()[1])
        async with near, await listener.accept() as far:
            await far.send_all(b"hello")
            assert await near.receive_some() == b"hello"


async def test_its_happy_eyeballs_tell_that_nobody_answers() -> None:
    theirs = module_of_trio("_highlevel_open_tcp_stream")
    (listener,) = await proactor_trio.open_tcp_listeners(0, host=LOOPBACK)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(OSError, match="failed"):
        await theirs.open_tcp_stream(LOOPBACK, port)


async def test_its_serving_of_listeners_serves() -> None:
    theirs = module_of_trio("_highlevel_serve_listeners")

    async def echo(stream: proactor_trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    listeners = await proactor_trio.open_tcp_listeners(0, host=LOOPBACK)
    async with proactor_trio.open_nursery() as nursery:
        await nursery.start(theirs.serve_listeners, echo, listeners)
        async with await proactor_trio.open_tcp_stream(LOOPBACK, listeners[0].socket.getsockname()[1]) as stream:
            await stream.send_all(b"echo")
            assert await stream.receive_some() == b"echo"
        nursery.cancel_scope.cancel()
