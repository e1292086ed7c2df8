from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from rp_handler.engine.preview import Preview, preview_of

_JPEG = b"\xff\xd8\xff\xe0 a picture"
_PNG = b"\x89PNG\r\n\x1a\n a picture"
_ABOUT = {"node_id": "5.1", "display_node_id": "5", "prompt_id": "p", "image_type": "image/jpeg"}


def _plain(content: bytes) -> bytes:
    return struct.pack(">II", 1, 1) + content


def _about(about: object, content: bytes = _JPEG) -> bytes:
    text = json.dumps(about).encode()
    return struct.pack(">II", 4, len(text)) + text + content


def _read(message: bytes, running: str | None = "3") -> Preview | None:
    return preview_of(message, prompt_id="p", running=running)


@pytest.mark.parametrize(("content", "mime"), [(_JPEG, "image/jpeg"), (_PNG, "image/png")])
def test_a_preview_has_its_node_and_type(content: bytes, mime: str) -> None:
    assert _read(_plain(content)) == Preview(node="3", mime=mime, content=content)
    assert _read(_about(_ABOUT, content)) == Preview(node="5", mime=mime, content=content)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0\0\0\1",
        struct.pack(">II", 2, 1) + _JPEG,
        # Text of a node.
        struct.pack(">II", 3, 1) + b"5hello",
        _plain(b""),
        # The frames of VideoHelperSuite have a header of their own.
        _plain(struct.pack(">I16p", 3, b"5") + _JPEG),
        _about({**_ABOUT, "prompt_id": "other"}),
        _about({}),
        _about(["p"]),
        _about(None),
        struct.pack(">II", 4, 9) + b"not json." + _JPEG,
        struct.pack(">II", 4, 2**32 - 1) + b"{}" + _JPEG,
    ],
)
def test_other_messages_are_no_previews(message: bytes) -> None:
    assert _read(message) is None


def test_a_preview_of_no_node_is_none() -> None:
    assert _read(_plain(_JPEG), running=None) is None


def test_a_preview_is_not_shown_in_full() -> None:
    about: Any = {**_ABOUT, "display_node_id": None}
    preview = _read(_about(about))
    assert preview is not None
    assert preview.node == "5.1"
    assert "picture" not in repr(preview)
