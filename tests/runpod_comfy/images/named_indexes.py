"""Package indexes with names of their own, reached through an HTTP proxy on loopback.

An address on loopback is never passed to a build, so indexes that are passed need names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from runpod_comfy.lock.model import Distribution
from tests.http_server import Answer, Request, serve
from tests.locks import locked_file
from tests.package_index import publish

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
        wheel = publish(self.folder / host, name, version)
        return Distribution(name=name, version=version, files=[locked_file(wheel)])


@contextmanager
def named_indexes(folder: Path) -> Iterator[NamedIndexes]:
    """Both indexes, empty."""
    asked: list[str] = []

    def answer(request: Request) -> Answer | None:
        asked.append(request.path)
        closed = urlsplit(request.path).hostname == "closed.test"
        return Answer(status=401) if closed and request.login != f"{USER}:{PASSWORD}" else None

    folder.mkdir()
    with serve(folder, answer) as proxy:
        yield NamedIndexes(folder=folder, proxy=proxy, asked=asked)
