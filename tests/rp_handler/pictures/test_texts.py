from __future__ import annotations

import contextlib
import io
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from rp_handler.pictures.metadata import fields_of
from rp_handler.pictures.parts import PNG, jpeg_segment, png_chunk, webp_chunk
from rp_handler.pictures.texts import texts_in, with_texts
from tests.hostile_texts import hostile

PROMPT = json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}})
WORKFLOW = json.dumps({"nodes": [1, 2]})
NEW = {"provenance": '{"schema": 1}', "prompt": '{"2": {}}'}


def _saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    picture = Image.linear_gradient("L").convert(mode).resize((41, 30))
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize((41, 30)))
    picture.save(buffer := io.BytesIO(), format=kind, **options)
    return buffer.getvalue()


def _info() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", PROMPT)
    info.add_itxt("workflow", WORKFLOW, zip=True)
    # Another program has put an older one there.
    info.add_text("provenance", "old", zip=True)
    return info


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{PROMPT}"
    exif[0x010F] = f"workflow:{WORKFLOW}"
    exif[0x010E] = "provenance:old"
    exif[0x0132] = "2026:01:31 12:00:00"
    return exif


_FRAMES: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (41, 30), "red")]}
PICTURES = {
    "png": _saved("PNG", pnginfo=_info()),
    "png plain": _saved("PNG"),
    "png animated": _saved("PNG", pnginfo=_info(), **_FRAMES),
    "jpeg": _saved("JPEG", exif=_exif(), progressive=True, comment="kept"),
    "jpeg plain": _saved("JPEG"),
    "webp": _saved("WEBP", exif=_exif(), xmp=b"<kept/>"),
    "webp plain": _saved("WEBP"),
    "webp lossless": _saved("WEBP", lossless=True),
    "webp lossless with alpha": _saved("WEBP", "RGBA", lossless=True),
    "webp with alpha": _saved("WEBP", "RGBA", exif=_exif()),
    "webp animated": _saved("WEBP", exif=_exif(), **_FRAMES),
}


def _frames(content: bytes) -> list[tuple[str, bytes]]:
    with Image.open(io.BytesIO(content)) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            found.append((image.mode, image.tobytes()))
        return found


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES)
def test_texts_are_put_into_a_picture_that_stays_as_it_is(content: bytes) -> None:
    made = with_texts(content, NEW)
    assert made is not None
    changed, left_out = made
    assert left_out == []
    assert texts_in(changed, ("provenance", "prompt")) == NEW
    assert _frames(changed) == _frames(content)
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(changed)) as after:
        # Another reader finds the same, and everything else is kept.
        assert fields_of(after) == {**fields_of(before), **NEW}
        assert after.getexif().get(0x0132) == before.getexif().get(0x0132)
        for name in ("comment", "xmp", "duration", "loop"):
            assert after.info.get(name) == before.info.get(name)
    # The bytes of the picture itself are those of before.
    again = with_texts(changed, NEW)
    assert again is not None
    assert again[0] == changed


def test_what_has_no_room_in_a_jpeg_is_named() -> None:
    texts = {"provenance": "{}", "prompt": json.dumps({"text": "x" * 70_000})}
    made = with_texts(PICTURES["jpeg"], texts)
    assert made is not None
    assert made[1] == ["prompt"]
    assert texts_in(made[0], texts) == {"provenance": "{}"}
    webp = with_texts(PICTURES["webp"], texts)
    assert webp is not None
    assert texts_in(webp[0], texts) == texts


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_have_no_place_for_texts(kind: str) -> None:
    content = _saved(kind)
    assert with_texts(content, NEW) is None
    assert texts_in(content, NEW) is None


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"here")),
        png_chunk(b"iTXt", b"prompt\0\0\0de\0\0here"),
        png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"here")),
        png_chunk(b"tEXt", b"other\0\1") + png_chunk(b"tEXt", b"prompt\0here"),
    ],
    ids=["zTXt", "iTXt", "iTXt compressed", "tEXt"],
)
def test_texts_that_another_program_wrote_are_read(chunk: bytes) -> None:
    assert texts_in(_with(chunk), ("prompt",)) == {"prompt": "here"}


_BOMB = zlib.compress(bytes(64 << 20))


def _with(chunk: bytes) -> bytes:
    """A PNG with a further chunk."""
    at = len(PNG) + 25
    return PICTURES["png plain"][:at] + chunk + PICTURES["png plain"][at:]


def _tiff(*entries: bytes) -> bytes:
    return b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + b"".join(entries)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (_with(png_chunk(b"zTXt", b"prompt\0\0" + _BOMB)), "it has a text of more than 16 MB"),
        (_with(png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + _BOMB)), "it has a text of more than"),
        (_with(png_chunk(b"tEXt", b"prompt\0" + bytes(17 << 20))), "it has a text of more than"),
        (_with(png_chunk(b"zTXt", b"prompt\0\0" + b"no")), "the file is damaged"),
        (_with(png_chunk(b"zTXt", b"prompt\0\0" + _BOMB[:40])), "the file is damaged"),
        (_with(png_chunk(b"tEXt", b"prompt\0a")[:-1] + b"x"), "the file is damaged"),
        (_with(2 * png_chunk(b"tEXt", b"prompt\0a")), "it has two texts called prompt"),
        (_with(b"\xff\xff\xff\xfftEXtprompt\0a"), "the file is damaged"),
        (PICTURES["png"][:200], "the file is damaged"),
        (PICTURES["jpeg"][:30], "the file is damaged"),
        (PICTURES["webp"][:200], "the file is damaged"),
        (b"\xff\xd8" + jpeg_segment(0xE1, b"Exif\0\0MM"), "the file is damaged"),
        (
            b"\xff\xd8"
            + jpeg_segment(0xE1, b"Exif\0\0" + _tiff(b"\x10\1\2\0\xff\xff\xff\xff\0\0\0\0")),
            "the file is damaged",
        ),
        (
            b"RIFF\xff\0\0\0WEBP" + webp_chunk(b"EXIF", b"II*\0\xff\xff\xff\xff"),
            "the file is damaged",
        ),
    ],
)
def test_a_file_made_to_harm_is_refused_with_a_reason(content: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        texts_in(content, ("prompt", "provenance"))


_MARKED = [made[0] for each in PICTURES.values() if (made := with_texts(each, NEW)) is not None]


def _damaged(content: bytes, at: int, length: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + length :]


_DAMAGED = st.builds(
    _damaged,
    st.sampled_from(_MARKED),
    st.integers(0, 600),
    st.integers(0, 4),
    st.binary(max_size=4),
)


@hostile(2000)
@given(_DAMAGED)
def test_no_damage_of_a_file_that_is_read_is_more_than_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        texts_in(content, NEW)


@pytest.mark.filterwarnings("ignore::UserWarning")
@hostile(200)
@given(_DAMAGED)
def test_no_damage_of_a_file_that_gets_texts_is_more_than_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        with_texts(content, NEW)
