"""Verifies and completes the models of versions in models folders: what `verify-models` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import ComfyError, Faults
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.links import ModelFolders
from comfy_models.proof import Proof, State
from comfy_models.prove import is_settled, prove
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory, store_memory

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile, ModelSource
    from comfy_models.sources.hosts import Hosts


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


@dataclass(frozen=True, kw_only=True)
class VerifiedModel(AskedModel):
    """A model and what is true of it, as in `ProvenModel`; its place is below `models_dir`.

    One that could not be downloaded to learn its `sha256` has an empty one, and perhaps no `size`.
    """

    models_dir: Path
    state: State
    reason: str
    linked: bool

    @property
    def path(self) -> Path:
        return self.models_dir / self.target_path


@dataclass(frozen=True, kw_only=True)
class VerifiedModels:
    """`models` are those of all versions that have a lock. `error` is why some have none, or why
    some models were not fetched.
    """

    store: Path
    models: tuple[VerifiedModel, ...]
    error: ComfyError | None
    seconds: float

    @property
    def holds(self) -> bool:
        return self.error is None and all(
            model.state not in ("wrong", "missing") for model in self.models
        )


HostsFor = Callable[[Path], "Hosts"]
"""The hosts for models whose relative sources are based on a folder."""


def verify(
    asked: Sequence[AskedFolder],
    store: ModelStore,
    *,
    hosts_for: HostsFor,
    overwrite: bool = False,
    rehash: bool = False,
    downloaded: frozenset[str] = frozenset(),
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> VerifiedModels:
    """Proves every model that is asked for, fetches what is missing, and makes the links. Models
    whose sha256 are `downloaded` were fetched before, by the same command.
    """
    started = time.monotonic()
    found: list[VerifiedModel] = []
    faults = Faults()
    for folder in asked:
        memory = store_memory(store, folder.models_dir)
        fetching = _Fetching(store, memory, hosts_for, say, progress)
        proof = prove(
            folder.models,
            folder.folders(store),
            memory,
            fetch=fetching.fetch,
            overwrite=overwrite,
            rehash=rehash,
            progress=progress,
        )
        found += _found(folder, proof, fetching.failed, downloaded)
        if proof.error is not None:
            faults.add(proof.error)
    return VerifiedModels(
        store=store.root,
        models=tuple(found),
        error=faults.error,
        seconds=time.monotonic() - started,
    )


def settled(asked: Sequence[AskedFolder], store: ModelStore) -> VerifiedModels | None:
    """The result if nothing has to be read or done, None otherwise. Opens no model."""
    started = time.monotonic()
    memory = store_memory(store, *(folder.models_dir for folder in asked))
    found = []
    for folder in asked:
        folders = folder.folders(store)
        if not all(is_settled(model, folders, memory) for model in folder.models):
            return None
        found += [
            _verified(model, folder, state="present", reason="", linked=False)
            for model in folder.models
        ]
    if store.doubtful() or any(folder.rivals for folder in asked):
        return None
    seconds = time.monotonic() - started
    return VerifiedModels(store=store.root, models=tuple(found), error=None, seconds=seconds)


class _Fetching:
    """Fetches models; `failed` says by sha256 why some could not be."""

    def __init__(
        self,
        store: ModelStore,
        memory: HashMemory,
        hosts_for: HostsFor,
        say: Say,
        progress: Progress,
    ) -> None:
        self._store, self._memory, self._hosts_for = store, memory, hosts_for
        self._say, self._progress = say, progress
        self.failed: dict[str, str] = {}

    def fetch(self, lacking: Sequence[ModelFile]) -> None:
        from comfy_models.transfer.fetch import fetch

        by_folder: dict[Path, list[ModelFile]] = {}
        for model in lacking:
            assert isinstance(model, AskedModel), "prove passes on what it was given"
            by_folder.setdefault(model.base_dir, []).append(model)
        faults = Faults()
        for base_dir, models in by_folder.items():
            faults.catch(
                fetch,
                models,
                self._store,
                self._hosts_for(base_dir),
                say=self._say,
                progress=self._progress,
                remember=self._memory.keep,
                failed=self._note,
            )
        faults.raise_all()

    def _note(self, model: ModelFile, error: ComfyError) -> None:
        self.failed[model.sha256] = error.message.removeprefix(f"model {model.target_path}: ")


def _found(
    folder: AskedFolder, proof: Proof, failed: Mapping[str, str], downloaded: frozenset[str]
) -> Iterator[VerifiedModel]:
    for each, model in zip(proof.models, folder.models, strict=True):
        state, reason = each.state, each.reason
        if state == "missing":
            reason = failed.get(model.sha256, reason)
        elif state in ("present", "verified") and model.sha256 in downloaded:
            state = "downloaded"
        yield _verified(model, folder, state=state, reason=reason, linked=each.linked)
    first = {model.target_path: model for model in folder.models}
    for rival in folder.rivals:
        needs = ", ".join(first[rival.target_path].versions)
        reason = f"{needs} needs another file at this path; give one of the two another target_path"
        yield _verified(rival, folder, state="wrong", reason=reason, linked=False)


def _verified(
    model: AskedModel, folder: AskedFolder, *, state: State, reason: str, linked: bool
) -> VerifiedModel:
    return VerifiedModel(
        **vars(model), models_dir=folder.models_dir, state=state, reason=reason, linked=linked
    )
