"""What is found out about models before they are hashed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.lock.models import model_faults
from runpod_comfy.spec.model import Model
from tests.http_server import serve

CHECKSUM = "sha256:" + "0" * 64


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "a.bin").write_bytes(b"weights")
    with serve(tmp_path / "shelf") as url:
        yield url


def faults(folder: Path, *models: dict[str, Any], offline: bool = False) -> list[ComfyError]:
    asked = [Model.model_validate({"name": "a.bin", "target_subdir": "x"} | it) for it in models]
    return model_faults(asked, [], folder, offline=offline)


def test_every_model_that_cannot_be_locked_is_reported(tmp_path: Path) -> None:
    (tmp_path / "there.bin").write_bytes(b"weights")
    missing, unstated, larger = faults(
        tmp_path,
        {"source": "there.bin"},
        {"source": "gone.bin"},
        {"source": "https://h.example/a.bin", "size": 7},
        {"source": "there.bin", "size": 8},
    )
    assert isinstance(missing, UnavailableError)
    assert "gone.bin" in missing.message
    assert isinstance(unstated, InvalidInputError)
    assert "does not state its 'checksum'" in unstated.message
    assert isinstance(larger, MismatchError)
    assert "there.bin has 7 bytes, the spec says 8" in larger.message


def test_a_url_that_its_server_does_not_have_is_reported(tmp_path: Path, server: str) -> None:
    gone = {"source": f"{server}/gone.bin", "checksum": CHECKSUM, "size": 7}
    (error,) = faults(tmp_path, gone)
    assert isinstance(error, UnavailableError)
    assert "model a.bin: " in error.message
    assert "404" in error.message
    assert faults(tmp_path, gone | {"mirrors": [f"{server}/a.bin"]}) == []
    assert faults(tmp_path, gone, offline=True) == []


def test_a_url_with_another_size_is_reported(tmp_path: Path, server: str) -> None:
    model = {"source": f"{server}/a.bin", "checksum": CHECKSUM}
    assert faults(tmp_path, model | {"size": 7}) == []
    (error,) = faults(tmp_path, model | {"size": 9})
    assert isinstance(error, MismatchError)
    assert "has 7 bytes, the spec says 9" in error.message


def test_a_server_that_does_not_answer_says_nothing_against_a_model(tmp_path: Path) -> None:
    model = {"source": "http://127.0.0.1:9/a.bin", "checksum": CHECKSUM, "size": 7}
    assert faults(tmp_path, model) == []
