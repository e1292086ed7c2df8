"""What is known of a request of `verify-models` before any pydantic model is imported."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runpod_comfy import verify_models
from runpod_comfy.api.model_request import find_request, read_ahead
from tests.model_versions import ModelVersion

_PAGE = 1 << 14


def test_the_same_request_begins_to_read_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    version, models = ModelVersion(project=tmp_path / "project"), tmp_path / "models"
    content = os.urandom(3 << 20)
    version.add(content, "a.dat", "vae/a.dat")
    version.write()
    (version.project / "versions" / "a.dat").write_bytes(content)
    assert verify_models("small", models_dir=models, project=version.project).holds
    with (models / "vae" / "a.dat").open("rb") as file:
        descriptor = file.fileno()
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        # A look at a page has the system read that page, but with this no others.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        pages = iter(range(_PAGE, len(content), _PAGE))
        read_ahead(find_request("small", models_dir=models, project=version.project))
        assert any(_is_cached(descriptor, page) for page in pages)


def _is_cached(descriptor: int, offset: int) -> bool:
    """True if a byte of the open file is in the page cache; otherwise waits a little."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        time.sleep(0.01)
        return False
