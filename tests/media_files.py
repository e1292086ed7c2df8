"""Pictures, videos and sounds as bytes, made by the real encoders."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

Array = npt.NDArray[Any]
RATE_HZ = 8000


def noise(height: int = 24, width: int = 32, *, seed: int = 0, deep: bool = False) -> Array:
    """Random RGB pixels of 8 bits, or of 16."""
    kind = np.uint16 if deep else np.uint8
    most = np.iinfo(kind).max
    return np.random.default_rng(seed).integers(0, most, (height, width, 3), dtype=kind)


def with_one_step(pixels: Array) -> Array:
    """A copy in which one channel of one pixel differs by 1."""
    changed = pixels.copy()
    changed[2, 3, 1] ^= 1
    return changed


def picture(pixels: Array, kind: str = "PNG", *, said: str = "", **options: Any) -> bytes:
    """An encoded picture; `said` is put into the metadata of a PNG."""
    stream = io.BytesIO()
    if said:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("prompt", said)
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def animation(frames: Sequence[Array], kind: str, *, shown_ms: int = 100, **options: Any) -> bytes:
    """An animated picture."""
    stream = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(stream, kind, save_all=True, append_images=rest, duration=shown_ms, **options)
    return stream.getvalue()


def deep_png(pixels: Array) -> bytes:
    """A PNG with 16 bits for each channel, which Pillow cannot write."""
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height = pixels.shape[1], pixels.shape[0]
    encoder.pix_fmt, encoder.time_base = "rgb48be", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="rgb48be")
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


def video(
    frames: Sequence[Array],
    container: str = "mp4",
    *,
    rate: int = 24,
    said: str = "",
    sound: Array | None = None,
    codec: str = "libx264",
) -> bytes:
    """A video, of H.264 without loss; `sound` has the shape (samples, 2), of 16 bits."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as output:
        output.metadata["comment"] = said
        track: Any = output.add_stream(
            codec, rate=rate, options={"qp": "0"} if codec == "libx264" else {}
        )
        track.width, track.height, track.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        heard = (
            output.add_stream("flac", rate=RATE_HZ, layout="stereo") if sound is not None else None
        )
        for pixels in frames:
            output.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(track.encode())
        if sound is not None:
            _add_sound(output, heard, sound)
    return stream.getvalue()


def sound_file(samples: Array, container: str = "wav", codec: str = "pcm_s16le") -> bytes:
    """A sound; `samples` have the shape (samples, 2), of 16 bits."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as output:
        _add_sound(output, output.add_stream(codec, rate=RATE_HZ, layout="stereo"), samples)
    return stream.getvalue()


def _add_sound(output: Any, track: Any, samples: Array) -> None:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
    output.mux(track.encode(frame))
    output.mux(track.encode())


def tone(count: int = RATE_HZ) -> Array:
    """A second of sound, by default, in two channels."""
    wave = np.sin(np.arange(count * 2) / 9) * 20_000
    return wave.astype(np.int16).reshape(-1, 2)
