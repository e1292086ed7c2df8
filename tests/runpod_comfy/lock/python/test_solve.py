"""What the distributions of a solution need and do not get."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.lock.python import solve
from runpod_comfy.lock.python.uv_compile import Pin, Solution
from runpod_comfy.lock.python.uv_request import CompileRequest


def test_a_release_does_not_miss_itself_and_other_releases_miss_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # uv writes the second line where markers split a distribution.
    account = "\n".join(
        f"DEBUG Adding transitive dependency for {need}"
        for need in (
            "remover==2.1: arrays>=2",
            "arrays==2.2: arrays{sys_platform == 'linux'}==2.2",
            "remover==2.0: arrays>=2",
            "viewer==1.0: arrays*",
        )
    )
    monkeypatch.setattr(solve, "_account", lambda _request: account)
    pins = [
        Pin(name=name, version=version)
        for name, version in (("arrays", "1.26"), ("remover", "2.1"), ("viewer", "1.0"))
    ]
    request = CompileRequest(
        requirements=(), python="3.11", platforms=["linux-x86_64"], cache_dir=tmp_path
    )
    solution = Solution(pins=pins, required_by={}, account="")
    (need,) = solve.unmet_needs(request, solution, {"arrays"})
    assert (need.who, need.version, need.bounds) == ("remover", "2.1", ">=2")
