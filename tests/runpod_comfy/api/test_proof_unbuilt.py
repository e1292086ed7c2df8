"""What a cache without anything built has, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.api.proof import unbuilt_cache
from runpod_comfy.cache.paths import Cache


def _write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """With a wheel and a source distribution as uv keeps them, and one of everything else."""
    cache = Cache(root=tmp_path / "cache")
    for name in ("fetched", "built"):
        _write(cache.uv / "archive-v0" / name / "module.py")
    wheels = cache.uv / "wheels-v5/pypi/alpha"
    _write(wheels / "1.0-py3-none-any.http")
    (wheels / "1.0-py3-none-any").symlink_to("../../../archive-v0/fetched")
    sdist = cache.uv / "sdists-v9/pypi/needy/1.0"
    _write(sdist / "revision.http")
    _write(sdist / "r/src/vendored.whl")
    _write(sdist / "r/src/metadata.msgpack")
    _write(sdist / "r/needy-1.0-py3-none-any.whl")
    _write(sdist / "r/metadata.msgpack")
    (sdist / "r/needy-1.0-py3-none-any").symlink_to("../../../../../archive-v0/built")
    _write(cache.git / "repository/HEAD")
    _write(cache.archives / ("a" * 64))
    for folder in (cache.trees, cache.compiled, cache.environments, cache.checks, cache.resolved):
        _write(folder / "entry")
    return cache


def test_what_was_downloaded_is_there_and_what_was_built_is_not(
    cache: Cache, tmp_path: Path
) -> None:
    with unbuilt_cache(cache, tmp_path / "unbuilt") as unbuilt:
        found = {
            str(path.relative_to(unbuilt.root))
            for path in unbuilt.root.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }
        assert found == {
            *("git", "archives", "uv/archive-v0"),
            "uv/wheels-v5/pypi/alpha/1.0-py3-none-any",
            "uv/wheels-v5/pypi/alpha/1.0-py3-none-any.http",
            "uv/sdists-v9/pypi/needy/1.0/revision.http",
            "uv/sdists-v9/pypi/needy/1.0/r/src/vendored.whl",
            "uv/sdists-v9/pypi/needy/1.0/r/src/metadata.msgpack",
        }
        wheel = unbuilt.uv / "wheels-v5/pypi/alpha/1.0-py3-none-any"
        assert (wheel / "module.py").read_text() == "x"
        assert (unbuilt.git / "repository/HEAD").exists()
        assert unbuilt.models == cache.models


def test_what_is_unpacked_meanwhile_is_removed_from_the_shared_folder(
    cache: Cache, tmp_path: Path
) -> None:
    with unbuilt_cache(cache, tmp_path / "unbuilt") as unbuilt:
        _write(unbuilt.uv / "archive-v0/new/module.py")
        link = unbuilt.uv / "sdists-v9/pypi/needy/1.0/r/needy-1.0-py3-none-any"
        link.symlink_to("../../../../../archive-v0/new")
    assert {path.name for path in (cache.uv / "archive-v0").iterdir()} == {"fetched", "built"}


def test_a_cache_without_packages_is_no_fault(tmp_path: Path) -> None:
    with unbuilt_cache(Cache(root=tmp_path / "cache"), tmp_path / "unbuilt") as unbuilt:
        assert list(unbuilt.uv.iterdir()) == []
