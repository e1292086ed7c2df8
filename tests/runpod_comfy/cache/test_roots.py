"""What the cache is kept for is noted once for each path, and can be read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import (
    Root,
    forget_root,
    is_recorded,
    read_roots,
    record_models,
    record_root,
    save_root,
)


def test_a_root_is_read_as_it_was_recorded(cache: Cache, tmp_path: Path) -> None:
    record_root(cache, kind="lock", path=tmp_path / "a.json", lock_bytes=b'{"version_id": "a"}')
    record_root(cache, kind="models", path=tmp_path / "models")
    assert read_roots(cache) == [
        Root(kind="lock", path=tmp_path / "a.json", lock={"version_id": "a"}),
        Root(kind="models", path=tmp_path / "models"),
    ]
    assert list(cache.tmp.iterdir()) == []


def test_a_path_has_one_root_the_last_one(cache: Cache, tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    record_root(cache, kind="lock", path=place, lock_bytes=b'{"version_id": "old"}')
    save_root(cache, replace(read_roots(cache)[0], gone_since=17))
    assert read_roots(cache)[0].gone_since == 17
    record_root(cache, kind="lock", path=place, lock_bytes=b'{"version_id": "new"}')
    assert read_roots(cache) == [Root(kind="lock", path=place, lock={"version_id": "new"})]


def test_a_models_folder_that_is_not_there_is_not_recorded(cache: Cache, tmp_path: Path) -> None:
    record_models(cache, tmp_path / "shared")
    assert not read_roots(cache)
    (tmp_path / "shared").mkdir()
    record_models(cache, tmp_path / "shared")
    assert [root.path for root in read_roots(cache)] == [tmp_path / "shared"]


def test_a_forgotten_root_is_gone_and_forgetting_twice_is_nothing(
    cache: Cache, tmp_path: Path
) -> None:
    assert not is_recorded(cache, tmp_path)
    record_root(cache, kind="home", path=tmp_path, lock_bytes=b"{}")
    assert is_recorded(cache, tmp_path)
    forget_root(cache, tmp_path)
    forget_root(cache, tmp_path)
    assert not is_recorded(cache, tmp_path)
    assert read_roots(cache) == []


def test_recording_the_same_again_writes_nothing(cache: Cache, tmp_path: Path) -> None:
    record_root(cache, kind="home", path=tmp_path, lock_bytes=b"{}")
    (file,) = cache.roots.iterdir()
    before = file.stat()
    record_root(cache, kind="home", path=tmp_path, lock_bytes=b"{}")
    assert file.stat() == before


def test_a_root_that_cannot_be_read_is_an_error_that_names_it(cache: Cache, tmp_path: Path) -> None:
    record_root(cache, kind="home", path=tmp_path, lock_bytes=b"{}")
    (file,) = cache.roots.iterdir()
    file.write_text('{"kind": "home"}')
    with pytest.raises(InvalidInputError, match=file.name):
        read_roots(cache)
