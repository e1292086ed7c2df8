"""An index of packages that is all that this machine's pip is told of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runpod_comfy.sources.package_files import pip_variables


@pytest.fixture
def pip_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's pip reaches a test; loopback is asked directly."""
    for name in pip_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def index(tmp_path: Path, pip_knows_nothing: None) -> Path:
    """The folder of an index; its files go into `files/`, its pages into `simple/`."""
    root = tmp_path / "index"
    (root / "files").mkdir(parents=True)
    (root / "simple").mkdir()
    return root
