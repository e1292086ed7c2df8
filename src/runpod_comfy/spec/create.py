"""`create`: from command-line arguments to a spec in which every ref is resolved.

`--repo`, `--nodes` and `--models` are JSON or text, with paths relative to the working directory.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError

from comfy_errors import Faults, InvalidInputError, MismatchError, UnavailableError, for_each
from comfy_files.files import sha256_of
from comfy_files.json_faults import fault_words, kind_of
from comfy_files.progress import Say
from comfy_home.platforms import DEFAULT_PLATFORM, PLATFORMS, this_platform
from runpod_comfy.spec.document import parse_json, read_json, validated
from runpod_comfy.spec.load import check_version_id, parse_spec
from runpod_comfy.spec.model import CustomNode, Model, Options, Spec, Strict, Tree
from runpod_comfy.spec.values import (
    ARCHIVE_SUFFIXES,
    ModelSource,
    NodeName,
    is_archive_name,
    source_file_name,
    source_scheme,
    tree_kind,
)
from runpod_comfy.spec.write import spec_text

Settle = Callable[[Sequence[Tree]], Sequence[Tree]]
_M = TypeVar("_M", bound=BaseModel)

# Splits at the last `@` after the last `/` or `:`; an earlier one belongs to the URL.
_REPO_AT_REF = re.compile(r"(?P<repo>.*?)(@(?P<ref>[^/:@]*))?", re.DOTALL)
_SUBDIR = re.compile(r"subdir=(?P<subdir>.+)")
# Archive URLs of GitHub, GitLab and Gitea: `…/owner/name/archive/…/main.zip`.
_FORGE_ARCHIVE = re.compile(r"https?://[^/]+/(?P<repository>.+?)/(-/)?archive/")


def create_spec(
    version_id: str,
    *,
    repo: str,
    nodes: Sequence[str],
    models: Sequence[str],
    models_root: Path | None,
    auto_checksum: bool,
    output: Path,
    working_dir: Path,
    settle: Settle,
    say: Say,
) -> Spec:
    """The spec that the arguments of `create` ask for. Writes nothing.

    `repo` and each of `nodes` are `URL@ref#subdir=a/b`; a node may also be a JSON object or the
    path of a JSON file, and each of `models` is one of these two. `output` is the file that the
    spec is for: relative paths are rewritten from `working_dir` to its folder. `settle` fills in
    `ref` and `commit` of trees, whose relative paths are from that folder too. Raises what `settle`
    raises, InvalidInputError for invalid input, UnavailableError for a missing local file,
    MismatchError for a wrong checksum.
    """
    check_version_id(version_id)
    # With links resolved, so that `..` in a rewritten path leads to the expected folder.
    folders = Folders(working=working_dir.resolve(), spec=output.parent.resolve())
    local = local_models(models_root, folders, auto_checksum=auto_checksum, say=say)
    faults = Faults()
    comfy = faults.catch(read_core, repo, folders)
    found = faults.each(lambda text: read_nodes(text, folders), nodes)
    found_models = faults.each(lambda text: read_models(text, folders, local), models)
    faults.raise_all()
    assert comfy is not None, "there are no faults"
    asked = Spec(
        schema_version=2,
        version_id=version_id,
        comfy=comfy,
        custom_nodes=[node for each in found for node in each],
        models=[model for each in found_models for model in each],
        options=_options(),
    )
    core, *settled = settle([asked.comfy, *asked.custom_nodes])
    spec = asked.model_copy(update={"comfy": core, "custom_nodes": settled})
    return parse_spec(spec_text(spec), where=f"the new spec '{version_id}'")


def _options() -> Options:
    """The options of a spec that is made on this machine: with its platform beside the default one,
    which images are for, if it is another.
    """
    here = this_platform()
    if here == DEFAULT_PLATFORM or here not in PLATFORMS:
        return Options()
    return Options.model_validate({"platforms": [DEFAULT_PLATFORM, here]})


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The base of relative paths (`working`), and the folder of the spec (`spec`)."""

    working: Path
    spec: Path

    def rewritten(self, path: str) -> str:
        """A path relative to the working directory, rewritten for the spec."""
        if Path(path).is_absolute():
            return path
        relative = Path(os.path.relpath(self.working / path, self.spec)).as_posix()
        # A name such as `a:b` would be read as a URL, and `-x` as an option.
        plain = re.fullmatch(r"[\w.][\w./+ -]*", relative)
        return relative if plain else f"./{relative}"


@dataclass(frozen=True, kw_only=True)
class LocalModels:
    """Where to search for model files besides their source, and whether to hash them."""

    root: Path | None
    auto_checksum: bool
    say: Say


def local_models(
    models_root: Path | None, folders: Folders, *, auto_checksum: bool, say: Say
) -> LocalModels:
    """The values of `--models-root` and `--auto-checksum`.

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
    return LocalModels(root=root, auto_checksum=auto_checksum, say=say)


class _AskedNode(Strict):
    """A node as JSON; the default name comes from its repository."""

    repo: str
    name: str | None = None
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None


def _written_out(checksum: str) -> str:
    """Hashes copied from web pages lack the `sha256:` prefix, or are in upper case."""
    digits = checksum.strip().lower()
    return f"sha256:{digits}" if re.fullmatch(r"[0-9a-f]{64}", digits) else digits


class _AskedModel(Strict):
    """A model as JSON; the default name and path come from its source."""

    source: ModelSource
    name: str | None = None
    target_node: str | None = None
    target_subdir: str | None = None
    target_path: str | None = None
    checksum: Annotated[str, AfterValidator(_written_out)] | None = None
    mirrors: list[ModelSource] = []
    size: int | None = None


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
    asked = None if is_tree else _read_objects(text, option, _AskedNode, folders)
    if asked is None:
        named = {"name": name} if name is not None else {}
        fields = _split(text, folders, option) | named
        give = "--name NAME" if option == "add-node" else f"{option} {_with_a_name(text, fields)}"
        return [_node(fields, f"{option} {_without_login(text)}", f"Give it a name: {give}")]
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


def read_models(
    text: str, folders: Folders, local: LocalModels, *, option: str = "--models"
) -> list[Model]:
    """The models of one `--models`: a JSON object, or a JSON file with one or a list of them.

    `option` is the option's name in messages. Raises InvalidInputError naming the wrong key,
    UnavailableError for a missing local file, MismatchError for a local file whose checksum differs
    from the given one.
    """
    asked = _read_objects(text, option, _AskedModel, folders)
    if asked is None:
        raise InvalidInputError(
            f"{option}: '{text}' is neither a JSON object nor a JSON file",
            remedy='Write it as: \'{"source": "URL or path", "target_subdir": "checkpoints"}\'',
        )
    return for_each(lambda item: _model(*item, folders, local), asked)


def _model(asked: _AskedModel, where: str, folders: Folders, local: LocalModels) -> Model:
    source, path = _local_source(asked.source, folders)
    name = asked.name or PurePosixPath(asked.target_path or source_file_name(asked.source)).name
    if not asked.name and "." not in name:
        raise InvalidInputError(
            f"{where}: the source '{asked.source}' has no file name",
            remedy="Add 'name' with the file's name.",
        )
    mirrors = [_local_source(mirror, folders)[0] for mirror in asked.mirrors]
    given = {"name": name, "source": source, "mirrors": mirrors}
    model = validated(Model, {**asked.model_dump(exclude_none=True), **given}, where=where)
    folder = PurePosixPath(model.target).parent.as_posix()
    subdir = model.target_subdir or (None if folder == "." else folder)
    model = model.model_copy(update={"target_path": model.target, "target_subdir": subdir})
    model = _with_checksum(model, path, where, local)
    if path is None and None in (model.checksum, model.size):
        local.say(
            f"Warning: model {model.name}: resolve cannot pin a URL yet without both 'checksum' "
            "and 'size'. Download the file and name its path, or state both."
        )
    return model


def _with_checksum(model: Model, path: Path | None, where: str, local: LocalModels) -> Model:
    candidates = [path] if path is not None else []
    if local.root is not None:
        candidates += [local.root / model.place, local.root / model.name]
    found = next((item for item in candidates if item.is_file()), None)
    if found is None:
        if path is not None:
            raise UnavailableError(
                f"{where}: the model file {path} does not exist", remedy="Correct 'source'."
            )
        if local.auto_checksum:
            local.say(f"{model.name}: no local file, so its checksum is not changed")
        return model
    if not local.auto_checksum:
        return model
    local.say(f"Hashing {found}")
    try:
        checksum = f"sha256:{sha256_of(found)}"
    except OSError as error:
        raise UnavailableError(
            f"the model file {found} cannot be read: {error.strerror}",
            remedy="Check its permissions.",
        ) from error
    if model.checksum not in (None, checksum):
        raise MismatchError(
            f"{where}: {found} has {checksum}, but 'checksum' says {model.checksum}",
            remedy="Correct 'checksum', or put the right file there.",
        )
    return model.model_copy(update={"checksum": checksum})


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


def _read_objects(
    argument: str, option: str, model: type[_M], folders: Folders
) -> list[tuple[_M, str]] | None:
    """The JSON objects in an argument or in the file that it names, each with its position (the
    option, or a place in a file); None if the argument is neither JSON nor a file.

    Raises InvalidInputError for broken JSON or a wrong key, UnavailableError for a missing JSON
    file.
    """
    text = argument.strip()
    path = folders.working / text
    if text.startswith(("{", "[")):
        document, place = parse_json(text, where=option), option
    elif path.is_file():
        document, place = read_json(path, what=f"file for {option}"), str(path)
    elif text.endswith(".json") and "://" not in text:
        raise UnavailableError(f"{option}: there is no file {path}", remedy="Check the path.")
    else:
        return None
    items = [(document, place)]
    if isinstance(document, list):
        items = [(item, f"{place} [{index}]") for index, item in enumerate(document)]

    def read(item: tuple[Any, str]) -> tuple[_M, str]:
        content, where = item
        if not isinstance(content, dict):
            raise InvalidInputError(
                f"{where} must be a JSON object, not {kind_of(content)}",
                remedy="Pass an object in braces, or a list of them in a file.",
            )
        return validated(model, content, where=where), where

    return for_each(read, items)
