"""The marker records every step, also of steps that run at the same time."""

from __future__ import annotations

from dataclasses import replace

from comfy_files.parallel import in_parallel
from comfy_home.manifest import Manifest, load_manifest
from comfy_home.platforms import this_platform
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.steps import Marker
from runpod_comfy.layers.plan import make_plan
from tests.runpod_comfy.homes.conftest import Version


def test_steps_that_end_at_the_same_time_are_all_noted(version: Version) -> None:
    lock = version.lock()
    core = make_plan(lock, platform=this_platform()).layer("core")
    layers = [replace(core, name=f"step {number}") for number in range(60)]
    home = Home(root=version.home)
    home.root.mkdir()
    marker = Marker(home, Manifest())
    in_parallel(marker.finish, layers, threads=6)
    manifest = load_manifest(home.root)
    assert manifest is not None
    assert set(manifest.layers) == {layer.name for layer in layers}
