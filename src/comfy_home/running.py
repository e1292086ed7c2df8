"""Which processes hold the lock of a file, or run a script: as far as Linux's /proc shows them.

Elsewhere, and for processes of other users or containers, nothing is found.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process: its id, its parent's, and its command line, shortened for a message."""

    pid: int
    parent: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def holders_of(path: Path) -> list[Running]:
    """The processes that hold the lock of this file; not their children, which inherited it."""
    try:
        status = path.stat()
    except OSError:
        return []

    def holds(process: Path) -> bool:
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                found = descriptor.stat()
                if (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino):
                    return "FLOCK" in (process / "fdinfo" / descriptor.name).read_text()
        return False

    return _without_children(holds)


def running_script(script: Path) -> list[Running]:
    """The Python processes with `script` on their command line; not their children."""
    real = script.resolve()

    def runs(process: Path) -> bool:
        words = _words(process)
        if not words or "python" not in Path(words[0]).name:
            return False
        named = [word for word in words if word.endswith(script.name)]
        return any(Path((process / "cwd").readlink(), word).resolve() == real for word in named)

    return _without_children(runs)


def _without_children(matches: Callable[[Path], bool]) -> list[Running]:
    found = {process.pid: process for process in _matching(matches)}
    return [process for process in found.values() if process.parent not in found]


def _matching(matches: Callable[[Path], bool]) -> Iterator[Running]:
    folders = [path for path in _PROC.iterdir() if path.name.isdigit()] if _PROC.is_dir() else []
    for process in folders:
        # It may have ended meanwhile, or belong to another user.
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and matches(process):
                # After the name, which may contain anything: the state and the parent.
                parent = (
                    (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                )
                yield Running(pid=int(process.name), parent=int(parent), command=_command(process))


def _words(process: Path) -> list[str]:
    return [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0") if word]


def _command(process: Path) -> str:
    """`runpod-comfy run demo` for `/a/.venv/bin/python /a/.venv/bin/runpod-comfy run demo`."""
    words = _words(process)
    if len(words) > 1 and words[1].startswith("/") and "python" in words[0]:
        del words[0]
    command = " ".join([Path(words[0]).name, *words[1:]]) if words else "?"
    return command if len(command) <= _LONGEST else f"{command[: _LONGEST - 1]}…"
