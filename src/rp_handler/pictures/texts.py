"""Texts in PNG, JPEG and WebP files: put there without touching the picture, and read back.

They are where `metadata.py` has them. A file that is read is not trusted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping

from rp_handler.pictures.metadata import (
    FIELD,
    FIELD_TAGS,
    JPEG_SEGMENT_BYTES,
    exif_with,
    fields_of_exif,
    without_fields,
)
from rp_handler.pictures.parts import (
    JPEG,
    PNG,
    format_of,
    jpeg_segment,
    jpeg_segments,
    png_chunk,
    png_chunks,
    require,
    webp_chunk,
    webp_chunks,
    webp_file,
)

# Of a text that is read.
_LONGEST_BYTES = 16 << 20

_PNG_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_APP0, _APP1, _EXIF = 0xE0, 0xE1, b"Exif\0\0"
# https://developers.google.com/speed/webp/docs/riff_container
_WEBP_HAS_EXIF, _WEBP_HAS_ALPHA = 0x08, 0x10
# Of TIFF 6.0, which Exif is: an entry of a directory, and the type of texts.
_ENTRY_BYTES, _ASCII = 12, 2


def with_texts(content: bytes, texts: Mapping[str, str]) -> tuple[bytes, list[str]] | None:
    """The file with these texts, which are ASCII, in place of earlier ones of their names, and the
    names of texts that had no room; None for another format.

    The picture stays as it is, byte for byte. Raises ValueError for a file that is damaged.
    """
    kind = format_of(content)
    if kind == "png":
        return _png_with(content, texts), []
    if kind == "jpeg":
        return _jpeg_with(content, texts)
    return _webp_with(content, texts) if kind == "webp" else None


def texts_in(content: bytes, names: Collection[str]) -> dict[str, str] | None:
    """Those texts of a file that have one of `names`; None for another format than PNG, JPEG and
    WebP.

    Raises ValueError, with the end of a sentence about the file, if it is damaged, a text is too
    long, or there are two of one name.
    """
    kind = format_of(content)
    if kind is None:
        return None
    found: dict[str, str] = {}
    texts = _texts_of_png(content, names) if kind == "png" else _texts_of_exif(content, kind)
    for name, text in texts:
        if name not in names:
            continue
        if name in found:
            raise ValueError(f"it has two texts called {name}")
        found[name] = text
    return found


def _png_with(content: bytes, texts: Mapping[str, str]) -> bytes:
    names = {name.encode() for name in texts}
    chunks = [*png_chunks(content)]
    require(chunks[0][0] == b"IHDR")
    rest = content[len(PNG) + sum(len(chunk) for _, chunk in chunks) :]
    new = [
        png_chunk(b"tEXt", name.encode() + b"\0" + text.encode("ascii"))
        for name, text in texts.items()
    ]
    kept = [
        chunk
        for kind, chunk in chunks[1:]
        if kind not in _PNG_TEXTS or chunk[8:].partition(b"\0")[0] not in names
    ]
    return b"".join([PNG, chunks[0][1], *new, *kept, rest])


def _jpeg_with(content: bytes, texts: Mapping[str, str]) -> tuple[bytes, list[str]]:
    before, kept = b"", []
    for marker, segment in jpeg_segments(content):
        if marker == _APP1 and segment[4:].startswith(_EXIF):
            before = before or segment[4:]
        else:
            kept.append((marker, segment))
    exif, left_out = _exif_with(before, texts, is_jpeg=True)
    require(len(exif) <= JPEG_SEGMENT_BYTES)
    # JFIF's segment is the first one.
    first = next(at for at, (marker, _) in enumerate(kept) if marker != _APP0)
    parts = [segment for _, segment in kept]
    new = jpeg_segment(_APP1, exif)
    return JPEG + b"".join([*parts[:first], new, *parts[first:]]), left_out


def _webp_with(content: bytes, texts: Mapping[str, str]) -> tuple[bytes, list[str]]:
    chunks = [*webp_chunks(content)]
    before = next((chunk[8:] for kind, chunk in chunks if kind == b"EXIF"), b"")
    kept = [(kind, chunk) for kind, chunk in chunks if kind != b"EXIF"]
    require(bool(kept) and len(kept[0][1]) >= 8 + 10)
    if kept[0][0] != b"VP8X":
        kept.insert(0, (b"VP8X", _extended_header(*kept[0])))
    header = bytearray(kept[0][1])
    header[8] |= _WEBP_HAS_EXIF
    exif, left_out = _exif_with(before, texts, is_jpeg=False)
    new = webp_chunk(b"EXIF", exif.removeprefix(_EXIF))
    parts = [bytes(header), *(chunk for _, chunk in kept[1:])]
    at = next((at for at, (kind, _) in enumerate(kept) if kind == b"XMP "), len(kept))
    return webp_file([*parts[:at], new, *parts[at:]]), left_out


def _extended_header(kind: bytes, chunk: bytes) -> bytes:
    """The header of a file that has only the chunk of a picture so far."""
    frame = chunk[8:]
    if kind == b"VP8L":
        require(frame[0] == 0x2F)
        bits = int.from_bytes(frame[1:5], "little")
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    else:
        require(kind == b"VP8 " and frame[3:6] == b"\x9d\x01\x2a")
        width, height = (number & 0x3FFF for number in struct.unpack("<HH", frame[6:10]))
        require(width > 0 and height > 0)
        width, height, flags = width - 1, height - 1, 0
    sizes = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return webp_chunk(b"VP8X", bytes((flags * _WEBP_HAS_ALPHA, 0, 0, 0)) + sizes)


def _exif_with(
    before: bytes, texts: Mapping[str, str], *, is_jpeg: bool
) -> tuple[bytes, list[str]]:
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(before)
        fields = dict(fields_of_exif(exif))
        without_fields(exif)
        # Those that are to be there come first.
        fields = {**texts, **{name: it for name, it in fields.items() if name not in texts}}
        return exif_with(exif, fields, is_jpeg=is_jpeg)
    except Exception as error:
        # Pillow raises anything for Exif that is damaged.
        raise ValueError("the file is damaged") from error


def _texts_of_png(content: bytes, names: Collection[str]) -> Iterator[tuple[str, str]]:
    for kind, chunk in png_chunks(content):
        if kind not in _PNG_TEXTS:
            continue
        key, _, rest = chunk[8:-4].partition(b"\0")
        name = key.decode("latin-1")
        if name in names:
            require(zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"))
            yield name, _text_of_png(kind, rest)


def _text_of_png(kind: bytes, rest: bytes) -> str:
    """The text after its name: https://www.w3.org/TR/png-3/#11textinfo."""
    if kind == b"tEXt":
        return _checked(rest).decode("latin-1")
    if kind == b"zTXt":
        return _inflated(rest[1:]).decode("latin-1")
    require(len(rest) >= 2)
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return (_inflated(text) if rest[0] else _checked(text)).decode("utf-8")


def _checked(text: bytes) -> bytes:
    if len(text) > _LONGEST_BYTES:
        raise ValueError(f"it has a text of more than {_LONGEST_BYTES >> 20} MB")
    return text


def _inflated(text: bytes) -> bytes:
    work = zlib.decompressobj()
    try:
        found = _checked(work.decompress(text, _LONGEST_BYTES + 1))
    except zlib.error as error:
        raise ValueError("the file is damaged") from error
    require(work.eof)
    return found


def _texts_of_exif(content: bytes, kind: str) -> Iterator[tuple[str, str]]:
    if kind == "jpeg":
        segments = jpeg_segments(content)
        bodies = (it[4:] for marker, it in segments if marker == _APP1 and it[4:10] == _EXIF)
    else:
        bodies = (it[8:] for name, it in webp_chunks(content) if name == b"EXIF")
    exif = next(bodies, b"").removeprefix(_EXIF)
    for text in _texts_of_tiff(exif) if exif else ():
        if field := FIELD.fullmatch(text):
            yield field["name"], field["value"]


def _texts_of_tiff(tiff: bytes) -> Iterator[str]:
    """The texts in the first directory. Pillow would read all of a file's tags, of any size."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        require(order is not None)
        (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        left = set(FIELD_TAGS)
        for number in range(count):
            entry = begin + 2 + number * _ENTRY_BYTES
            tag, kind, size, value = struct.unpack_from(f"{order}HHII", tiff, entry)
            if kind != _ASCII or tag not in left:
                continue
            # A directory has a tag once; one that repeats it would be read for minutes.
            left.remove(tag)
            at = entry + 8 if size <= 4 else value
            require(at + size <= len(tiff))
            yield _checked(tiff[at : at + size]).rstrip(b"\0").decode("latin-1")
    except struct.error as error:
        raise ValueError("the file is damaged") from error
