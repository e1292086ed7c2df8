"""Archives in the cache: whole and checked, or not there at all."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.pypi import PypiSource
from tests.http_server import Answer, Request, cut, serve
from tests.package_index import make_wheel, write_index
from tests.runpod_comfy.sources.fetching import start_fetch

CHUNKS = (b"one ", b"two")
SHA256 = hashlib.sha256(b"one two").hexdigest()
REQUEST = TreeRequest(repo="pypi://alpha", ref="1.0")


def _kept(cache: Cache) -> list[Path]:
    folders = (cache.archives, cache.tmp, cache.trees)
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def test_an_archive_is_found_by_its_hash_once_it_is_kept(cache: Cache) -> None:
    assert find_archive(SHA256, cache) is None
    path, found = keep_archive(CHUNKS, cache, where="x.whl", expected_sha256=SHA256)
    assert found == SHA256
    assert find_archive(SHA256, cache) == path
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o644


def test_without_an_expected_hash_the_real_one_is_reported(cache: Cache) -> None:
    assert keep_archive(CHUNKS, cache, where="x.whl", expected_sha256=None)[1] == SHA256


def test_other_bytes_are_a_mismatch_that_names_the_archive_and_nothing_is_kept(
    cache: Cache,
) -> None:
    with pytest.raises(MismatchError, match=r"x\.whl") as raised:
        keep_archive(CHUNKS, cache, where="x.whl", expected_sha256="0" * 64)
    assert SHA256 in raised.value.message
    assert _kept(cache) == []


def test_bytes_that_stop_arriving_are_not_kept(cache: Cache) -> None:
    def cut() -> Iterator[bytes]:
        yield CHUNKS[0]
        raise UnavailableError("the connection ended")

    with pytest.raises(UnavailableError, match="the connection ended"):
        keep_archive(cut(), cache, where="x.whl", expected_sha256=None)
    assert _kept(cache) == []


def test_a_cache_that_cannot_be_written_is_reported_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(root=tmp_path / "file")
    with pytest.raises(OperationFailedError, match="cache .* could not be written") as raised:
        keep_archive(CHUNKS, cache, where="x.whl", expected_sha256=None)
    assert "COMFY_CACHE_ROOT" in raised.value.remedy


def test_a_download_killed_in_the_middle_leaves_nothing_under_a_final_name(
    index: Path, cache: Cache, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0", source="#" * 4_000_000).read_bytes()
    write_index(index)

    def half(request: Request) -> Answer | None:
        return cut(wheel, len(wheel) // 2, stalls=True) if ".whl" in request.path else None

    with serve(index, half) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        child = start_fetch(REQUEST, cache)
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in cache.tmp.glob("archive-*/*")):
            assert child.poll() is None, "the fetch ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    assert not list(cache.archives.iterdir())
    assert not cache.trees.exists()
    with serve(index) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        tree = PypiSource().fetch(REQUEST, fetch_context)
    assert (tree.path / "alpha.py").stat().st_size > 4_000_000


def test_two_processes_that_fetch_one_distribution_at_once_share_one_archive(
    index: Path, cache: Cache, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(index / "files", "alpha", "1.0")
    write_index(index)
    with serve(index) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        children = [start_fetch(REQUEST, cache) for _ in range(2)]
        outputs = [child.communicate(timeout=120)[0] for child in children]
        tree = PypiSource().fetch(REQUEST, fetch_context)
    assert outputs == [tree.tree_hash] * 2
    assert len(list(cache.archives.iterdir())) == 1
    assert not list(cache.tmp.iterdir())
