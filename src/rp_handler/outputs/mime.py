"""The MIME type of an output, by its name."""

from __future__ import annotations

import mimetypes

_BYTES = "application/octet-stream"
# Python's own table, not the machine's, so that a file has the same type everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())
for _mime, _suffix in (
    (_BYTES, ".latent"),
    (_BYTES, ".safetensors"),
    ("application/x-subrip", ".srt"),
    ("application/yaml", ".yaml"),
    ("audio/flac", ".flac"),
    ("audio/ogg", ".ogg"),
    ("audio/ogg", ".opus"),
    ("audio/mp4", ".m4a"),
    ("image/jxl", ".jxl"),
    ("image/webp", ".webp"),
    ("image/x-exr", ".exr"),
    ("model/gltf+json", ".gltf"),
    ("model/gltf-binary", ".glb"),
    ("model/obj", ".obj"),
    ("model/ply", ".ply"),
    ("model/stl", ".stl"),
    ("text/markdown", ".md"),
    ("video/x-matroska", ".mkv"),
):
    _TYPES.add_type(_mime, _suffix)


def mime_of(name: str) -> str:
    """The type of a file with this name; that of plain bytes if it is not known."""
    guessed, encoding = _TYPES.guess_type(name)
    return guessed if guessed and not encoding else _BYTES
