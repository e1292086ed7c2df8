"""Everything at once: what is found in the cache, and how one error ends the rest."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from comfy_errors import ComfyError, UnavailableError
from runpod_comfy.realize.run import realize
from tests.runpod_comfy.realize.conftest import Version


def _stalling_uv(folder: Path) -> Path:
    program = folder / "uv"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return program


def test_the_first_error_ends_the_rest_and_is_the_one_that_is_told(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = _stalling_uv(version.folder)
    monkeypatch.setattr("runpod_comfy.realize.build.uv_program", lambda: uv)
    version.models = [version.model("a.bin", "weights")]
    job = dataclasses.replace(version.job(), wheels_dir=None)
    (version.folder / "a.bin").unlink()
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"a\.bin"):
        realize(job)
    assert time.monotonic() - started < 30
    assert not (version.folder / "home").exists()


def test_trees_come_with_bytecode_that_the_home_shares_byte_for_byte(version: Version) -> None:
    realize(version.job())
    (kept,) = [entry for entry in version.cache.compiled.iterdir() if (entry / "main.py").exists()]
    bytecode = next(kept.rglob("main.*.pyc"))
    placed = version.folder / "home/ComfyUI/__pycache__" / bytecode.name
    assert placed.read_bytes() == bytecode.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")}
    realize(version.job(version.folder / "two"))
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")} == before


def test_logs_of_a_layer_that_failed_stay_and_are_named(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = version.folder / "uv"
    uv.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    uv.chmod(0o755)
    monkeypatch.setattr("runpod_comfy.realize.build.uv_program", lambda: uv)
    with pytest.raises(ComfyError, match="no such luck") as caught:
        realize(dataclasses.replace(version.job(), wheels_dir=None))
    log = caught.value.remedy.split("The whole output is in ")[1].split(". ")[0]
    assert "no such luck" in Path(log).read_text()
    assert not (version.folder / "home").exists()
