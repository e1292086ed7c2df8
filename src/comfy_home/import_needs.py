"""What nodes need from a machine to be imported, as `options.import_needs` of a spec states it.

A need is `gpu`, which is a GPU that torch can use on Linux, or `env:NAME`, a variable with a value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

GPU = "gpu"
VARIABLE = "env:"

_ACCELERATORS = ("nvidia[0-9]*", "nvidiactl", "kfd", "dxg")


def needs_cpu(environment: Mapping[str, str], devices: Path = Path("/dev")) -> bool:
    """True if torch will find no accelerator, in which case ComfyUI would stop without `--cpu`."""
    if sys.platform != "linux":
        return False
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return True
    return not any(any(devices.glob(pattern)) for pattern in _ACCELERATORS)


def unmet_needs(
    needs: Iterable[str], *, arguments: Sequence[str], environment: Mapping[str, str]
) -> list[str]:
    """The needs that this machine does not meet, sorted, for an engine with these command line
    arguments and variables.
    """
    lacks_gpu = sys.platform != "linux" or "--cpu" in arguments or needs_cpu(environment)
    return sorted(
        need
        for need in set(needs)
        if (lacks_gpu if need == GPU else not environment.get(need.removeprefix(VARIABLE)))
    )


def needs_in_words(needs: Sequence[str]) -> str:
    """`a GPU and the variable KEY`."""
    words = ["a GPU" if it == GPU else f"the variable {it.removeprefix(VARIABLE)}" for it in needs]
    return " and ".join(words)
