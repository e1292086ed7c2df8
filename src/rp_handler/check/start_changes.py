"""What a start of the engine changes in a home: files that nodes write beside themselves, nodes
that they copy into `custom_nodes`, and, where the spec allows it, packages.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Sequence

from comfy_errors import ComfyError, OperationFailedError
from comfy_errors.names import listed
from comfy_files.files import sha256_of
from comfy_home.layout import DATA_FOLDERS, HomeLayout
from comfy_home.manifest import ChangedFile
from rp_handler.check.remedies import WRITABLE

# The user's files, model files, and what a start writes in any case.
_LEFT_OUT = frozenset({*DATA_FOLDERS, "models", "temp", "__pycache__"})
_BYTECODE = ".pyc"

_Seen = dict[str, tuple[object, ...]]


class StartWatch:
    """The files of a home, with its environment, before a start of the engine."""

    def __init__(self, home: HomeLayout) -> None:
        self._home = home
        self._before = self._look()

    def changes(self) -> list[ChangedFile]:
        """The files that were written or removed since, with paths relative to the home, sorted.

        Bytecode is left out, because it follows from its source. That of a changed source is
        removed: Python would use it without a look at the source.
        """
        after = self._look()
        paths = sorted(self._before.keys() | after.keys())
        changed = [path for path in paths if self._before.get(path) != after.get(path)]
        return [self._changed_file(path, after) for path in changed]

    def _changed_file(self, path: str, after: _Seen) -> ChangedFile:
        place = self._home.root / path
        if path.endswith(".py") and path in self._before:
            for outdated in place.parent.glob(f"__pycache__/{place.stem}.*{_BYTECODE}"):
                # A read-only environment is not repaired but made again.
                with contextlib.suppress(PermissionError):
                    outdated.unlink(missing_ok=True)
        if path not in after:
            return ChangedFile(path=path, change="removed", sha256=None)
        return ChangedFile(
            path=path,
            change="changed" if path in self._before else "added",
            sha256=None if place.is_symlink() else sha256_of(place),
        )

    def _look(self) -> _Seen:
        found: _Seen = {}
        parts = {self._home.comfyui.name: _LEFT_OUT, self._home.venv.name: ()}
        with os.scandir(self._home.root) as entries:
            for entry in entries:
                if entry.name in _LEFT_OUT or entry.name.startswith(".comfy"):
                    continue
                if entry.is_dir(follow_symlinks=entry.name in parts):
                    _look(entry.path, f"{entry.name}/", found, parts.get(entry.name, ()))
                else:
                    found[entry.name] = _state(entry)
        return found


def _look(folder: str, prefix: str, found: _Seen, left_out: Collection[str]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in left_out or entry.name.endswith(_BYTECODE):
                continue
            if entry.is_dir(follow_symlinks=False):
                _look(entry.path, f"{prefix}{entry.name}/", found, ())
            else:
                found[prefix + entry.name] = _state(entry)


def _state(entry: os.DirEntry[str]) -> tuple[object, ...]:
    """Changes with each write. Not the time of the last change of the inode: a home that is made at
    the same time links the same files.
    """
    of = entry.stat(follow_symlinks=False)
    target = os.readlink(entry.path) if stat.S_ISLNK(of.st_mode) else None  # noqa: PTH115
    return (target, of.st_mode, of.st_size, of.st_mtime_ns, of.st_ino)


def changed_environment(paths: Sequence[str], home: HomeLayout) -> ComfyError:
    """The error for an environment that must stay as it is, and did not."""
    return OperationFailedError(
        f"a node changed the Python environment {home.venv} when ComfyUI started: "
        + listed(paths, at_most=5),
        remedy=WRITABLE,
    )
