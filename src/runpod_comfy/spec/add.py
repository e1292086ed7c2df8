"""Nodes and models that a command adds to a spec: read as `create` reads them, and new to it."""

from __future__ import annotations

import json

from comfy_errors import InvalidInputError
from runpod_comfy.spec.asked import Folders
from runpod_comfy.spec.asked_models import LocalModels, read_models, with_checksums
from runpod_comfy.spec.asked_trees import read_nodes
from runpod_comfy.spec.load import LoadedSpec, fold
from runpod_comfy.spec.model import CustomNode, Model


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
