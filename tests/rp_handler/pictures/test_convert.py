from __future__ import annotations

import asyncio
import io
import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from pydantic import ValidationError

from rp_handler.pictures.convert import Conversion, Converted, Converter, converted

_PROMPT = json.dumps({"1": {"class_type": "EmptyImage", "inputs": {"text": "blau"}}})
_WORKFLOW = json.dumps({"nodes": [1, 2]})


def _asked(**options: Any) -> Conversion:
    return Conversion.model_validate(options)


def _picture(path: Path, mode: str = "RGB", **options: Any) -> Path:
    """A gradient, in the format of the path's suffix."""
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(path, **options)
    return path


def _with_graphs(path: Path, **more: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in {"workflow": _WORKFLOW, "prompt": _PROMPT, **more}.items():
        info.add_text(name, text)
    return _picture(path, pnginfo=info)


def _made(path: Path, **options: Any) -> Converted:
    before = path.read_bytes()
    made = converted(path, _asked(**options), path.with_name("made"))
    assert path.read_bytes() == before
    return made


@pytest.mark.parametrize(
    ("kind", "name", "suffix"),
    [("webp", "WEBP", ".webp"), ("jpeg", "JPEG", ".jpg"), ("png", "PNG", ".png")],
)
@pytest.mark.parametrize("source", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tiff", "x.gif"])
def test_pictures_get_the_format_that_is_asked_for(
    tmp_path: Path, source: str, kind: str, name: str, suffix: str
) -> None:
    path = _picture(tmp_path / source)
    made = _made(path, format=kind)
    assert (made.suffix, made.warning) == (suffix, "")
    with Image.open(made.path) as picture:
        assert (picture.format, picture.size) == (name, (64, 48))
    # What already has the format is not made worse.
    assert (made.path == path) == (source == f"x{suffix}")


def test_the_quality_is_as_asked(tmp_path: Path) -> None:
    path = _picture(tmp_path / "x.png")
    for kind in ("webp", "jpeg"):
        sizes = [
            _made(path, format=kind, quality=quality).path.stat().st_size
            for quality in (1, 90, 100)
        ]
        assert sizes == sorted(set(sizes))
        usual = _made(path, format=kind).path.stat().st_size
        assert usual == sizes[1]
    smaller = _made(_picture(tmp_path / "x.jpg", quality=95), format="jpeg", quality=10)
    assert smaller.path.stat().st_size < (tmp_path / "x.jpg").stat().st_size


def test_the_graphs_are_kept_where_comfyui_has_them(tmp_path: Path) -> None:
    path = _with_graphs(tmp_path / "x.png", parameters="steps: 20")
    for kind in ("webp", "jpeg"):
        made = _made(path, format=kind)
        with Image.open(made.path) as picture:
            exif = picture.getexif()
        assert exif[0x0110] == f"prompt:{_PROMPT}"
        assert exif[0x010F] == f"workflow:{_WORKFLOW}"
        assert exif[0x010E] == "parameters:steps: 20"
        # And back again.
        source = made.path.rename(tmp_path / f"y.{kind}")
        with Image.open(_made(source, format="png").path) as picture:
            assert isinstance(picture, PngImagePlugin.PngImageFile)
            assert picture.text == {
                "prompt": _PROMPT,
                "workflow": _WORKFLOW,
                "parameters": "steps: 20",
            }
            assert not picture.getexif()


def test_a_text_that_is_not_ascii_means_the_same(tmp_path: Path) -> None:
    graph = {"text": "海 é"}
    path = _with_graphs(tmp_path / "x.png", prompt=json.dumps(graph, ensure_ascii=False))
    with Image.open(_made(path, format="webp").path) as picture:
        _, _, text = picture.getexif()[0x0110].partition(":")
    assert json.loads(text) == graph


@pytest.mark.parametrize("kind", [None, "webp", "jpeg", "png"])
@pytest.mark.parametrize("source", ["x.png", "x.webp", "x.jpg"])
def test_metadata_is_removed_if_asked(tmp_path: Path, source: str, kind: str | None) -> None:
    path = _with_graphs(tmp_path / "source.png")
    if source != "x.png":
        options = {"format": "jpeg" if source == "x.jpg" else "webp"}
        path = _made(path, **options).path
    path = path.rename(tmp_path / source)
    assert b"class_type" in path.read_bytes()
    made = _made(path, format=kind, metadata="strip")
    assert b"class_type" not in made.path.read_bytes()
    assert (made.suffix, made.warning) == (
        {"webp": ".webp", "jpeg": ".jpg", "png": ".png"}.get(kind or "", path.suffix),
        "",
    )


def test_what_has_no_room_in_a_jpeg_is_named(tmp_path: Path) -> None:
    large = json.dumps({"nodes": "x" * 70_000})
    path = _with_graphs(tmp_path / "x.png", workflow=large)
    made = _made(path, format="jpeg")
    assert made.warning == "has lost its metadata workflow, which JPEG has no room for"
    with Image.open(made.path) as picture:
        assert picture.getexif()[0x0110] == f"prompt:{_PROMPT}"
    assert _made(path, format="webp").warning == ""


def test_transparency_becomes_white_in_a_jpeg_and_stays_in_a_webp(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 8, 16))
    picture.save(tmp_path / "x.png")
    picture.quantize(4).save(tmp_path / "x.gif", transparency=picture.quantize(4).getpixel((12, 8)))
    for source in ("x.png", "x.gif"):
        with Image.open(_made(tmp_path / source, format="jpeg", quality=100).path) as made:
            red, green, blue = made.convert("RGB").getpixel((12, 8))  # type: ignore[misc]
            assert min(red, green, blue) > 245
        with Image.open(_made(tmp_path / source, format="webp").path) as made:
            assert made.convert("RGBA").getpixel((12, 8))[3] == 0  # type: ignore[index]


def test_a_picture_is_upright_without_its_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _picture(tmp_path / "x.jpg", exif=exif)
    with Image.open(_made(path, format="webp", metadata="strip").path) as picture:
        assert picture.size == (48, 64)


def _animated(path: Path) -> Path:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_an_animation_is_left_alone(tmp_path: Path, name: str, kind: str) -> None:
    path = _animated(tmp_path / name)
    assert _made(path, format=kind) == Converted(
        path=path, suffix=path.suffix, warning="was delivered as it is: it is animated"
    )


def test_an_animation_is_not_converted_but_loses_its_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{_PROMPT}"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green")]
    path = tmp_path / "x.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], exif=exif)
    made = _made(path, format="jpeg", metadata="strip")
    assert (made.suffix, made.warning) == (".webp", "was not converted: it is animated")
    assert b"class_type" not in made.path.read_bytes()


def _deep(path: Path) -> Path:
    """A PNG of 48 bits for a pixel, which Pillow itself cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + bytes(range(6))))
        + chunk(b"IEND", b"")
    )
    return path


def test_a_picture_of_more_than_8_bits_is_left_alone(tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("I;16", (4, 4), 40_000).save(grey)
    for path in (_deep(tmp_path / "x.png"), grey):
        made = _made(path, format="webp")
        assert made.path == path
        assert "more than 8 bits" in made.warning


@pytest.mark.parametrize("strips", ["keep", "strip"])
def test_what_is_no_picture_is_delivered_with_a_warning(tmp_path: Path, strips: str) -> None:
    whole = _picture(tmp_path / "whole.png").read_bytes()
    for number, content in enumerate((b"", b"no picture", whole[:-40], b"%!PS-Adobe-3.0 EPSF-3.0")):
        (path := tmp_path / f"{number}.png").write_bytes(content)
        made = _made(path, format="webp", metadata=strips)
        assert (made.path, made.suffix) == (path, ".png")
        assert made.warning.startswith("was delivered as it is: it cannot be read as a picture")


def test_a_picture_too_large_for_the_format_is_left_alone(tmp_path: Path) -> None:
    Image.new("L", (17_000, 1)).save(path := tmp_path / "x.png")
    assert "cannot be written as WEBP" in _made(path, format="webp").warning


def test_metadata_of_another_format_stays_with_a_warning(tmp_path: Path) -> None:
    made = _made(_picture(tmp_path / "x.bmp"), metadata="strip")
    assert "only removed from PNG, JPEG and WebP" in made.warning
    assert made.path == tmp_path / "x.bmp"


def test_files_are_converted_in_a_folder_of_their_own(tmp_path: Path) -> None:
    paths = [_picture(tmp_path / f"{number}.png") for number in range(6)]
    (film := tmp_path / "x.mp4").write_bytes(b"film")

    async def convert() -> list[Converted]:
        converter = Converter(_asked(format="webp"))
        made = await asyncio.gather(*map(converter.convert, [*paths, film]))
        assert len({it.path for it in made}) == 7
        contents = {it.path.read_bytes() for it in made[:-1]}
        # A conversion gives the same bytes each time.
        assert len(contents) == 1
        assert Image.open(io.BytesIO(contents.pop())).format == "WEBP"
        await converter.close()
        return made

    made = asyncio.run(convert())
    assert made[-1] == Converted(path=film, suffix=".mp4")
    assert not any(it.path.exists() for it in made[:-1])
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"format": "jpg"},
        {"format": "webp", "quality": 0},
        {"format": "webp", "quality": 101},
        {"format": "webp", "quality": "90"},
        {"format": "png", "quality": 90},
        {"quality": 90},
        {"metadata": "drop"},
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _asked(**asked)
