"""Which tests are slow by where they are or by what they use; others carry `@pytest.mark.slow`.

`make test-fast` leaves out all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

TESTS = Path(__file__).parent

# The first two need a Docker engine, the third real ComfyUI with torch.
_FOLDERS = (
    TESTS / "docker",
    TESTS / "runpod_comfy" / "images_engine",
    TESTS / "integration",
)
# Real releases of ComfyUI, which are downloaded.
_FIXTURES = frozenset({"comfy_git"})


def is_slow(path: Path, fixtures: Collection[str]) -> bool:
    """Whether a test of the file `path` that uses `fixtures` is slow."""
    return any(path.is_relative_to(folder) for folder in _FOLDERS) or not _FIXTURES.isdisjoint(
        fixtures
    )
