from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.images.conftest import EPOCH, Bench
from tests.package_index import make_wheel


def _install(
    bench: Bench,
    wheels: Path,
    cache: str,
    *,
    layer: str = "torch",
    target: str = "host",
    owner: str = "",
) -> dict[str, tuple[bytes, int]]:
    """Makes an environment and installs from the folder, with the installer's cache in `cache`.

    Gives the packages' files and times.
    """
    venv = bench.folder / "venv"
    bench.run(
        layer,
        {
            "TARGET": target,
            "ENVIRONMENT_OWNER": owner,
            "VENV": str(venv),
            "UV": find_uv_bin(),
            "UV_CACHE_DIR": str(bench.folder / cache),
            "UV_FIND_LINKS": wheels.as_uri(),
            "NO_INDEX": "1",
            "PYTHON": sys.executable,
        },
    )
    (packages,) = venv.glob("lib/python3.*/site-packages")
    return {
        str(path.relative_to(packages)): (path.read_bytes(), int(path.stat().st_mtime))
        for path in packages.rglob("*")
        if path.is_file()
    }


def test_a_wheel_of_a_folder_is_installed_the_same_each_time(bench: Bench) -> None:
    """uv notes the time of such a wheel in the environment."""
    bench.folder.joinpath("wheels").mkdir()
    wheel = make_wheel(bench.folder / "wheels", "alpha", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    bench.give({"requirements.txt": f"alpha==1.0 --hash=sha256:{digest}\n"})
    first = _install(bench, wheel.parent, "cache")
    again = wheel.rename(wheel.with_suffix(".old"))
    time.sleep(0.02)
    shutil.copy(again, wheel)
    assert _install(bench, wheel.parent, "cache of another machine") == first
    assert {time for _, time in first.values()} == {EPOCH}
    record = first["alpha-1.0.dist-info/RECORD"][0].decode()
    listed = {line.split(",")[0] for line in record.splitlines()}
    assert {"alpha.py", "alpha-1.0.dist-info/METADATA"} <= listed <= first.keys()


def test_a_record_of_odd_mode_keeps_it(bench: Bench) -> None:
    """As it does where a wheel comes from an index and nothing is taken out of its record."""
    bench.folder.joinpath("wheels").mkdir()
    wheel = make_wheel(bench.folder / "wheels", "alpha", "1.0")
    with zipfile.ZipFile(wheel) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in members:
            if member.filename.endswith("/RECORD"):
                member.external_attr = 0o100755 << 16
            archive.writestr(member, content)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    bench.give({"requirements.txt": f"alpha==1.0 --hash=sha256:{digest}\n"})
    _install(bench, wheel.parent, "cache")
    (record,) = bench.folder.glob("venv/lib/python3.*/site-packages/alpha-1.0.dist-info/RECORD")
    assert record.stat().st_mode & 0o777 == 0o755


def test_in_an_image_each_layer_makes_its_own_files_read_only(bench: Bench) -> None:
    bench.folder.joinpath("wheels").mkdir()
    made = {}
    for layer, name in (("torch", "alpha"), ("wheels", "beta")):
        wheel = make_wheel(bench.folder / "wheels", name, "1.0")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        bench.give({"requirements.txt": f"{name}==1.0 --hash=sha256:{digest}\n"})
        _install(bench, wheel.parent, "cache", layer=layer, target="image")
        made[layer] = {
            path: path.lstat()
            for path in (bench.folder / "venv").rglob("*")
            if not path.is_symlink()
        }
    assert [path for path, of in made["wheels"].items() if of.st_mode & 0o222] == []
    changed = {
        path.name
        for path, of in made["torch"].items()
        if path.is_file() and of.st_ctime_ns != made["wheels"][path].st_ctime_ns
    }
    assert changed == set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_in_an_image_a_writable_environment_belongs_to_its_user(bench: Bench) -> None:
    bench.folder.joinpath("wheels").mkdir()
    wheel = make_wheel(bench.folder / "wheels", "alpha", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    bench.give({"requirements.txt": f"alpha==1.0 --hash=sha256:{digest}\n"})
    _install(bench, wheel.parent, "cache", target="image", owner="1000:1001")
    for path in (bench.folder / "venv").rglob("*"):
        of = path.lstat()
        assert (of.st_uid, of.st_gid, of.st_mtime) == (1000, 1001, EPOCH)
        assert path.is_symlink() or of.st_mode & 0o220 == 0o220
