"""No loop of ours can be left past the `finally` or the `with` around it.

CPython 3.12 and 3.13 repeat the condition of `while condition:` at the end of the loop, and the jump back that follows
is missing from the table of exceptions. A signal handler that raises just there leaves the function without its
`finally`. `while True:` and `for` have no such jump.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))


def loops_in_try(node: ast.AST, is_inside: bool = False) -> Iterator[int]:
    """The lines of the loops with a condition that stand directly inside of a `try` or a `with`."""
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            inside = is_inside or _protects(node, field)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inside = False
            if isinstance(child, ast.While) and inside and not isinstance(child.test, ast.Constant):
                yield child.lineno
            yield from loops_in_try(child, inside)


def _protects(node: ast.AST, field: str) -> bool:
    if isinstance(node, ast.Try):
        return field in ("body", "handlers", "orelse")
    return isinstance(node, ast.With | ast.AsyncWith) and field == "body"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(SOURCES[0].parents[1])))
def test_a_loop_directly_in_a_try_has_no_condition(source: Path) -> None:
    assert list(loops_in_try(ast.parse(source.read_text(encoding="utf-8")))) == []


def without_condition(items: list[Any]) -> None:
    try:
        while True:
            if not items:
                break
            items.pop()
    finally:
        items.append(None)


def test_the_rule_finds_what_it_is_about() -> None:
    source = "try:\n    while items:\n        pass\nfinally:\n    pass\n"
    assert list(loops_in_try(ast.parse(source))) == [2]


def jumps_back_outside_of_try(function: Callable[..., object]) -> int:
    """How many backward jumps of a function have no entry in its table of exceptions."""
    code = dis.Bytecode(function)
    return sum(
        instruction.opname.startswith("JUMP_BACKWARD")
        and not any(entry.start <= instruction.offset < entry.end for entry in code.exception_entries)
        for instruction in code
    )


def test_the_form_that_is_used_keeps_its_jump_inside() -> None:
    assert jumps_back_outside_of_try(without_condition) == 0
