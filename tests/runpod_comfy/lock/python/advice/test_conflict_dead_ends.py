"""Distributions that one platform of a spec cannot have: which, and both ways out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.runpod_comfy.lock.conftest import Bench

# Solves with uv in each test.
pytestmark = pytest.mark.slow

BOTH = ["linux-x86_64", "macos-arm64"]
LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"


@pytest.fixture(autouse=True)
def releases(bench: Bench) -> None:
    linux = "cp311-cp311-manylinux_2_17_x86_64"
    bench.release("linux-wheels", "1.0", "2.0", tag=linux)
    bench.release("video-reader", "1.0", tag=linux)
    bench.release("windows-only", "1.0", tag="cp311-cp311-win_amd64")
    bench.release("between", "1.0", requires=["video-reader"])


def _ways_out(remedy: str) -> tuple[list[str], list[str]]:
    overrides, platforms = re.findall(r'"(?:overrides|platforms)": (\[[^]]*\])', remedy)
    return json.loads(overrides), json.loads(platforms)


def test_all_dead_ends_are_named_at_once_with_both_ways_out(bench: Bench) -> None:
    lines: dict[str, Any] = {
        "painter": "gamma\nlinux-wheels<2\n",
        "reader": "between\nlinux-wheels\n",
    }
    error = bench.error("alpha\n", options={"platforms": BOTH}, **lines)
    assert (
        "linux-wheels has no wheel for macos-arm64, a platform of the spec (node:painter, "
        "requirements.txt line 2: linux-wheels<2, node:reader, requirements.txt line 2: "
        "linux-wheels)"
    ) in error.message
    assert "video-reader has no wheel for macos-arm64" in error.message
    assert "(between needs it)" in error.message
    overrides, platforms = _ways_out(error.remedy)
    assert overrides == [
        "linux-wheels<2 ; sys_platform == 'linux'",
        "video-reader ; sys_platform == 'linux'",
    ]
    assert platforms == ["linux-x86_64"]
    lock = bench.lock("alpha\n", options={"platforms": BOTH, "overrides": overrides}, **lines)
    found = {item.name: (item.version, item.marker) for item in lock.wheels}
    assert found["linux-wheels"] == ("1.0", LINUX)
    assert found["video-reader"] == ("1.0", LINUX)
    assert bench.lock("alpha\n", options={"platforms": platforms}, **lines)


def test_a_spec_that_names_no_platform_has_no_dead_ends(bench: Bench) -> None:
    lock = bench.lock("alpha\n", painter="linux-wheels\nbetween\n")
    assert lock.platforms == ["linux-x86_64"]
    assert {"linux-wheels", "video-reader"} < {item.name for item in lock.wheels}


def test_what_no_platform_can_have_is_not_a_dead_end(bench: Bench) -> None:
    error = bench.error("alpha\n", options={"platforms": BOTH}, painter="windows-only\n")
    assert "a platform of the spec" not in error.message
    assert "has no wheel for Python 3.11" in error.message


def test_a_conflict_besides_dead_ends_is_explained_with_them(bench: Bench) -> None:
    options: dict[str, Any] = {"platforms": BOTH}
    lines: dict[str, Any] = {"painter": "video-reader\nalpha<2\n", "reader": "alpha>=2\n"}
    error = bench.error("gamma\n", options=options, **lines)
    assert "video-reader has no wheel for macos-arm64" in error.message
    assert "node:painter, requirements.txt line 2: alpha<2" in error.message
    overrides, _ = _ways_out(error.remedy)
    assert bench.lock("gamma\n", options={**options, "overrides": overrides}, **lines)
