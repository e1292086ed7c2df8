"""Where a model may be on this machine: at its source, or in another known folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import InvalidInputError
from comfy_files.files import children
from comfy_models.model_file import ModelFile
from comfy_models.sources.civitai_address import is_civitai_address
from comfy_models.sources.hub_address import HubAddress, is_hub_address, parse_hub_address
from comfy_models.store import ModelStore


@dataclass(frozen=True, kw_only=True)
class ModelPlaces:
    """Places to look in, the preferred one of each kind first.

    `folders` are models folders, `stores` model stores, `hub_caches` caches of the Hugging Face
    Hub (`models--<org>--<name>/snapshots/<commit>/<file>`).
    """

    folders: Sequence[Path]
    stores: Sequence[Path]
    hub_caches: Sequence[Path]

    def candidates(self, model: ModelFile) -> Iterator[Path]:
        """Every path where `model` could be, existing or not."""
        for folder in self.folders:
            yield folder / model.target_path
        for store in self.stores:
            yield ModelStore(store).path_of(model.sha256)
        for cache in self.hub_caches:
            yield from _in_hub_cache(cache, model)


def _in_hub_cache(cache: Path, model: ModelFile) -> Iterator[Path]:
    """For each source on the Hub, its file in the snapshot of the pinned commit, then in all other
    snapshots: the bytes decide, not the commit.
    """
    for source in model.sources:
        address = _hub_address(source.url)
        if address is None:
            continue
        file, commit = address.path, source.pin.commit
        # As huggingface_hub's `repo_folder_name` has it.
        folder = "--".join([address.kind, *address.repo.split("/")])
        snapshots = cache / folder / "snapshots"
        if commit is not None:
            yield snapshots / commit / file
        yield from (it / file for it in children(snapshots) if it.name != commit)


def _hub_address(url: str) -> HubAddress | None:
    try:
        return parse_hub_address(url) if is_hub_address(url) else None
    except ValueError:
        return None


def local_files(model: ModelFile, base_dir: Path) -> list[Path]:
    """The files on this machine that the sources of `model` name, existing or not."""
    paths = (local_path(source.url, base_dir) for source in model.sources)
    return [path for path in paths if path is not None]


def local_path(source: str, base_dir: Path) -> Path | None:
    """The file that a `file:` URL or a path names, None for any other source.

    Relative paths are based on `base_dir`. Raises InvalidInputError for a file on another machine.
    """
    if source[:5].lower() == "file:":
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost"):
            raise InvalidInputError(
                f"{source} names a file on another machine, {parts.netloc}",
                remedy="Use three slashes: file:///folder/model.safetensors.",
            )
        return base_dir / unquote(parts.path)
    is_url = "://" in source or is_civitai_address(source)
    return None if is_url else base_dir / source
