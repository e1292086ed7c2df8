from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from comfy_workflows.graph import load_workflow
from runpod_comfy.spec.load import load_spec

IDS = ("demo", "comfyui-0.3.64")
GUIDE_ORDER = {
    "": "schema_version version_id comfy custom_nodes models env options",
    "comfy": "repo ref commit subdir",
    "custom_nodes": "name repo ref commit subdir",
    "models": "name source target_subdir target_path checksum",
}


@pytest.mark.parametrize("version_id", IDS)
def test_spec_is_valid_and_written_as_in_the_guide(versions: Path, version_id: str) -> None:
    path = versions / f"{version_id}.json"
    load_spec(path)
    document = json.loads(path.read_text())
    assert path.read_text() == json.dumps(document, indent=4) + "\n"
    parts = [("", document), ("comfy", document["comfy"])]
    parts += [(kind, part) for kind in ("custom_nodes", "models") for part in document[kind]]
    for kind, part in parts:
        assert list(part) == [key for key in GUIDE_ORDER[kind].split() if key in part]


@pytest.mark.parametrize("version_id", IDS)
def test_core_and_torch_are_pinned(versions: Path, version_id: str) -> None:
    spec = load_spec(versions / f"{version_id}.json").spec
    assert spec.comfy.commit
    assert spec.options.torch.version == "2.11.0"


def test_every_spec_in_the_folder_is_tested(versions: Path) -> None:
    assert {path.stem for path in versions.glob("*.json")} == set(IDS)


def test_demo_models_match_their_checksums(versions: Path) -> None:
    loaded = load_spec(versions / "demo.json")
    for model in loaded.spec.models:
        content = (loaded.path.parent / model.source).read_bytes()
        assert model.checksum == "sha256:" + hashlib.sha256(content).hexdigest()
        assert model.target_path == f"{model.target_subdir}/{model.name}"
    assert loaded.spec.models


def test_example_uses_the_demo_node_its_model_and_core_nodes(
    versions: Path, workflows: Path, marbled_paper: ModuleType
) -> None:
    spec = load_spec(versions / "demo.json").spec
    nodes = load_workflow(workflows / "example.json").nodes.values()
    by_class = {node.class_type: node for node in nodes}
    assert marbled_paper.NODE_CLASS_MAPPINGS.keys() < by_class.keys()
    assert by_class.keys() >= {"ImageUpscaleWithModel", "ImageFlip", "ImageStitch", "SaveImage"}
    assert by_class["UpscaleModelLoader"].inputs["model_name"] in [m.name for m in spec.models]


def test_example_spells_out_every_parameter_within_its_range(
    workflows: Path, marbled_paper: ModuleType
) -> None:
    nodes = load_workflow(workflows / "example.json").nodes.values()
    inputs = next(node.inputs for node in nodes if node.class_type == "MarbledPaper")
    accepted = marbled_paper.node.MarbledPaper.INPUT_TYPES()["required"]
    assert inputs.keys() == accepted.keys()
    for name, (kind, options) in accepted.items():
        if isinstance(kind, list):
            assert inputs[name] in kind
        else:
            assert options["min"] <= inputs[name] <= options["max"]


def test_example_has_titles(workflows: Path) -> None:
    document = load_workflow(workflows / "example.json").document
    assert all(node["_meta"]["title"] for node in document.values())


def test_minimal_workflow_is_the_smoke_test(workflows: Path) -> None:
    assert (workflows / "minimal.json").read_text() == "{}\n"
    assert load_workflow(workflows / "minimal.json").is_empty
