from __future__ import annotations

import hashlib
import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_workflows.compare.content import rule_of
from tests.comfy_workflows.compare.runs import content
from tests.media_files import (
    animation,
    deep_png,
    noise,
    picture,
    sound_file,
    tone,
    video,
    with_one_step,
)


@pytest.mark.parametrize(
    "other",
    [
        picture(noise(), said="another prompt"),
        picture(noise(), compress_level=0),
        picture(noise(), "WEBP", lossless=True),
        picture(noise(), "TIFF"),
        picture(np.dstack([noise(), np.full((24, 32, 1), 255, np.uint8)])),
    ],
    ids=["metadata", "compression", "webp", "tiff", "opaque alpha"],
)
def test_only_pixels_count_in_a_picture(other: bytes) -> None:
    first = content(picture(noise()), "image/png")
    assert first.rule == "pixels"
    assert content(other, "image/png").sha256 == first.sha256


def test_grey_and_palette_pictures_are_their_colours() -> None:
    grey = Image.fromarray(noise()[..., 0])
    streams = []
    for mode in ("L", "RGB", "P"):
        stream = io.BytesIO()
        grey.convert(mode).save(stream, "PNG")
        streams.append(content(stream.getvalue(), "image/png").sha256)
    assert len(set(streams)) == 1


@pytest.mark.parametrize("changed", [with_one_step(noise()), noise()[:-1], noise(width=31)])
def test_a_picture_differs_by_one_step_of_one_channel_or_by_its_size(changed: Any) -> None:
    first = content(picture(noise()), "image/png")
    assert content(picture(changed), "image/png").sha256 != first.sha256


def test_the_lowest_of_16_bits_counts_in_grey_and_in_colour() -> None:
    deep = noise(deep=True)
    for encode in (deep_png, lambda pixels: picture(pixels[..., 1])):
        first, second = (content(encode(each), "image/png") for each in (deep, with_one_step(deep)))
        assert (first.rule, second.rule) == ("pixels", "pixels")
        assert first.sha256 != second.sha256
    pixels = np.asarray(Image.open(io.BytesIO(deep_png(deep))))
    assert pixels.dtype == np.uint8, "Pillow alone would be enough"


def test_every_frame_of_an_animation_counts_and_how_long_it_is_shown() -> None:
    frames = [noise(seed=1), noise(seed=2), noise(seed=3)]
    png = content(animation(frames, "PNG"), "image/png")
    assert png.facts.frames == 3
    assert content(animation(frames, "WEBP", lossless=True), "image/webp").sha256 == png.sha256
    last = [*frames[:2], with_one_step(frames[2])]
    assert content(animation(last, "PNG"), "image/png").sha256 != png.sha256
    assert content(animation(frames, "PNG", shown_ms=50), "image/png").sha256 != png.sha256


def test_only_frames_and_their_times_count_in_a_video() -> None:
    frames = [noise(seed=seed) for seed in range(4)]
    first = content(video(frames), "video/mp4")
    assert (first.rule, first.facts.width, first.facts.height) == ("media", 32, 24)
    assert first.facts.duration_s == pytest.approx(4 / 24, abs=0.002)
    for other in (video(frames, said="another prompt"), video(frames, "matroska")):
        assert content(other, "video/mp4").sha256 == first.sha256
    changed = [*frames[:3], noise(seed=9)]
    for other in (video(changed), video(frames[:3]), video(frames, rate=12)):
        assert content(other, "video/mp4").sha256 != first.sha256


def test_the_sound_of_a_video_counts() -> None:
    frames = [noise(seed=seed) for seed in range(2)]
    louder = tone()
    louder[100, 0] += 1
    digests = {
        content(video(frames, "matroska", sound=sound), "video/x-matroska").sha256
        for sound in (None, tone(), louder)
    }
    assert len(digests) == 3


def test_only_samples_count_in_a_sound() -> None:
    first = content(sound_file(tone()), "audio/x-wav")
    assert (first.facts.sample_rate, first.facts.channels) == (8000, 2)
    assert content(sound_file(tone(), "flac", "flac"), "audio/flac").sha256 == first.sha256
    changed = tone()
    changed[-1, 1] += 1
    assert content(sound_file(changed), "audio/x-wav").sha256 != first.sha256


def _glb(asset: dict[str, Any], rest: bytes = b"mesh") -> bytes:
    text = json.dumps({"asset": asset, "meshes": []}).encode()
    text += b" " * (-len(text) % 4)
    whole = struct.pack("<I4s", len(text), b"JSON") + text + rest
    return b"glTF" + struct.pack("<II", 2, 12 + len(whole)) + whole


def test_a_mesh_counts_without_what_says_who_made_it() -> None:
    mime = "model/gltf-binary"
    first = content(_glb({"version": "2.0"}), mime)
    made = _glb({"version": "2.0", "generator": "ComfyUI", "extras": {"prompt": "x"}})
    assert content(made, mime).sha256 == first.sha256
    assert content(_glb({"version": "2.0"}, b"MESH"), mime).sha256 != first.sha256
    text = [json.dumps({"asset": {"generator": one}, "nodes": []}).encode() for one in "ab"]
    digests = {content(each, "model/gltf+json").sha256 for each in text}
    assert len(digests) == 1


@pytest.mark.parametrize("mime", ["text/plain", "application/json", "model/obj", "image/svg+xml"])
def test_other_files_count_byte_by_byte(mime: str) -> None:
    assert rule_of(mime) == "bytes"
    found = content(b"<svg/>", mime)
    assert (found.rule, found.sha256) == ("bytes", hashlib.sha256(b"<svg/>").hexdigest())
    assert not found.note


_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("broken", "mime"),
    [
        (b"no picture", "image/png"),
        (b"", "image/png"),
        (picture(noise())[:200], "image/png"),
        (b"no video", "video/mp4"),
        (video([noise()])[:100], "video/mp4"),
        (sound_file(tone(), "flac", "flac")[:20], "audio/flac"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "video/mp4"),
        (_PLAYLIST, "video/mp4"),
        (b"glTF" + b"\0" * 30, "model/gltf-binary"),
        (b"[" * 100_000, "model/gltf+json"),
    ],
)
def test_a_broken_file_is_a_sentence_and_counts_byte_by_byte(broken: bytes, mime: str) -> None:
    found = content(broken, mime)
    assert (found.rule, found.sha256) == ("bytes", hashlib.sha256(broken).hexdigest())
    assert found.note.startswith("it")
    assert found.note.endswith("its bytes are compared")


def test_a_picture_with_too_many_pixels_is_not_decoded() -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    found = content(stream.getvalue(), "image/png")
    assert found.rule == "bytes"
    assert "more than 178,956,970 pixels" in found.note


def test_pictures_that_look_alike_have_close_perceptual_hashes() -> None:
    ramp = np.tile(np.arange(0, 240, 6, dtype=np.uint8)[:, None, None], (1, 40, 3))
    ramp = ramp + np.arange(0, 14, 0.35).astype(np.uint8)[None, :, None]
    alike = content(picture(ramp + 1), "image/png").perceptual
    assert content(picture(ramp), "image/png").perceptual == alike
    turned = content(picture(ramp[:, ::-1]), "image/png").perceptual
    assert turned is not None
    assert alike is not None
    assert (int(turned, 16) ^ int(alike, 16)).bit_count() > 20
