"""Videos and sounds as frames and samples, by FFmpeg (PyAV)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from comfy_workflows.compare.decoded import (
    MOST_PIXELS,
    Facts,
    Opener,
    Part,
    Pixels,
    Track,
    UndecodableError,
)

# Only formats that are in one file: FFmpeg would follow the addresses in a playlist.
_FORMATS = (
    "aac,aiff,apng,asf,avi,caf,exr_pipe,flac,flv,gif,jpegxl_anim,jpegxl_pipe,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,png_pipe,tiff_pipe,w64,wav"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
_BUFFER_BYTES = 1 << 20


def media_tracks(open_file: Opener) -> list[Track]:
    """A track for each stream of video and of sound: videos first. Cover pictures, subtitles and
    data are left out, as metadata. Raises UndecodableError and OSError.
    """
    with _opened(open_file) as container:
        videos = [
            _video_track(open_file, stream)
            for stream in container.streams.video
            if Disposition.attached_pic not in stream.disposition
        ]
        sounds = [_audio_track(open_file, stream) for stream in container.streams.audio]
    if not videos and not sounds:
        raise UndecodableError("it has neither pictures nor sound")
    return [*videos, *sounds]


def picture_track(open_file: Opener) -> Track:
    """The picture in a file, in full depth. Raises UndecodableError and OSError."""
    with _opened(open_file) as container:
        if not container.streams.video:
            raise UndecodableError("it is not a picture")
        stream = container.streams.video[0]
        track = _video_track(open_file, stream, exact=_visible)
    facts = track.facts.model_copy(update={"frames": None, "duration_s": None})
    return Track(kind="picture", facts=facts, exact=track.exact, visible=track.visible)


@contextmanager
def _opened(open_file: Opener) -> Iterator[InputContainer]:
    with open_file() as stream:
        try:
            with av.open(
                stream,
                mode="r",
                options=_OPTIONS,
                buffer_size=_BUFFER_BYTES,
                metadata_errors="replace",
            ) as container:
                yield container
        except UndecodableError:
            raise
        except Exception as error:
            # PyAV's errors, and those of NumPy for what PyAV cannot convert.
            reason = getattr(error, "strerror", None) or str(error)
            raise UndecodableError(f"it is broken or of an unknown format: {reason}") from error


def _video_track(
    open_file: Opener, stream: Any, *, exact: Callable[[Any], Pixels] | None = None
) -> Track:
    codec = stream.codec_context
    facts = Facts(
        width=codec.width,
        height=codec.height,
        mode=codec.pix_fmt,
        frames=stream.frames or None,
        duration_s=_duration_s(stream),
    )
    index = stream.index

    def frames(read: Callable[[Any], Pixels]) -> Iterator[Part]:
        for frame in _decoded(open_file, index):
            time_ms = round(frame.time * 1000) if frame.time is not None else 0
            yield Part(array=read(frame), timing_ms=time_ms)

    return Track(
        kind="video",
        facts=facts,
        exact=lambda: frames(exact or _as_coded),
        visible=lambda: frames(_visible),
    )


def _audio_track(open_file: Opener, stream: Any) -> Track:
    codec = stream.codec_context
    facts = Facts(
        duration_s=_duration_s(stream),
        mode=codec.format.name if codec.format else None,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
    )
    index = stream.index

    def samples() -> Iterator[Part]:
        for frame in _decoded(open_file, index):
            yield Part(array=_samples(frame))

    return Track(kind="audio", facts=facts, exact=samples, visible=samples)


def _duration_s(stream: Any) -> float | None:
    """In milliseconds at most: containers round it differently."""
    if stream.duration is not None:
        return round(float(stream.duration * stream.time_base), 3)
    whole = stream.container.duration
    return round(whole / av.time_base, 3) if whole is not None else None


def _decoded(open_file: Opener, index: int) -> Iterator[Any]:
    with _opened(open_file) as container:
        stream: Any = container.streams[index]
        if stream.type == "video":
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def _as_coded(frame: Any) -> Pixels:
    """The planes of a frame, without a conversion where PyAV can show them."""
    try:
        planes = frame.to_ndarray()
    except (ValueError, AttributeError):
        planes = None
    return planes if isinstance(planes, np.ndarray) else _visible(frame)


def _visible(frame: Any) -> Pixels:
    """RGBA of 8 or 16 bits, or floats."""
    depth = max(part.bits for part in frame.format.components)
    name = frame.format.name
    if "f32" in name or "f16" in name:
        values: Pixels = frame.to_ndarray()
        return values if values.ndim == 3 else values[..., np.newaxis]
    pixels: Pixels = frame.to_ndarray(format="rgba64le" if depth > 8 else "rgba")
    return pixels


def _samples(frame: Any) -> Pixels:
    """The shape is (samples, channels). Integers are scaled to 32 bits, so that a sound is the same
    in every lossless format.
    """
    values: Pixels = frame.to_ndarray()
    channels = frame.layout.nb_channels
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype == np.uint8:
        return (values.astype(np.int32) - 128) << 24
    if values.dtype == np.int16:
        return values.astype(np.int32) << 16
    return values
