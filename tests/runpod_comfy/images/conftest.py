from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _reach_this_machine_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
