"""Looks for missing models in other layouts than the expected one, to say what lies where.

The search is bounded, because it is made at the start of a worker, on volumes of any size.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_files.parallel import end_if_interrupted
from comfy_models.model_file import ModelFile
from comfy_models.store import names_stored
from comfy_models.verify import HashMemory, fault_of

_LEVELS = 6
_ENTRIES = 5000
# Folders full of files that are not models.
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages", "custom_nodes", "lost+found"}
SOON_BYTES = 8 * 1000**3
"""So much is hashed within a minute or so."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file that may be `model`: `fault` says why it is not, None if it is.

    `is_hashed` is false if it has the right name and size, and its bytes were not read.
    """

    model: ModelFile
    path: Path
    fault: str | None = None
    is_hashed: bool = True

    @property
    def in_words(self) -> str:
        if self.fault is not None:
            return f"{self.path} {self.fault}"
        right = "is the right file" if self.is_hashed else "has the right name and size"
        found = "" if self.setting is None else f": {self.setting[0]}={self.setting[1]} finds it"
        return f"{self.path} {right}{found}"

    @property
    def is_right(self) -> bool:
        """True if the file was hashed and is the model."""
        return self.fault is None and self.is_hashed

    @property
    def setting(self) -> tuple[str, Path] | None:
        """A variable and its value with which the file is found where it is, if there is one."""
        if self.fault is not None:
            return None
        if names_stored(str(self.path)):
            return "COMFY_CACHE_MODELS", self.path.parents[2]
        inside = Path(self.model.target_path).parts
        if self.path.parts[-len(inside) :] == inside:
            return "MODELS_DIR", self.path.parents[len(inside) - 1]
        return None


def find_elsewhere(
    models: Sequence[ModelFile],
    roots: Iterable[Path],
    memory: HashMemory,
    *,
    hashed_bytes: float = float("inf"),
) -> list[Found]:
    """Files below `roots` that have the name of one of the `models`, or its suffix and its bytes.

    Only files of the right size are hashed, at most `hashed_bytes` of all. Raises
    KeyboardInterrupt if this thread's work is cancelled.
    """
    search = _Search(models, memory, hashed_bytes)
    for file in _files(list(dict.fromkeys(roots))):
        # A file may be gone by now.
        with contextlib.suppress(OSError):
            search.look_at(file)
    return search.found


class _Search:
    """What was found so far of `models`."""

    def __init__(
        self, models: Sequence[ModelFile], memory: HashMemory, hashed_bytes: float
    ) -> None:
        self.found: list[Found] = []
        self._memory = memory
        self._unread_bytes = hashed_bytes
        self._by_name: dict[str, list[ModelFile]] = {}
        self._by_suffix: dict[str, list[ModelFile]] = {}
        for model in models:
            name = Path(model.target_path).name
            self._by_name.setdefault(name, []).append(model)
            self._by_name.setdefault(model.sha256, []).append(model)
            self._by_suffix.setdefault(_suffix(name), []).append(model)

    def look_at(self, file: os.DirEntry[str]) -> None:
        named = self._by_name.get(file.name, [])
        models = named or self._by_suffix.get(_suffix(file.name), [])
        if not models:
            return
        path, size = Path(file.path), file.stat().st_size
        fitting = [model for model in models if model.size == size]
        if not fitting:
            self.found += [self._compared(path, model) for model in named[:1]]
        elif self._may_be_read(path, size):
            all_compared = [self._compared(path, model) for model in fitting]
            right = [one for one in all_compared if one.fault is None]
            self.found += right or (all_compared[:1] if named else [])
        elif named:
            self.found.append(Found(model=fitting[0], path=path, is_hashed=False))

    def _compared(self, path: Path, model: ModelFile) -> Found:
        return Found(model=model, path=path, fault=fault_of(path, model, self._memory))

    def _may_be_read(self, path: Path, size: int) -> bool:
        if self._memory.recall(path) is not None:
            return True
        if size > self._unread_bytes:
            return False
        self._unread_bytes -= size
        return True


def usual_settings(found: Iterable[Found]) -> dict[str, Path]:
    """For each variable that helps, the value with which most of the files are found."""
    settings = Counter(one.setting for one in found if one.setting is not None)
    return dict(reversed([setting for setting, _ in settings.most_common()]))


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _files(roots: Sequence[Path]) -> Iterator[os.DirEntry[str]]:
    """The files below `roots`, those of upper folders before those of lower ones."""
    level = [os.fspath(root) for root in roots]
    seen: set[str] = set()
    left = _ENTRIES
    for _ in range(_LEVELS):
        below: list[str] = []
        for folder in level:
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            entries = _entries(folder, at_most=left)
            left -= len(entries)
            for entry in entries:
                end_if_interrupted()
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and entry.name not in _LEFT_OUT:
                        below.append(entry.path)
                elif _is_file(entry):
                    yield entry
        level = below


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        # A link may lead to itself.
        return False


def _entries(folder: str, *, at_most: int) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(itertools.islice(entries, at_most), key=lambda entry: entry.name)
    except OSError:
        return []
