"""One version, realized once: each test has workflows of its own."""

from __future__ import annotations

import pytest

from tests.painted_version import PaintedVersion, painted_version


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> PaintedVersion:
    scratch = tmp_path_factory.mktemp("painted")
    version = painted_version(scratch / "project", scratch)
    version.realize()
    return version
