from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from rp_handler.pictures.small import small_picture


def _noise(side: int, kind: str) -> bytes:
    picture = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3))
    picture.save(buffer := io.BytesIO(), format=kind)
    return buffer.getvalue()


def test_a_small_picture_stays_as_it_is() -> None:
    content = _noise(16, "PNG")
    assert small_picture(content, "image/png", len(content)) == (content, "image/png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_picture_becomes_a_small_jpeg(kind: str) -> None:
    content = _noise(1024, kind)
    made = small_picture(content, "image/any", 400_000)
    assert made is not None
    small, mime = made
    assert len(small) <= 400_000 < len(content)
    assert mime == "image/jpeg"
    with Image.open(io.BytesIO(small)) as picture:
        assert picture.size == (512, 512)


def test_what_cannot_be_made_small_is_none() -> None:
    assert small_picture(_noise(1024, "JPEG"), "image/jpeg", 1000) is None
    assert small_picture(b"\xff\xd8\xff" + bytes(1000), "image/jpeg", 100) is None
