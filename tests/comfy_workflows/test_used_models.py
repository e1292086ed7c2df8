from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.graph import parse_workflow
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.used_models import used_models
from tests.graphs import node

CLASSES: dict[str, Any] = {
    "Loader": {
        "input": {
            "required": {"model": [["a.pth"], {}], "mode": [["fast", "slow.pth"], {}]},
            "optional": {"vae": ["COMBO", {"options": []}], "text": ["STRING", {}]},
        }
    },
    "Load": {"input": {"required": {"image": [[], {"image_upload": True}]}}},
    "Save": {"input": {"required": {"it": ["*"]}}, "output_node": True},
}


@pytest.fixture
def models(tmp_path: Path) -> ModelFolders:
    for name in (
        "first/loras/b.pth",
        "second/loras/a.pth",
        "second/loras/b.pth",
        "second/vae/v/v.sft",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return ModelFolders(
        roots=[tmp_path / "first", tmp_path / "second"],
        folders={"loras": ["loras"], "vae": ["vae"]},
        inputs={"Loader": {"model": ["loras"]}},
    )


def used(models: ModelFolders, graph: dict[str, Any]) -> list[str]:
    found = used_models(parse_workflow(graph, place="g"), CLASSES, models)
    base = models.roots[0].parent
    return [file.relative_to(base).as_posix() for file in found]


def test_each_file_is_found_once_where_the_engine_finds_it(models: ModelFolders) -> None:
    graph = {
        "1": node("Loader", model="b.pth", mode="fast", vae="v/v.sft", text="a.pth"),
        "2": node("Loader", model="a.pth", mode="slow.pth"),
        "3": node("Loader", model="b.pth", mode="fast"),
        "4": node("Save", it=["1", 0], other=["2", 0], more=["3", 0]),
    }
    assert used(models, graph) == ["first/loras/b.pth", "second/vae/v/v.sft", "second/loras/a.pth"]
    assert models.below_root(models.roots[1] / "vae/v/v.sft") == "vae/v/v.sft"
    assert models.below_root(Path("/elsewhere/x.pth")) is None


def test_what_does_not_run_or_is_no_model_is_left_out(models: ModelFolders) -> None:
    graph = {
        "1": node("Loader", model="a.pth", mode="fast"),
        "2": node("Load", image="a.pth"),
        "3": node("Unknown", model="a.pth"),
        "4": node("Loader", model=["2", 0], mode="gone.pth"),
        "5": node("Save", it=["2", 0], other=["3", 0], more=["4", 0]),
    }
    assert used(models, graph) == []
