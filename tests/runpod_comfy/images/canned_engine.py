"""An engine's answers over HTTP, for engines that cannot run here: old, without BuildKit, dying.

It knows the addresses of the Engine API that a build and a push ask, and answers them as recorded.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
def served(engine: CannedEngine) -> Iterator[str]:
    """The engine's address, for as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.endswith("/_ping"):
                self._answer(b"OK", headers=engine.ping_headers)
            elif self.path.endswith("/version"):
                version = {"ApiVersion": engine.api_version, "Version": "of a test"}
                self._answer(json.dumps(version).encode())
            elif self.path.endswith("/info"):
                self._answer(json.dumps(engine.about).encode())
            elif "/images/" in self.path:
                self._answer(json.dumps(engine.image).encode())
            else:
                self._answer(b'{"message": "page not found"}', status=404)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if engine.status >= 400:
                self._answer(engine.stream, status=engine.status)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(engine.stream), engine.stream))
            self.wfile.write(b"0\r\n\r\n")

        def _answer(
            self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
