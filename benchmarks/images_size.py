"""Target 6: our image's size, against the same packages above NVIDIA's CUDA runtime image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.images import OURS, THEIRS, ImageContest
from benchmarks.images_rebuild import in_words
from benchmarks.rows import Row
from runpod_comfy.lock.model import Distribution

_AT_MOST = 0.8

# What nvidia/cuda:<version>-cudnn-runtime installs (dist/*/runtime/Dockerfile and its cudnn/, in
# https://gitlab.com/nvidia/container-images/cuda) and NVIDIA publishes as wheels too.
_IN_CUDA_RUNTIME = (
    "cublas",
    "cuda-nvrtc",
    "cuda-runtime",
    "cudnn",
    "cufft",
    "curand",
    "cusolver",
    "cusparse",
    "nccl",
    "nvjitlink",
    "nvtx",
)

NOTES = (
    "6: a calculation. Ours is what the layers weigh in a registry, base included. Beside it stand "
    "the layers of worker-comfyui's layout, above a base without CUDA, and the libraries that "
    "nvidia/cuda's cudnn-runtime image consists of, at the size of the wheels in which NVIDIA "
    "publishes the same libraries. Not counted, in favour of theirs: Ubuntu, NPP and nvJPEG in "
    "that image, and the Debian packages (ffmpeg and others) of their Dockerfile.",
)


def measure(contest: ImageContest, sizes: Mapping[str, Mapping[str, int]]) -> list[Row]:
    """`sizes` are those of each image's layers, in the image's order, the base's first."""
    bases = len(contest.room.client.images.get(contest.base_reference).attrs["RootFS"]["Layers"])
    ours = sum(sizes[OURS].values())
    above = sum(list(sizes[THEIRS].values())[bases:])
    runtime = cuda_runtime_bytes(contest.material.lock(contest.version).python.torch)
    return [size_row(ours, above, runtime)]


def size_row(ours: int, above: int, runtime: int) -> Row:
    """`above` is what lies above the CUDA runtime in the other image, all in bytes."""
    ratio = ours / (above + runtime)
    return Row(
        target=6,
        what=f"image size: {in_words(ours)}, against {in_words(above)} + "
        f"{in_words(runtime)} of CUDA",
        measured=f"{ratio:.2f}×",
        wanted=f"≤ {_AT_MOST:g}×",
        met=ratio <= _AT_MOST,
    )


def cuda_runtime_bytes(torch_group: Sequence[Distribution]) -> int:
    """The size of the libraries of the CUDA runtime image, from the wheels in a lock."""
    return sum(
        max((file.size or 0 for file in each.files), default=0)
        for each in torch_group
        if library(each.name) in _IN_CUDA_RUNTIME
    )


def library(name: str) -> str:
    """`nvidia-cudnn-cu13` is `cudnn`."""
    return name.removeprefix("nvidia-").removesuffix("-cu12").removesuffix("-cu13")
