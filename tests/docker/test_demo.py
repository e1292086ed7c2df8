"""The demo on real ComfyUI and torch, as an image: the same picture as on the machine itself."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from runpod_comfy.cache.paths import Cache
from tests.containers import run_to_end
from tests.program import ROOT, Program

TAG = "runpod-comfy-test:demo"
EXAMPLE = ROOT / "workflows" / "example.json"
MODELS = ROOT / "versions" / "demo" / "models"


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """The program in this checkout, with a home in the cache, so that packages are linked."""
    cache = Cache.from_environment()
    cache.tmp.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=cache.tmp, prefix="test-"))
    yield Program(folder=ROOT, variables={"COMFY_HOME": str(place / "home")})
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient, base_image: str, program: Program) -> Iterator[str]:
    """The image of the demo, built once: it has torch, and gigabytes."""
    built = program("image", "build", "demo", "--base", base_image, "--tag", TAG)
    assert built.code == 0, built.err
    yield TAG
    for tag in engine.images.get(TAG).tags:
        engine.images.remove(tag, force=True)


def _picture(document: dict[str, Any]) -> str:
    (picture,) = document["images"]
    assert picture["bytes"] > 100_000
    return str(picture["data"])


def test_a_container_makes_the_same_picture_as_a_home(
    image: str, program: Program, tmp_path: Path
) -> None:
    here = program("run", "demo", "--workflow", EXAMPLE, "--output", "base64").document()
    models = tmp_path / "models"
    (models / "upscale_models").mkdir(parents=True)
    for model in MODELS.iterdir():
        shutil.copy(model, models / "upscale_models")
    done = run_to_end(
        image,
        [
            *("--version-id", "demo", "--workflow", "/app/workflows/example.json"),
            *("--output", "base64"),
        ],
        timeout_s=600,
        volumes={models: "/models"},
        environment={"MODELS_DIR": "/models"},
        read_only=True,
        tmpfs=["/tmp"],
        security_opt=["no-new-privileges"],
    )
    assert done.code == 0, done.err
    there = json.loads(done.out)
    assert _picture(there) == _picture(here)
    shown = program("image", "show", "demo", "--image", image, "--json").document()
    assert shown["cuda"] == "13.0"
    assert there["version"]["comfyui"] == here["version"]["comfyui"] == "0.3.75"
    run = program(
        "image", "run", "demo", "--image", image, "--workflow", EXAMPLE, "--output", "base64"
    )
    assert _picture(run.document()) == _picture(here)


def test_a_picture_recorded_in_a_home_is_equal_in_the_image(
    image: str, program: Program, tmp_path: Path
) -> None:
    workflow = tmp_path / "example.json"
    shutil.copy(EXAMPLE, workflow)
    repro = ("repro", "demo", "--workflow", workflow, "--output-dir", tmp_path / "outputs")
    assert program(*repro, "--mode", "record").code == 0
    (output,) = program(*repro, "--image", image, "--json").document()["outputs"]
    assert output["verdict"] == "equal"


def test_a_home_and_an_image_of_one_version_differ_in_nothing(
    image: str, program: Program, tmp_path: Path
) -> None:
    done = program(
        *("diff", "--run", "demo", "demo", "--image-b", image, "--workflow", EXAMPLE, "--json"),
        *("--output-dir", tmp_path / "outputs"),
    )
    document = done.document()
    assert [each["verdict"] for each in document["outputs"]] == ["equal"]
    assert (document["versions"]["equal"], document["replaced"], document["notes"]) == (
        True,
        [],
        [],
    )
