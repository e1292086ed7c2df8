from __future__ import annotations

import asyncio
import base64
from pathlib import Path, PurePath

import pytest

from rp_handler.outputs.inline import Base64Sink


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(b"bytes \x00\xff")
    return path


def test_base64_carries_the_bytes_within_the_document(picture: Path) -> None:
    entry = asyncio.run(Base64Sink().put(picture, PurePath("x.png")))
    assert entry["type"] == "base64"
    assert base64.b64decode(entry["data"]) == picture.read_bytes()
