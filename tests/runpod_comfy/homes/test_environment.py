from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runpod_comfy.cache.archive_store import keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.environment import needed_packages, stored_indexes
from runpod_comfy.lock.model import Distribution, DistributionFile
from runpod_comfy.sources.index.pip_settings import uv_program
from tests.http_server import serve
from tests.locks import locked_wheels
from tests.package_index import make_wheel, write_index

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


def test_what_is_installed_does_not_depend_on_what_the_store_has(tmp_path: Path) -> None:
    cache = Cache(root=tmp_path / "cache")
    (tmp_path / "wheels").mkdir()
    distribution = locked_wheels(tmp_path / "wheels", "x", "1", "py3-none-any", f"{TAG}-none-any")

    def keep(tag: str) -> None:
        wheel = (tmp_path / "wheels" / f"x-1-{tag}.whl").read_bytes()
        keep_archive([wheel], cache, where="a bundle", expected_sha256=None)

    def offered(*, offline: bool) -> list[str]:
        packages = needed_packages([distribution], python=PYTHON, cache=cache)
        indexes = stored_indexes(packages, cache, offline=offline)
        folders = [Path(index.removeprefix("file://")) for index in indexes]
        return [wheel.name for folder in folders for wheel in folder.glob("*.whl")]

    # A bundle for many machines brought one that fits less well.
    keep("py3-none-any")
    assert offered(offline=False) == []
    assert offered(offline=True) == ["x-1-py3-none-any.whl"]
    keep(f"{TAG}-none-any")
    assert offered(offline=False) == [f"x-1-{TAG}-none-any.whl"]
    assert offered(offline=True)[0] == f"x-1-{TAG}-none-any.whl"


# So long that uv names its entry by a hash of them.
_LONG_TAGS = ".".join(f"manylinux_2_{minor}_{os.uname().machine}" for minor in (5, 12, 17, 26, 28))


@pytest.mark.parametrize(
    "tag",
    [
        "py3-none-any",
        pytest.param(
            f"{TAG}-{TAG}-{_LONG_TAGS}",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="tags of Linux"),
        ),
    ],
)
@pytest.mark.parametrize("from_network", [False, True])
def test_what_uv_has_unpacked_already_is_known(
    tmp_path: Path, tag: str, from_network: bool
) -> None:
    wheels = tmp_path / "files"
    wheels.mkdir()
    wheel = make_wheel(wheels, "two-words", "1.0", tag=tag)
    distribution = _distribution(wheel.name)
    cache = Cache(root=tmp_path / "cache")
    assert not needed_packages([distribution], python=PYTHON, cache=cache)[0].cached
    with contextlib.ExitStack() as stack:
        place = ["--no-index", "--find-links", str(wheels)]
        if from_network:
            write_index(tmp_path)
            place = ["--index-url", f"{stack.enter_context(serve(tmp_path))}/simple"]
        install = ["pip", "install", *place, "--target"]
        subprocess.run(
            [str(uv_program()), *install, str(tmp_path / "target"), "two-words"],
            env={**os.environ, "UV_CACHE_DIR": str(cache.uv)},
            check=True,
            capture_output=True,
        )
    assert needed_packages([distribution], python=PYTHON, cache=cache)[0].cached
