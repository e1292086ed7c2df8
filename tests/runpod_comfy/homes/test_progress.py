"""What uv says it has downloaded, counted."""

from __future__ import annotations

from comfy_files.progress import Progress
from runpod_comfy.homes.environment import Package
from runpod_comfy.homes.fetch import Downloads
from runpod_comfy.lock.model import Distribution, DistributionFile


class Counted(Progress):
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        self.told.append((part, count, size_bytes))

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        self.told.append((part, count, size_bytes))


def _needed(name: str, size: int) -> Package:
    file = DistributionFile(name=f"{name}-1.0-py3-none-any.whl", sha256="0" * 64, size=size)
    distribution = Distribution(name=name, version="1.0", files=[file])
    return Package(distribution=distribution, files=(file,), unpacked=False, stored=False)


def test_packages_are_counted_as_uv_names_them_and_the_small_ones_at_the_end() -> None:
    counted = Counted()
    downloads = Downloads([_needed("Nvidia_Nccl.cu12", 7), _needed("six", 1)], counted)
    downloads.hear(b"Downloading nvidia-nccl-cu12 (7.0B)\n Downlo")
    downloads.hear(b"aded nvidia-nccl-cu12\n Downloaded another\n")
    assert counted.told == [("packages", 2, 8), ("packages", 1, 7)]
    downloads.finish()
    assert counted.told[2:] == [("packages", 1, 1)]
