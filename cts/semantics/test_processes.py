"""Processes: open_process(), Process, run_process()."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import pytest

from cts.semantics.support import (
    blocked,
    cancelled_block,
    in_main_thread_only,
    interrupt,
    is_cancel_point,
    is_schedule_point,
    leaves,
    receive_exactly,
)

SECONDS = 20

#: More than a pipe of the usual size holds.
MORE_THAN_A_PIPE_HOLDS = bytes(range(256)) * 1024

SLEEPS_FOR_EVER = ["sleep", "1000"]


def python(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


IGNORES_TERMINATION = python(
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(1000)"
)


def children() -> list[int]:
    """The children of this process, also those that nobody has reaped."""
    return [int(child) for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()]


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before, "a child was left"


@pytest.fixture(params=["pidfd", "thread"])
def way_of_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the end of a child is noticed: real Trio has decided when it was imported."""
    if request.param == "thread":

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(os, "pidfd_open", refuse)
    return str(request.param)


# A process ----------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(33)
async def test_a_process_says_what_it_is_and_how_it_ended(lib: Any) -> None:
    command = shell("read line; exit 7")
    process = await lib.lowlevel.open_process(command, stdin=PIPE)
    assert isinstance(process, lib.Process)
    assert (process.args, process.pid in children()) == (command, True)
    assert (process.returncode, process.poll()) == (None, None)
    assert f"running with PID {process.pid}" in repr(process)
    await process.stdin.aclose()
    assert await process.wait() == 7
    assert (process.returncode, process.poll()) == (7, 7)
    assert "exited with status 7" in repr(process)


@pytest.mark.semantics(33)
async def test_a_process_is_in_bytes(lib: Any) -> None:
    process = await lib.lowlevel.open_process(["true"])
    assert (process.universal_newlines, process.encoding, process.errors) == (False, None, None)
    await process.wait()


@pytest.mark.semantics(33)
@pytest.mark.parametrize(
    ("how", "number"),
    [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM), ("send_signal", signal.SIGUSR1)],
)
async def test_a_signal_ends_a_process(lib: Any, way_of_waiting: str, how: str, number: signal.Signals) -> None:
    process = await lib.lowlevel.open_process(SLEEPS_FOR_EVER)
    getattr(process, how)(*([number] if how == "send_signal" else []))
    assert await process.wait() == -number
    assert f"exited with signal {int(number)}" in repr(process)


@pytest.mark.semantics(33)
async def test_a_process_that_has_ended_takes_signals_without_effect(lib: Any) -> None:
    process = await lib.lowlevel.open_process(["true"])
    await process.wait()
    process.kill()
    process.terminate()
    process.send_signal(signal.SIGUSR1)
    assert await process.wait() == 0


@pytest.mark.semantics(33)
async def test_waiting_takes_the_exit_status_from_nobody(lib: Any, way_of_waiting: str) -> None:
    """Ring rule 16: an operation that reaps would leave Popen with 0."""
    for code in (0, 1, 7, 255):
        process = await lib.lowlevel.open_process(shell(f"exit {code}"))
        assert await process.wait() == code


@pytest.mark.semantics(33)
async def test_several_tasks_may_wait(lib: Any, way_of_waiting: str) -> None:
    process = await lib.lowlevel.open_process(shell("read line; exit 3"), stdin=PIPE)
    async with lib.open_nursery() as nursery:
        calls = [await blocked(lib, nursery, process.wait) for _ in range(5)]
        await process.stdin.aclose()
    assert [call.value for call in calls] == [3] * 5


@pytest.mark.semantics(33)
async def test_somebody_asks_while_others_wait(lib: Any, way_of_waiting: str) -> None:
    """By that the process is reaped, and what it was noticed with is not needed any more."""
    process = await lib.lowlevel.open_process(SLEEPS_FOR_EVER)
    async with lib.open_nursery() as nursery:
        calls = [await blocked(lib, nursery, process.wait) for _ in range(2)]
        process.kill()
        while process.poll() is None:
            pass  # in one step: the waiting tasks come later
    assert [call.value for call in calls] == [-signal.SIGKILL] * 2


@pytest.mark.semantics(33)
async def test_a_wait_that_is_cancelled_has_no_effect(lib: Any, way_of_waiting: str) -> None:
    process = await lib.lowlevel.open_process(shell("read line; exit 3"), stdin=PIPE)
    async with lib.open_nursery() as nursery:
        other = await blocked(lib, nursery, process.wait)
        for _ in range(3):
            with lib.move_on_after(0.001) as scope:
                await process.wait()
            assert scope.cancelled_caught
        with cancelled_block(lib):
            await process.wait()
        await process.stdin.aclose()
    assert (other.value, await process.wait()) == (3, 3)


@pytest.mark.semantics(1, 33)
async def test_waiting_for_what_has_ended_is_a_checkpoint(lib: Any) -> None:
    process = await lib.lowlevel.open_process(["true"])
    await process.wait()
    assert await is_cancel_point(lib, process.wait)
    assert await is_schedule_point(lib, process.wait)


@pytest.mark.semantics(33)
def test_a_process_may_outlive_the_run_that_started_it(lib: Any, run: Callable[..., Any], way_of_waiting: str) -> None:
    async def start() -> Any:
        process = await lib.lowlevel.open_process(SLEEPS_FOR_EVER)
        with lib.move_on_after(0.001):
            await process.wait()
        return process

    async def end(process: Any) -> int:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, process.wait)
            process.kill()
        code: int = call.value
        return code

    assert run(end, run(start)) == -signal.SIGKILL


@pytest.mark.semantics(33)
async def test_a_child_that_somebody_else_has_reaped_has_ended(lib: Any, way_of_waiting: str) -> None:
    process = await lib.lowlevel.open_process(shell("read line; exit 3"), stdin=PIPE)
    await process.stdin.aclose()
    os.waitpid(process.pid, 0)
    assert await process.wait() == 0  # nobody knows any more


@pytest.mark.semantics(33)
def test_a_process_is_made_by_calls_only(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.Process(None, None, None, None)
    with pytest.raises(TypeError):
        type("Subclass", (lib.Process,), {})


# open_process() -----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(33)
async def test_streams_are_there_as_far_as_they_were_asked_for(lib: Any) -> None:
    for asked in ((), ("stdin",), ("stdout",), ("stderr",), ("stdin", "stdout", "stderr")):
        process = await lib.lowlevel.open_process(shell("exit"), **dict.fromkeys(asked, PIPE))
        there = {name for name in ("stdin", "stdout", "stderr") if getattr(process, name) is not None}
        assert there == set(asked)
        assert (process.stdio is not None) == ({"stdin", "stdout"} <= there)
        await process.wait()
        for name in there:
            await getattr(process, name).aclose()


@pytest.mark.semantics(33)
async def test_both_directions_make_one_stream(lib: Any) -> None:
    process = await lib.lowlevel.open_process(["cat"], stdin=PIPE, stdout=PIPE)
    assert isinstance(process.stdio, lib.StapledStream)
    await process.stdio.send_all(b"to and fro")
    assert await receive_exactly(process.stdio, 10) == b"to and fro"
    await process.stdio.send_eof()
    assert await process.stdio.receive_some() == b""
    await process.stdio.aclose()
    assert await process.wait() == 0


@pytest.mark.semantics(33)
async def test_what_goes_to_stderr_may_go_to_where_stdout_goes(lib: Any) -> None:
    command = shell("echo to out; echo to err >&2")
    process = await lib.lowlevel.open_process(command, stdout=PIPE, stderr=STDOUT)
    assert process.stderr is None
    assert b"".join([piece async for piece in process.stdout]) == b"to out\nto err\n"
    await process.wait()
    await process.stdout.aclose()


@pytest.mark.semantics(33)
async def test_descriptors_and_files_go_to_the_child(lib: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as out:
        process = await lib.lowlevel.open_process(shell("echo out; echo err >&2"), stdout=out, stderr=STDOUT)
        await process.wait()
    assert path.read_bytes() == b"out\nerr\n"


@pytest.mark.semantics(33)
async def test_the_ends_of_the_child_are_not_kept(lib: Any) -> None:
    await lib.run_process(["true"])
    before = len(os.listdir("/proc/self/fd"))
    process = await lib.lowlevel.open_process(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    opened = len(os.listdir("/proc/self/fd")) - before
    assert opened in (3, 4)  # and perhaps a pidfd
    for stream in (process.stdin, process.stdout, process.stderr):
        await stream.aclose()
    await process.wait()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.semantics(33)
async def test_a_program_that_is_not_there_leaves_nothing_open(lib: Any, tmp_path: Path) -> None:
    await lib.to_thread.run_sync(int)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        await lib.lowlevel.open_process([str(tmp_path / "nothing")], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.semantics(33)
async def test_a_cancelled_start_starts_nothing_and_leaves_nothing_open(lib: Any) -> None:
    before = os.listdir("/proc/self/fd")
    with cancelled_block(lib):
        await lib.lowlevel.open_process(SLEEPS_FOR_EVER, stdin=PIPE, stdout=PIPE)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.semantics(33)
@pytest.mark.parametrize("option", ["universal_newlines", "text", "encoding", "errors", "bufsize"])
async def test_options_about_text_are_refused(lib: Any, option: str) -> None:
    for call in (lib.lowlevel.open_process, lib.run_process):
        with pytest.raises(TypeError):
            await call(["true"], **{option: "utf-8" if option in ("encoding", "errors") else 1})


@pytest.mark.semantics(33)
async def test_options_about_text_that_ask_for_none_are_taken(lib: Any) -> None:
    await lib.run_process(["true"], universal_newlines=False, text=None, encoding=None, errors=None)


@pytest.mark.semantics(33)
async def test_a_text_is_for_the_shell_and_a_sequence_is_not(lib: Any) -> None:
    for call in (lib.lowlevel.open_process, lib.run_process):
        for text in ("true", b"true"):
            with pytest.raises(TypeError):
                await call(text)
        with pytest.raises(TypeError):
            await call(["true"], shell=True)
    assert (await lib.run_process("echo $((6 * 7))", shell=True, capture_stdout=True)).stdout == b"42\n"


@pytest.mark.semantics(33)
async def test_a_program_may_be_a_path(lib: Any) -> None:
    assert (await lib.run_process([Path("/bin/sh"), "-c", "exit 0"])).returncode == 0


# run_process() ------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(33)
async def test_the_result_says_what_ran_and_how_it_ended(lib: Any) -> None:
    command = shell("exit 0")
    result = await lib.run_process(command)
    assert isinstance(result, subprocess.CompletedProcess)
    assert (result.args, result.returncode, result.stdout, result.stderr) == (command, 0, None, None)


@pytest.mark.semantics(33)
async def test_output_is_captured_as_far_as_it_was_asked_for(lib: Any) -> None:
    command = shell("echo out; echo err >&2")
    both = await lib.run_process(command, capture_stdout=True, capture_stderr=True)
    assert (both.stdout, both.stderr) == (b"out\n", b"err\n")
    out = await lib.run_process(command, capture_stdout=True, stderr=DEVNULL)
    assert (out.stdout, out.stderr) == (b"out\n", None)
    err = await lib.run_process(command, stdout=DEVNULL, capture_stderr=True)
    assert (err.stdout, err.stderr) == (None, b"err\n")
    mixed = await lib.run_process(command, capture_stdout=True, stderr=STDOUT)
    assert (mixed.stdout, mixed.stderr) == (b"out\nerr\n", None)


@pytest.mark.semantics(33)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_the_child_is_fed_and_read_at_a_time(lib: Any, kind: Callable[[bytes], Any]) -> None:
    result = await lib.run_process(["cat"], stdin=kind(MORE_THAN_A_PIPE_HOLDS), capture_stdout=True)
    assert result.stdout == MORE_THAN_A_PIPE_HOLDS


@pytest.mark.semantics(33)
async def test_by_default_the_child_has_nothing_to_read(lib: Any) -> None:
    assert (await lib.run_process(["cat"], capture_stdout=True)).stdout == b""


@pytest.mark.semantics(33)
async def test_stdin_may_be_a_file_or_ours(lib: Any, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"from a file")
    with path.open("rb") as file:
        assert (await lib.run_process(["cat"], stdin=file, capture_stdout=True)).stdout == b"from a file"
        file.seek(0)
        result = await lib.run_process(["cat"], stdin=file.fileno(), capture_stdout=True)
        assert result.stdout == b"from a file"
    ours = await lib.run_process(["readlink", "/proc/self/fd/0"], stdin=None, capture_stdout=True)
    assert ours.stdout.strip() == os.readlink("/proc/self/fd/0").encode()


@pytest.mark.semantics(33)
async def test_other_options_reach_the_child(lib: Any, tmp_path: Path) -> None:
    result = await lib.run_process(
        shell("pwd; echo $NAME"), capture_stdout=True, cwd=tmp_path, env={"NAME": "value", "PATH": os.environ["PATH"]}
    )
    assert result.stdout.decode().split() == [str(tmp_path.resolve()), "value"]


@pytest.mark.semantics(33)
async def test_a_failure_is_an_error_that_has_the_output(lib: Any) -> None:
    command = shell("echo out; echo err >&2; exit 3")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await lib.run_process(command, capture_stdout=True, capture_stderr=True)
    error = caught.value
    assert (error.cmd, error.returncode, error.stdout, error.stderr) == (command, 3, b"out\n", b"err\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await lib.run_process(shell("kill -9 $$"))
    assert caught.value.returncode == -signal.SIGKILL


@pytest.mark.semantics(33)
async def test_a_failure_may_be_a_result(lib: Any) -> None:
    assert (await lib.run_process(["false"], check=False)).returncode == 1


@pytest.mark.semantics(33)
async def test_a_child_does_not_have_to_read(lib: Any) -> None:
    assert (await lib.run_process(["true"], stdin=MORE_THAN_A_PIPE_HOLDS)).returncode == 0


@pytest.mark.semantics(33)
async def test_a_child_may_close_its_output_early(lib: Any) -> None:
    command = shell("echo said; exec >&-; read line; exit 5")
    result = await lib.run_process(command, stdin=b"line\n", capture_stdout=True, check=False)
    assert (result.stdout, result.returncode) == (b"said\n", 5)


@pytest.mark.semantics(33)
async def test_output_of_grandchildren_is_waited_for(lib: Any) -> None:
    command = shell("exec 3<&0; { read line; echo $line; } <&3 & echo first")
    result = await lib.run_process(command, stdin=b"later\n", capture_stdout=True)
    assert sorted(result.stdout.split()) == [b"first", b"later"]


@pytest.mark.semantics(33)
async def test_a_program_that_is_not_there_is_no_group(lib: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await lib.run_process([str(tmp_path / "nothing")])


@pytest.mark.semantics(33)
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
async def test_a_pipe_that_nobody_gets_at_is_refused(lib: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await lib.run_process(["true"], **{name: PIPE})


@pytest.mark.semantics(33)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
async def test_a_stream_goes_one_way(lib: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await lib.run_process(["true"], **{name: DEVNULL, f"capture_{name}": True})


@pytest.mark.semantics(33)
async def test_text_for_stdin_is_refused(lib: Any) -> None:
    with pytest.raises(UnicodeError):
        await lib.run_process(["cat"], stdin="text")


# As a task ----------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(13, 33)
async def test_a_process_in_a_nursery_is_talked_to_while_it_runs(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        process = await nursery.start(functools.partial(lib.run_process, ["cat"], stdin=PIPE, stdout=PIPE))
        assert process.returncode is None
        await process.stdio.send_all(b"hello")
        assert await receive_exactly(process.stdio, 5) == b"hello"
        await process.stdio.aclose()
    assert process.returncode == 0


@pytest.mark.semantics(33)
async def test_streams_that_are_fed_or_captured_are_not_for_others(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        start = functools.partial(lib.run_process, ["cat"], stdin=b"", capture_stdout=True, capture_stderr=True)
        process = await nursery.start(start)
        assert [process.stdin, process.stdout, process.stderr, process.stdio] == [None] * 4


@pytest.mark.semantics(33)
async def test_a_process_in_a_nursery_that_fails_ends_the_others(lib: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.run_process, ["false"])
            await lib.sleep_forever()
    assert [type(error) for error in leaves(caught.value)] == [subprocess.CalledProcessError]


@pytest.mark.semantics(33)
async def test_a_process_that_cannot_be_started_is_an_error_of_start(lib: Any, tmp_path: Path) -> None:
    async with lib.open_nursery() as nursery:
        with pytest.raises(FileNotFoundError):
            await nursery.start(lib.run_process, [str(tmp_path / "nothing")])


# Cancellation -------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(33)
async def test_a_cancelled_process_is_asked_to_end(lib: Any, way_of_waiting: str) -> None:
    processes = []
    async with lib.open_nursery() as nursery:
        for _ in range(3):
            processes.append(await nursery.start(lib.run_process, SLEEPS_FOR_EVER))
        nursery.cancel_scope.cancel()
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 3


@pytest.mark.semantics(33)
async def test_a_process_that_does_not_end_when_asked_is_killed(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        process = await nursery.start(functools.partial(lib.run_process, IGNORES_TERMINATION, stdout=PIPE))
        assert await receive_exactly(process.stdout, 6) == b"ready\n"
        began = lib.current_time()
        with pytest.warns(RuntimeWarning, match="SIGTERM"):
            nursery.cancel_scope.cancel()
            with lib.CancelScope(shield=True):
                await process.wait()
        assert lib.current_time() - began == 5
        with lib.CancelScope(shield=True):
            await process.stdout.aclose()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.semantics(33)
async def test_the_way_to_end_a_process_can_be_given(lib: Any) -> None:
    given: list[Any] = []

    async def deliver(process: Any) -> None:
        given.append(process)
        process.send_signal(signal.SIGUSR1)

    async with lib.open_nursery() as nursery:
        process = await nursery.start(functools.partial(lib.run_process, SLEEPS_FOR_EVER, deliver_cancel=deliver))
        nursery.cancel_scope.cancel()
    assert given == [process]
    assert process.returncode == -signal.SIGUSR1


@pytest.mark.semantics(33)
async def test_whoever_ends_a_process_is_not_cancelled_before_it_has_ended(lib: Any) -> None:
    steps: list[str] = []

    async def deliver(process: Any) -> None:
        try:
            for _ in range(3):
                await lib.lowlevel.checkpoint()
            steps.append("kill")
            process.kill()
            await lib.sleep_forever()
        finally:
            steps.append("ended" if process.returncode is not None else "too early")

    async with lib.open_nursery() as nursery:
        await nursery.start(functools.partial(lib.run_process, SLEEPS_FOR_EVER, deliver_cancel=deliver))
        nursery.cancel_scope.cancel()
    assert steps == ["kill", "ended"]


@pytest.mark.semantics(33)
async def test_an_error_of_whoever_ends_a_process_comes_out_in_a_group(lib: Any) -> None:
    async def deliver(process: Any) -> None:
        process.kill()
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            process = await nursery.start(functools.partial(lib.run_process, SLEEPS_FOR_EVER, deliver_cancel=deliver))
            nursery.cancel_scope.cancel()
    assert [type(error) for error in leaves(caught.value)] == [LookupError]
    assert process.returncode == -signal.SIGKILL


@pytest.mark.semantics(33)
async def test_what_the_system_refuses_is_a_warning(lib: Any) -> None:
    process: Any = None

    async def end_it_otherwise(popen: Any) -> None:
        await lib.testing.wait_all_tasks_blocked()
        os.kill(popen.pid, signal.SIGKILL)

    def refuse(_: Any) -> None:
        raise PermissionError(errno.EPERM, "not allowed")

    async with lib.open_nursery() as nursery:
        process = await nursery.start(lib.run_process, SLEEPS_FOR_EVER)
        with pytest.MonkeyPatch.context() as patch, pytest.warns(RuntimeWarning, match="not allowed"):
            patch.setattr(subprocess.Popen, "terminate", refuse)
            nursery.cancel_scope.cancel()
            with lib.CancelScope(shield=True):
                await end_it_otherwise(process)
                await process.wait()


@pytest.mark.semantics(33)
async def test_a_cancelled_process_with_grandchildren_that_keep_the_pipes_is_left_in_time(lib: Any) -> None:
    """The grandchild does not end before somebody writes to it."""
    reader, writer = os.pipe()
    command = shell("exec 3<&0; (read line <&3) & echo started; wait")
    start = functools.partial(lib.run_process, command, stdin=reader, stdout=PIPE, capture_stderr=True)
    async with lib.open_nursery() as nursery:
        process = await nursery.start(start)
        assert await receive_exactly(process.stdout, 8) == b"started\n"
        nursery.cancel_scope.cancel()
        with lib.CancelScope(shield=True):
            await process.stdout.aclose()
    assert process.returncode == -signal.SIGTERM
    os.close(writer)
    os.close(reader)


@pytest.mark.semantics(33)
async def test_a_child_is_not_lost_when_its_start_is_cancelled(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = subprocess.Popen
    is_starting, go_on = threading.Event(), threading.Event()
    started: list[Any] = []

    def slow(*args: Any, **kwargs: Any) -> Any:
        is_starting.set()
        assert go_on.wait(SECONDS)
        started.append(original(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", slow)
    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            nursery.start_soon(_cancel_when, lib, is_starting, scope, go_on)
            await lib.run_process(SLEEPS_FOR_EVER, capture_stdout=True)
    assert scope.cancelled_caught
    assert [popen.returncode for popen in started] == [-signal.SIGTERM]


async def _cancel_when(lib: Any, is_starting: threading.Event, scope: Any, go_on: threading.Event) -> None:
    await lib.to_thread.run_sync(is_starting.wait, SECONDS)
    scope.cancel()
    go_on.set()


@pytest.mark.semantics(33)
async def test_an_error_while_a_process_is_fed_ends_it(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(stream: Any, data: bytes) -> None:
        raise LookupError

    monkeypatch.setattr(lib.lowlevel.FdStream, "send_all", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await lib.run_process(SLEEPS_FOR_EVER, stdin=b"data")
    assert [type(error) for error in leaves(caught.value)] == [LookupError]


@pytest.mark.semantics(20, 33)
@in_main_thread_only
def test_an_interrupt_ends_the_child_first(lib: Any, run: Callable[..., Any]) -> None:
    processes: list[Any] = []

    class Status:
        def started(self, process: Any) -> None:
            processes.append(process)
            lib.lowlevel.spawn_system_task(_interrupt, lib)

    async def main() -> None:
        await lib.run_process(SLEEPS_FOR_EVER, task_status=Status())

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        run(main)
    assert [type(error) for error in leaves(caught.value)] == [KeyboardInterrupt]
    assert [process.returncode for process in processes] == [-signal.SIGTERM]


async def _interrupt(lib: Any) -> None:
    await lib.testing.wait_all_tasks_blocked()
    interrupt()


@pytest.mark.semantics(20, 33)
@in_main_thread_only
def test_a_second_interrupt_kills_a_child_that_takes_its_time(lib: Any, run: Callable[..., Any]) -> None:
    """Real Trio does not wait for the child after a second interrupt: here it is left to the deliver_cancel."""
    processes: list[Any] = []

    class Status:
        def started(self, process: Any) -> None:
            processes.append(process)
            lib.lowlevel.spawn_system_task(_interrupt, lib)

    async def deliver(process: Any) -> None:
        lib.lowlevel.spawn_system_task(_interrupt, lib)
        if lib.is_trio:
            process.kill()
            await lib.sleep(0)
            return
        await lib.sleep_forever()

    async def main() -> None:
        await lib.run_process(SLEEPS_FOR_EVER, task_status=Status(), deliver_cancel=deliver)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        run(main)
    assert {type(error) for error in leaves(caught.value)} == {KeyboardInterrupt}
    codes = [run(process.wait) if lib.is_trio else process.poll() for process in processes]
    assert codes == [-signal.SIGKILL]
