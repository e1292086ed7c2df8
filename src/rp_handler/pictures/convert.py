"""Pictures in the format that a job asks for, made from the engine's files before they are
delivered.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rp_handler.interruption import in_thread
from rp_handler.outputs.mime import mime_of
from rp_handler.pictures.metadata import exif_with, fields_of, without_fields, without_metadata
from rp_handler.pictures.texts import with_texts

if TYPE_CHECKING:
    from PIL.Image import Image

Format = Literal["webp", "jpeg", "png"]

_SUFFIXES: dict[Format, str] = {"webp": ".webp", "jpeg": ".jpg", "png": ".png"}
_DEFAULT_QUALITY = 90
# Without those that run a program, such as EPS.
_READ = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# Pillow's modes of 8 bits for each channel that each format takes.
_MODES: dict[Format, frozenset[str]] = {
    "webp": frozenset({"RGB", "RGBA"}),
    "jpeg": frozenset({"L", "RGB"}),
    "png": frozenset({"1", "L", "LA", "P", "RGB", "RGBA"}),
}
_DEEP = ("I", "F")
_UNREADABLE = "it cannot be read as a picture"
# A picture in work takes its pixels a few times.
_AT_ONCE = min(4, os.cpu_count() or 1)


class Conversion(BaseModel):
    """`convert` of a job's input. Without a `format`, files keep theirs."""

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)

    format: Format | None = None
    quality: int | None = Field(default=None, ge=1, le=100)
    metadata: Literal["keep", "strip"] = "keep"

    @model_validator(mode="after")
    def _quality_belongs_to_a_format(self) -> Conversion:
        if self.quality is not None and self.format not in ("webp", "jpeg"):
            raise ValueError("has a 'quality', which only goes with the formats 'webp' and 'jpeg'")
        return self

    @property
    def changes_nothing(self) -> bool:
        return self.format is None and self.metadata == "keep"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A file to deliver: the engine's own, or one of ours that was made from it. `suffix` is that
    of its name. `warning` is why it is not as asked, as the end of a sentence about it.
    """

    path: Path
    suffix: str
    warning: str = ""


class Converter:
    """Converts files into a folder of its own, which `close` removes. Pictures get `texts`."""

    def __init__(self, asked: Conversion, texts: Mapping[str, str] | None = None) -> None:
        self._asked = asked
        self._texts = texts or {}
        self._folder: Path | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._number = 0

    async def convert(self, path: Path) -> Converted:
        """The file to deliver for the engine's file at `path`, which stays as it is.

        What is not a picture, or cannot be converted, is delivered itself. Raises OSError if there
        is no room.
        """
        if not mime_of(path.name).startswith("image/"):
            return Converted(path=path, suffix=path.suffix)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="comfy-convert-"))
        self._number += 1
        target = self._folder / str(self._number)
        async with self._at_once:
            return await in_thread(lambda: self._converted(path, target))

    def _converted(self, path: Path, target: Path) -> Converted:
        made = converted(path, self._asked, target)
        return with_texts_in(made, self._texts, target) if self._texts else made

    async def close(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))


def converted(path: Path, asked: Conversion, target: Path) -> Converted:
    """The picture at `path` as `asked`, written to `target` unless it already is so.

    An animation and a picture of more than 8 bits for each channel keep their format. Raises
    OSError for the files themselves.
    """
    made, warning = _in_format(path, asked, target)
    if made:
        assert asked.format is not None
        return Converted(path=target, suffix=_SUFFIXES[asked.format], warning=warning)
    if asked.metadata == "strip":
        return _stripped(path, target, warning)
    return _unchanged(path, warning)


def with_texts_in(made: Converted, texts: Mapping[str, str], target: Path) -> Converted:
    """`made` with `texts` in it, written to `target`. Raises OSError for the files themselves."""
    names = " and ".join(texts)
    try:
        found = with_texts(made.path.read_bytes(), texts)
    except ValueError:
        fault = f"was delivered without {names} in it: {_UNREADABLE}"
    else:
        if found is not None:
            content, left_out = found
            target.write_bytes(content)
            names = " and ".join(left_out)
            fault = f"has lost its metadata {names}, for which it has no room" if names else ""
            return replace(made, path=target, warning=_joined(made.warning, fault))
        fault = f"was delivered without {names} in it: only PNG, JPEG and WebP files have room"
    return replace(made, warning=_joined(made.warning, fault))


def _joined(*warnings: str) -> str:
    return ", and ".join(filter(None, warnings))


def _unchanged(path: Path, reason: str) -> Converted:
    warning = f"was delivered as it is: {reason}" if reason else ""
    return Converted(path=path, suffix=path.suffix, warning=warning)


def _stripped(path: Path, target: Path, reason: str) -> Converted:
    content = path.read_bytes()
    try:
        bare = without_metadata(content)
    except ValueError:
        return _unchanged(path, reason or _UNREADABLE)
    if bare is None:
        kept = "metadata is only removed from PNG, JPEG and WebP files"
        return _unchanged(path, f"{reason}, and {kept}" if reason else kept)
    warning = f"was not converted: {reason}" if reason else ""
    if bare == content:
        return Converted(path=path, suffix=path.suffix, warning=warning)
    target.write_bytes(bare)
    return Converted(path=target, suffix=path.suffix, warning=warning)


def _in_format(path: Path, asked: Conversion, target: Path) -> tuple[bool, str]:
    """Whether `target` was written, and a warning."""
    from PIL import Image

    if asked.format is None:
        return False, ""
    fault = _UNREADABLE
    try:
        with Image.open(path, formats=_READ) as image:
            if getattr(image, "is_animated", False):
                return False, "it is animated"
            if _is_deep(image):
                return False, "it has more than 8 bits for each channel"
            if image.format == asked.format.upper() and asked.quality is None:
                return False, ""
            image.load()
            fault = f"it cannot be written as {asked.format.upper()}"
            return True, _save(image, asked.format, asked, target)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # Pillow raises anything for a file that is damaged, or too large for a format.
        return False, fault


def _is_deep(image: Image) -> bool:
    # A PNG of 48 bits for each pixel would be read as one of 24.
    return image.mode.startswith(_DEEP) or ";16" in str(getattr(image, "tile", ""))


def _save(image: Image, kind: Format, asked: Conversion, target: Path) -> str:
    """Writes `image`; returns what of it has no room in this format, as a warning."""
    from PIL import ImageOps, PngImagePlugin

    fields = fields_of(image) if asked.metadata == "keep" else {}
    upright = ImageOps.exif_transpose(image)
    options: dict[str, Any] = {}
    left_out: list[str] = []
    if asked.metadata == "keep":
        exif = upright.getexif()
        if kind == "png":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            for name, text in fields.items():
                options["pnginfo"].add_text(name, text)
            options["exif"] = without_fields(exif) if exif else b""
        else:
            options["exif"], left_out = exif_with(exif, fields, is_jpeg=kind == "jpeg")
    if kind != "png":
        options["quality"] = asked.quality or _DEFAULT_QUALITY
    ready = _with_mode(upright, kind)
    if ready.mode == upright.mode or upright.mode not in ("CMYK", "LAB"):
        options["icc_profile"] = upright.info.get("icc_profile")
    # Pillow would write more of what it has read.
    ready.info = {name: it for name, it in ready.info.items() if name == "transparency"}
    ready.save(target, format=kind.upper(), **options)
    names = " and ".join(left_out)
    return f"has lost its metadata {names}, which {kind.upper()} has no room for" if names else ""


def _with_mode(image: Image, kind: Format) -> Image:
    """`image` in a mode that the format takes, on white where it has no transparency."""
    from PIL import Image as Pillow

    is_transparent = image.has_transparency_data
    if image.mode in _MODES[kind] and (kind != "jpeg" or not is_transparent):
        return image
    if not is_transparent:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    if kind != "jpeg":
        return picture
    ground = Pillow.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")
