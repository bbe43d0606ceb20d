"""`python -m proactor_trio compat`: the public names of the Trio that is installed, and what becomes of each here.

A signature differs if a call that Trio takes would mean something else here, or be refused: a parameter is missing, has
another name or place, or another default. Parameters that Trio does not have, and that need not be given, are fine. Of
a class its public attributes are compared in the same way. A class that nobody may call has no signature of its own.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

MODULES: Final = ("", "abc", "from_thread", "lowlevel", "socket", "testing", "to_thread")

#: What Trio itself calls out of date.
_DEPRECATED: Final = frozenset(("RaisesGroup", "Matcher"))


@dataclass(frozen=True, slots=True)
class Name:
    """A public name of Trio. state: "present", "missing", "signature differs". detail: in which way."""

    module: str
    name: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.module}." if self.module else ""
        return f"{place}{self.name}" + (f": {self.detail}" if self.detail else "")


def compare() -> list[Name]:
    """Each public name of the installed Trio. Raises ImportError without one."""
    trio = importlib.import_module("trio")
    return [
        _compare_name(module, name, getattr(_module(trio.__name__, module), name), _module("proactor_trio", module))
        for module in MODULES
        for name in _public_names(_module(trio.__name__, module))
    ]


def _module(package: str, module: str) -> ModuleType:
    return importlib.import_module(f"{package}.{module}" if module else package)


def _public_names(module: ModuleType) -> Iterator[str]:
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or name == "annotations" or name in _DEPRECATED:
            continue
        if inspect.ismodule(value):
            continue
        yield name


def _compare_name(module: str, name: str, theirs: Any, ours: ModuleType) -> Name:
    if not hasattr(ours, name):
        return Name(module, name, "missing")
    detail = _difference(theirs, getattr(ours, name))
    return Name(module, name, "signature differs" if detail else "present", detail)


def _difference(theirs: Any, ours: Any) -> str:
    """What a program for Trio would find different, in words; empty if it would find nothing."""
    if getattr(theirs, "_is_protocol", False) or not (inspect.isclass(theirs) or inspect.isroutine(theirs)):
        return ""  # for type checkers, or a value
    if not inspect.isclass(theirs) or not inspect.isclass(ours):
        return _difference_of_calls(theirs, ours)
    own = {name for base in ours.__mro__ for name in getattr(base, "__annotations__", {})}
    differences = [_difference_of_calls(theirs, ours)] if not issubclass(theirs, BaseException) else []
    for name in dir(theirs):
        if name.startswith("_") or name in own:
            continue
        if not hasattr(ours, name):
            differences.append(f"lacks {name}")
        elif inspect.isfunction(getattr(theirs, name)):
            difference = _difference_of_calls(getattr(theirs, name), getattr(ours, name))
            differences.append(f"{name}(): {difference}" if difference else "")
    return "; ".join(filter(None, differences))


def _difference_of_calls(theirs: Any, ours: Any) -> str:
    """How a call that they take would go wrong with ours."""
    if not callable(theirs):
        return ""
    expected = _parameters(theirs)
    if expected is None:
        return ""
    found = _parameters(ours)
    if found is None:
        return "cannot be called"
    for index, parameter in enumerate(expected):
        match = _counterpart(parameter, index, found)
        if match is None:
            return f"no parameter {parameter}"
        if not _is_same_default(parameter.default, match.default):
            return f"{parameter.name} is {match.default!r} by default, not {parameter.default!r}"
    known = {parameter.name for parameter in expected}
    for parameter in found:
        if parameter.name not in known and parameter.default is parameter.empty and parameter.kind in _GIVEN_SINGLY:
            if not any(other.kind is parameter.kind and other.name != parameter.name for other in expected):
                return f"wants {parameter.name}"
    return ""


_GIVEN_SINGLY: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _parameters(function: Any) -> list[inspect.Parameter] | None:
    if inspect.isclass(function) and (type(function) is not type or function.__init__ is object.__init__):
        # A metaclass that refuses calls, or nothing to give.
        return [] if type(function) is type else None
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _counterpart(parameter: inspect.Parameter, index: int, found: list[inspect.Parameter]) -> inspect.Parameter | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return next((other for other in found if other.kind is parameter.kind), None)
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return found[index] if index < len(found) else None
    match = next((other for other in found if other.name == parameter.name), None)
    if match is None and parameter.kind is parameter.KEYWORD_ONLY:
        passes_on = any(other.kind is parameter.VAR_KEYWORD for other in found)
        return parameter if passes_on else None
    if match is not None and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
        return match if match.kind is parameter.kind and found.index(match) == index else None
    return match


def _is_same_default(theirs: Any, ours: Any) -> bool:
    if theirs is inspect.Parameter.empty or ours is inspect.Parameter.empty:
        return theirs is ours
    if isinstance(theirs, (bool, int, float, str, bytes, type(None))):
        return bool(theirs == ours)
    return True  # a sentinel of either side


def run_compat() -> int:
    """Print the comparison; the exit status: 0 if nothing is missing, else 1."""
    try:
        names = compare()
    except ImportError as error:
        print(f"Trio is not installed, so there is nothing to compare with: {error}", file=sys.stderr)
        return 2
    version = importlib.import_module("trio").__version__
    for state in ("missing", "signature differs"):
        for name in names:
            if name.state == state:
                print(f"{state}: {name}")
    count = {state: sum(name.state == state for name in names) for state in ("present", "missing", "signature differs")}
    constants = sum(name.module == "socket" and name.name.isupper() for name in names)
    print(
        f"Trio {version}: {len(names) - constants} public names, and {constants} constants of sockets; "
        f"{count['present']} present, {count['missing']} missing, {count['signature differs']} signature differs"
    )
    return 1 if count["missing"] else 0
