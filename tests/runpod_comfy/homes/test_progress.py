"""What uv draws of its downloads, counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_files.progress import Progress
from runpod_comfy.homes.environment import Package
from runpod_comfy.homes.fetch import Downloads
from runpod_comfy.homes.run import realize
from runpod_comfy.lock.model import Distribution, DistributionFile
from tests.locks import locked_file
from tests.package_index import make_wheel, serve_index, write_index
from tests.runpod_comfy.homes.conftest import Version


class Counted(Progress):
    is_seen = True

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        self.told.append((part, count, size_bytes))

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        self.told.append((part, count, size_bytes))

    def of_packages(self) -> list[tuple[int, int]]:
        return [(count, size) for part, count, size in self.told if part == "packages"]


def _needed(name: str, size: int) -> Package:
    file = DistributionFile(name=f"{name}-1.0-py3-none-any.whl", sha256="0" * 64, size=size)
    distribution = Distribution(name=name, version="1.0", files=[file])
    return Package(distribution=distribution, files=(file,), unpacked=False, stored=False)


# As uv 0.13 draws it, without colours: a count, then a bar for each package above a megabyte.
_UP_AND_AWAY = b"\r\x1b[2K\x1b[1A"
_DRAWINGS = [
    b"Resolved 3 packages in 4ms\r\n* Preparing packages... (0/3)   ",
    _UP_AND_AWAY + b"* Preparing packages... (0/3)   ",
    b"nvidia-nccl-cu12 ------------------------------     0 B/4.00 MiB   ",
    _UP_AND_AWAY + b"* Preparing packages... (1/3)   ",
    b"nvidia-nccl-cu12 \x1b[32m---------------\x1b[0m--------------- 1.00 MiB/4.00 MiB   ",
    b"torch            ------------------------------ 512.00 KiB/1.00 MiB   ",
    _UP_AND_AWAY + b"* Preparing packages... (2/3)   ",
    b"torch            ------------------------------ 768.00 KiB/1.00 MiB   ",
    _UP_AND_AWAY
    + b"Prepared 3 packages in 2s\r\nInstalled \x1b[1m3 packages\x1b[0m \x1b[2min 4ms\r\n",
]
_PACKAGES = {"Nvidia_Nccl.cu12": 4000, "torch": 1000, "six": 7}


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_bytes_are_counted_as_uv_draws_them_and_the_small_packages_at_the_end(piece: int) -> None:
    counted = Counted()
    said: list[str] = []
    downloads = Downloads([_needed(*each) for each in _PACKAGES.items()], counted, said.append)
    assert counted.of_packages() == [(3, 5007)]
    drawn = b"".join(_DRAWINGS)
    for start in range(0, len(drawn), piece):
        downloads.handle(drawn[start : start + piece])
    # A quarter of the first and half of the second; the first is whole when its bar is gone.
    assert counted.of_packages()[1:] == [(1, 1500), (1, 3250)]
    downloads.finish()
    assert counted.of_packages()[3:] == [(1, 257)]
    assert piece < 100 or said == ["Compiling 3 packages"]


def test_the_next_layer_counts_from_nothing_again_and_nothing_is_counted_twice() -> None:
    counted = Counted()
    downloads = Downloads([_needed("torch", 1000), _needed("six", 7)], counted)
    for count in (b"(1/1)", b"(0/1)", b"(1/1)", b"(1/1)"):
        downloads.handle(b"Preparing packages... " + count + b"\r")
    downloads.handle(b"Prepared 1 package in 1s\r\n")
    downloads.finish()
    assert counted.of_packages()[1:] == [(1, 0), (1, 0), (0, 1007)]


def test_a_real_uv_tells_the_bytes_of_a_package_while_it_comes(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(version.wheels_dir, "alpha", "1.0", source=f"#{'x' * 40_000_000}\n")
    files = [locked_file(wheel)]
    version.wheels = [version.wheels[0].model_copy(update={"files": files})]
    counted = Counted()
    root = version.folder / "index"
    root.mkdir()
    version.wheels_dir.rename(root / "files")
    write_index(root)
    with serve_index(root, monkeypatch):
        realize(replace(version.job(wheels_dir=None), progress=counted))
    (count, size), *arrived = counted.of_packages()
    assert (count, sum(count for count, _ in arrived)) == (2, 2)
    assert size == sum(size for _, size in arrived)
    assert [size for _, size in arrived if 0 < size < 40_000_000]
    assert not (version.folder / "home/.comfy_logs").exists()
