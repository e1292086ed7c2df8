"""An engine's answers over HTTP, for engines that cannot run here: old, without BuildKit, dying.

It knows the addresses of the Engine API that a build and a push ask, and answers them as recorded.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.http_server import Answer, Request, serve


@dataclass(kw_only=True)
class CannedEngine:
    """`ping_headers` come with `/_ping`, `about` is `/info`, `image` what is said of any image.

    `stream` is what it answers to a build or a push before it hangs up.
    """

    api_version: str = "1.41"
    ping_headers: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)
    image: Mapping[str, object] = field(default_factory=dict)
    stream: bytes = b""
    status: int = 200


@contextlib.contextmanager
def served(engine: CannedEngine, *, socket: Path | None = None) -> Iterator[str]:
    """The engine's address, at a port of loopback or at that Unix socket."""

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return _streamed(engine)
        if request.path.endswith("/_ping"):
            return Answer(headers=engine.ping_headers, body=b"OK")
        if request.path.endswith("/version"):
            return _json({"ApiVersion": engine.api_version, "Version": "of a test"})
        if request.path.endswith("/info"):
            return _json(engine.about)
        if "/images/" in request.path:
            return _json(engine.image)
        return Answer(status=404, body=b'{"message": "page not found"}')

    with serve(None, answer, socket=socket) as url:
        yield url.replace("http://", "tcp://")


def _streamed(engine: CannedEngine) -> Answer:
    framing = {} if engine.status >= 400 else {"Transfer-Encoding": "chunked"}
    return Answer(status=engine.status, headers=framing, body=engine.stream)


def _json(document: Mapping[str, object]) -> Answer:
    return Answer(body=json.dumps(document).encode())
