"""What counts when two homes are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.compare import compare_homes
from tests.runpod_comfy.homes.conftest import Version


@pytest.fixture
def homes(version: Version) -> tuple[Realization, Realization]:
    version.models = [version.model("a.bin", "weights")]
    version.write("core/nodes.py", "VALUE = 1\n")
    jobs = version.job(), version.job(version.folder / "other")
    for job in jobs:
        realize(job)
    return jobs


def _differences(homes: tuple[Realization, Realization]) -> dict[str, list[str]]:
    found = {part.name: part.differences for part in compare_homes(*homes)}
    return {
        name: [line.partition(":")[0] for line in lines] for name, lines in found.items() if lines
    }


def test_homes_of_one_lock_are_equal_and_their_places_do_not_count(
    homes: tuple[Realization, Realization],
) -> None:
    for path in ("output/a.png", "ComfyUI/input/b.png", "user/c", "ComfyUI/temp/d"):
        place = homes[1].home.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    assert _differences(homes) == {}


def test_each_file_that_differs_is_named_with_its_part(
    homes: tuple[Realization, Realization],
) -> None:
    home = homes[1].home
    (home.comfyui / "nodes.py").chmod(0o755)
    (home.custom_nodes / "painter/added.py").touch()
    packages = next(home.venv.glob("lib/python*/site-packages"))
    packages.chmod(0o755)
    (packages / "more.pth").touch()
    model = home.models / "loras/a.bin"
    model.unlink()
    model.write_text("weights")
    assert _differences(homes) == {
        "core": ["ComfyUI/nodes.py"],
        "node:painter": ["ComfyUI/custom_nodes/painter/added.py"],
        "environment": [str(Path(packages.relative_to(home.venv), "more.pth"))],
        "models": ["loras/a.bin"],
    }


def test_what_a_start_writes_may_differ(version: Version) -> None:
    version.write("painter/__init__.py", _WRITES_A_LOG)
    jobs = version.job(), version.job(version.folder / "other")
    for job in jobs:
        realize(job)
        (job.home.custom_nodes / "painter" / "log").write_text(str(job.target))
    assert _differences(jobs) == {}


_WRITES_A_LOG = """
import pathlib, time
pathlib.Path(__file__).with_name("log").write_text(str(time.time_ns()))
NODE_CLASS_MAPPINGS = {}
"""
