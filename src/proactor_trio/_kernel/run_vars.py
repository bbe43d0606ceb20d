"""RunVar: a variable that each run has its own value of."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, cast

from proactor_trio._kernel.context import CONTEXT

T = TypeVar("T")


class _NoValue:
    __slots__ = ()


_NO_VALUE: Final = _NoValue()


class RunVarToken(Generic[T]):
    """What RunVar.set() returns, to put the value before it back, once."""

    __slots__ = ("_variable", "previous_value", "redeemed")

    def __init__(self, variable: RunVar[T], previous: T | _NoValue) -> None:
        self._variable = variable
        self.previous_value = previous
        self.redeemed = False


class RunVar(Generic[T]):
    """A variable with one value in each run. `name` is for reports; `default` is got where nothing was set."""

    __slots__ = ("__weakref__", "_default", "_name")

    def __init__(self, name: str, default: T | _NoValue = _NO_VALUE) -> None:
        self._name = name
        self._default = default

    def get(self, default: T | _NoValue = _NO_VALUE) -> T:
        """The value in this run, else `default`, else the variable's default, else LookupError."""
        values = _values()
        if self in values:
            return cast("T", values[self])
        if not isinstance(default, _NoValue):
            return default
        if not isinstance(self._default, _NoValue):
            return self._default
        raise LookupError(self)

    def set(self, value: T) -> RunVarToken[T]:
        """Set the value in this run."""
        values = _values()
        token = RunVarToken(self, cast("T | _NoValue", values.get(self, _NO_VALUE)))
        values[self] = value
        return token

    def reset(self, token: RunVarToken[T]) -> None:
        """Put the value before `set()` back. Raises ValueError for a used token or one of another variable."""
        if token is None:
            raise TypeError("token must be a RunVarToken, not None")
        if token.redeemed:
            raise ValueError("token has already been used")
        if token._variable is not self:
            raise ValueError("token is not for us")
        values = _values()
        if isinstance(token.previous_value, _NoValue):
            values.pop(self, None)
        else:
            values[self] = token.previous_value
        token.redeemed = True

    def __repr__(self) -> str:
        return f"<RunVar name={self._name!r}>"


def _values() -> dict[RunVar[Any], object]:
    run = CONTEXT.run
    if run is None:
        raise RuntimeError("a RunVar cannot be used outside of a run context")
    return run.run_vars
