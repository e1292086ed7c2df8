"""The engine's log file: the end of it for errors, all of it live for `--verbose`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TAIL_BYTES = 64 * 1024
_FOLLOW_EVERY_S = 0.1


def last_lines(path: Path, count: int = 15) -> list[str]:
    """The last `count` lines with something on them, without colours and progress bars' past."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [_plain(line) for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def read_lines(path: Path) -> list[str]:
    """Every line of the log, without colours and progress bars' past."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [_plain(line) for line in text.split("\n")]


async def follow(path: Path, say: Callable[[str], None]) -> None:
    """Says each line of the log as it is written, until cancelled; then what is left."""
    begun = b""
    with path.open("rb") as stream:
        try:
            while True:
                *whole, begun = (begun + stream.read()).split(b"\n")
                _say_lines(whole, say)
                await asyncio.sleep(_FOLLOW_EVERY_S)
        finally:
            _say_lines((begun + stream.read()).split(b"\n"), say)


def _say_lines(lines: list[bytes], say: Callable[[str], None]) -> None:
    for line in lines:
        text = _plain(line.decode("utf-8", errors="replace"))
        if text:
            say(text)


def _plain(line: str) -> str:
    return _ESCAPES.sub("", line.rstrip()).rsplit("\r", 1)[-1].rstrip()
