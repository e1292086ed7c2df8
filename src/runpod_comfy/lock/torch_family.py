"""The torch family: which versions of torch, torchvision and torchaudio belong together.

They are compiled against each other: torch 2.N goes with torchvision 0.(N+15) and torchaudio 2.N.
Another pair installs without complaint and then fails at import.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from packaging.version import Version

FAMILY = ("torch", "torchvision", "torchaudio")

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


def minor_of(name: str, version: str) -> int:
    """The N of torch 2.N that this version of a family member was compiled for."""
    minor = Version(version).minor
    return minor - 15 if name == "torchvision" else minor


def family_constraints(minor: int) -> list[str]:
    """Constraints that keep all three at torch 2.<minor>."""
    return [f"torch==2.{minor}.*", f"torchvision==0.{minor + 15}.*", f"torchaudio==2.{minor}.*"]


def newest_whole_minor(versions: Mapping[str, str]) -> int | None:
    """The N that the whole family can have if these versions do not match, else None.

    `versions` maps distribution names to versions; members that are absent do not count.
    """
    minors = {minor_of(name, versions[name]) for name in FAMILY if name in versions}
    return min(minors) if len(minors) > 1 else None
