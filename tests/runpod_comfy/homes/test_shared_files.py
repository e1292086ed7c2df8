"""Homes share the files of their environments with each other and with the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import ComfyError
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import take_away, verify
from runpod_comfy.upkeep.gc import clear_cache
from tests.ordinary_user import as_ordinary_user, users_folder
from tests.runpod_comfy.homes.conftest import Version, snapshot

# Each test makes environments and homes.
pytestmark = pytest.mark.slow

place = pytest.fixture(users_folder)

_FIND = """
import os, pathlib
venv = pathlib.Path(__file__).resolve().parents[3] / ".venv"
alpha = next(venv.glob("lib/python*/site-packages/alpha.py"))
"""
REWRITES = f"{_FIND}alpha.write_text('patched = True')\n"
REPLACES = f"""{_FIND}
new = alpha.with_name("alpha.new")
new.write_text("patched = True")
new.replace(alpha)
"""
INSTALLS = f"""{_FIND}
import subprocess
wheel = next(venv.parents[1].glob("extra/*.whl"))
subprocess.run(
    [os.environ["TEST_UV"], "pip", "install", "--python", venv / "bin/python", "--no-index", wheel],
    check=True,
)
"""


def _patching(version: Version, node: str) -> Version:
    version.nodes = ["painter", "patcher"]
    version.write("patcher/__init__.py", f"{node}\nNODE_CLASS_MAPPINGS = {{}}\n")
    return version


def _caches(version: Version) -> list[dict[str, tuple[int, str, bytes]]]:
    cache = version.cache
    return [snapshot(folder) for folder in (cache.environments, cache.uv, version.folder / "home")]


@pytest.mark.parametrize("node", [REWRITES, REPLACES, INSTALLS])
def test_a_node_that_changes_a_package_fails_and_changes_nothing(
    make_version: Callable[[Path], Version],
    place: Path,
    node: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from runpod_comfy.layers.uv import uv_program

    monkeypatch.setenv("TEST_UV", str(uv_program()))
    version = make_version(place)
    (version.folder / "extra").mkdir()
    version.wheels_dir, wheels = version.folder / "extra", version.wheels_dir
    version.wheel("extra", "1.0")
    version.wheels_dir = wheels

    def patch() -> None:
        realize(version.job())
        before = _caches(version)
        target = version.folder / "other"
        with pytest.raises(ComfyError, match=r"Permission denied|exit status 2"):
            realize(_patching(version, node).job(target))
        assert _caches(version) == before
        realize(version.job(version.folder / "third", lock=_without_patcher(version)))
        assert verify(version.job(lock=_without_patcher(version))).faults == []

    as_ordinary_user(patch, place)


def _without_patcher(version: Version) -> object:
    version.nodes = ["painter"]
    return version.lock()


def test_an_ordinary_user_repairs_and_removes_a_home(
    make_version: Callable[[Path], Version], place: Path
) -> None:
    version = make_version(place)

    def use() -> None:
        job = version.job()
        realize(job)
        alpha = next(job.home.venv.glob("lib/python*/site-packages/alpha.py"))
        alpha.chmod(0o644)
        alpha.write_text("patched = True")
        found = verify(job)
        assert {fault.part for fault in found.faults} == {"environment", "environment in the cache"}
        take_away(found, job)
        realize(job)
        assert verify(job).faults == []
        removal = plan_removal(job.home.root, remove_models=True, remove_root=True)
        remove(removal, cache=version.cache)
        assert not os.path.lexists(job.home.root)
        clear_cache(version.cache)
        assert not any(version.cache.environments.iterdir())
        assert not any(version.cache.tmp.iterdir())

    as_ordinary_user(use, place)
