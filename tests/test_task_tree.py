"""task_tree(), its text, and `python -m proactor_trio tree PID`."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import proactor_trio
from proactor_trio import CancelScope, Event, move_on_after, open_nursery, sleep_forever
from proactor_trio.inspection import server
from proactor_trio.lowlevel import TaskNode, format_task_tree, task_tree
from proactor_trio.proactor import Timer
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


def tasks_of(node: TaskNode) -> Iterator[TaskNode]:
    yield node
    for nursery in node.nurseries:
        for task in nursery.tasks:
            yield from tasks_of(task)


def named(name: str) -> TaskNode:
    (found,) = [task for task in tasks_of(task_tree()) if task.name == name]
    return found


async def wait_for_an_event(event: Event) -> None:
    await event.wait()


async def wait_for_an_operation() -> None:
    await Timer(proactor_trio.current_time() + 1000)


# ---- as data ----------------------------------------------------------------------------------------------------


async def test_the_task_that_asks_is_running() -> None:
    task = named(proactor_trio.lowlevel.current_task().name)
    assert (task.state, task.waits_for) == ("running", None)


async def test_a_task_that_was_just_started_is_runnable() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep_forever, name="new")
        assert named("new").state == "runnable"
        nursery.cancel_scope.cancel()


async def test_a_waiting_task_says_what_for() -> None:
    event = Event()
    async with open_nursery() as nursery:
        nursery.start_soon(wait_for_an_event, event, name="waiter")
        await wait_all_tasks_blocked()
        assert named("waiter").waits_for == repr(event)
        event.set()


async def test_a_task_that_waits_for_an_operation_names_it() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(wait_for_an_operation, name="waiter")
        await wait_all_tasks_blocked()
        operation = named("waiter").operation
        nursery.cancel_scope.cancel()
    assert operation is not None
    assert (operation.kind, operation.state, operation.resource) == ("Timer", "submitted", None)


async def test_a_task_knows_where_it_stands() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(wait_for_an_event, Event(), name="waiter")
        await wait_all_tasks_blocked()
        functions = [frame.function for frame in named("waiter").frames]
        nursery.cancel_scope.cancel()
    assert functions == ["wait_for_an_event", "Event.wait"]


async def test_a_scope_has_its_deadline_and_its_shield(mock_clock: MockClock) -> None:
    with move_on_after(10):
        with CancelScope(shield=True):
            outer, inner = task_of_test().scopes[-2:]
    assert (outer.deadline, outer.shield, inner.deadline, inner.shield) == (10, False, None, True)


async def test_a_cancelled_scope_says_why() -> None:
    with CancelScope() as scope:
        scope.cancel("enough")
        told = task_of_test().scopes[-1]
    assert (told.is_cancelled, told.source, told.reason) == (True, "explicit", "enough")


async def test_a_nursery_has_its_tasks() -> None:
    async with open_nursery() as nursery:
        for name in "ba":
            nursery.start_soon(sleep_forever, name=name)
        (told,) = task_of_test().nurseries
        nursery.cancel_scope.cancel()
    assert [task.name for task in told.tasks] == ["a", "b"]


async def test_it_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(dataclasses.asdict(task_tree())))["name"] == "<init>"


def test_outside_of_a_run_there_is_none() -> None:
    with pytest.raises(RuntimeError):
        task_tree()


def task_of_test() -> TaskNode:
    return named(proactor_trio.lowlevel.current_task().name)


# ---- as text ----------------------------------------------------------------------------------------------------


async def test_the_text_has_a_line_for_each_task() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep_forever, name="sleeper")
        await wait_all_tasks_blocked()
        text = format_task_tree(task_tree())
        nursery.cancel_scope.cancel()
    assert "└─ sleeper: waits for a cancellation" in text


async def test_the_text_says_why_a_scope_was_cancelled() -> None:
    with CancelScope() as scope:
        scope.cancel("enough")
        assert "in a cancel scope, cancelled (explicit): enough" in format_task_tree(task_tree())


# ---- of another process -----------------------------------------------------------------------------------------

SERVICE = """
import proactor_trio, sys
async def main():
    async with proactor_trio.open_nursery() as nursery:
        nursery.start_soon(proactor_trio.sleep_forever, name="a task that sleeps")
        await proactor_trio.testing.wait_all_tasks_blocked()
        print("ready", flush=True)
proactor_trio.run(main)
"""

BUSY = """
import proactor_trio, sys, time
async def main():
    await proactor_trio.testing.wait_all_tasks_blocked()
    print("ready", flush=True)
    time.sleep(60)
proactor_trio.run(main)
"""


@pytest.fixture
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def start(program: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proactor_trio", "tree", str(process), *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_a_process_that_was_told_to_shows_its_tree(runtime_folder: Path) -> None:
    process = start(SERVICE, PROACTOR_TRIO_INSPECT="1")
    answer = ask(process.pid)
    end(process)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "a task that sleeps: waits for a cancellation" in answer.stdout


def test_the_tree_of_a_process_is_there_for_programs(runtime_folder: Path) -> None:
    process = start(SERVICE, PROACTOR_TRIO_INSPECT="1")
    answer = ask(process.pid, "--json")
    end(process)
    assert [run["name"] for run in json.loads(answer.stdout)] == ["<init>"]


def test_a_process_that_was_not_told_to_opens_nothing(runtime_folder: Path) -> None:
    process = start(SERVICE)
    opened = list(runtime_folder.iterdir())
    answer = ask(process.pid)
    end(process)
    assert (opened, answer.returncode) == ([], 1)
    assert "PROACTOR_TRIO_INSPECT" in answer.stderr


def test_only_the_owner_may_enter(runtime_folder: Path) -> None:
    process = start(SERVICE, PROACTOR_TRIO_INSPECT="1")
    (folder,) = runtime_folder.iterdir()
    (socket,) = folder.iterdir()
    modes = [path.stat().st_mode & 0o777 for path in (folder, socket)]
    end(process)
    assert modes == [0o700, 0o600]


def test_a_run_that_does_not_come_back_to_its_loop_is_told(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from proactor_trio.command import tree

    monkeypatch.setattr(tree, "ANSWER_SECONDS", 0.05)
    process = start(BUSY, PROACTOR_TRIO_INSPECT="1")
    status = tree.run_tree(process.pid, as_json=False)
    end(process)
    assert status == 1
    assert "has not come back to its loop" in capsys.readouterr().err


def test_the_socket_goes_with_its_run(runtime_folder: Path) -> None:
    program = "import proactor_trio\nasync def main(): await proactor_trio.testing.wait_all_tasks_blocked()\n"
    subprocess.run(
        [sys.executable, "-c", program + "proactor_trio.run(main)"],
        check=True,
        env={**os.environ, "PROACTOR_TRIO_INSPECT": "1"},
    )
    (folder,) = runtime_folder.iterdir()
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(PermissionError):
        server.check_folder(folder)


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "private")
    with pytest.raises(PermissionError):
        server.check_folder(link)


def test_a_run_that_cannot_be_inspected_says_so_and_goes_on(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime_folder / f"proactor_trio-{os.getuid()}").mkdir(mode=0o755)
    monkeypatch.setenv("PROACTOR_TRIO_INSPECT", "1")

    async def main() -> str:
        await wait_all_tasks_blocked()
        return "went on"

    with pytest.warns(RuntimeWarning, match="cannot be inspected"):
        assert proactor_trio.run(main) == "went on"
