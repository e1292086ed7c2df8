from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError, UnavailableError
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from tests.full_disk import nearly_full
from tests.http_server import serve
from tests.package_index import write_index
from tests.runpod_comfy.bundle.conftest import PLATFORM, SPEC, Place


def _names(bundle: Path) -> list[str]:
    with tarfile.open(bundle) as archive:
        return archive.getnames()


def test_a_bundle_is_a_tar_file_whose_contents_come_first(here: Place, bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        assert names[:3] == ["bundle.json", "lock.json", "spec.json"]
        kinds = [name.split("/")[0] for name in names[3:]]
        assert kinds == ["trees", "trees", "wheels", "wheels", "models"]
        contents = json.load(archive.extractfile("bundle.json"))  # type: ignore[arg-type]
        for entry in contents["entries"]:
            held = archive.extractfile(entry["path"])
            assert held is not None
            content = held.read()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (
                entry["size"],
                entry["sha256"],
            )
        lock = archive.extractfile("lock.json")
        assert lock is not None
        assert lock.read() == here.lock().to_bytes()
        spec = archive.extractfile("spec.json")
        assert spec is not None
        assert spec.read().decode() == SPEC
    listed = subprocess.run(["tar", "tf", bundle], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == names


def test_the_same_version_gives_the_same_bytes(here: Place, bundle: Path, tmp_path: Path) -> None:
    here.cache = Cache(root=tmp_path / "another-cache")
    here.create(tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == bundle.read_bytes()


def test_each_platform_gets_its_own_wheels(here: Place, tmp_path: Path) -> None:
    wheels = {file.sha256: file.name for file in here.lock().python.wheels[0].files}
    for platform, tag in (("linux-x86_64", "manylinux"), ("macos-arm64", "macosx")):
        path = tmp_path / platform
        here.create(path, platform=platform)
        found = [
            wheels[name.split("/")[1]] for name in _names(path) if name.split("/")[-1] in wheels
        ]
        assert len(found) == 1
        assert tag in found[0]


def test_a_platform_that_the_lock_is_not_for_is_refused(here: Place, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not for linux-aarch64"):
        here.create(tmp_path / "x", platform="linux-aarch64")


def test_too_little_room_is_found_before_anything_is_downloaded(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = sum(
        file.size or 0 for each in here.lock().python.distributions for file in each.files[:1]
    )
    nearly_full(monkeypatch, free_bytes=size_bytes)
    with pytest.raises(OperationFailedError, match="are needed below .*, but only"):
        here.create(tmp_path / "x.bundle")
    assert not here.cache.archives.exists()
    assert not (tmp_path / "x.bundle").exists()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_fetched(
    here: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be written to"):
        here.create(tmp_path / "file" / "x.bundle")


@pytest.mark.parametrize("name", ["bundle.json", "archive.tar", "empty"])
def test_a_file_that_is_not_a_bundle_is_left_alone(here: Place, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.touch()
    if name == "bundle.json":
        target.write_text(SPEC)
    elif name == "archive.tar":
        with tarfile.open(target, "w") as archive:
            archive.add(__file__, "test.py")
    before = target.read_bytes()
    with pytest.raises(InvalidInputError, match="already exists and is not a bundle") as refused:
        here.create(target)
    assert "--output" in refused.value.remedy
    assert target.read_bytes() == before


@pytest.mark.parametrize("state", ["whole", "truncated"])
def test_a_bundle_is_replaced(here: Place, bundle: Path, tmp_path: Path, state: str) -> None:
    target = tmp_path / "x.bundle"
    whole = bundle.read_bytes()
    target.write_bytes(whole if state == "whole" else whole[:2000])
    here.create(target)
    assert target.read_bytes() == whole


def test_models_can_be_left_out(here: Place, tmp_path: Path) -> None:
    lock = here.lock()
    (here.folder / "a.bin").unlink()
    summary = here.create(tmp_path / "x", models=False, lock=lock)
    assert summary.models == 0
    assert not [name for name in _names(tmp_path / "x") if name.startswith("models/")]


def test_models_that_are_missing_are_all_named(here: Place, tmp_path: Path) -> None:
    lock = here.lock()
    other = lock.models[0].model_copy(update={"name": "b.bin", "sha256": "1" * 64, "source": "b"})
    lock = lock.model_copy(update={"models": [*lock.models, other]})
    (here.folder / "a.bin").unlink()
    with pytest.raises(UnavailableError, match=r"(?s)a\.bin \(8\.0 kB\).*b\.bin") as caught:
        here.create(tmp_path / "x", lock=lock)
    assert "--without-models" in caught.value.remedy


def test_wheels_that_are_on_no_index_are_all_named(here: Place, tmp_path: Path) -> None:
    lock = here.lock()
    for file in (here.folder / "wheels").iterdir():
        file.unlink()
    with pytest.raises(UnavailableError, match=r"(?s)2 of 2 Python packages are not available"):
        here.create(tmp_path / "x", lock=lock)
    assert not (tmp_path / "x").exists()


def test_a_wheel_with_other_bytes_on_the_index_is_refused_by_name(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = here.lock()
    torch = here.folder / "wheels/torch-1.0-py3-none-any.whl"
    torch.write_bytes(torch.read_bytes()[:-1] + b"x")
    with pytest.raises(MismatchError, match=r"torch-1\.0-py3-none-any\.whl"):
        here.create(tmp_path / "x", lock=lock)
    root = tmp_path / "index"
    root.mkdir()
    (here.folder / "wheels").rename(root / "files")
    write_index(root)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with serve(root) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        with pytest.raises(MismatchError, match=r"torch-1\.0-py3-none-any\.whl has sha256"):
            here.create(tmp_path / "x", lock=lock)
    assert find_archive(lock.python.torch[0].files[0].sha256, here.cache) is None
    assert not (tmp_path / "x").exists()


def test_a_tree_that_was_changed_in_the_cache_is_refused(here: Place, tmp_path: Path) -> None:
    lock = here.lock()
    here.create(tmp_path / "x")
    main = next(here.cache.trees.glob("core@*")) / "main.py"
    main.write_bytes(b"print('other')\n")
    with pytest.raises(MismatchError, match="core at tree:"):
        here.create(tmp_path / "y", lock=lock)


@pytest.mark.parametrize("kind", ["wheel", "model"])
def test_bytes_that_changed_in_the_cache_are_refused_by_name(
    here: Place, tmp_path: Path, kind: str
) -> None:
    here.create(tmp_path / "x")
    lock = here.lock()
    if kind == "wheel":
        name = "torch-1.0-py3-none-any.whl"
        place = find_archive(lock.python.torch[0].files[0].sha256, here.cache)
        assert place is not None
    else:
        name, place = "a.bin", here.folder / "a.bin"
    content = place.read_bytes()
    place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(MismatchError, match=name):
        here.create(tmp_path / "y", lock=lock)
    assert not (tmp_path / "y").exists()
    assert [path.name for path in tmp_path.iterdir() if ".parts" in path.name] == []


def test_a_distribution_without_a_wheel_comes_as_its_source_and_is_reported(
    here: Place, tmp_path: Path
) -> None:
    lock = here.lock()
    source = here.write("wheels/old-1.0.tar.gz", b"the source")
    file = DistributionFile(name=source.name, sha256=hashlib.sha256(b"the source").hexdigest())
    old = Distribution(name="old", version="1.0", files=[file])
    python = lock.python.model_copy(update={"wheels": [*lock.python.wheels, old]})
    summary = here.create(tmp_path / "x", lock=lock.model_copy(update={"python": python}))
    assert summary.sources == ("old-1.0.tar.gz",)
    assert f"wheels/{file.sha256}" in _names(tmp_path / "x")


def test_a_distribution_that_has_nothing_for_the_platform_is_named(
    here: Place, tmp_path: Path
) -> None:
    lock = here.lock()
    only_mac = lock.python.wheels[0].model_copy(
        update={"files": [f for f in lock.python.wheels[0].files if "macosx" in f.name]}
    )
    python = lock.python.model_copy(update={"wheels": [only_mac]})
    with pytest.raises(UnavailableError, match=f"no file of alpha 1.0 for {PLATFORM}"):
        here.create(tmp_path / "x", lock=lock.model_copy(update={"python": python}))


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage)
    with pytest.raises(OperationFailedError, match=r"only 1\.0 kB are free"):
        here.create(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_a_killed_command_left_behind_is_used_up(here: Place, tmp_path: Path) -> None:
    left = tmp_path / ".x.parts"
    left.mkdir()
    (left / "whole").write_bytes(b"half a bundle")
    here.create(tmp_path / "x")
    assert not left.exists()
    here.create(tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_the_handlers_wheels_come_along_and_are_not_part_of_the_version(
    here: Place, bundle: Path, tmp_path: Path
) -> None:
    lock = here.lock()
    # One that the version has too, and one of its own.
    shared, own = lock.python.torch[0], here.wheels("own")
    handler = PythonLock(version="3.11", platforms=[PLATFORM], wheels=[shared, own])
    summary = here.create(tmp_path / "x", handler=handler)
    assert (summary.wheels, summary.handler_wheels) == (2, 1)
    assert set(_names(tmp_path / "x")) - set(_names(bundle)) == {f"wheels/{own.files[0].sha256}"}
