"""What can be sent as UTF-8, for answers that hold texts of jobs and of nodes."""

from __future__ import annotations

from typing import Any, TypeVar

# JSON of this depth can be read and written anywhere on its way to the engine.
_DEEPEST = 100

_T = TypeVar("_T")


def sendable(value: _T) -> _T:
    """`value`, a JSON value, with `?` for each half of a character.

    JSON may hold such halves (lone surrogates, `"\\ud800"`), UTF-8 cannot: RunPod's SDK would lose
    the whole answer.
    """
    return _sendable(value)  # type: ignore[no-any-return]


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        # Python knows this without reading the text, which may be a picture.
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sendable(each) for each in value]
    return value


def is_too_deep(value: Any) -> bool:
    """Whether `value`, a JSON value, is nested so deeply that not every program can read it."""
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)
