"""A disk with little room, for the code that asks before it writes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


def nearly_full(monkeypatch: pytest.MonkeyPatch, *, free_bytes: int) -> None:
    """Every disk has this many bytes left, by the answer that the code gets."""
    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("comfy_files.space.shutil.disk_usage", lambda _folder: usage)
