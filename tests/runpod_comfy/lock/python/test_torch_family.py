"""What belongs to the torch group, and for which CUDA it was built."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.model import Distribution, PythonLock
from runpod_comfy.lock.python.torch_family import cuda_of, cuda_on, in_torch_group


@pytest.mark.parametrize(
    ("name", "inside"),
    [("torch", True), ("nvidia-cublas", True), ("triton", True), ("torchsde", False)],
)
def test_the_heavy_companions_are_in_the_torch_group(name: str, inside: bool) -> None:
    assert in_torch_group(name) is inside


@pytest.mark.parametrize(
    ("group", "cuda"),
    [
        # As the releases on PyPI have them.
        ({"torch": "2.15.0", "cuda-toolkit": "13.2.2", "nvidia-cuda-runtime": "13.2.86"}, "13.2"),
        ({"torch": "2.14.1", "cuda-toolkit": "13.0.3.0"}, "13.0"),
        ({"torch": "2.9.1", "nvidia-cuda-runtime-cu12": "12.8.90"}, "12.8"),
        # As PyTorch's own indexes have them.
        ({"torch": "2.11.0+cu126", "nvidia-cuda-runtime-cu12": "12.6.77"}, "12.6"),
        ({"torch": "2.11.0+cu130"}, "13.0"),
        ({"torch": "2.11.0+cpu"}, None),
        ({"torch": "2.11.0"}, None),
        ({}, None),
    ],
)
def test_the_cuda_that_torch_was_built_for(group: dict[str, str], cuda: str | None) -> None:
    distributions = [
        Distribution(name=name, version=version, files=[]) for name, version in group.items()
    ]
    assert cuda_of(distributions) == cuda


def test_a_platform_has_the_cuda_of_its_own_torch() -> None:
    linux = "sys_platform == 'linux'"
    python = PythonLock(
        version="3.11",
        platforms=["linux-x86_64", "macos-arm64"],
        torch=[
            Distribution(name="torch", version="2.15.0", files=[]),
            Distribution(name="cuda-toolkit", version="13.2.2", marker=linux, files=[]),
        ],
        wheels=[],
    )
    assert cuda_on(python, "linux-x86_64") == "13.2"
    assert cuda_on(python, "macos-arm64") is None
