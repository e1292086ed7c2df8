from __future__ import annotations

import pytest

from comfy_http import retries


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs the first second between two attempts here."""
    monkeypatch.setattr(retries, "_FIRST_WAIT_S", 0.01)
