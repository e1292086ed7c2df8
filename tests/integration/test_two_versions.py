"""The guide's workflow on real git and real ComfyUI: two versions of the core, side by side."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.comfy_releases import ComfyRepository
from tests.git_repositories import GitRepository, new_repository
from tests.program import ROOT, Program
from tests.real_packages import PINNED_BY_CORES, held

VERSIONS = {"older": ("v0.3.52", "Grey"), "newer": ("v0.3.75", "White")}


@pytest.fixture(scope="module")
def created(program: Program, place: Path, comfy_git: ComfyRepository) -> dict[str, dict[str, Any]]:
    """Both specs, as `create` wrote them."""
    model = ROOT / "versions" / "demo" / "models" / "bicubic-2x-compact.safetensors"
    specs = {}
    for version, (tag, class_name) in VERSIONS.items():
        _make_node(place / f"Comfy-{class_name}", class_name)
        done = program(
            *("create", version, "--repo", f"{comfy_git.path}@{tag}"),
            *("--nodes", f"{place / f'Comfy-{class_name}'}@main"),
            *("--models", _model(model), "--auto-checksum"),
        )
        assert done.code == 0, done.err
        specs[version] = json.loads((place / "versions" / f"{version}.json").read_text())
        _hold_packages(place / "versions" / f"{version}.json")
    return specs


def _make_node(folder: Path, class_name: str) -> None:
    """A repository with a custom node whose pictures have one colour."""
    new_repository(folder, {"__init__.py": _NODE.replace("OneColour", class_name)})


_NODE = """\
import torch


class OneColour:
    CATEGORY = "image"
    FUNCTION = "paint"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"level": ("FLOAT", {"default": 0.5, "min": 0, "max": 1})}}

    def paint(self, level):
        return (torch.full((1, 64, 64, 3), float(level)),)


NODE_CLASS_MAPPINGS = {"OneColour": OneColour}
"""


def _model(path: Path) -> str:
    return json.dumps({"source": path.as_uri(), "target_subdir": "upscale_models"})


def _hold_packages(spec: Path) -> None:
    """To those of the demo: they work, and both tests need the same gigabytes."""
    document = json.loads(spec.read_text())
    spec.write_text(json.dumps(document | {"options": {"constraints": held()}}))


@pytest.fixture(scope="module")
def homes(program: Program, place: Path, created: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Both versions, realized."""
    for version in created:
        resolved = program("resolve", version)
        assert resolved.code == 0, resolved.err
        done = program("realize", version, "--target", place / version)
        assert done.code == 0, done.err
    return {version: place / version for version in created}


def _workflow(place: Path, class_name: str) -> Path:
    graph = {
        "1": {"class_type": class_name, "inputs": {"level": 1.0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    path = place / f"{class_name}.json"
    path.write_text(json.dumps(graph))
    return path


def test_create_writes_the_json_of_the_guide(
    created: dict[str, dict[str, Any]], place: Path, comfy_git: ComfyRepository
) -> None:
    spec = created["older"]
    node = GitRepository(path=place / "Comfy-Grey")
    (model,) = spec.pop("models")
    assert spec == {
        "schema_version": 2,
        "version_id": "older",
        "comfy": {
            "repo": comfy_git.url,
            "ref": "v0.3.52",
            "commit": comfy_git.commits["v0.3.52"],
        },
        "custom_nodes": [
            {
                "name": "Comfy-Grey",
                "repo": node.url,
                "ref": "main",
                "commit": node.git("rev-parse", "main"),
            }
        ],
        "env": {},
        "options": {},
    }
    assert model["target_path"] == "upscale_models/bicubic-2x-compact.safetensors"
    assert model["checksum"].startswith("sha256:")


def test_nothing_is_taken_as_it_is_on_the_index_today(place: Path, homes: dict[str, Path]) -> None:
    known = set(held())
    for version in homes:
        lock = json.loads((place / "lockfiles" / f"comfy-{version}.lock.json").read_text())
        found = {
            f"{item['name']}=={item['version']}"
            for group in ("torch", "wheels")
            for item in lock["python"][group]
        }
        assert {pin for pin in found - known if not pin.startswith(PINNED_BY_CORES)} == set()


def test_resolving_twice_gives_identical_bytes(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    lock = place / "lockfiles" / "comfy-older.lock.json"
    before = lock.read_bytes()
    assert program("resolve", "older").code == 0
    assert lock.read_bytes() == before
    assert str(place) not in json.dumps(json.loads(before)["python"])


def test_a_dry_run_shows_the_plan_and_touches_nothing(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    planned = program("realize", "older", "--target", place / "planned", "--dry-run")
    assert planned.code == 0
    assert "recall layer torch" in planned.out
    assert "nothing was changed" in planned.out
    assert not (place / "planned").exists()


def test_each_version_has_its_own_core_and_nodes(homes: dict[str, Path]) -> None:
    for version, (tag, class_name) in VERSIONS.items():
        manifest = json.loads((homes[version] / ".comfy_env").read_text())
        assert manifest["check"]["comfyui_version"] == tag.removeprefix("v")
        assert manifest["check"]["node_classes"][f"Comfy-{class_name}"] == [class_name]
        nodes = {path.name for path in (homes[version] / "ComfyUI/custom_nodes").iterdir()}
        assert {name for name in nodes if name.startswith("Comfy-")} == {f"Comfy-{class_name}"}


def test_both_versions_share_the_bytes_of_packages_and_models(homes: dict[str, Path]) -> None:
    def one(version: str, pattern: str) -> Path:
        (found,) = homes[version].glob(pattern)
        return found

    library = ".venv/lib/python3.*/site-packages/torch/lib/libtorch_cpu.*"
    assert one("older", library).samefile(one("newer", library))
    model = "models/upscale_models/*.safetensors"
    assert one("older", model).resolve() == one("newer", model).resolve()
    core = "ComfyUI/main.py"
    assert not one("older", core).samefile(one("newer", core))


def test_the_same_command_tests_each_version(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    for version, (_tag, class_name) in VERSIONS.items():
        done = program(
            *("test", version, "--target", homes[version], "--output", "base64"),
            *("--workflow", _workflow(place, class_name)),
        )
        (image,) = done.document()["images"]
        assert image["mime"] == "image/png"
        assert not list((homes[version] / "output").iterdir())


def test_a_baseline_that_does_not_hold_ends_with_4(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    workflow = _workflow(place, "Grey")
    older = ("older", "--target", homes["older"], "--workflow", workflow)
    recorded = program("repro", *older, "--mode", "record")
    assert recorded.code == 0, recorded.err
    assert program("test", *older, "--output", "base64").document()["comparison"]["holds"]
    (kept,) = (place / "Grey.baseline").iterdir()
    baseline = place / "Grey.baseline.json"
    document = json.loads(baseline.read_text())
    (output,) = document["entries"][0]["outputs"]
    Image.new("RGB", (64, 64), (254, 255, 255)).save(kept)
    output["sha256"] = hashlib.sha256(kept.read_bytes()).hexdigest()
    output["content"]["sha256"] = "0" * 64
    baseline.write_text(json.dumps(document))
    told = program("test", *older, "--output", "base64").failed_with(4)
    assert "Grey.baseline.json" in told
    assert "max 1 of 255" in told


def test_a_node_of_the_other_version_is_unknown(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    done = program(
        *("run", "older", "--target", homes["older"]),
        *("--workflow", _workflow(place, "White")),
    )
    assert "White" in done.failed_with(2)


def test_a_home_of_another_version_is_left_alone(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    before = (homes["older"] / ".comfy_env").read_bytes()
    told = program("realize", "newer", "--target", homes["older"]).failed_with(2)
    assert "older" in told
    assert (homes["older"] / ".comfy_env").read_bytes() == before


def test_remove_takes_one_version_away_and_leaves_the_other(
    program: Program, place: Path, homes: dict[str, Path]
) -> None:
    (homes["older"] / "input" / "mine.png").write_bytes(b"mine")
    done = program("remove", "--target", homes["older"], "--yes")
    assert done.code == 0, done.err
    assert not (homes["older"] / "ComfyUI").exists()
    assert not (homes["older"] / ".venv").exists()
    assert (homes["older"] / "input" / "mine.png").read_bytes() == b"mine"
    smoke = program(
        *("run", "newer", "--target", homes["newer"], "--json"),
        *("--workflow", ROOT / "workflows" / "minimal.json"),
    )
    assert smoke.document()["version"]["comfyui"] == "0.3.75"
