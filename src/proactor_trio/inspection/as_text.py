"""A task tree as text, for people."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from proactor_trio.inspection.task_tree import FrameNode, NurseryNode, ScopeNode, TaskNode

_LIBRARY: Final = str(Path(__file__).parents[1]) + os.sep


def format_task_tree(root: TaskNode) -> str:
    """The tree with one line for each task, scope and nursery, and the place in the code where each task waits."""
    return "\n".join(_task_lines(root)) + "\n"


def _task_lines(task: TaskNode) -> Iterator[str]:
    yield f"{task.name}: {_doing(task)}"
    if task.frames:
        yield f"    at {_place(_of_the_user(task.frames))}"
    for scope in task.scopes:
        yield f"    in a cancel scope{_scope_words(scope)}"
    for nursery in task.nurseries:
        yield from _nursery_lines(nursery)


def _nursery_lines(nursery: NurseryNode) -> Iterator[str]:
    yield f"└─ nursery{_scope_words(nursery.scope)}" + ("" if nursery.tasks else ", no tasks")
    for index, task in enumerate(nursery.tasks):
        is_last = index == len(nursery.tasks) - 1
        head, rest = ("   └─ ", "      ") if is_last else ("   ├─ ", "   │  ")
        for number, line in enumerate(_task_lines(task)):
            yield (rest if number else head) + line


def _doing(task: TaskNode) -> str:
    if task.state != "waiting":
        return task.state
    words = f"waits for {task.waits_for}"
    operation = task.operation
    if operation is not None and operation.state != "submitted":
        words += f", {operation.state}"
    if operation is not None and operation.deadline is not None:
        words += f", deadline in {operation.deadline:.3f} s"
    return words


def _scope_words(scope: ScopeNode) -> str:
    words = ""
    if scope.deadline is not None:
        words += f", deadline in {scope.deadline:.3f} s" if scope.deadline >= 0 else ", deadline passed"
    if scope.shield:
        words += ", shielded"
    if scope.is_cancelled:
        words += f", cancelled ({scope.source})"
        if scope.reason is not None:
            words += f": {scope.reason}"
        if scope.source_task is not None:
            words += f", by {scope.source_task}"
    return words


def _of_the_user(frames: Sequence[FrameNode]) -> FrameNode:
    """The innermost frame that is not of this library, if there is one."""
    return next((frame for frame in reversed(frames) if not frame.file.startswith(_LIBRARY)), frames[-1])


def _place(frame: FrameNode) -> str:
    return f"{os.path.relpath(frame.file) if _is_near(frame.file) else frame.file}:{frame.line} in {frame.function}"


def _is_near(file: str) -> bool:
    return file.startswith(os.getcwd() + os.sep)
