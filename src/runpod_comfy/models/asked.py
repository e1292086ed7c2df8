"""The models that versions need, by the models folder that they belong in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_models.links import ModelFolders
from comfy_models.store import ModelStore

if TYPE_CHECKING:
    from comfy_models.model_file import ModelSource


@dataclass(frozen=True, kw_only=True)
class AskedModel:
    """A model of a lock, and the ids of the versions that need it. Relative sources are based on
    `base_dir`.
    """

    name: str
    target_path: str
    sha256: str
    size: int
    versions: tuple[str, ...]
    base_dir: Path
    sources: Sequence[ModelSource] = ()


@dataclass(frozen=True, kw_only=True)
class AskedFolder:
    """A models folder and what belongs in it: each model has a path of its own.

    `rivals` are models whose path another version's model has. A folder that `is_own` belongs to
    the home of the one version that needs the models.
    """

    models_dir: Path
    is_own: bool
    models: tuple[AskedModel, ...]
    rivals: tuple[AskedModel, ...] = ()

    def folders(self, store: ModelStore) -> ModelFolders:
        home = self.models_dir if self.is_own else None
        return ModelFolders(store=store, shared=self.models_dir, home=home)


def in_one_folder(models_dir: Path, models: Iterable[AskedModel], *, is_own: bool) -> AskedFolder:
    """The models of several versions that share a models folder: each once."""
    found: dict[str, AskedModel] = {}
    rivals = []
    for model in models:
        first = found.setdefault(model.target_path, model)
        if first.sha256 != model.sha256:
            rivals.append(model)
        elif first is not model:
            versions = (*first.versions, *model.versions)
            sources = [*first.sources, *(it for it in model.sources if it not in first.sources)]
            found[model.target_path] = replace(first, versions=versions, sources=sources)
    return AskedFolder(
        models_dir=models_dir, is_own=is_own, models=tuple(found.values()), rivals=tuple(rivals)
    )
