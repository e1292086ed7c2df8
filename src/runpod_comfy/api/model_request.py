"""Which models `verify-models` is about, before any pydantic model is imported: to import those
takes longer than to look at thousands of files. What a request was about is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_errors import UnavailableError
from comfy_files.files import digests_of, replace_file
from comfy_files.user_paths import expanded
from comfy_models.store import ModelStore
from runpod_comfy.api.workspace import (
    StrPath,
    as_path,
    find_models_dir,
    find_project,
    lock_sources,
    spec_files,
    version_id_of,
)
from runpod_comfy.cache.paths import Cache
from runpod_comfy.models.verify import AskedFolder, AskedModel, VerifiedModels, settled
from runpod_comfy.project import program_digest

_SCHEMA = "runpod-comfy/asked-models/1"
_KEPT = ("name", "target_path", "sha256", "size", "versions")
_VARIABLES = ("COMFY_HOME", "MODELS_DIR", "LOCK_PATH", "HOME")


class RequestMemory:
    """Remembers what a request was about. `options` decide which models are meant, with `sources`,
    the files of specs and locks, which may not exist.
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


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """The versions by `version_ids`, or the one that the file `spec` or `lock` belongs to.

    `memory` is None if what the request is about cannot be remembered.
    """

    version_ids: tuple[str, ...]
    spec: Path | None
    lock: Path | None
    models_dir: Path | None
    project: Path
    cache: Cache
    memory: RequestMemory | None


def find_request(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    models_dir: StrPath | None = None,
    project: StrPath | None = None,
) -> ModelRequest:
    """The request of these arguments. Without a version or a file, `COMFY_VERSION_NAME` names the
    version, else `LOCK_PATH` its lock, else every version is meant.

    `models_dir` is by default `MODELS_DIR`, else the `models` of each version's home. Raises
    UnavailableError if there is no version.
    """
    folder, cache = find_project(project), Cache.from_environment()
    spec_file, lock_file = as_path(spec), as_path(lock)
    if version_id is None and spec_file is None and lock_file is None:
        version_id = os.environ.get("COMFY_VERSION_NAME") or None
        named_lock = os.environ.get("LOCK_PATH")
        if version_id is None and named_lock:
            lock_file = expanded(named_lock)
    specs = spec_files(folder, cache)
    if version_id is not None:
        version_ids: tuple[str, ...] = (version_id_of(version_id),)
    else:
        version_ids = () if spec_file or lock_file else tuple(specs)
        if not (version_ids or spec_file or lock_file):
            raise UnavailableError(
                f"there are no versions in {folder / 'versions'}",
                remedy="Name the project folder with --project, or write a version with: "
                "runpod-comfy create ID --repo URL@REF",
            )
    chosen = find_models_dir(models_dir)
    sources = [lock_file.absolute()] if lock_file else []
    for each in () if lock_file else version_ids:
        sources += lock_sources(each, specs.get(each, folder / "versions" / f"{each}.json"), cache)
    memory = RequestMemory(
        cache,
        {"versions": repr(version_ids), "models_dir": str(chosen), "models": str(cache.models)},
        sources,
    )
    return ModelRequest(
        version_ids=version_ids,
        spec=spec_file,
        lock=lock_file,
        models_dir=chosen,
        project=folder,
        cache=cache,
        # The lock of a spec that is named by its file is found by what stands in it.
        memory=None if spec_file else memory,
    )


def recalled(request: ModelRequest) -> VerifiedModels | None:
    """The result if nothing has changed since the same request, None otherwise."""
    asked = request.memory.recall() if request.memory else None
    return settled(asked, ModelStore(request.cache.models)) if asked is not None else None
