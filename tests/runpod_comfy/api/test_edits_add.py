"""What is added to a spec must be new there, and JSON says itself what flags say of a URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_files.progress import say_nothing
from comfy_models.verify import HashMemory
from runpod_comfy.api.edits import new_models, new_nodes
from runpod_comfy.spec.asked import LocalModels
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.load import LoadedSpec, parse_spec
from runpod_comfy.spec.model import CustomNode, Model
from tests.specs import whole_spec

_URL = "https://h/models/new.bin"


def _loaded(**changes: Any) -> LoadedSpec:
    text = json.dumps({**whole_spec(), **changes})
    return LoadedSpec(spec=parse_spec(text, where="a test"), path=Path("/v/x.json"))


def _nodes(text: str, name: str | None = None) -> list[CustomNode]:
    return new_nodes(text, _loaded(), Folders(working=Path("/w"), spec=Path("/v")), name=name)


def _models(
    text: str, *, subdir: str | None = None, node: str | None = None, name: str | None = None
) -> list[Model]:
    local = LocalModels(root=None, auto_checksum=False, memory=HashMemory(()), say=say_nothing)
    folders = Folders(working=Path("/w"), spec=Path("/v"))
    target = {"target_subdir": subdir, "target_node": node}
    return new_models(text, _loaded(), folders, local, name=name, **target)


def test_names_that_a_file_system_takes_for_the_same_are_taken() -> None:
    assert [node.name for node in _nodes("https://h/third@main")] == ["third"]
    for text, name in (("https://h/FIRST@main", None), ("https://h/third@main", "Second")):
        with pytest.raises(InvalidInputError, match="/v/x.json already has a custom node"):
            _nodes(text, name)


def test_a_node_that_is_there_is_moved_by_an_upgrade() -> None:
    with pytest.raises(InvalidInputError, match="'first', from https://h/first") as caught:
        _nodes("https://h/first@v2")
    assert caught.value.remedy.endswith("runpod-comfy resolve x --upgrade first")
    with pytest.raises(InvalidInputError) as caught:
        _nodes("https://h/other/first@v2")
    assert "--name" in caught.value.remedy


def test_a_source_goes_into_the_folder_that_is_named() -> None:
    (model,) = _models(_URL, subdir="loras/small")
    assert (model.name, model.place) == ("new.bin", "loras/small/new.bin")
    (model,) = _models(_URL, subdir="loras", name="mine.bin")
    assert model.place == "loras/mine.bin"
    with pytest.raises(InvalidInputError, match="needs a target folder"):
        _models(_URL)


def test_an_empty_node_is_reported_without_a_gap() -> None:
    with pytest.raises(InvalidInputError, match="^add-node: 'repo' must not be empty"):
        _nodes("")


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_source_is_named_before_its_folder(text: str) -> None:
    for subdir in (None, "loras"):
        with pytest.raises(InvalidInputError, match="add-model: the source is empty"):
            _models(text, subdir=subdir)


def test_a_source_goes_into_the_folder_of_a_node() -> None:
    (model,) = _models(_URL, node="first", subdir="ckpts")
    assert (model.target_path, model.place) == (
        "ckpts/new.bin",
        "node_models/first/ckpts/new.bin",
    )
    (model,) = _models(_URL, node="first")
    assert (model.target_subdir, model.place) == (None, "node_models/first/new.bin")


def test_a_url_that_ends_in_json_is_a_source() -> None:
    (model,) = _models("https://h/config.json", subdir="configs")
    assert model.place == "configs/config.json"


def test_a_folder_of_the_hub_goes_into_the_folder_that_is_named() -> None:
    (model,) = _models("hf://o/n/unet/", subdir="diffusers/mine")
    assert (model.name, model.place) == ("unet", "diffusers/mine/unet")


def test_a_place_that_a_model_has_is_taken() -> None:
    with pytest.raises(InvalidInputError, match="already has a model at 'vae/m.bin'"):
        _models("https://h/other/M.bin", subdir="vae")


def test_flags_for_a_url_are_not_for_json() -> None:
    asked = json.dumps({"source": _URL, "target_subdir": "loras"})
    assert [model.place for model in _models(asked)] == ["loras/new.bin"]
    with pytest.raises(InvalidInputError, match="^--target-subdir is for a URL or a path"):
        _models(asked, subdir="vae")
    with pytest.raises(InvalidInputError, match="^--name and --target-subdir are for") as caught:
        _models("models.json", subdir="vae", name="x")
    assert caught.value.remedy == "Write 'name' and 'target_subdir' into the JSON object."
    with pytest.raises(InvalidInputError, match="^--name is for a URL or a path"):
        _nodes('{"repo": "https://h/third"}', name="x")
