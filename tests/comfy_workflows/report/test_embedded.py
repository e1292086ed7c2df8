"""Which files are in the page, and how."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from comfy_workflows.compare.output import Output
from comfy_workflows.compare.run import run_of
from comfy_workflows.report.embedded import NotShownError, Room, embedded
from tests.comfy_workflows.compare.runs import file, result
from tests.media_files import noise, picture, sound_file, tone, video


def _output(content: bytes, name: str = "x.png", mime: str = "") -> Output:
    entry = file(content, name)
    (output,) = run_of(result(entry | ({"mime": mime} if mime else {}))).outputs
    return output


def _content(uri: str) -> tuple[str, bytes]:
    head, _, text = uri.partition(",")
    return head, base64.b64decode(text)


def test_a_picture_that_browsers_show_is_the_file_itself() -> None:
    for kind, mime in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")):
        content = picture(noise(), kind)
        # What the file is counts, not what it says it is.
        shown = embedded(_output(content, mime="image/bmp"), Room())
        assert shown is not None
        assert _content(shown.uri) == (f"data:{mime};base64", content)
        assert (shown.width, shown.note) == (32, "")


def test_another_picture_is_drawn_again_with_the_same_pixels() -> None:
    shown = embedded(_output(picture(noise(), "TIFF")), Room())
    assert shown is not None
    head, content = _content(shown.uri)
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(content)) as drawn:
        assert np.array_equal(np.asarray(drawn.convert("RGB")), noise())
    assert "Drawn again as a PNG" in shown.note


def test_a_large_picture_is_scaled_down() -> None:
    shown = embedded(_output(picture(np.zeros((1000, 4096, 3), np.uint8))), Room())
    assert shown is not None
    with Image.open(io.BytesIO(_content(shown.uri)[1])) as drawn:
        assert drawn.size == (2048, 500)
    assert shown.note == "Scaled down from 4096×1000 for this page."


def test_a_vector_picture_is_a_picture_and_nothing_more() -> None:
    shown = embedded(_output(b"<svg xmlns='x'><script/></svg>", "x.svg"), Room())
    assert shown is not None
    assert shown.kind == "picture"
    assert shown.uri.startswith("data:image/svg+xml;base64,")


def test_videos_and_sounds_are_the_files_themselves() -> None:
    film, sound = video([noise()] * 2), sound_file(tone())
    for content, name, kind, head in (
        (film, "x.mp4", "video", "data:video/mp4;base64"),
        (sound, "x.wav", "audio", "data:audio/wav;base64"),
    ):
        shown = embedded(_output(content, name), Room())
        assert shown is not None
        assert (shown.kind, _content(shown.uri)) == (kind, (head, content))


def test_a_type_that_no_browser_plays_is_named() -> None:
    with pytest.raises(NotShownError, match="browsers do not play video/x-msvideo"):
        embedded(_output(b"x", "x.mp4", mime="video/x-msvideo"), Room())


def test_a_hostile_type_does_not_get_into_the_page() -> None:
    for mime in ('video/mp4" onerror="alert(1)', "audio/<script>"):
        with pytest.raises(NotShownError):
            embedded(_output(b"x", "x.mp4", mime=mime), Room())
    assert embedded(_output(b"x", "x.json", mime="text/html"), Room()) is None


def test_the_page_has_only_so_much_room() -> None:
    film = video([noise()] * 2)
    room = Room(len(film) + 1)
    assert embedded(_output(film, "x.mp4"), room) is not None
    with pytest.raises(NotShownError, match="there is no room for its .* kB; this page holds"):
        embedded(_output(film, "x.mp4"), room)
