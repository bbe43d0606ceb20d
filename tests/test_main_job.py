"""`python -m proactor_trio`: ends in `ok` on each backend, falls back where io_uring is forbidden, says what failed."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proactor_trio import SocketStream
from proactor_trio.command import copy_job, deadline_job, echo_job, main_job
from proactor_trio.command.arguments import main

WITHOUT_IO_URING = Path(__file__).with_name("without_io_uring.py")


def run_python(directory: Path, *words: str, backend: str = "") -> subprocess.CompletedProcess[str]:
    """A child outside the source tree, with warnings as errors; `backend` stands in its environment."""
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        cwd=directory,
        env={**os.environ, "PROACTOR_TRIO_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def works(directory: Path, backend: str) -> bool:
    diagnosis = json.loads(run_python(directory, "-m", "proactor_trio", "doctor", "--json").stdout)
    return next(entry["works"] for entry in diagnosis["backends"] if entry["name"] == backend)


def check_reports(output: str) -> None:
    """Each job reported its bytes, its operations per second, its time and its check."""
    for name in main_job.JOBS:
        report = rf"^{name} .*\n .*MiB, \d+ .* in \d+\.\d\d s: .* MiB/s, \d+ operations/s\n +checked: "
        assert re.search(report, output, re.MULTILINE), f"no report of {name} in:\n{output}"


@pytest.mark.parametrize("backend", ["io_uring", "io_uring_abi", "epoll", "poll"])
def test_each_backend_does_it_or_says_why_not(tmp_path: Path, backend: str) -> None:
    child = run_python(tmp_path, "-m", "proactor_trio", backend=backend)
    assert child.stderr == ""
    assert f"{backend} was named by PROACTOR_TRIO_BACKEND in the environment" in " ".join(child.stdout.split())
    if works(tmp_path, backend):
        check_reports(child.stdout)
        assert child.stdout.splitlines()[-1] == "ok"
        assert child.returncode == 0
    else:
        assert "cannot run here" in " ".join(child.stdout.split())
        assert child.stdout.splitlines()[-1] == "failed: backend"
        assert child.returncode == 1


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is a mechanism of Linux")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("EPERM", "io_uring: EPERM: "),
        ("ENOSYS", "io_uring: ENOSYS: this kernel has no io_uring (Linux 5.1), or a sandbox hides it"),
    ],
)
def test_falls_back_to_epoll_where_io_uring_is_forbidden(tmp_path: Path, error: str, words: str) -> None:
    child = run_python(tmp_path, str(WITHOUT_IO_URING), error, "-W", "error", "-m", "proactor_trio")
    output = " ".join(child.stdout.split())
    assert child.stderr == ""
    assert "backend epoll: " in output
    assert f"epoll is the best that works here; {words}" in output
    check_reports(child.stdout)
    assert child.stdout.splitlines()[-1] == "ok"
    assert child.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is a mechanism of Linux")
def test_a_named_backend_that_is_forbidden_is_a_failure_in_words(tmp_path: Path) -> None:
    words = (str(WITHOUT_IO_URING), "EPERM", "-W", "error", "-m", "proactor_trio", "--backend", "io_uring")
    child = run_python(tmp_path, *words, backend="epoll")
    output = " ".join(child.stdout.split())
    assert child.stderr == ""
    assert "io_uring was named by the backend argument but cannot run here: EPERM" in output
    assert child.stdout.splitlines()[-1] == "failed: backend"
    assert child.returncode == 1


def test_an_echo_that_differs_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def wrong_echo(stream: SocketStream) -> None:
        async for data in stream:
            await stream.send_all(bytes([data[0] ^ 1]) + data[1:])

    monkeypatch.setattr(echo_job, "echo", wrong_echo)
    monkeypatch.setattr(main_job, "JOBS", {"echo": echo_job.run_echo_job})
    assert main([]) == 1
    output = capsys.readouterr().out
    assert re.search(
        r"FAILED: client \d+, message 0: the answer differs: byte 0 of \d+ is 0x.. instead of 0x..", output
    )
    assert output.splitlines()[-1] == "failed: echo"


def test_a_server_that_hangs_up_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(stream: SocketStream) -> None:
        await stream.receive_some()

    monkeypatch.setattr(echo_job, "echo", refuse)
    monkeypatch.setattr(main_job, "JOBS", {"echo": echo_job.run_echo_job})
    assert main([]) == 1
    assert "FAILED: " in capsys.readouterr().out


def test_a_job_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def keep_silent(stream: SocketStream) -> None:
        async for _ in stream:
            pass

    monkeypatch.setattr(echo_job, "echo", keep_silent)
    monkeypatch.setattr(main_job, "JOB_SECONDS", 0.2)
    monkeypatch.setattr(main_job, "JOBS", {"echo": echo_job.run_echo_job})
    assert main([]) == 1
    assert "FAILED: not done after 0.2 seconds" in capsys.readouterr().out


def test_a_copy_that_differs_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong_hash(path: Path) -> str:
        return random.choice("abc") + path.name

    monkeypatch.setattr(copy_job, "FILE_BYTES", 4 * 1024 * 1024)
    monkeypatch.setattr(copy_job, "hash_of", wrong_hash)
    monkeypatch.setattr(main_job, "JOBS", {"copy": copy_job.run_copy_job})
    assert main([]) == 1
    assert "FAILED: the copy's hash is " in capsys.readouterr().out


def test_the_other_jobs_are_done_after_one_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "is not there"))
    monkeypatch.setattr(main_job, "JOBS", {"copy": copy_job.run_copy_job, "deadline": deadline_job.run_deadline_job})
    assert main([]) == 1
    output = capsys.readouterr().out
    assert "FAILED: FileNotFoundError" in output
    assert "checked: all that was sent after the first deadline arrived" in output
    assert output.splitlines()[-1] == "failed: copy"
