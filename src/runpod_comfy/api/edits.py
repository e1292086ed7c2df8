"""Edits a spec file: adds a node, a model or an override."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError
from comfy_files.files import PERMISSIONS, disk_errors
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say, say_nothing
from comfy_files.user_paths import real
from comfy_models.store import ModelStore
from comfy_models.verify import store_memory
from runpod_comfy.api.arguments import as_text, checked
from runpod_comfy.api.versions import Created, editing, fetch_context_for
from runpod_comfy.api.workspace import StrPath, as_path, find_project, version_id_of
from runpod_comfy.cache.paths import Cache
from runpod_comfy.sources.kinds import settle
from runpod_comfy.spec.asked import (
    LocalModels,
    local_models,
    read_models,
    read_nodes,
    with_checksums,
)
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.load import LoadedSpec, find_spec, fold, load_spec, parse_spec
from runpod_comfy.spec.model import CustomNode, Model, Spec, Tree
from runpod_comfy.spec.values import ReleasedRequirement
from runpod_comfy.spec.write import append_entry, put_override, replace_spec

_Edit = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Edited(Created):
    """A spec's file after an edit. `added` is what was added, as JSON, and `replaced` the removed
    overrides.
    """

    added: tuple[Any, ...]
    replaced: tuple[str, ...] = ()


@checked
def add_node(
    version_id: str | None,
    node: StrPath | Mapping[str, Any],
    *,
    name: str | None = None,
    spec: StrPath | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
) -> Edited:
    """Adds a custom node to a version's spec file; everything else in it is kept.

    `version_id` None is `COMFY_VERSION_NAME`, then `demo`; `spec` is a file to use instead of
    `versions/<id>.json` of the `project`. `node` is `URL[@REF][#subdir=…]`, a path, an object or a
    JSON file. Its ref is resolved to its current commit. `name` is by default that of the
    repository. Raises InvalidInputError for invalid arguments and for a name that is taken,
    UnavailableError for anything out of reach.
    """
    loaded, folders = _opened(version_id, spec, project)
    asked = new_nodes(as_text(node), loaded, folders, name=name)
    fetch_context = fetch_context_for(loaded.path.parent, offline=False, say=say)
    with fetch_context.cache.using(say):
        nodes = in_parallel(lambda each: settle(each, fetch_context), asked)
    return _with_entries(loaded, "custom_nodes", nodes, say)


@checked
def add_model(
    version_id: str | None,
    model: StrPath | Mapping[str, Any],
    *,
    target_subdir: str | None = None,
    target_node: str | None = None,
    name: str | None = None,
    models_root: StrPath | None = None,
    auto_checksum: bool = False,
    spec: StrPath | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
) -> Edited:
    """Adds a model to a version's spec file; everything else in it is kept.

    `version_id` None is `COMFY_VERSION_NAME`, then `demo`; `spec` is a file to use instead of
    `versions/<id>.json` of the `project`. `model` is an object, a JSON file with one or a list, or
    a URL or path, which goes into `target_subdir` of the models folder, or of the folder of the
    custom node `target_node`, as `name`. Model files are searched for in `models_root`, and hashed
    with `auto_checksum`. Raises InvalidInputError for invalid arguments and for a path that is
    taken, UnavailableError for a missing file, MismatchError for a wrong checksum.
    """
    loaded, folders = _opened(version_id, spec, project)
    memory = store_memory(ModelStore(Cache.from_environment().models))
    local = local_models(
        as_path(models_root), folders, auto_checksum=auto_checksum, memory=memory, say=say
    )
    models = new_models(
        as_text(model),
        loaded,
        folders,
        local,
        name=name,
        target_subdir=target_subdir,
        target_node=target_node,
    )
    return _with_entries(loaded, "models", models, say)


@checked
def override(
    version_id: str | None,
    requirement: str,
    *,
    spec: StrPath | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
) -> Edited:
    """Puts a requirement into `options.overrides` of a version's spec file, replacing an existing
    one for the same distribution; everything else in it is kept.

    `version_id` None is `COMFY_VERSION_NAME`, then `demo`; `spec` is a file to use instead of
    `versions/<id>.json` of the `project`. Overrides with different markers are kept side by side.
    Raises InvalidInputError for an invalid requirement.
    """
    loaded, _ = _opened(version_id, spec, project)
    try:
        TypeAdapter(ReleasedRequirement).validate_python(requirement)
    except ValidationError as error:
        raise InvalidInputError(
            f"override: {error.errors()[0]['ctx']['error']}",
            remedy="Write it as in a requirements.txt: 'numpy==1.26.4'",
        ) from error
    before, after, written = _edit(loaded, lambda text: put_override(text, requirement), say)
    return Edited(
        version_id=after.version_id,
        path=loaded.path,
        written=written,
        added=(requirement,),
        replaced=tuple(
            each for each in before.options.overrides if each not in after.options.overrides
        ),
    )


def _opened(
    version_id: str | None, spec: StrPath | None, project: StrPath | None
) -> tuple[LoadedSpec, Folders]:
    path = as_path(spec) or find_spec(version_id_of(version_id), find_project(project))
    loaded = load_spec(path)
    folders = Folders(working=real(Path.cwd()), spec=real(loaded.path.parent))
    return loaded, folders


def _with_entries(
    loaded: LoadedSpec, key: str, entries: Sequence[Tree] | Sequence[Model], say: Say
) -> Edited:
    added = loaded.spec.model_copy(update={key: entries}).document()[key]

    def edit(text: str) -> str:
        for entry in added:
            text = append_entry(text, key, entry)
        return text

    _, after, written = _edit(loaded, edit, say)
    return Edited(
        version_id=after.version_id, path=loaded.path, written=written, added=tuple(added)
    )


def _edit(loaded: LoadedSpec, edit: _Edit, say: Say) -> tuple[Spec, Spec, bool]:
    """The spec before and after an edit of its file, and whether the file was written.

    Concurrent changes by other commands are kept. Raises InvalidInputError, and writes nothing, if
    the edit would make the spec invalid.
    """
    # A link is written through, so that it stays one.
    path = real(loaded.path)
    with (
        disk_errors(f"{path} could not be written", remedy=PERMISSIONS),
        editing(path, Cache.from_environment(), say),
    ):
        before, text = load_spec(loaded.path).spec, path.read_bytes().decode()
        changed = edit(text)
        after = parse_spec(changed.removeprefix("\ufeff"), where=f"{loaded.path}, edited")
        if changed == text:
            return before, after, False
        replace_spec(path, changed.encode())
    return before, after, True


def new_nodes(
    text: str, loaded: LoadedSpec, folders: Folders, *, name: str | None
) -> list[CustomNode]:
    """The nodes for `add-node` to add, with paths relative to the spec's folder.

    `name` is for a node given as a URL or path. Raises InvalidInputError for invalid input and for
    a name that the spec already has, UnavailableError for a missing local file or folder.
    """
    nodes = read_nodes(text, folders, option="add-node", name=name)
    if not nodes:
        raise InvalidInputError("add-node: the list is empty", remedy="Put a node into it.")
    for node in nodes:
        for there in loaded.spec.custom_nodes:
            if fold(there.name) == fold(node.name):
                newer = f"runpod-comfy resolve {loaded.spec.version_id} --upgrade {there.name}"
                moves = there.repo == node.repo and there.kind == "git"
                raise InvalidInputError(
                    f"{loaded.path} already has a custom node '{there.name}', from {there.repo}",
                    remedy=f"Upgrade it to its newest commit with: {newer}"
                    if moves
                    else "Choose another name with --name, or change that node in the file.",
                )
    return nodes


def new_models(
    text: str,
    loaded: LoadedSpec,
    folders: Folders,
    local: LocalModels,
    *,
    name: str | None,
    target_subdir: str | None,
    target_node: str | None,
) -> list[Model]:
    """The models for `add-model` to add: JSON, the path of a JSON file, or a source.

    `name`, `target_subdir` and `target_node` are for a source. Raises InvalidInputError for invalid
    input and for a path that a model of the spec already has, UnavailableError for a missing local
    file, MismatchError for a wrong checksum.
    """
    asked = _as_json(text, name=name, target_subdir=target_subdir, target_node=target_node)
    found = read_models(asked, folders, local, option="add-model")
    models = with_checksums(found, local)
    if not models:
        raise InvalidInputError("add-model: the list is empty", remedy="Put a model into it.")
    for model in models:
        for there in loaded.spec.models:
            if fold(there.place) == fold(model.place):
                raise InvalidInputError(
                    f"{loaded.path} already has a model at '{there.place}', from {there.source}",
                    remedy="Choose another name or folder, or change that model in the file.",
                )
    return models


def _as_json(text: str, **asked: str | None) -> str:
    if not text.strip():
        raise InvalidInputError(
            "add-model: the source is empty", remedy="Name a URL or a path of a model file."
        )
    given = {key: value for key, value in asked.items() if value is not None}
    is_json = text.lstrip().startswith(("{", "["))
    if is_json or (text.endswith(".json") and "://" not in text):
        if given:
            flags = " and ".join(f"--{key.replace('_', '-')}" for key in given)
            raise InvalidInputError(
                f"{flags} {'is' if len(given) == 1 else 'are'} for a URL or a path",
                remedy=f"Write {' and '.join(map(repr, given))} into the JSON object.",
            )
        return text
    if given.keys().isdisjoint({"target_subdir", "target_node"}):
        raise InvalidInputError(
            f"add-model: {text} needs a target folder",
            remedy="Name one below the models folder, such as --target-subdir checkpoints, or a "
            "custom node with --target-node.",
        )
    return json.dumps({"source": text, **given})
