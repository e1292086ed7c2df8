"""The model files that a spec asks for, each with what the previous lock has of it. A folder of the
Hugging Face Hub is one model in the spec, and many files in the lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from comfy_errors import ComfyError, InvalidInputError, UnavailableError, for_each
from comfy_errors.names import as_options, listed, quantity
from comfy_http.redaction import without_secrets
from comfy_models.formats import format_of
from comfy_models.model_file import TargetPath
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub.folder import FolderFile, hub_folder
from comfy_models.sources.hub_address import parse_hub_address
from comfy_models.sources.source import HostFile
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.spec.load import fold
from runpod_comfy.spec.model import Model

KnownModel = LockedModel | UnhashedModel
_TARGET_PATH: TypeAdapter[str] = TypeAdapter(TargetPath)


@dataclass(frozen=True, kw_only=True)
class AskedFile:
    """A file that will be in the lock. `model` is the name of its model in the spec.

    `urls` are its sources, the preferred one first. `sha256` (64 hex digits) and `size` (bytes) are
    what the spec states, `told` is what the listing of a folder told about URLs. `known` is the
    file in the previous lock, if its pin is kept.
    """

    model: str
    name: str
    place: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    told: Mapping[str, HostFile] = field(default_factory=dict)
    known: KnownModel | None = None


def asked_file(model: Model, known: Sequence[KnownModel]) -> AskedFile:
    """The file of a model that is not a folder."""
    return AskedFile(
        model=model.name,
        name=model.name,
        place=model.place,
        urls=(model.source, *model.mirrors),
        sha256=model.checksum.removeprefix("sha256:") if model.checksum else None,
        size=model.size,
        known=_known_as(model, known),
    )


def _known_as(model: Model, known: Sequence[KnownModel]) -> KnownModel | None:
    """What has this source and place, and no other checksum or size than the spec states."""
    return next(
        (
            each
            for each in known
            if (each.sources[0].url, each.target_path) == (model.source, model.place)
            and (None in (model.checksum, each.sha256) or model.checksum == f"sha256:{each.sha256}")
            and (None in (model.size, each.size) or model.size == each.size)
        ),
        None,
    )


def faults_of_places(files: Sequence[AskedFile]) -> Iterator[ComfyError]:
    """An error for every two files of which only one can have its place."""
    seen: dict[str, AskedFile] = {}
    for file in files:
        first = seen.setdefault(fold(file.place), file)
        if first is not file:
            yield InvalidInputError(
                f"the models {first.name} and {file.name} both go to '{file.place}'",
                remedy="Give one of them another 'target_path' in the spec.",
            )
    for file in files:
        for folder in PurePosixPath(fold(file.place)).parents:
            if other := seen.get(str(folder)):
                yield InvalidInputError(
                    f"the model {file.name} goes to '{file.place}', below the file of the model "
                    f"{other.name}",
                    remedy="Give one of them another 'target_path' in the spec.",
                )


def faults_of_pickles(files: Sequence[AskedFile], allowed: Sequence[str]) -> Iterator[ComfyError]:
    """One error for all pickled models that `options.allow_pickle` does not name."""
    refused = [
        file for file in files if format_of(file.place) == "pickle" and file.model not in allowed
    ]
    if not refused:
        return
    names = list(dict.fromkeys(file.model for file in refused))
    files_are = quantity(len(refused), "model file is", "model files are")
    yield InvalidInputError(
        f"{files_are} in a format that can run code when it is loaded (pickle): "
        f"{listed([file.place for file in refused])}",
        remedy="Use a .safetensors file instead, or if you trust the author, add to the spec: "
        f"{as_options(allow_pickle=[*allowed, *names])}",
    )


def asked_files_of_folder(
    model: Model, known: Sequence[KnownModel], hosts: Hosts, *, offline: bool
) -> list[AskedFile]:
    """The files of the folder that is the source of `model`, by their paths.

    Those in `known`, if there are any, else those that are in the folder today, all at one commit.
    Raises what listing the folder raises, and InvalidInputError for a path that cannot be a place.
    """
    address = parse_hub_address(model.source)
    kept = [
        AskedFile(
            model=model.name,
            name=each.name,
            place=each.target_path,
            urls=(each.sources[0].url,),
            known=each,
        )
        for each in known
        if is_file_of(model, each)
    ]
    if kept:
        return sorted(kept, key=lambda file: file.place)
    if offline:
        raise UnavailableError(
            f"model {model.name}: {without_secrets(model.source)} cannot be listed (--offline)",
            remedy="Run the command once without --offline.",
        )
    try:
        files = hub_folder(address, hosts)
    except ComfyError as error:
        error.within(f"model {model.name}")
        raise
    return for_each(lambda file: _asked(model, file), files)


def is_file_of(folder: Model, file: KnownModel) -> bool:
    """Whether a file of a lock is in the folder that is the source of the model `folder`."""
    prefix = parse_hub_address(folder.source).url
    is_below = file.target_path.startswith(f"{folder.place}/")
    return is_below and file.sources[0].url.startswith(prefix)


def _asked(model: Model, file: FolderFile) -> AskedFile:
    try:
        place = _TARGET_PATH.validate_python(f"{model.place}/{file.path}")
    except ValidationError as error:
        raise InvalidInputError(
            f"model {model.name}: {without_secrets(model.source)} has the file {file.path!r}, "
            f"whose path {error.errors()[0]['msg'].removeprefix('Value error, ')}",
            remedy="Name the files that you need one by one in the spec.",
        ) from error
    return AskedFile(
        model=model.name,
        name=f"{model.name}/{file.path}",
        place=place,
        urls=(file.url,),
        told={file.url: file.told},
    )
