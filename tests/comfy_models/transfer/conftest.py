from __future__ import annotations

from pathlib import Path

import pytest

from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from tests.model_downloads import MIB, hosts_in


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, and short waits."""
    monkeypatch.setattr("comfy_models.transfer.delivery.PART_BYTES", MIB)
    monkeypatch.setattr("comfy_models.transfer.connections._ADD_EVERY_S", 0.03)
    monkeypatch.setattr("comfy_http.retries._FIRST_WAIT_S", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return hosts_in(tmp_path, timeout_s=0.5)
