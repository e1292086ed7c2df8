"""The previews that nodes send while they run: the engine's binary messages, as its `protocol.py`
and `server.py` have them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

_IMAGE, _IMAGE_WITH_METADATA = 1, 4
_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}

FEATURES = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""The first message of a client that reads which node a preview is from."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A picture that a node shows while it runs: a file of the type `mime`."""

    node: str
    mime: str
    content: bytes = field(repr=False)


def preview_of(message: bytes, *, prompt_id: str, running: str | None) -> Preview | None:
    """The preview in a binary message; None if it is something else, or of another prompt.

    Older engines do not say which node it is from: then it is from the one that is `running`.
    """
    kind, size, rest = _number(message, 0), _number(message, 4), message[8:]
    node = running
    if kind == _IMAGE_WITH_METADATA:
        try:
            about = json.loads(rest[:size])
            if about["prompt_id"] != prompt_id:
                return None
            node = about.get("display_node_id") or about.get("node_id")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        rest = rest[size:]
    elif kind != _IMAGE:
        return None
    mime = next((it for start, it in _SIGNATURES.items() if rest.startswith(start)), None)
    if node is None or mime is None:
        return None
    return Preview(node=str(node), mime=mime, content=bytes(rest))


def _number(message: bytes, at: int) -> int:
    return int.from_bytes(message[at : at + 4], "big")
