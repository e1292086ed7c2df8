"""The models that arguments ask for, with the checksums of files found here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator

from comfy_errors import InvalidInputError, MismatchError, UnavailableError, for_each
from comfy_files.progress import Say
from comfy_http.redaction import without_secrets
from comfy_models.hashing import hash_files
from comfy_models.verify import HashMemory
from runpod_comfy.spec.document import Folders, read_objects, validated
from runpod_comfy.spec.model import Model, Strict
from runpod_comfy.spec.model_sources import (
    SourceAddress,
    hub_folder,
    source_file_name,
    source_scheme,
)


@dataclass(frozen=True, kw_only=True)
class LocalModels:
    """Where to search for model files besides their source, and whether to hash them; `memory` is
    what is known of their hashes.
    """

    root: Path | None
    auto_checksum: bool
    memory: HashMemory
    say: Say


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A model as it was asked for. `path` is its file on this machine, `where` its place in
    messages.
    """

    model: Model
    where: str
    path: Path | None


def local_models(
    models_root: Path | None,
    folders: Folders,
    *,
    auto_checksum: bool,
    say: Say,
    memory: HashMemory | None = None,
) -> LocalModels:
    """The values of `--models-root` and `--auto-checksum`; `memory` has what is known of hashes.

    Raises UnavailableError if the folder does not exist, InvalidInputError if it is a file.
    """
    root = folders.working / models_root if models_root is not None else None
    if root is not None:
        if not root.exists():
            raise UnavailableError(
                f"--models-root: there is no folder {root}", remedy="Check the path."
            )
        if not root.is_dir():
            complaint = f"--models-root: {root} is not a folder"
            raise InvalidInputError(complaint, remedy="Name a folder.")
        if not auto_checksum:
            say("--models-root is only used with --auto-checksum")
    known = memory or HashMemory(())
    return LocalModels(root=root, auto_checksum=auto_checksum, memory=known, say=say)


def _written_out(checksum: str) -> str:
    """Hashes copied from web pages lack the `sha256:` prefix, or are in upper case."""
    digits = checksum.strip().lower()
    return f"sha256:{digits}" if re.fullmatch(r"[0-9a-f]{64}", digits) else digits


class _AskedModel(Strict):
    """A model as JSON; the default name and path come from its source."""

    source: SourceAddress
    name: str | None = None
    target_node: str | None = None
    target_subdir: str | None = None
    target_path: str | None = None
    checksum: Annotated[str, AfterValidator(_written_out)] | None = None
    mirrors: list[SourceAddress] = []
    size: int | None = None


def read_models(
    text: str, folders: Folders, local: LocalModels, *, option: str = "--models"
) -> list[FoundModel]:
    """The models of one `--models`: a JSON object, or a JSON file with one or a list of them.

    `option` is the option's name in messages. Raises InvalidInputError naming the wrong key,
    UnavailableError for a missing local file.
    """
    asked = read_objects(text, option, _AskedModel, folders)
    if asked is None:
        raise InvalidInputError(
            f"{option}: {without_secrets(text)!r} is neither a JSON object nor a JSON file",
            remedy='Write it as: \'{"source": "URL or path", "target_subdir": "checkpoints"}\'',
        )
    return for_each(lambda item: _model(*item, folders, local), asked)


def with_checksums(found: Sequence[FoundModel], local: LocalModels) -> list[Model]:
    """The models, with the checksums of their files if these are asked for.

    Raises UnavailableError for files that cannot be read, and MismatchError for those whose
    checksum differs from the given one.
    """
    paths = [each.path for each in found if each.path is not None]
    if not local.auto_checksum:
        return [each.model for each in found]
    hashes = hash_files({path: str(path) for path in paths}, local.memory, local.say)
    return for_each(lambda each: _with_checksum(each, hashes), found)


def _with_checksum(found: FoundModel, hashes: Mapping[Path, str]) -> Model:
    model = found.model
    if found.path is None:
        return model
    checksum = f"sha256:{hashes[found.path]}"
    if model.checksum not in (None, checksum):
        raise MismatchError(
            f"{found.where}: {found.path} has {checksum}, but 'checksum' says {model.checksum}",
            remedy="Correct 'checksum', or put the right file there.",
        )
    return model.model_copy(update={"checksum": checksum})


def _model(asked: _AskedModel, where: str, folders: Folders, local: LocalModels) -> FoundModel:
    source, path = _local_source(asked.source, folders)
    if path is not None and path.is_dir():
        raise InvalidInputError(
            f"{where}: {path} is a folder, not a model file", remedy="Correct 'source'."
        )
    name = asked.name or PurePosixPath(asked.target_path or source_file_name(asked.source)).name
    if not asked.name and "." not in name and not hub_folder(asked.source):
        raise InvalidInputError(
            f"{where}: the source '{asked.source}' has no file name",
            remedy="Add 'name' with the file's name; for add-model, it can also be --name.",
        )
    mirrors = [_local_source(mirror, folders)[0] for mirror in asked.mirrors]
    given = {"name": name, "source": source, "mirrors": mirrors}
    model = validated(Model, {**asked.model_dump(exclude_none=True), **given}, where=where)
    folder = PurePosixPath(model.target).parent.as_posix()
    subdir = model.target_subdir or (None if folder == "." else folder)
    model = model.model_copy(update={"target_path": model.target, "target_subdir": subdir})
    found = None if model.is_folder else _local_file(model, path, where, local)
    if found is not None and path is not None and found != path:
        below = (
            found.relative_to(folders.working) if found.is_relative_to(folders.working) else found
        )
        model = model.model_copy(update={"source": folders.rewritten(str(below))})
    return FoundModel(model=model, where=where, path=found)


def _local_file(model: Model, path: Path | None, where: str, local: LocalModels) -> Path | None:
    """The file of the model on this machine. Raises UnavailableError if its source is missing."""
    candidates = [path] if path is not None else []
    if local.root is not None:
        candidates += [local.root / model.place, local.root / model.name]
    found = next((item for item in candidates if item.is_file()), None)
    if found is None and path is not None:
        raise UnavailableError(
            f"{where}: the model file {path} does not exist", remedy="Correct 'source'."
        )
    if found is None and local.auto_checksum:
        local.say(f"{model.name}: no local file, so its checksum is not changed")
    return found


def _local_source(source: str, folders: Folders) -> tuple[str, Path | None]:
    """A source as it will be in the spec, and the local file that it names, if any."""
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
