"""`--models`: model files as a person names them, and the checksums of those that are here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_files.hashing import sha256_of
from runpod_comfy.spec.asked import Folders, read_objects, validated
from runpod_comfy.spec.model import Model, ModelSource
from runpod_comfy.spec.text import source_file_name, source_scheme

Say = Callable[[str], None]


class _AskedModel(BaseModel):
    """A model as JSON: its name and its place may be left to its source."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: ModelSource
    name: str | None = None
    target_subdir: str | None = None
    target_path: str | None = None
    checksum: str | None = None
    mirrors: list[ModelSource] = []
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class LocalModels:
    """Where model files may lie besides their source, and whether found ones are hashed."""

    root: Path | None
    auto_checksum: bool
    say: Say


def read_models(text: str, folders: Folders, local: LocalModels) -> list[Model]:
    """The models of one `--models`: a JSON object, or a JSON file with one or a list of them.

    Raises InvalidInputError naming the wrong key, UnavailableError for a local file that is not
    there, MismatchError for a local file with another checksum than the one given.
    """
    objects = read_objects(text, "--models", folders.working)
    if objects is None:
        raise InvalidInputError(
            f"--models: '{text}' is neither a JSON object nor a JSON file",
            remedy='Write it as: \'{"source": "URL or path", "target_subdir": "checkpoints"}\'',
        )
    models = []
    for item in objects:
        asked = validated(_AskedModel, item.fields, item.where)
        models.append(_model(asked, item.where, folders, local))
    return models


def _model(asked: _AskedModel, where: str, folders: Folders, local: LocalModels) -> Model:
    source, path = _local_source(asked.source, folders)
    name = asked.name or PurePosixPath(asked.target_path or source_file_name(asked.source)).name
    if not asked.name and "." not in name:
        raise InvalidInputError(
            f"{where}: no file name can be told from the source '{asked.source}'",
            remedy="Add 'name' with the file's name.",
        )
    fields: dict[str, Any] = asked.model_dump(exclude_none=True)
    fields |= {"name": name, "source": source, "checksum": _written_out(asked.checksum)}
    fields["mirrors"] = [_local_source(mirror, folders)[0] for mirror in asked.mirrors]
    model = validated(Model, fields, where)
    place = model.place
    folder = PurePosixPath(place).parent.as_posix()
    model = model.model_copy(
        update={
            "target_path": place,
            "target_subdir": model.target_subdir or (None if folder == "." else folder),
        }
    )
    return _with_checksum(model, path, where, local)


def _with_checksum(model: Model, path: Path | None, where: str, local: LocalModels) -> Model:
    candidates = [path] if path is not None else []
    if local.root is not None:
        candidates += [local.root / model.place, local.root / model.name]
    found = next((item for item in candidates if item.is_file()), None)
    if found is None:
        if path is not None:
            raise UnavailableError(
                f"{where}: the model file {path} is not there", remedy="Correct 'source'."
            )
        if local.auto_checksum:
            local.say(f"{model.name}: no local file, so its checksum is left as it is")
        return model
    if not local.auto_checksum:
        return model
    local.say(f"Hashing {found}")
    checksum = _checksum_of(found)
    if model.checksum not in (None, checksum):
        raise MismatchError(
            f"{where}: {found} has {checksum}, but 'checksum' says {model.checksum}",
            remedy="Correct 'checksum', or put the right file there.",
        )
    return model.model_copy(update={"checksum": checksum})


def _checksum_of(path: Path) -> str:
    try:
        return f"sha256:{sha256_of(path)}"
    except OSError as error:
        raise UnavailableError(
            f"the model file {path} cannot be read: {error.strerror}",
            remedy="Check its permissions.",
        ) from error


def _local_source(source: str, folders: Folders) -> tuple[str, Path | None]:
    """A source as the spec must say it, and the local file it names, if it names one."""
    scheme = source_scheme(source)
    if scheme not in ("", "file"):
        return source, None
    if scheme == "":
        return folders.rewritten(source), folders.working / source
    parts = urlsplit(source)
    inner = unquote(parts.path)
    if not inner.startswith("/"):
        return folders.rewritten(inner), folders.working / inner
    return source if source.startswith("file://") else f"file://{parts.path}", Path(inner)


def _written_out(checksum: str | None) -> str | None:
    """Hashes are copied from web pages without their kind, and in capitals."""
    if checksum is None:
        return None
    digits = checksum.strip().lower()
    return f"sha256:{digits}" if re.fullmatch(r"[0-9a-f]{64}", digits) else digits
