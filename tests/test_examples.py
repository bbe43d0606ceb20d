"""The examples: each runs alone, ends by itself with status 0, and warns of nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SECONDS = 50
#: Beside those of the proactor.
ON_EVERY_BACKEND = ("rpc_deadline.py",)


def example(name: str, *words: str) -> list[str]:
    return [sys.executable, "-u", "-W", "error", str(EXAMPLES / name), *words]


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(EXAMPLES)) for path in folder.rglob("*.py"))


def run_alone(name: str, folder: Path, backend: str) -> None:
    environment = {**os.environ, "PROACTOR_TRIO_BACKEND": backend}
    child = subprocess.run(
        example(name), cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert child.stderr == ""
    assert child.returncode == 0
    assert child.stdout


@pytest.mark.parametrize("name", names_in(EXAMPLES))
def test_ends_by_itself(name: str, tmp_path: Path) -> None:
    run_alone(name, tmp_path, os.environ.get("PROACTOR_TRIO_BACKEND", "auto"))


@pytest.mark.parametrize("backend", ["epoll", "poll"])
@pytest.mark.parametrize("name", [*names_in(EXAMPLES / "proactor"), *ON_EVERY_BACKEND])
def test_some_do_so_on_the_other_backends(name: str, backend: str, tmp_path: Path) -> None:
    run_alone(name, tmp_path, backend)


def test_there_are_examples() -> None:
    assert len(list(EXAMPLES.glob("*.py"))) >= 5
    assert len(list((EXAMPLES / "proactor").glob("*.py"))) >= 20


def test_file_copy_copies_the_file_that_is_named(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 3000 + b"and the rest")
    command = example("file_copy.py", str(source), str(target))
    subprocess.run(command, cwd=tmp_path, timeout=SECONDS, check=True)
    assert target.read_bytes() == source.read_bytes()


def test_server_and_client_talk_until_ctrl_c(tmp_path: Path) -> None:
    server = subprocess.Popen(
        example("echo_server.py", "--serve-forever"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port is not None
        for _ in range(2):
            subprocess.run(example("echo_client.py", "--port", port[1]), cwd=tmp_path, timeout=SECONDS, check=True)
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=SECONDS)
    finally:
        server.kill()
        server.communicate()
    assert errors == ""
    assert output == "stopped\n"
    assert server.returncode == 0
