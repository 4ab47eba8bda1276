"""What who writes ``with`` for ``async with`` is told.

Before 3.14, Python says only that there is no context manager.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def _refuse(*_: object) -> NoReturn:
    raise TypeError("use 'async with', not 'with'")


def only_async(cls: type[T]) -> type[T]:
    """Let ``with`` and an object of a class tell of ``async with``.

    Type checkers do not see it, and say it themselves.
    """
    told: Any = cls
    told.__enter__ = _refuse
    # Without it, ``with`` would not even enter.
    told.__exit__ = _refuse
    return cls


def async_scope(
    scope: Callable[P, AsyncIterator[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Make what is entered by ``async with``, and by nothing else."""
    make = asynccontextmanager(scope)

    @wraps(scope)
    def enter(
        *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[T]:
        return _Scope(make(*args, **kwargs))

    # For sphinxcontrib-trio, as it is for asynccontextmanager.
    enter.__returns_acontextmanager__ = True  # type: ignore[attr-defined]
    return enter


@only_async
class _Scope(AbstractAsyncContextManager[T], Generic[T]):
    def __init__(self, made: AbstractAsyncContextManager[T]) -> None:
        self._made = made

    # The coroutines themselves, with no frame around them that Ctrl-C could
    # come in.

    def __aenter__(self) -> Any:
        return self._made.__aenter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self._made.__aexit__(kind, error, traceback)
