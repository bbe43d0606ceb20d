"""From what a user hands to start_soon() or run() to a coroutine, with advice for the usual mistakes."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, NoReturn


def coroutine_of(async_fn: Callable[..., Any], args: tuple[Any, ...], context: Context) -> Coroutine[Any, Any, Any]:
    """Call `async_fn(*args)` in `context` and return the coroutine. Raises TypeError with advice if it is none."""
    try:
        coroutine = context.run(async_fn, *args)
    except TypeError:
        _refuse_argument(async_fn)
        raise
    return _checked_coroutine(async_fn, coroutine)


def coroutine_here(async_fn: Callable[..., Any], args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    """`coroutine_of()` in the context of the caller."""
    try:
        coroutine = async_fn(*args)
    except TypeError:
        _refuse_argument(async_fn)
        raise
    return _checked_coroutine(async_fn, coroutine)


def check_synchronous(sync_fn: Callable[..., Any], result: Any) -> Any:
    """Return what a function returned that must be no async one. Raises TypeError if it is."""
    if not isinstance(result, collections.abc.Coroutine):
        return result
    result.close()
    name = getattr(sync_fn, "__qualname__", repr(sync_fn))
    raise TypeError(f"expected a synchronous function, but {name} appears to be asynchronous")


def _checked_coroutine(async_fn: Callable[..., Any], coroutine: Any) -> Coroutine[Any, Any, Any]:
    if type(coroutine) is CoroutineType or isinstance(coroutine, collections.abc.Coroutine):
        return coroutine
    _refuse_result(async_fn, coroutine)


def _is_foreign_awaitable(value: object) -> bool:
    # The mark by which asyncio.isfuture() knows futures, of whatever library.
    return hasattr(type(value), "_asyncio_future_blocking") or inspect.isgenerator(value)


def _refuse_argument(async_fn: object) -> None:
    """Raise if the first argument cannot be a function."""
    if isinstance(async_fn, collections.abc.Coroutine):
        name = getattr(async_fn, "__name__", "function")
        async_fn.close()
        raise TypeError(
            f"was expecting an async function, but got a coroutine object {async_fn!r}: it was called already. Leave "
            f"the call to us: `nursery.start_soon({name}, ...)` and `run({name}, ...)` are correct, "
            f"`nursery.start_soon({name}(...))` and `run({name}(...))` are incorrect"
        ) from None
    if _is_foreign_awaitable(async_fn):
        raise TypeError(f"expected an async function, but got {async_fn!r}: {_FOREIGN_ADVICE}") from None
    if not callable(async_fn):
        raise TypeError(f"expected an async function, but got {async_fn!r}") from None


def _refuse_result(async_fn: Callable[..., Any], value: object) -> NoReturn:
    name = getattr(async_fn, "__qualname__", repr(async_fn))
    if _is_foreign_awaitable(value):
        raise TypeError(f"expected an async function, but {name} returned {value!r}: {_FOREIGN_ADVICE}")
    if inspect.isasyncgen(value):
        raise TypeError(
            f"expected an async function, but got an async generator {value!r}: iterate over it in an async function"
        )
    raise TypeError(f"expected an async function, but {name} appears to be synchronous: it returned {value!r}")


def foreign_yield_error(value: object) -> TypeError:
    """What a task gets that awaited something which is not ours."""
    return TypeError(f"this task awaited something that yielded an unknown message {value!r}: {_FOREIGN_ADVICE}")


_FOREIGN_ADVICE = (
    "it seems to belong to a library for another framework, such as asyncio, which does not work here without a bridge"
)
