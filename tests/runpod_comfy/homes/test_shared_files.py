"""Homes share the files of their environments with each other and with the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_errors import ComfyError
from comfy_home.manifest import load_manifest
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import take_away, verify
from runpod_comfy.sources.index.pip_settings import uv_program
from runpod_comfy.upkeep.gc import clear_cache
from tests.ordinary_user import as_ordinary_user, users_folder
from tests.package_index import make_wheel
from tests.runpod_comfy.homes.conftest import Version, make_version, snapshot

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


def _put_extra_wheel(version: Version) -> None:
    """A package that is not in the lock, and that the node of INSTALLS installs."""
    folder = version.folder / "extra"
    folder.mkdir()
    make_wheel(folder, "extra", "1.0")


def _caches(version: Version) -> list[dict[str, tuple[int, str, bytes]]]:
    cache = version.cache
    return [snapshot(folder) for folder in (cache.environments, cache.uv, version.home)]


@pytest.mark.parametrize("node", [REWRITES, REPLACES, INSTALLS])
def test_a_node_that_changes_a_package_fails_and_changes_nothing(
    place: Path, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_UV", str(uv_program()))
    version = make_version(place, monkeypatch)
    _put_extra_wheel(version)

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
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = make_version(place, monkeypatch)

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


_COPIES = """
import pathlib
nodes = pathlib.Path(__file__).resolve().parents[1]
(nodes / "second").mkdir(exist_ok=True)
(nodes / "second/__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\\n")
(nodes / "painter/started.txt").write_text("started\\n")
NODE_CLASS_MAPPINGS = {}
"""


def _start(version: Version, target: Path) -> None:
    """Does what the engine's start does: executes the nodes."""
    for node in sorted(target.glob("ComfyUI/custom_nodes/*/__init__.py")):
        subprocess.run([sys.executable, str(node)], check=True)


def _differences(job: Realization) -> set[str]:
    return {str(fault.path.relative_to(job.home.root)) for fault in verify(job).faults}


def test_what_the_check_changed_is_recorded_and_verified(version: Version) -> None:
    version.write("painter/__init__.py", _COPIES)
    job = version.job()
    result = realize(job)
    manifest = load_manifest(job.home.root)
    assert manifest is not None
    assert manifest.check is not None
    assert result.changed_by_start == tuple(manifest.check.changed)
    told = json.loads(json.dumps(result.document()))["changed_by_start"]
    assert told == [file.model_dump() for file in manifest.check.changed]
    assert [(file.path, file.change) for file in manifest.check.changed] == [
        ("ComfyUI/custom_nodes/painter/started.txt", "added"),
        ("ComfyUI/custom_nodes/second/__init__.py", "added"),
    ]
    assert verify(job).faults == []
    second = job.home.custom_nodes / "second"
    (second / "__init__.py").write_text("changed by hand\n")
    (second / "more.py").write_text("by hand\n")
    assert _differences(job) == {
        "ComfyUI/custom_nodes/second/__init__.py",
        "ComfyUI/custom_nodes/second/more.py",
    }
    take_away(verify(job), job)
    realize(job)
    assert verify(job).faults == []


def test_where_the_check_was_recalled_the_first_start_may_make_the_files(version: Version) -> None:
    version.write("painter/__init__.py", _COPIES)
    realize(version.job())
    other = version.job(version.folder / "other")
    result = realize(other)
    assert {layer.name: layer.outcome for layer in result.layers}["check"] == "recalled"
    assert not (other.home.custom_nodes / "second").exists()
    assert verify(other).faults == []
    _start(version, other.home.root)
    assert (other.home.custom_nodes / "second").exists()
    assert verify(other).faults == []


def test_what_a_start_added_goes_with_the_node_that_added_it(version: Version) -> None:
    version.nodes = ["painter", "copier"]
    version.write("copier/__init__.py", _COPIES)
    realize(version.job())
    second = version.job().home.custom_nodes / "second"
    assert second.exists()
    version.nodes = ["painter"]
    realize(version.job())
    assert not second.exists()
    assert verify(version.job()).faults == []


def test_a_node_that_a_start_added_is_removed_with_the_version(version: Version) -> None:
    version.write("painter/__init__.py", _COPIES)
    job = version.job()
    realize(job)
    removal = plan_removal(job.home.root, remove_models=True, remove_root=True)
    assert removal.unmanaged_nodes == ()
    remove(removal)
    assert not job.home.root.exists()


@pytest.mark.parametrize("node", [REWRITES, REPLACES, INSTALLS])
def test_a_version_that_may_write_to_its_environment_has_one_of_its_own(
    version: Version, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_UV", str(uv_program()))
    _put_extra_wheel(version)
    realize(version.job())
    before = _caches(version)
    version.changes = {"writable_environment": True}
    job = _patching(version, node).job(version.folder / "other")
    realize(job)
    assert _caches(version) == before
    manifest = load_manifest(job.home.root)
    assert manifest is not None
    assert manifest.check is not None
    changed = {Path(file.path).name for file in manifest.check.changed}
    assert ("alpha.py" if node != INSTALLS else "extra.py") in changed
    assert verify(job).faults == []
    packages = next(job.home.venv.glob("lib/python*/site-packages"))
    assert {path.lstat().st_nlink for path in packages.rglob("alpha*") if path.is_file()} == {1}
    (packages / "alpha.py").write_text("changed by hand")
    assert [fault.path.name for fault in verify(job).faults] == ["alpha.py"]
    assert realize(job).changed is False


def test_a_home_becomes_writable_and_read_only_again(version: Version) -> None:
    version.nodes = []
    realize(version.job())
    alpha = next(version.job().home.venv.glob("lib/python*/site-packages/alpha.py"))
    assert alpha.stat().st_mode & 0o222 == 0
    version.changes = {"writable_environment": True}
    realize(version.job())
    assert alpha.stat().st_mode & 0o200
    alpha.write_text("patched")
    version.changes = {}
    realize(version.job())
    assert alpha.read_text() != "patched"
    assert alpha.stat().st_mode & 0o222 == 0
    assert verify(version.job()).faults == []


def test_packages_that_were_changed_all_the_same_are_removed_from_the_caches(
    version: Version,
) -> None:
    """The check of these tests runs nodes as they are, and root may write anywhere."""
    realize(version.job())
    with pytest.raises(ComfyError, match="changed the Python environment"):
        realize(_patching(version, REWRITES).job(version.folder / "other"))
    version.nodes = ["painter"]
    for target in ("other", "third"):
        job = version.job(version.folder / target)
        realize(job)
        assert verify(job).faults == []
