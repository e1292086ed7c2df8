"""Checks that this machine's NVIDIA driver can run the CUDA version that torch was built for.

A driver runs builds for its own major version of CUDA or an earlier one:
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from comfy_errors.names import as_options
from rp_handler.errors import EngineStartError

PYTORCH_INDEX = "https://download.pytorch.org/whl"
"""Below it there is an index for each CUDA version, `cu128` for 12.8."""

# For each major version of CUDA, the release with the longest range of PyTorch builds.
_PYTORCH_CUDA = {11: "cu118", 12: "cu128", 13: "cu130"}

_Version = tuple[int, int]


def driver_cuda(load: Callable[[str], Any] = ctypes.CDLL) -> _Version | None:
    """The newest CUDA version, (major, minor), that this machine's driver supports; None without a
    driver.
    """
    if sys.platform != "linux":
        return None
    number = ctypes.c_int()
    try:
        # The only driver function that neither needs nor claims a GPU.
        if load("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return number.value // 1000, number.value % 1000 // 10


def require_driver(needed: str | None, driver: _Version | None) -> None:
    """Raises EngineStartError if torch needs a newer major version of CUDA than the driver has.

    `needed` is the version that torch was built for, say `13.0`. Nothing is checked if either is
    None.
    """
    if needed is None or driver is None or int(needed.split(".")[0]) <= driver[0]:
        return
    major = needed.split(".")[0]
    has = f"{driver[0]}.{driver[1]}"
    remedy = f"Install an NVIDIA driver that supports CUDA {major}"
    if driver[0] in _PYTORCH_CUDA:
        index = f"{PYTORCH_INDEX}/{_PYTORCH_CUDA[driver[0]]}"
        remedy += (
            f", or use a torch for this driver: {as_options(torch={'index': index})} "
            "in the spec, then resolve and realize (or build) again"
        )
    raise EngineStartError(
        f"the driver has CUDA {has}, this version needs {needed}.",
        remedy=f'{remedy}. To run without the GPU, put "--cpu" in options.comfy_args.',
        details={"driver_cuda": has, "needed_cuda": needed},
    )
