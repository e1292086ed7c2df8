"""Places for real versions: gigabytes, so in the user's cache, whose file system they share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_comfy.cache.paths import Cache
from tests.integration.small_versions import SmallVersions, small_versions
from tests.program import Program


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """An empty folder where packages can be hard-linked from the cache."""
    cache = Cache.from_environment()
    cache.tmp.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=cache.tmp, prefix="test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def program(place: Path) -> Program:
    """The program in an empty working directory with a `versions` folder."""
    (place / "versions").mkdir()
    return Program(folder=place)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallVersions]:
    """The small versions, resolved, with nothing in their cache."""
    with small_versions(tmp_path_factory.mktemp("small")) as made:
        yield made
