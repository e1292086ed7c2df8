"""The models of a lock on this machine: stored, and linked to where the core looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from comfy_errors import (
    Faults,
    InvalidInputError,
    MismatchError,
    UnavailableError,
    for_each,
)
from comfy_errors.names import listed
from comfy_files.files import disk_errors
from comfy_files.parallel import in_parallel, interrupted
from comfy_files.progress import Progress, Say, counted
from comfy_models.links import link_model, needs_link
from comfy_models.search import local_source
from comfy_models.store import ModelStore
from comfy_models.verify import holds_model
from runpod_comfy.homes.home import Home
from runpod_comfy.lock.model import LockedModel

_TRANSFERS_AT_ONCE = 2
_OTHER_STORE = (
    "Make room there and check its permissions, or set COMFY_CACHE_MODELS to a folder that you can "
    "write to."
)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ModelPlaces:
    """Where models are: the store, the shared folder `models_dir`, the home that uses them."""

    store: ModelStore
    models_dir: Path
    home: Home

    @property
    def one_step(self) -> bool:
        """True if the shared folder is the home's own."""
        return self.models_dir.resolve() == self.home.models.resolve()


def models_to_bring(models: Sequence[LockedModel], places: ModelPlaces) -> list[LockedModel]:
    """The models that are neither in the store nor in the models folder."""
    return [
        model
        for model in models
        if not places.store.holds(model.sha256)
        and not holds_model(places.models_dir / model.target_path, model)
    ]


def model_sources(models: Sequence[LockedModel], base_dir: Path) -> list[tuple[LockedModel, Path]]:
    """The file that each model is copied from.

    Raises one error for all that are missing (UnavailableError) or have a kind of source that is
    not supported yet (InvalidInputError).
    """
    found: list[tuple[LockedModel, Path]] = []
    faults = Faults()
    for model in models:
        try:
            path = local_source(model.sources[0].url, base_dir)
        except InvalidInputError as error:
            faults.add(error.within(f"model {model.name}"))
            continue
        found.append((model, path))
    missing = [f"{model.name} ({path})" for model, path in found if not path.is_file()]
    if missing:
        faults.add(
            UnavailableError(
                f"missing model files: {listed(missing, at_most=20)}",
                remedy="Put them there, or correct 'source' in the spec and resolve again.",
            )
        )
    faults.raise_all()
    return found


def bring_models(
    models: Sequence[LockedModel],
    places: ModelPlaces,
    *,
    base_dir: Path,
    say: Say,
    progress: Progress,
) -> list[str]:
    """Fetches missing models into the store; returns their names.

    Raises as `model_sources` does, and MismatchError naming a file that differs from the lock.
    """
    sources = model_sources(models_to_bring(models, places), base_dir)

    def bring(item: tuple[LockedModel, Path]) -> str:
        model, path = item
        say(f"Copying the model {model.name} into the store")
        try:
            with disk_errors(
                f"the model store {places.store.root} could not be written", remedy=_OTHER_STORE
            ):
                chunks = counted(_chunks(path), "models", progress)
                places.store.add(chunks, where=str(path), expected_sha256=model.sha256)
        except MismatchError as error:
            raise MismatchError(
                f"model {model.name}: {error.message}", remedy=error.remedy
            ) from error
        progress.arrived("models", count=1)
        return model.name

    size_bytes = sum(model.size for model, _ in sources)
    progress.expect("models", count=len(sources), size_bytes=size_bytes)
    return in_parallel(bring, sources, threads=_TRANSFERS_AT_ONCE, give_up=True)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if interrupted():
                raise KeyboardInterrupt
            yield chunk


@dataclass(frozen=True, kw_only=True)
class ModelLink:
    """A link to make: `model` in the folder `root` leads to `source`."""

    model: LockedModel
    root: Path
    source: Path


def links_to_make(models: Sequence[LockedModel], places: ModelPlaces) -> list[ModelLink]:
    """The missing links of store → models folder → home. Changes nothing.

    Names all models that cannot be linked: raises MismatchError if another file is at a model's
    path, and InvalidInputError if that path is outside its folder.
    """
    return list(chain.from_iterable(for_each(lambda model: _missing_links(model, places), models)))


def _missing_links(model: LockedModel, places: ModelPlaces) -> list[ModelLink]:
    stored, shared = places.store.path_of(model.sha256), places.models_dir
    links = []
    # In the home every link is the version's own; elsewhere another version may need it.
    if needs_link(shared, model, replace_links=places.one_step):
        links.append(ModelLink(model=model, root=shared, source=stored))
    if not places.one_step and needs_link(places.home.models, model, replace_links=True):
        source = shared / model.target_path
        links.append(ModelLink(model=model, root=places.home.models, source=source))
    return links


def link_models(links: Sequence[ModelLink]) -> list[str]:
    """Makes the links; returns the names of their models."""
    for link in links:
        link_model(link.source, link.root, link.model)
    return list({link.model.target_path: link.model.name for link in links}.values())


def model_changes(
    models: Sequence[LockedModel], places: ModelPlaces, *, relink: bool, may_be_whole: bool
) -> tuple[list[LockedModel], list[str]]:
    """The models to fetch, and the names of those that are not where the core looks.

    Only sizes are compared; this is not a verification. With `relink` all models are named. With
    `may_be_whole` nothing is fetched if all models are in place.
    """
    links = [model.name for model in models if relink or not _is_linked(model, places.home)]
    return ([] if may_be_whole and not links else models_to_bring(models, places)), links


def _is_linked(model: LockedModel, home: Home) -> bool:
    try:
        return (home.models / model.target_path).stat().st_size == model.size
    except OSError:
        return False
