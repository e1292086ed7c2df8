from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.environment import needed_packages
from runpod_comfy.layers.uv import uv_program
from runpod_comfy.lock.model import Distribution, DistributionFile
from tests.package_index import make_wheel

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


def _distribution(*names: str, marker: str | None = None) -> Distribution:
    files = [DistributionFile(name=name, sha256="0" * 64, size=10) for name in names]
    return Distribution(name="x", version="1", files=files, marker=marker)


NOWHERE = Cache(root=Path("/nowhere"))


def _needed(*distributions: Distribution, cache: Cache = NOWHERE) -> list[str]:
    return [
        package.files[0].name
        for package in needed_packages(distributions, python=PYTHON, cache=cache)
    ]


def test_the_wheel_that_fits_this_machine_best_is_taken() -> None:
    machine = os.uname().machine
    linux = f"x-1-{TAG}-{TAG}-manylinux_2_17_{machine}.manylinux2014_{machine}.whl"
    mac = f"x-1-{TAG}-{TAG}-macosx_11_0_{machine}.whl"
    distribution = _distribution(
        "x-1.tar.gz", "x-1-py3-none-any.whl", "x-1-cp27-cp27m-win32.whl", linux, mac
    )
    assert _needed(distribution) == [mac if sys.platform == "darwin" else linux]


def test_a_source_archive_is_taken_only_where_no_wheel_fits() -> None:
    assert _needed(_distribution("x-1.tar.gz", "x-1-cp27-cp27m-win32.whl")) == ["x-1.tar.gz"]


def test_a_distribution_for_another_platform_is_not_needed() -> None:
    assert _needed(_distribution("x-1-py3-none-any.whl", marker="sys_platform == 'never'")) == []


def test_what_uv_has_unpacked_already_is_known(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = make_wheel(wheels, "two-words", "1.0")
    distribution = _distribution(wheel.name)
    cache = Cache(root=tmp_path / "cache")
    assert not needed_packages([distribution], python=PYTHON, cache=cache)[0].cached
    install = ["pip", "install", "--no-index", "--find-links", str(wheels), "--target"]
    subprocess.run(
        [str(uv_program()), *install, str(tmp_path / "target"), "two-words"],
        env={**os.environ, "UV_CACHE_DIR": str(cache.uv)},
        check=True,
        capture_output=True,
    )
    assert needed_packages([distribution], python=PYTHON, cache=cache)[0].cached
