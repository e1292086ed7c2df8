"""A version of the torch-free fixture core, built into an image by the program itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from runpod_comfy.images.context.programs import VARIABLE
from tests.built_handler import built_handler
from tests.git_repositories import new_repository
from tests.integration.program import Program
from tests.real_packages import held

MODEL = "upscale_models/small.safetensors"
MODEL_BYTES = b"weights " * 1000
_CORE = Path(__file__).parents[1] / "fixture_core"
_NODE = """\
class Small:
    required = {}
    output_node = False

NODE_CLASS_MAPPINGS = {"Small": Small}
"""


def _saving(content: object) -> dict[str, object]:
    inputs = {"content": content, "prefix": "small", "suffix": ".png", "key": "images"}
    return {"class_type": "FixtureSave", "inputs": inputs}


_LOADER = {"class_type": "FixtureLoader", "inputs": {"model_name": Path(MODEL).name}}
_SLEEP = {"class_type": "FixtureSleep", "inputs": {}}
WORKFLOWS = {
    "example": {"1": _saving("a picture")},
    "model": {"1": _LOADER, "2": _saving(["1", 0])},
    "sleep": {"1": _SLEEP},
}
"""The graphs that lie in the image, by the names of their files."""


@dataclass(frozen=True, kw_only=True)
class SmallVersions:
    """A working directory with the versions `small`, and `small-model`, which needs MODEL."""

    program: Program

    def build(self, version: str, base: str, *options: str) -> str:
        """Builds the image of a version; gives its tag."""
        tag = f"runpod-comfy-test:{version}"
        built = self.program("image", "build", version, "--base", base, "--tag", tag, *options)
        assert built.code == 0, built.err
        return tag


def small_versions(folder: Path) -> SmallVersions:
    """Writes the specs, and the git repositories and the model that they name, below `folder`."""
    work = folder / "work"
    for name in ("versions", "workflows"):
        (work / name).mkdir(parents=True)
    core = new_repository(folder / "core")
    for file in _CORE.glob("*.py"):
        core.write(file.name, file.read_text())
    core.write("requirements.txt", "aiohttp\npyyaml\n")
    core.commit("The core")
    node = new_repository(folder / "node")
    node.write("__init__.py", _NODE)
    node.commit("A node")
    model = folder / Path(MODEL).name
    model.write_bytes(MODEL_BYTES)
    for version, models in (("small", []), ("small-model", [model])):
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": {"repo": core.url, "ref": "main"},
            "custom_nodes": [{"name": "small_node", "repo": node.url, "ref": "main"}],
            "models": [
                {"name": one.name, "source": one.as_uri(), "target_subdir": Path(MODEL).parent.name}
                for one in models
            ],
            "options": {"constraints": held()},
        }
        (work / "versions" / f"{version}.json").write_text(json.dumps(spec))
    for name, graph in WORKFLOWS.items():
        (work / "workflows" / f"{name}.json").write_text(json.dumps(graph))
    return SmallVersions(program=Program(folder=work, variables={VARIABLE: str(built_handler())}))
