"""Package indexes with names of their own, reached through an HTTP proxy on loopback.

An address on loopback is never told to a build, so that indexes which could be need names.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from runpod_comfy.lock.model import Distribution, DistributionFile
from tests.package_index import IndexHandler, make_wheel, write_index

USER, PASSWORD = "person", "hunter2-of-a-test"


@dataclass(frozen=True, kw_only=True)
class NamedIndexes:
    """`http://open.test/simple`, and `http://closed.test/simple`, which wants a login.

    `asked` has the address of every request.
    """

    folder: Path
    proxy: str
    asked: list[str] = field(default_factory=list)

    def publish(self, host: str, name: str, version: str = "1.0") -> Distribution:
        """Puts a wheel into the index of `host`; gives what a lock says of it."""
        root = self.folder / host
        (root / "files").mkdir(parents=True, exist_ok=True)
        wheel = make_wheel(root / "files", name, version)
        write_index(root)
        content = wheel.read_bytes()
        file = DistributionFile(
            name=wheel.name, sha256=hashlib.sha256(content).hexdigest(), size=len(content)
        )
        return Distribution(name=name, version=version, files=[file])


@contextmanager
def named_indexes(folder: Path) -> Iterator[NamedIndexes]:
    """Both indexes, empty."""
    asked: list[str] = []
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Proxy(IndexHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name is of http.server
            asked.append(self.path)
            address = urlsplit(self.path)
            authorization = self.headers.get("Authorization")
            if address.hostname == "closed.test" and authorization != f"Basic {login}":
                self.send_error(401)
                return
            self.path = f"/{address.hostname}{address.path}"
            super().do_GET()

    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Proxy, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        proxy = f"http://127.0.0.1:{server.server_port}"
        yield NamedIndexes(folder=folder, proxy=proxy, asked=asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
