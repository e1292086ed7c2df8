"""The small version that `realize` is tested with."""

from __future__ import annotations

from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["Version", "version"]
