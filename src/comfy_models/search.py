"""Where a model that a version needs may lie on this machine, beside where it was meant to lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from comfy_models.store import ModelStore

_HUB_SCHEMES = ("hf://", "huggingface://")


@dataclass(frozen=True, kw_only=True)
class NeededModel:
    """A model of a version. `target_path` is below a models folder, `sha256` 64 hex digits.

    `source` and `mirrors` are where its bytes come from; `revision` is the commit of a source on
    the Hugging Face Hub.
    """

    target_path: str
    sha256: str
    size_bytes: int
    source: str | None = None
    revision: str | None = None
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelPlaces:
    """Places to look in, the preferred one first of each kind.

    `folders` are models folders, `stores` model stores, `hub_caches` caches of the Hugging Face
    Hub (`models--<org>--<name>/snapshots/<commit>/<file>`).
    """

    folders: Sequence[Path]
    stores: Sequence[Path]
    hub_caches: Sequence[Path]

    def candidates(self, model: NeededModel) -> Iterator[Path]:
        """Each path where `model` would lie, existing or not."""
        for folder in self.folders:
            yield folder / model.target_path
        for store in self.stores:
            yield ModelStore(store).path_of(model.sha256)
        for cache in self.hub_caches:
            yield from _in_hub_cache(cache, model)


def _in_hub_cache(cache: Path, model: NeededModel) -> Iterator[Path]:
    """Its file in the snapshot of its revision, then in all others: bytes decide, not commits."""
    named = _hub_file(model.source or "")
    if named is None:
        return
    repository, file = named
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    if model.revision is not None:
        yield snapshots / model.revision / file
    if snapshots.is_dir():
        for snapshot in sorted(snapshots.iterdir()):
            if snapshot.name != model.revision:
                yield snapshot / file


def _hub_file(source: str) -> tuple[str, str] | None:
    """`hf://org/name@revision/file` as repository and file, None for any other source."""
    for scheme in _HUB_SCHEMES:
        if source.startswith(scheme):
            parts = unquote(source.removeprefix(scheme)).split("/", 2)
            if len(parts) == 3:
                organisation, name, file = parts
                return f"{organisation}/{name.split('@', 1)[0]}", file
    return None
