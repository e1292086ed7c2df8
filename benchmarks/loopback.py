"""Two servers on this machine's loopback interface: a folder to download from, and a registry that
counts what is pushed to it and keeps nothing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_HOST = "127.0.0.1"
_CHUNK_BYTES = 1 << 20
_BLOB = re.compile(r"^/v2/.+/blobs/(sha256:[0-9a-f]{64})$")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address, ending in `/`, at which the files of `folder` are while this lasts."""
    handler = functools.partial(_Folder, directory=str(folder))
    with _running(ThreadingHTTPServer((_HOST, 0), handler)) as port:
        yield f"http://{_HOST}:{port}/"


class CountingRegistry:
    """What was pushed: `blobs` by digest with their sizes in bytes, `manifests` by name."""

    def __init__(self) -> None:
        self.host = ""
        self.blobs: dict[str, int] = {}
        self.manifests: dict[str, dict[str, Any]] = {}
        self.arriving: dict[str, tuple[Any, int]] = {}

    def layer_sizes(self, name: str) -> list[int]:
        """The compressed sizes of an image's layers, the base's first, by `<repository>:<tag>`."""
        return [layer["size"] for layer in self.manifests[name]["layers"]]


@contextlib.contextmanager
def counting_registry() -> Iterator[CountingRegistry]:
    """A registry to push to while this lasts; an engine on this machine needs no TLS for it.

    It speaks as much of https://github.com/opencontainers/distribution-spec/blob/main/spec.md as a
    push takes.
    """
    registry = CountingRegistry()
    handler = functools.partial(_Registry, registry)
    with _running(ThreadingHTTPServer((_HOST, 0), handler)) as port:
        registry.host = f"{_HOST}:{port}"
        yield registry


@contextlib.contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Folder(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, registry: CountingRegistry, *arguments: Any) -> None:
        self._registry = registry
        super().__init__(*arguments)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/v2/" else 404)

    def do_HEAD(self) -> None:
        found = _BLOB.match(self.path)
        size = self._registry.blobs.get(found[1]) if found else None
        if found is None or size is None:
            self._answer(404)
        else:
            self._answer(200, {"Docker-Content-Digest": found[1]}, length=size)

    def do_POST(self) -> None:
        for _ in self._body():
            pass
        upload = uuid.uuid4().hex
        self._registry.arriving[upload] = (hashlib.sha256(), 0)
        self._answer(202, {"Location": self._place(upload), "Docker-Upload-UUID": upload})

    def do_PATCH(self) -> None:
        upload = self._take_in()
        last = max(self._registry.arriving[upload][1] - 1, 0)
        self._answer(202, {"Location": self._place(upload), "Range": f"0-{last}"})

    def do_PUT(self) -> None:
        if "/manifests/" in self.path:
            document = b"".join(self._body())
            repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
            self._registry.manifests[f"{repository}:{tag}"] = json.loads(document)
            digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
        else:
            content, size = self._registry.arriving.pop(self._take_in())
            digest = f"sha256:{content.hexdigest()}"
            self._registry.blobs[digest] = size
        self._answer(201, {"Location": self.path, "Docker-Content-Digest": digest})

    def _take_in(self) -> str:
        upload = self.path.rpartition("/")[2].partition("?")[0]
        content, size = self._registry.arriving[upload]
        for chunk in self._body():
            content.update(chunk)
            size += len(chunk)
        self._registry.arriving[upload] = (content, size)
        return upload

    def _place(self, upload: str) -> str:
        repository = self.path.partition("/blobs/")[0]
        return f"{repository}/blobs/uploads/{upload}"

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, size: int) -> Iterator[bytes]:
        while size > 0 and (chunk := self.rfile.read(min(size, _CHUNK_BYTES))):
            size -= len(chunk)
            yield chunk

    def _answer(self, code: int, headers: Mapping[str, str] = {}, *, length: int = 0) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
