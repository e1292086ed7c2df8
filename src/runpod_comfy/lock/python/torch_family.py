"""The torch family: torch, what is compiled against it, and what they bring along.

Releases of the family that do not belong together install without complaint and then fail at
import. `torch_members` finds those that do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from packaging.version import Version

from runpod_comfy.lock.model import Distribution, PythonLock
from runpod_comfy.lock.python.fit import platforms_of

MEMBERS = ("torchvision", "torchaudio")
FAMILY = ("torch", *MEMBERS)

# Their heavy companions, which change when torch does and never otherwise.
_COMPANION_PREFIXES = ("nvidia-", "cuda-", "triton", "pytorch-triton")


def in_torch_group(name: str) -> bool:
    """Whether a distribution of that name may belong to the `torch` group of a lock."""
    return name in FAMILY or name.startswith(_COMPANION_PREFIXES)


def torch_group(required_by: Mapping[str, Collection[str]]) -> set[str]:
    """The names of a solution that make up its torch group: the family, and what it brings along.

    `required_by` maps every name of the solution to the distributions that need it. A node's own
    wish for something of NVIDIA's is not among them, so that it cannot change the group.
    """
    group = {name for name in required_by if name in FAMILY}
    while True:
        more = {
            name
            for name, who in required_by.items()
            if name not in group and in_torch_group(name) and group & set(who)
        }
        if not more:
            return group
        group |= more


def cuda_on(python: PythonLock, platform: str) -> str | None:
    """The CUDA version that the locked torch was built for on a platform such as `linux-x86_64`."""
    return cuda_of(
        item
        for item in python.torch
        if platforms_of(item.marker, python=python.version, platforms=[platform])
    )


def cuda_of(torch_group: Iterable[Distribution]) -> str | None:
    """The CUDA version, say `13.0`, that the torch of a lock's group `torch` was built for.

    None for a build without CUDA. PyTorch's own indexes tell it in the version, `2.11.0+cu130`;
    a release on PyPI requires the CUDA libraries of that version.
    """
    versions = {item.name: Version(item.version) for item in torch_group}
    torch = versions.get("torch")
    if torch and (label := re.fullmatch(r"cu(\d+)(\d)", torch.local or "")):
        return f"{label[1]}.{label[2]}"
    for name, version in sorted(versions.items()):
        if name == "cuda-toolkit" or re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name):
            return f"{version.major}.{version.minor}"
    return None
