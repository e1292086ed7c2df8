"""The trees and the models that arguments ask for, with the checksums of files found here."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, MismatchError, UnavailableError, for_each
from comfy_files.json_faults import fault_words
from comfy_files.json_model import Strict
from comfy_files.progress import Say
from comfy_http.redaction import without_secrets
from comfy_models.hashing import hash_files
from comfy_models.verify import HashMemory
from runpod_comfy.spec.document import Folders, read_objects, validated
from runpod_comfy.spec.model import CustomNode, Model, Tree
from runpod_comfy.spec.model_sources import (
    SourceAddress,
    hub_folder,
    source_file_name,
    source_scheme,
)
from runpod_comfy.spec.values import ARCHIVE_SUFFIXES, NodeName, is_archive_name, tree_kind

# Splits at the last `@` after the last `/` or `:`; an earlier one belongs to the URL.
_REPO_AT_REF = re.compile(r"(?P<repo>.*?)(@(?P<ref>[^/:@]*))?", re.DOTALL)
_SUBDIR = re.compile(r"subdir=(?P<subdir>.+)")
# Archive URLs of GitHub, GitLab and Gitea: `…/owner/name/archive/…/main.zip`.
_FORGE_ARCHIVE = re.compile(r"https?://[^/]+/(?P<repository>.+?)/(-/)?archive/")


class _AskedNode(Strict):
    """A node as JSON; the default name comes from its repository."""

    repo: str
    name: str | None = None
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None


def read_core(text: str, folders: Folders) -> Tree:
    """The tree of `--repo`: `URL@ref`, `URL@ref#subdir=a/b`, or a local path in this form."""
    return validated(Tree, _split(text, folders, "--repo"), where="--repo")


def read_nodes(
    text: str, folders: Folders, *, option: str = "--nodes", name: str | None = None
) -> list[CustomNode]:
    """The nodes of one `--nodes`: a JSON object, a JSON file, or text like that of `--repo`.

    `option` is the option's name in messages. `name` is for a node that is not JSON.
    """
    is_tree = is_archive_name(text) or text.endswith(".py")
    is_tree = is_tree and (folders.working / text).is_file()
    asked = None if is_tree else read_objects(text, option, _AskedNode, folders)
    if asked is None:
        named = {"name": name} if name is not None else {}
        fields = _split(text, folders, option) | named
        give = "--name NAME" if option == "add-node" else f"{option} {_with_a_name(text, fields)}"
        where = f"{option} {_without_login(text)}".strip()
        return [_node(fields, where, f"Give it a name: {give}")]
    if name is not None:
        raise InvalidInputError(
            "--name is for a URL or a path", remedy="Write 'name' into the JSON object."
        )

    def read(item: tuple[_AskedNode, str]) -> CustomNode:
        node, where = item
        return _node(_with_local_repo(node.model_dump(exclude_none=True), folders, where), where)

    return for_each(read, asked)


def _node(
    fields: dict[str, Any], where: str, give_name: str = "Add 'name' to the JSON object."
) -> CustomNode:
    """The node of these fields; `give_name` is the remedy if its default name is not allowed."""
    node = validated(CustomNode, {"name": "x", **fields}, where=where)
    if "name" in fields:
        return node
    name = _name_of(fields)
    try:
        TypeAdapter(NodeName).validate_python(name)
    except ValidationError as error:
        raise InvalidInputError(
            f"{where}: the name of the node, '{name}', {fault_words(error.errors()[0])}",
            remedy=give_name,
        ) from error
    return node.model_copy(update={"name": name})


def _with_a_name(text: str, fields: Mapping[str, Any]) -> str:
    """The argument for a node in which its name can be set; its fields were read from `text`."""
    repo = fields["repo"]
    if _kind(repo) == "folder":
        repo = text.removesuffix(f"#subdir={fields.get('subdir')}")
    return shlex.quote(json.dumps({"name": "NAME", **fields, "repo": repo}, ensure_ascii=False))


def _without_login(text: str) -> str:
    # The complaint may be that there is one.
    return re.sub(r"(?<=://)[^/]*@", "***@", text.partition("?")[0])


def _name_of(fields: Mapping[str, Any]) -> str:
    """The folder name that `git clone` would use, or the last part of `subdir`."""
    place = fields.get("subdir") or _without_endings(fields["repo"])
    name = re.split(r"[/:]", place.rstrip("/"))[-1].removesuffix(".py")
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _without_endings(repo: str) -> str:
    if _kind(repo) != "archive":
        return repo.rstrip("/").removesuffix(".git")
    place = repo.partition("?")[0]
    if match := _FORGE_ARCHIVE.match(place):
        return match["repository"]
    if place.endswith(".whl"):
        return place.rpartition("/")[2].partition("-")[0]
    ending = next(suffix for suffix in ARCHIVE_SUFFIXES if place.lower().endswith(suffix))
    return place[: -len(ending)]


def _split(text: str, folders: Folders, where: str) -> dict[str, Any]:
    if (folders.working / text).is_dir():
        return _with_local_repo({"repo": text}, folders, where)
    fields: dict[str, Any] = {}
    rest, _, fragment = text.partition("#")
    if fragment:
        match = _SUBDIR.fullmatch(fragment)
        if match is None:
            raise InvalidInputError(
                f"{where}: '#{fragment}' in '{_without_login(text)}' is not supported",
                remedy="Only subdir=FOLDER can follow '#'.",
            )
        fields["subdir"] = match["subdir"]
    match = _REPO_AT_REF.fullmatch(rest)
    assert match is not None
    fields["repo"], ref = match["repo"], match["ref"]
    if ref == "":
        raise InvalidInputError(
            f"{where}: '{_without_login(text)}' has no ref after its '@'",
            remedy="Add a branch, tag or commit there.",
        )
    if ref is not None:
        fields["ref"] = ref
    return _with_local_repo(fields, folders, where)


def _with_local_repo(fields: Mapping[str, Any], folders: Folders, where: str) -> dict[str, Any]:
    """A local repository or archive as `file://`, a folder as a path relative to the spec's folder.

    It is a repository if a ref or commit is given, or if it only has git's own files.
    """
    repo = fields["repo"]
    if not repo or repo.startswith("-") or "::" in repo or _kind(repo) != "folder":
        return dict(fields)
    path = folders.working / repo
    if not path.exists():
        raise UnavailableError(
            f"{where}: there is no folder {path}",
            remedy='Pass a ref with a slash as JSON: {"repo": "…", "ref": "feature/x"}'
            if "@" in repo
            else "Name a folder or git repository that exists, or a URL.",
        )
    revision = fields.get("ref") or fields.get("commit") or ""
    is_archive = path.is_file() and is_archive_name(repo)
    is_bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    if not is_archive and not is_bare:
        if not revision or revision.startswith("tree:"):
            return {**fields, "repo": folders.rewritten(repo)}
        if not (path / ".git").exists():
            raise InvalidInputError(
                f"{where}: {path} is not a git repository, so it has no '{revision}'",
                remedy="Leave that out to use the folder as it is.",
            )
    return {**fields, "repo": Path(os.path.normpath(path)).as_uri()}


def _kind(repo: str) -> str:
    try:
        return tree_kind(repo)
    except ValueError:
        # Validation will report what is wrong with it.
        return "unknown"


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
        fault = f"names the file '{name}' without an ending" if name else "has no file name"
        raise InvalidInputError(
            f"{where}: the source '{asked.source}' {fault}",
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
