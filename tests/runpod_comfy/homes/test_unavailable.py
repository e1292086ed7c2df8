"""Everything missing is reported together, before any work and without a network request."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_errors import MismatchError, UnavailableError
from comfy_files.files import sha256_of
from runpod_comfy.cache.archive_store import keep_archive
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import verify
from runpod_comfy.lock.model import Distribution, DistributionFile
from tests.http_server import serve
from tests.package_index import make_wheel, serve_index, write_index
from tests.runpod_comfy.homes.conftest import Version, imports, snapshot


@contextmanager
def _index(version: Version, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """pip's only index, with the version's wheels; gives the paths that it is asked for."""
    root = version.folder / "index"
    root.mkdir()
    version.wheels_dir.rename(root / "files")
    write_index(root)
    asked: list[str] = []
    with serve_index(root, monkeypatch, lambda request: asked.append(request.path)):
        yield asked


def _without_size(distribution: Distribution, *names: str) -> Distribution:
    files = [DistributionFile(name=name, sha256="0" * 64) for name in names]
    return distribution.model_copy(update={"files": files})


def test_offline_everything_that_no_cache_has_is_named_at_once_and_nothing_is_asked(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.models = [version.model("a.bin", "a"), version.model("b.bin", "b" * 2000)]
    job = version.job(offline=True, wheels_dir=None)
    for name in ("core", "painter"):
        (version.folder / name).rename(version.folder / f"{name}-gone")
    (version.folder / "b.bin").unlink()
    with _index(version, monkeypatch) as asked, pytest.raises(UnavailableError) as caught:
        realize(job)
    message = caught.value.message
    for expected in (
        "5 items are missing",
        "tree core: core at tree:",
        "tree node:painter: painter at tree:",
        "package torchlike 1.0 (torchlike-1.0-py3-none-any.whl, ",
        "package alpha 1.0 (alpha-1.0-py3-none-any.whl, ",
        "model b.bin (2.0 kB), from b.bin",
    ):
        assert expected in message
    assert "a.bin" not in message
    for way in ("with network access", "bundle load", "--wheels-dir"):
        assert way in caught.value.remedy
    assert asked == []
    assert not version.home.exists()


def test_offline_one_thing_that_is_missing_is_named_and_what_is_cached_is_not(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _index(version, monkeypatch) as asked:
        realize(version.job(version.folder / "one", wheels_dir=None))
        asked.clear()
        beta = version.wheels[0].model_copy(update={"name": "beta"})
        version.wheels = [*version.wheels, _without_size(beta, "beta-1.0-py3-none-any.whl")]
        with pytest.raises(UnavailableError) as caught:
            realize(version.job(offline=True, wheels_dir=None))
        assert "1 item is missing here" in caught.value.message
        assert "package beta 1.0 (beta-1.0-py3-none-any.whl)" in caught.value.message
        assert asked == []


def test_offline_the_caches_of_an_earlier_run_do(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _index(version, monkeypatch) as asked:
        realize(version.job(version.folder / "one", wheels_dir=None))
        # Without the finished environment, uv's own cache has to do.
        version.cache.environments.rename(version.folder / "environments-gone")
        asked.clear()
        realize(version.job(offline=True, wheels_dir=None))
        assert imports(version.home, "alpha, torchlike")
        assert asked == []


def test_an_interpreter_that_is_missing_offline_is_named_with_the_rest(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = version.lock()
    python = lock.python.model_copy(update={"version": "3.99"})
    lock = lock.model_copy(update={"python": python})
    with _index(version, monkeypatch), pytest.raises(UnavailableError) as caught:
        realize(version.job(lock=lock, offline=True, wheels_dir=None))
    assert "uv python install 3.99" in caught.value.message
    assert "package alpha 1.0" in caught.value.message


@pytest.mark.parametrize("offline", [True, False])
def test_wheels_in_the_archive_store_are_installed_and_not_downloaded(
    version: Version, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    for wheel in version.wheels_dir.iterdir():
        keep_archive([wheel.read_bytes()], version.cache, where=wheel.name, expected_sha256=None)
    with _index(version, monkeypatch) as asked:
        realize(version.job(offline=offline, wheels_dir=None))
        assert asked == []
    assert imports(version.home, "alpha, torchlike")


def test_a_folder_of_wheels_does_with_an_empty_cache_and_without_a_network(
    version: Version,
) -> None:
    realize(version.job(offline=True))
    assert imports(version.home, "alpha, torchlike")


def test_wheels_that_are_missing_or_wrong_are_all_named_before_any_work(version: Version) -> None:
    version.wheels = [version.wheel(name, "1.0") for name in ("alpha", "beta", "gamma")]
    job = version.job()
    (version.wheels_dir / "alpha-1.0-py3-none-any.whl").unlink()
    wrong = version.wheels_dir / "beta-1.0-py3-none-any.whl"
    wrong.write_bytes(wrong.read_bytes()[:-1] + b"x")
    (version.wheels_dir / "torchlike-1.0-py3-none-any.whl").unlink()
    before = snapshot(version.folder)
    with pytest.raises(MismatchError) as caught:
        realize(job)
    message = caught.value.message
    assert "3 items are missing or wrong" in message
    assert f"package beta 1.0: {wrong} does not have the sha256 in the lock" in message
    assert "package alpha 1.0 (alpha-1.0-py3-none-any.whl, " in message
    assert "package torchlike 1.0 (" in message
    assert "gamma" not in message
    assert not version.home.exists()
    made = {name for name in snapshot(version.folder) if not name.startswith("cache")}
    assert made == {name for name in before if not name.startswith("cache")}


def test_a_folder_without_the_wheels_is_refused_although_the_caches_have_them(
    version: Version,
) -> None:
    realize(version.job(version.folder / "one"))
    empty = version.folder / "empty"
    empty.mkdir()
    with pytest.raises(UnavailableError, match="package alpha 1.0") as caught:
        realize(version.job(wheels_dir=empty))
    assert "torchlike" in caught.value.message
    assert str(empty) in caught.value.remedy
    assert not version.home.exists()
    # A home that is whole installs nothing.
    assert not realize(version.job(version.folder / "one", wheels_dir=empty)).changed


def test_a_wheel_for_another_platform_does_not_count(version: Version) -> None:
    alpha = version.wheels[0]
    other = version.wheels_dir / "alpha-1.0-cp311-cp311-win_amd64.whl"
    (version.wheels_dir / alpha.files[0].name).rename(other)
    file = alpha.files[0].model_copy(update={"name": other.name})
    here = DistributionFile(name="alpha-1.0-py3-none-any.whl", sha256="0" * 64, size=7)
    version.wheels = [alpha.model_copy(update={"files": [file, here]})]
    with pytest.raises(UnavailableError, match=r"alpha-1\.0-py3-none-any\.whl, 7 bytes"):
        realize(version.job())


def test_a_source_that_would_have_to_be_built_is_named(version: Version) -> None:
    alpha = version.wheels[0]
    wheel = version.wheels_dir / alpha.files[0].name
    source = version.wheels_dir / "alpha-1.0.tar.gz"
    wheel.rename(source)
    archive = DistributionFile(name=source.name, sha256=alpha.files[0].sha256)
    version.wheels = [alpha.model_copy(update={"files": [*alpha.files, archive]})]
    with pytest.raises(
        UnavailableError, match=r"the folder only has the sdist alpha-1\.0\.tar\.gz"
    ):
        realize(version.job())
    version.wheels = [alpha.model_copy(update={"files": [archive]})]
    with pytest.raises(
        UnavailableError, match=r"alpha-1\.0\.tar\.gz\), an sdist that has to be built: "
    ):
        realize(version.job())


def test_why_a_source_cannot_be_built_is_reported_without_credentials(
    version: Version, tmp_path: Path
) -> None:
    wheels = version.wheels_dir
    (wheels / version.wheels[0].files[0].name).unlink()
    with serve(tmp_path / "nothing") as url:
        place = f"{url}/builder-1.0.tar.gz?token="
        content = f'[build-system]\nrequires = ["builder @ {place}hush"]\n'.encode()
        with tarfile.open(wheels / "alpha-1.0.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo("alpha-1.0/pyproject.toml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        sha256 = sha256_of(wheels / "alpha-1.0.tar.gz")
        file = DistributionFile(name="alpha-1.0.tar.gz", sha256=sha256)
        version.wheels = [version.wheels[0].model_copy(update={"files": [file]})]
        with pytest.raises(UnavailableError, match=re.escape(f"{place}***")) as caught:
            realize(version.job())
    assert "hush" not in caught.value.message


def test_a_wheel_that_arrives_with_other_bytes_is_refused_by_name_and_does_not_enter(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _index(version, monkeypatch):
        wheel = version.folder / "index/files/alpha-1.0-py3-none-any.whl"
        whole = wheel.read_bytes()
        # Inside the module, so that the archive can still be unpacked.
        wheel.write_bytes(whole.replace(b"__version__ = '1.0'", b"__version__ = '6.6'"))
        with pytest.raises(MismatchError, match="alpha==1.0|alpha-1.0"):
            realize(version.job(wheels_dir=None))
        wheel.write_bytes(whole)
        realize(version.job(wheels_dir=None))
    assert imports(version.home, "alpha")


def test_a_wheel_that_somebody_built_stands_in_for_an_sdist(version: Version) -> None:
    alpha = version.wheels[0]
    archive = DistributionFile(name="alpha-1.0.tar.gz", sha256="1" * 64)
    version.wheels = [alpha.model_copy(update={"files": [archive]}), *version.wheels[1:]]
    make_wheel(version.wheels_dir, "alpha", "2.0")
    make_wheel(version.wheels_dir, "alpha", "1.0", tag="cp311-cp311-win_amd64")
    said: list[str] = []
    job = version.job(say=said.append)
    realize(job)
    assert imports(version.home, "alpha")
    wheel = version.wheels_dir / alpha.files[0].name
    (told,) = [line for line in said if "is used for the sdist of alpha 1.0" in line]
    assert f"{wheel.name} (sha256 {sha256_of(wheel)})" in told
    (recorded,) = json.loads((version.home / ".venv/comfy-stand-ins.json").read_text())
    assert recorded == {
        "name": "alpha",
        "version": "1.0",
        "file": wheel.name,
        "sha256": sha256_of(wheel),
    }
    assert not verify(job).faults
    # Another home gets the environment from the cache, and is told so.
    said.clear()
    realize(version.job(version.folder / "another", say=said.append))
    assert told in said
