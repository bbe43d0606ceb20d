"""`python -m proactor_trio tree PID`: the tasks of a process that runs."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any, Final

from proactor_trio.inspection.as_text import format_task_tree
from proactor_trio.inspection.companion import ENVIRONMENT_VARIABLE
from proactor_trio.inspection.server import SUFFIX, check_folder, folder
from proactor_trio.inspection.task_tree import FrameNode, NurseryNode, OperationNode, ScopeNode, TaskNode

#: How long a run may take to answer: one that does not come back to its loop cannot.
ANSWER_SECONDS: Final = 5.0
_PIECE_BYTES: Final = 64 * 1024


def run_tree(process: int, *, as_json: bool) -> int:
    """Print the tree of each run of a process. The exit status: 0, or 1 if there was none that answered."""
    answers = []
    for path in _sockets_of(process):
        try:
            answers.append(_ask(path))
        except TimeoutError:
            print(f"{path.name}: no answer: the run has not come back to its loop", file=sys.stderr)
        except (OSError, json.JSONDecodeError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
    if not answers:
        print(
            f"no run of process {process} answers; it has to be started with {ENVIRONMENT_VARIABLE}=1 in its "
            "environment, by the same user",
            file=sys.stderr,
        )
        return 1
    if as_json:
        print(json.dumps(answers, indent=2))
    else:
        print("\n".join(format_task_tree(_task(answer)) for answer in answers), end="")
    return 0


def _sockets_of(process: int) -> list[Path]:
    try:
        check_folder(folder())
    except OSError as error:
        print(error, file=sys.stderr)
        return []
    return sorted(folder().glob(f"{process}-*{SUFFIX}"))


def _ask(path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        pieces = list(iter(lambda: connection.recv(_PIECE_BYTES), b""))
    answer: dict[str, Any] = json.loads(b"".join(pieces))
    return answer


def _task(told: dict[str, Any]) -> TaskNode:
    operation = told["operation"]
    return TaskNode(
        name=told["name"],
        state=told["state"],
        waits_for=told["waits_for"],
        operation=None if operation is None else OperationNode(**operation),
        scopes=tuple(ScopeNode(**scope) for scope in told["scopes"]),
        frames=tuple(FrameNode(**frame) for frame in told["frames"]),
        nurseries=tuple(
            NurseryNode(ScopeNode(**nursery["scope"]), tuple(_task(task) for task in nursery["tasks"]))
            for nursery in told["nurseries"]
        ),
    )
