"""What both images of the targets 5 to 8 hold: real ComfyUI with torch, and five custom nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import RELEASE, TORCH
from benchmarks.ours import Ours
from runpod_comfy.lock.model import Lock
from tests.comfy_releases import ComfyRepository, comfy_repository, downloads_folder
from tests.git_repositories import GitRepository, new_repository

# Stand-ins with what the nodes ask for that worker-comfyui's own example installs
# (docs/customization.md), from their requirements.txt; what is no package is named rightly.
_NODES = {
    "kjnodes": (
        "librosa",
        "numpy",
        "pillow>=10.3.0",
        "scipy",
        "color-matcher",
        "matplotlib",
        "huggingface_hub",
    ),
    "ic-light": ("opencv-python-headless",),
    "ipadapter-plus": (),
    "essentials": ("numba", "colour-science", "rembg", "pixeloe"),
    "hangover-nodes": ("torchvision", "pillow", "transformers>=4.35.0", "numpy", "torch"),
}
EDITED = "ipadapter-plus"
"""The one that changes. It asks for no package, and in our image one more comes after it."""

WORKFLOW = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 8421504},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
}


@dataclass(kw_only=True)
class ImageMaterial:
    """`ours` has the specs and locks, `nodes` the repositories in the spec's order."""

    ours: Ours
    repository: ComfyRepository
    nodes: dict[str, GitRepository]
    edits: int = 0

    def next_version(self) -> str:
        """The id of a version, locked, in which one node has a new commit."""
        self.edits += 1
        node = self.nodes[EDITED]
        node.write("__init__.py", f"NODE_CLASS_MAPPINGS = {{}}\nNUMBER = {self.edits}\n")
        node.commit(f"Number {self.edits}")
        version = f"bench-image-{self.edits}"
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": {"repo": self.repository.url, "commit": self.repository.commits[RELEASE]},
            "custom_nodes": [
                {"name": name, "repo": node.url, "commit": node.git("rev-parse", "HEAD")}
                for name, node in self.nodes.items()
            ],
            "options": {"torch": {"version": TORCH}},
        }
        place = self.ours.workspace / "versions" / f"{version}.json"
        place.write_text(json.dumps(spec))
        self.ours.resolve(version)
        return version

    def lock(self, version: str) -> Lock:
        path = self.ours.workspace / "lockfiles" / f"comfy-{version}.lock.json"
        return Lock.model_validate_json(path.read_bytes())

    def write_core(self, folder: Path) -> str:
        """Writes ComfyUI's tree as a tar file into `folder`; gives its name."""
        core = GitRepository(path=self.repository.path)
        core.git("archive", "--output", str(folder / "core.tar"), RELEASE)
        return "core.tar"

    def write_nodes(self, folder: Path) -> list[str]:
        """Writes each node as it is now as `<name>-<commit>.zip` into `folder`; gives the names."""
        names = []
        for name, node in self.nodes.items():
            names.append(f"{name}-{node.git('rev-parse', 'HEAD')}.zip")
            node.git("archive", "--output", str(folder / names[-1]), "HEAD")
        return names


def make_image_material(folder: Path, ours: Ours) -> ImageMaterial:
    """The material below `folder`; the workspace of `ours` is made there too."""
    (ours.workspace / "versions").mkdir(parents=True)
    (ours.workspace / "workflows").mkdir()
    (ours.workspace / "workflows" / "bench.json").write_text(json.dumps(WORKFLOW))
    nodes = {}
    for name, requirements in _NODES.items():
        nodes[name] = new_repository(folder / name)
        nodes[name].write("__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
        if requirements:
            nodes[name].write("requirements.txt", "".join(f"{each}\n" for each in requirements))
        nodes[name].commit("All of it")
    return ImageMaterial(ours=ours, repository=comfy_repository(downloads_folder()), nodes=nodes)
