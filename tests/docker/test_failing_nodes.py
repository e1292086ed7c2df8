"""Nodes that do not import, in the build of an image: what is reported, kept and recorded."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.git_repositories import new_repository
from tests.program import Program
from tests.specs import BARE_CORE, core_repository, write_spec

_KEYED = "import os\nKEY = os.environ['SOME_KEY']\nNODE_CLASS_MAPPINGS = {}\n"
_BROKEN = "from .paint import Paint\nNODE_CLASS_MAPPINGS = {'Paint': Paint}\n"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The versions `broken`, whose node does not import, and `keyed`, whose node needs a key."""
    work = tmp_path / "work"
    core = core_repository(tmp_path / "core", BARE_CORE, "")
    files = {"__init__.py": _BROKEN, "paint.py": "import cv2\n\nclass Paint:\n    pass\n"}
    broken = new_repository(tmp_path / "broken", files).at()
    keyed = new_repository(tmp_path / "keyed", {"__init__.py": _KEYED}).at()
    specs = work / "versions"
    write_spec(specs, "broken", core=core.at(), nodes={"painter": broken})
    write_spec(
        specs,
        "keyed",
        core=core.at(),
        nodes={"keyed": keyed},
        options={"import_needs": {"keyed": ["env:SOME_KEY"]}},
    )
    return Program(folder=work, variables={"COMFY_CACHE_ROOT": str(tmp_path / "cache")})


@pytest.fixture
def tag(engine: docker.DockerClient) -> Iterator[str]:
    tag = f"runpod-comfy-test-nodes:{uuid.uuid4().hex[:12]}"
    yield tag
    for image in engine.api.images():
        if tag in (image["RepoTags"] or ()):
            engine.images.remove(image["Id"], force=True)


def test_a_build_names_node_file_line_and_remedy_and_keeps_the_whole_output(
    program: Program, tag: str, base_image: str, tmp_path: Path
) -> None:
    error = program("image", "build", "broken", "--base", base_image, "--tag", tag).failed_with(1)
    assert (
        "the layer 'check' did not build: ComfyUI starts, but the custom node "
        "painter failed to import: custom_nodes/painter/paint.py, line 1: ModuleNotFoundError: "
        "No module named 'cv2'"
    ) in error
    assert "opencv-python-headless provides cv2" in error
    log = tmp_path / "cache/logs/broken-check.log"
    assert f"The whole output of the step is in {log}." in error
    kept = log.read_text()
    assert "Traceback (most recent call last):" in kept
    assert 'File "/opt/comfy/ComfyUI/custom_nodes/painter/paint.py", line 1' in kept


def test_an_image_records_the_node_that_its_build_could_not_import(
    program: Program, tag: str, base_image: str
) -> None:
    built = program("image", "build", "keyed", "--base", base_image, "--tag", tag)
    assert built.code == 0, built.err
    told = "the custom node keyed was not imported, because it needs the variable SOME_KEY, which"
    assert f"Warning: {told}" in built.err
    shown = program("image", "show", "keyed", "--image", tag, "--base", base_image)
    assert f"note   {told}" in shown.out
    document = program(
        "image", "show", "keyed", "--image", tag, "--base", base_image, "--json"
    ).document()
    (node,) = document["not_imported"].items()
    assert node[0] == "keyed"
    assert node[1]["needs"] == ["env:SOME_KEY"]
    assert "line 2: KeyError: 'SOME_KEY'" in node[1]["reason"]
