"""What an output shows, whatever its file is called, says about itself, or is compressed with."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from comfy_files.json_model import Strict
from comfy_workflows.compare.decoded import Facts, Opener, Part, Track, UndecodableError, full_scale

Rule = Literal["pixels", "media", "mesh", "bytes"]

_MESHES = frozenset({"model/gltf+json", "model/gltf-binary"})
# Pictures that are text.
_VECTOR = frozenset({"image/svg+xml"})
_RULES: dict[str, Rule] = {"image": "pixels", "video": "media", "audio": "media"}
# The first bytes of binary glTF, and the kind of its first chunk.
_GLTF, _JSON_CHUNK = b"glTF", b"JSON"
_MOST_JSON_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 20


class Content(Strict):
    """Decoded content: its sha256 (64 hex digits) by one of the rules, and facts about it.

    - `pixels`: a picture; every frame, its duration and its pixels.
    - `media`: a video or a sound; every frame with its time, and every sample.
    - `mesh`: glTF; all but `asset.generator` and `asset.extras`.
    - `bytes`: anything else, as it is.

    `perceptual` is a difference hash of the first frame, 16 hex digits: two pictures that look
    alike differ in few of its 64 bits. `note` says why a picture, video or sound is compared by its
    bytes.
    """

    rule: Rule
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    perceptual: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    facts: Facts = Facts()
    note: str = ""


def rule_of(mime: str) -> Rule:
    """The rule for files of a type."""
    if mime in _MESHES:
        return "mesh"
    if mime in _VECTOR:
        return "bytes"
    return _RULES.get(mime.partition("/")[0], "bytes")


def content_of(open_file: Opener, *, mime: str, sha256: str) -> Content:
    """The content of a file with this type and this sha256 of its bytes. Raises OSError.

    The bytes of a file that cannot be decoded are its content.
    """
    rule = rule_of(mime)
    try:
        if rule == "mesh":
            return Content(rule=rule, sha256=_mesh_digest(open_file))
        if rule != "bytes":
            return _decoded_content(rule, tracks_of(open_file, rule))
    except UndecodableError as error:
        return Content(rule="bytes", sha256=sha256, note=f"{error}; its bytes are compared")
    return Content(rule="bytes", sha256=sha256)


def tracks_of(open_file: Opener, rule: Rule) -> list[Track]:
    """The tracks of a file with this rule; none for files that are not decoded into tracks.

    Raises UndecodableError and OSError.
    """
    # Imported late: files that are equal, byte for byte, need no FFmpeg.
    if rule == "pixels":
        from comfy_workflows.compare.pictures import picture_tracks

        return picture_tracks(open_file)
    if rule == "media":
        from comfy_workflows.compare.media import media_tracks

        return media_tracks(open_file)
    return []


def _decoded_content(rule: Rule, tracks: Sequence[Track]) -> Content:
    digest = hashlib.sha256()
    perceptual = None
    for track in tracks:
        digest.update(f"{track.kind} {_digest_of(track)}\n".encode())
        if perceptual is None and track.kind != "audio":
            first = next(track.visible(), None)
            perceptual = _difference_hash(first) if first is not None else None
    facts: dict[str, object] = {}
    for track in tracks:
        facts = track.facts.model_dump(exclude_none=True) | facts
    return Content(
        rule=rule,
        sha256=digest.hexdigest(),
        perceptual=perceptual,
        facts=Facts.model_validate(facts),
    )


def _digest_of(track: Track) -> str:
    digest = hashlib.sha256()
    if track.kind == "audio":
        # Samples come in portions that depend on the format.
        digest.update(f"{track.facts.sample_rate} {track.facts.channels}\n".encode())
    found = False
    for part in track.exact():
        found = True
        if track.kind != "audio":
            shape = "x".join(map(str, part.array.shape))
            digest.update(f"{part.timing_ms} {part.array.dtype.name} {shape}\n".encode())
        digest.update(part.array.astype(part.array.dtype.newbyteorder("<"), copy=False).tobytes())
    if not found:
        raise UndecodableError(f"its {track.kind} is empty")
    return digest.hexdigest()


def _difference_hash(part: Part) -> str:
    """A bit for each of 8 × 8 fields: whether it is brighter than the field to its right."""
    array = part.array[..., :3]
    if array.dtype != np.uint8:
        array = (np.clip(np.nan_to_num(full_scale(array)), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(array if array.shape[-1] == 3 else array[..., 0])
    small = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    bits = (small[:, :-1] > small[:, 1:]).flatten()
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def _mesh_digest(open_file: Opener) -> str:
    digest = hashlib.sha256()
    with open_file() as stream:
        for part in _gltf_parts(stream):
            digest.update(part)
    return digest.hexdigest()


def _gltf_parts(stream: BinaryIO) -> Iterator[bytes]:
    """What counts of a glTF file, as text or binary, without what says who made it."""
    start = stream.read(20)
    if not start.startswith(_GLTF):
        yield _without_origin(start + stream.read(_MOST_JSON_BYTES + 1))
        return
    if len(start) < 20 or start[16:] != _JSON_CHUNK:
        raise UndecodableError("it is a broken glTF file")
    (size_bytes,) = struct.unpack("<I", start[12:16])
    yield _without_origin(stream.read(min(size_bytes, _MOST_JSON_BYTES + 1)))
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _without_origin(text: bytes) -> bytes:
    if len(text) > _MOST_JSON_BYTES:
        raise UndecodableError("its JSON is longer than 64 MiB")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UndecodableError("its JSON is broken") from error
    asset = document.get("asset") if isinstance(document, dict) else None
    if isinstance(asset, dict):
        asset.pop("generator", None)
        asset.pop("extras", None)
    return json.dumps(document, sort_keys=True).encode()
