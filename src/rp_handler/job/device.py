"""What a run computes on, as its result names it: outputs may differ from device to device."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from comfy_home.platforms import this_platform

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
_PROCESSORS = Path("/proc/cpuinfo")
# ComfyUI's name of a GPU starts with its number and ends with torch's allocator.
_DECORATION = re.compile(r"^(?:cuda|xpu|mps):\d+ | : \w*$")
_DRIVER_VERSION = re.compile(r"\bNVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_GPU = re.compile(r"^Model:\s*(\S.*?)\s*$", re.MULTILINE)
_PROCESSOR = re.compile(r"^model name\s*: *(.+?) *$", re.MULTILINE)


def device_of(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The `device` of a result document, from the engine's system stats.

    `driver` is the version of NVIDIA's driver, None for other devices.
    """
    first: Mapping[str, Any] = next(iter(stats.get("devices") or ()), {})
    kind = str(first.get("type") or "unknown")
    name = _DECORATION.sub("", str(first.get("name") or kind))
    return {
        "name": name or kind,
        "type": kind,
        "platform": this_platform(),
        "driver": _found(_DRIVER_VERSION, _NVIDIA_DRIVER) if kind == "cuda" else None,
        "processor": processor_name(),
    }


def processor_name() -> str | None:
    """The name of this machine's processor, None if the system does not say it."""
    return _found(_PROCESSOR, _PROCESSORS) or platform.processor() or None


def nvidia_gpus() -> list[str]:
    """The names of the GPUs that NVIDIA's driver has, as a device is named after them."""
    places = sorted(_NVIDIA_GPUS.glob("*/information"))
    return [name for place in places if (name := _found(_GPU, place))]


@cache
def _found(pattern: re.Pattern[str], path: Path) -> str | None:
    # The kernel takes milliseconds to list many processors.
    with contextlib.suppress(OSError):
        found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else None
    return None
