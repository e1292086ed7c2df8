from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from rp_handler.pictures.metadata import without_metadata

_PROMPT = json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}})


def _saved(kind: str, **options: Any) -> bytes:
    picture = Image.linear_gradient("L").convert("RGB").resize((40, 30))
    picture.save(buffer := io.BytesIO(), format=kind, **options)
    return buffer.getvalue()


def _texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", _PROMPT)
    info.add_itxt("workflow", "{}", zip=True)
    # As ComfyUI writes it into animated PNG files.
    info.add(b"comf", b"prompt\0" + _PROMPT.encode(), after_idat=True)
    return info


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{_PROMPT}"
    return exif


_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        _saved("PNG", pnginfo=_texts(), icc_profile=_PROFILE),
        _saved("PNG", pnginfo=_texts(), icc_profile=_PROFILE, exif=_exif()),
        _saved("JPEG", exif=_exif(), comment=_PROMPT, icc_profile=_PROFILE, progressive=True),
        _saved("WEBP", exif=_exif(), xmp=_PROMPT.encode(), icc_profile=_PROFILE),
        _saved("WEBP", exif=_exif(), icc_profile=_PROFILE, lossless=True),
        _saved(
            "WEBP",
            exif=_exif(),
            icc_profile=_PROFILE,
            save_all=True,
            append_images=[Image.new("RGB", (40, 30))],
        ),
    ],
    ids=["png", "png with exif", "jpeg", "webp", "webp lossless", "webp animated"],
)
def test_metadata_is_removed_and_the_picture_stays_byte_for_byte(content: bytes) -> None:
    assert b"class_type" in content
    bare = without_metadata(content)
    assert bare is not None
    assert b"class_type" not in bare
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(bare)) as after:
        assert after.format == before.format
        assert after.info["icc_profile"] == _PROFILE
        assert not after.getexif()
        assert not getattr(after, "text", {})
        assert "comment" not in after.info
        frames = getattr(before, "n_frames", 1)
        assert getattr(after, "n_frames", 1) == frames
        for number in range(frames):
            before.seek(number)
            after.seek(number)
            assert after.tobytes() == before.tobytes()
    assert without_metadata(bare) == bare


def test_a_picture_of_16_bits_keeps_them() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")

    pixels = zlib.compress(b"\0" + bytes(range(6)))
    shown = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)),
        chunk(b"IDAT", pixels),
        chunk(b"IEND", b""),
    ]
    text = chunk(b"tEXt", b"prompt\0{}")
    assert without_metadata(b"".join([*shown[:2], text, *shown[2:]])) == b"".join(shown)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_file_is_refused(kind: str) -> None:
    content = _saved(kind, **({"pnginfo": _texts()} if kind == "PNG" else {"exif": _exif()}))
    cut = {"PNG": len(content) - 6, "JPEG": 100, "WEBP": len(content) - 6}[kind]
    with pytest.raises(ValueError, match="damaged"):
        without_metadata(content[:cut])


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"RIFF\0\0\0\0WAVE"])
def test_other_formats_are_not_known(content: bytes) -> None:
    assert without_metadata(content) is None
