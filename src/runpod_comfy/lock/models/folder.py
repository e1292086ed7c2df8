"""A folder of the Hugging Face Hub: one model in the spec, many files in the lock."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from comfy_errors import ComfyError, InvalidInputError, UnavailableError, for_each
from comfy_http.redaction import without_secrets
from comfy_models.model_file import TargetPath
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub.folder import FolderFile, hub_folder
from comfy_models.sources.hub_address import parse_hub_address
from runpod_comfy.lock.models.asked import AskedFile, KnownModel
from runpod_comfy.spec.model import Model

_TARGET_PATH: TypeAdapter[str] = TypeAdapter(TargetPath)


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
