"""Two resolves and two homes: nothing of the user's changes, and what is not the same is found."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from comfy_files.progress import say_nothing
from runpod_comfy.api.proof import first_home, proving, resolve_twice, second_home
from runpod_comfy.api.versions import fetch_context_for
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.compare import ComparedPart, compare_homes
from runpod_comfy.lock.model import Distribution
from runpod_comfy.spec.load import load_spec
from tests.http_server import Request
from tests.locks import locked_file
from tests.package_index import make_sdist, serve_index, write_index
from tests.runpod_comfy.cli.moving_world import World, make_world
from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["version"]

# They resolve and install packages.
pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCK_PATH", raising=False)
    return make_world(tmp_path)


def test_a_slow_removal_of_the_homes_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("comfy_files.progress.SLOW_S", 0.01)
    monkeypatch.setattr("runpod_comfy.api.proof.remove_tree", lambda _folder: time.sleep(0.5))
    with pytest.raises(KeyboardInterrupt), proving(Cache(root=tmp_path), said.append) as folder:
        raise KeyboardInterrupt
    assert said == [f"Removing {folder}"]


def test_a_spec_is_resolved_twice_and_no_lock_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = fetch_context_for(world.spec.parent, offline=False, say=say_nothing)
    with serve_index(world.index, monkeypatch), proving(context.cache, say_nothing) as folder:
        twice = resolve_twice(load_spec(world.spec), folder, context)
    assert (twice.is_repeatable, twice.is_kept, twice.changes) == (True, True, [])
    assert not world.lock_path.parent.exists()
    assert not context.cache.resolved.exists()
    assert not folder.exists()


def test_a_folder_that_changes_between_two_resolves_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.spec.parent / "sketch" / "__init__.py"

    def edit(_request: Request) -> None:
        # The trees are pinned before the index is asked.
        node.write_text("# edited\n")

    context = fetch_context_for(world.spec.parent, offline=False, say=say_nothing)
    with (
        serve_index(world.index, monkeypatch, edit),
        proving(context.cache, say_nothing) as folder,
    ):
        twice = resolve_twice(load_spec(world.spec), folder, context)
    assert not twice.is_repeatable
    assert {(each.part, each.name) for each in twice.changes} == {("nodes", "sketch")}


def _two_homes(job: Realization) -> dict[str, ComparedPart]:
    inputs = job.target / "input"
    with proving(job.cache, say_nothing) as folder, first_home(job, folder, inputs=inputs) as first:
        realize(first)
        with second_home(job, folder, inputs=inputs) as second:
            realize(second)
            return {part.name: part for part in compare_homes(first, second)}


def _sdist(version: Version, source: str) -> None:
    """Another package of the version, an sdist whose build runs `source`."""
    (version.folder / "files").mkdir(exist_ok=True)
    sdist = make_sdist(version.folder / "files", "needy", "1.0", source=source)
    for wheel in version.wheels_dir.iterdir():
        wheel.rename(version.folder / "files" / wheel.name)
    write_index(version.folder)
    needy = Distribution(name="needy", version="1.0", files=[locked_file(sdist)])
    version.wheels = [*version.wheels, needy]


def test_two_homes_are_equal_and_nothing_of_them_is_left(
    version: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _sdist(version, f"open({str(tmp_path / 'builds')!r}, 'a').write('x')")
    version.models = [version.model("a.bin", "weights")]
    with serve_index(version.folder, monkeypatch):
        job = version.job(wheels_dir=None)
        parts = _two_homes(job)
        builds = (tmp_path / "builds").read_text()
        # Only the second home is built again where the cache has a wheel.
        assert len(_two_homes(job)) == len(parts)
        assert 0 < len((tmp_path / "builds").read_text()) - len(builds) < len(builds)
    assert list(parts) == ["core", "node:painter", "environment", "models"]
    assert [part.differences for part in parts.values()] == [()] * 4
    (node,) = job.lock.custom_nodes
    assert parts["node:painter"].digest == node.tree_hash
    assert not job.target.exists()
    assert [path for path in job.cache.tmp.iterdir() if path.name.startswith("prove-")] == []
    assert read_roots(job.cache) == []
    linked = {path.resolve() for path in job.cache.uv.rglob("*") if path.is_symlink()}
    assert set(job.cache.uv.glob("archive-v*/*")) == linked


def test_a_package_that_is_built_differently_each_time_is_found(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sdist(version, "import time; STAMP = f'# {time.time_ns()}\\n'")
    with serve_index(version.folder, monkeypatch):
        parts = _two_homes(version.job(wheels_dir=None))
    assert [name for name, part in parts.items() if part.differences] == ["environment"]
    differing = [line.partition(":")[0] for line in parts["environment"].differences]
    assert f"lib/python{version.lock().python.version}/site-packages/needy.py" in differing
    assert not [path for path in differing if "alpha" in path]
