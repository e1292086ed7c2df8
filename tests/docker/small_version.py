"""A version of the torch-free fixture core, built into an image by the program itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.git_repositories import new_repository
from tests.graphs import SLEEP, node, saving, write_graph
from tests.program import Program
from tests.real_packages import held
from tests.safetensors_bytes import safetensors
from tests.specs import FIXTURE_CORE, core_repository, write_spec

MODEL = "upscale_models/small.safetensors"
NODE_MODEL = "ckpts/face.onnx"
MODEL_BYTES = safetensors(b"weights ")
_NODE = """\
from pathlib import Path

import folder_paths

# As many nodes do, it makes a folder of its own below the core's models folder.
Path(folder_paths.models_dir, "facedet").mkdir(exist_ok=True)


class Small:
    required = {}
    output_node = False


class ReadModel:
    required = {"path": ["STRING", {}]}
    output_node = True

    async def run(self, core, node_id, inputs):
        return {"text": [Path(folder_paths.models_dir, inputs["path"]).read_text()]}, None


class ReadBeside:
    required = {"path": ["STRING", {}]}
    output_node = True

    async def run(self, core, node_id, inputs):
        path = Path(__file__).parent / "ckpts" / inputs["path"]
        return {"text": [path.read_text()]}, None


class DownloadModel:
    required = {"path": ["STRING", {}]}
    output_node = True

    async def run(self, core, node_id, inputs):
        path = Path(folder_paths.models_dir, inputs["path"])
        path.parent.mkdir(exist_ok=True)
        path.write_text("downloaded")
        return {"text": [str(len(path.read_text()))]}, None


NODE_CLASS_MAPPINGS = {
    "Small": Small,
    "ReadModel": ReadModel,
    "ReadBeside": ReadBeside,
    "DownloadModel": DownloadModel,
}
"""


_AS_PICTURE = {"prefix": "small", "suffix": ".png", "key": "images"}
_LOADER = node("FixtureLoader", model_name=Path(MODEL).name)
WORKFLOWS = {
    "example": {"1": saving("a picture", **_AS_PICTURE)},
    "model": {"1": _LOADER, "2": saving(["1", 0], **_AS_PICTURE)},
    "read": {"1": node("ReadModel", path=MODEL)},
    "read-own": {"1": node("ReadModel", path="LLM/own.gguf")},
    "read-beside": {"1": node("ReadBeside", path=Path(NODE_MODEL).name)},
    "download": {"1": node("DownloadModel", path="facedet/new.pth")},
    "sleep": SLEEP,
}
"""The graphs in the image, by the names of their files."""


@dataclass(frozen=True, kw_only=True)
class SmallVersions:
    """A working directory with the versions `small`, `small-model`, which needs MODEL, and
    `small-node-model`, which needs NODE_MODEL in the folder of its node.
    """

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
    (work / "workflows").mkdir(parents=True)
    core = core_repository(folder / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    node = new_repository(folder / "node", {"__init__.py": _NODE})
    model, node_model = folder / MODEL, folder / NODE_MODEL
    for path in (model, node_model):
        path.parent.mkdir()
        path.write_bytes(MODEL_BYTES)
    for version, models, node_models in (
        ("small", [], {}),
        ("small-model", [model], {}),
        ("small-node-model", [], {"small_node": node_model}),
    ):
        write_spec(
            work / "versions",
            version,
            core=core.at(),
            nodes={"small_node": node.at()},
            models=models,
            node_models=node_models,
            options={"constraints": held()},
        )
    for name, graph in WORKFLOWS.items():
        write_graph(work / "workflows" / f"{name}.json", graph)
    return SmallVersions(program=Program(folder=work))
