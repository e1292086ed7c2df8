"""The contestants of the targets 1 to 4, and the caches that they fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.comfy_cli import ComfyCli, install_comfy_cli
from benchmarks.material import Material, make_material
from benchmarks.ours import Ours
from benchmarks.scratch import Scratch

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Contest:
    """`version` is the one that `ours` and `theirs` install. Both start with empty caches."""

    scratch: Scratch
    say: Say
    rounds: int
    material: Material
    version: str
    ours: Ours
    theirs: ComfyCli
    filled: bool = False

    def empty_caches(self) -> None:
        """Takes new caches; the ones before are removed."""
        self.scratch.drop(self.ours.cache, self.theirs.caches)
        self.ours = replace(self.ours, cache=self.scratch.new("our-cache"))
        self.theirs = replace(self.theirs, caches=_made(self.scratch.new("comfy-cli-caches")))
        self.filled = False

    def fill_caches(self) -> None:
        """Installs once with each, unless that has been done."""
        if self.filled:
            return
        self.say("filling both caches: one installation with each")
        home, workspace = self.scratch.new("home"), self.scratch.new("comfy-cli")
        self.ours.realize(self.version, home)
        self.theirs.install(workspace)
        self.scratch.drop(home, workspace)
        self.filled = True


def make_contest(scratch: Scratch, say: Say, rounds: int) -> Contest:
    say("pinning ComfyUI and its packages")
    material, version = make_material(_made(scratch.new("material")))
    say("installing comfy-cli into an environment of its own")
    tool = scratch.new("comfy-cli-tool")
    install_comfy_cli(tool)
    caches = _made(scratch.new("comfy-cli-caches"))
    return Contest(
        scratch=scratch,
        say=say,
        rounds=rounds,
        material=material,
        version=version,
        ours=Ours(workspace=material.workspace, cache=scratch.new("our-cache")),
        theirs=ComfyCli(material=material, tool=tool, caches=caches),
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
