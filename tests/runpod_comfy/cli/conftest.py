"""A version that was resolved once, in a world that a test may then move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.package_index import serve_index
from tests.runpod_comfy.cli.moving_world import World, make_world


@pytest.fixture
def bare_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Not resolved yet; the working directory, the cache and pip are set up for it."""
    world = make_world(tmp_path)
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCK_PATH", raising=False)
    with serve_index(world.index, monkeypatch):
        yield world


@pytest.fixture
def world(bare_world: World) -> World:
    """Resolved once."""
    assert run_command_line(["resolve", "small"]) == 0
    return bare_world
