"""Remembers which models a request of `verify-models` is about.

A request that finds nothing changed then needs no model of a spec or lock: to import those takes
longer than to look at thousands of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_files.files import digests_of, replace_file
from runpod_comfy.cache.paths import Cache
from runpod_comfy.models.asked import AskedFolder, AskedModel
from runpod_comfy.project import program_digest

_SCHEMA = "runpod-comfy/asked-models/1"
_KEPT = ("name", "target_path", "sha256", "size", "versions")
_VARIABLES = ("COMFY_HOME", "MODELS_DIR", "LOCK_PATH", "HOME")


class Request:
    """`options` decide which models are meant, with `sources`, the files of specs and locks, which
    may not exist.
    """

    def __init__(self, cache: Cache, options: Mapping[str, str], sources: Sequence[Path]) -> None:
        self._cache, self._sources = cache, sources
        # At the start, so that changes meanwhile are noticed the next time.
        self._digests = digests_of(sources)
        variables = {name: os.environ.get(name) for name in _VARIABLES}
        # The folder is the base of relative paths.
        asked = repr((sorted(options.items()), sorted(self._digests), variables, Path.cwd()))
        self._file = cache.asked / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"

    def recall(self) -> list[AskedFolder] | None:
        """What the request was about the last time, without sources of models; None if that may
        have changed.
        """
        try:
            note = json.loads(self._file.read_bytes())
            if note["basis"] != self._basis():
                return None
            return [_folder(each) for each in note["folders"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def note(self, asked: Sequence[AskedFolder]) -> None:
        """Records what the request is about, unless its files have changed meanwhile."""
        if digests_of(self._sources) != self._digests:
            return
        note = {"basis": self._basis(), "folders": [_document(folder) for folder in asked]}
        with contextlib.suppress(OSError):
            replace_file(self._file, json.dumps(note).encode(), workplace=self._cache.tmp)

    def _basis(self) -> list[Any]:
        return [_SCHEMA, program_digest(), self._digests]


def _document(folder: AskedFolder) -> dict[str, Any]:
    return {
        "models_dir": str(folder.models_dir),
        "is_own": folder.is_own,
        "models": _rows(folder.models),
        "rivals": _rows(folder.rivals),
    }


def _rows(models: Iterable[AskedModel]) -> list[list[Any]]:
    return [[getattr(each, key) for key in _KEPT] for each in models]


def _folder(document: dict[str, Any]) -> AskedFolder:
    return AskedFolder(
        models_dir=Path(document["models_dir"]),
        is_own=document["is_own"],
        models=tuple(map(_model, document["models"])),
        rivals=tuple(map(_model, document["rivals"])),
    )


def _model(row: list[Any]) -> AskedModel:
    *rest, versions = row
    known = dict(zip(_KEPT[:-1], rest, strict=True))
    return AskedModel(**known, versions=tuple(versions), base_dir=Path())
