"""The torch family: torch, packages compiled against it, and their dependencies.

Incompatible releases of the family install without an error and then fail at import.
`torch_members` finds compatible ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from packaging.version import Version

from runpod_comfy.lock.model import Distribution, PythonLock
from runpod_comfy.lock.python.fit import platforms_of

MEMBERS = ("torchvision", "torchaudio")
FAMILY = ("torch", *MEMBERS)

# Their large companions, which only change when torch does.
_COMPANION_PREFIXES = ("nvidia-", "cuda-", "triton", "pytorch-triton")


def in_torch_group(name: str) -> bool:
    """True if a distribution of that name may belong to the `torch` group of a lock."""
    return name in FAMILY or name.startswith(_COMPANION_PREFIXES)


def torch_group(required_by: Mapping[str, Collection[str]]) -> set[str]:
    """The names in a solution's torch group: the family and its dependencies.

    `required_by` maps every name of the solution to the distributions that need it. A node's own
    requirement for an NVIDIA package is not included, so that it cannot change the group.
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

    None for a build without CUDA. PyTorch's own indexes put it in the version, `2.11.0+cu130`; a
    release on PyPI requires the CUDA libraries of that version.
    """
    versions = {item.name: Version(item.version) for item in torch_group}
    torch = versions.get("torch")
    if torch and (label := re.fullmatch(r"cu(\d+)(\d)", torch.local or "")):
        return f"{label[1]}.{label[2]}"
    for name, version in sorted(versions.items()):
        if name == "cuda-toolkit" or re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name):
            return f"{version.major}.{version.minor}"
    return None
