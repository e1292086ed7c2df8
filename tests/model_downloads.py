"""A model on a web server that misbehaves as a test wants, and what it takes to fetch it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from comfy_http.client import HttpClient
from comfy_http.settings import NetworkSettings
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.store import ModelStore
from tests.http_server import Answer, Request, ranged, serve

MIB = 1 << 20
IN_FLIGHT = 4 * MIB
"""What may be on its way to a connection when it ends, or when another one takes over its part."""
CONTENT = random.Random(1).randbytes(6_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that is needed, with its sources."""

    target_path: str = "vae/x.bin"
    sha256: str = SHA256
    size: int = len(CONTENT)
    sources: Sequence[ModelSource] = ()


def model_at(*urls: str) -> Model:
    return Model(sources=[ModelSource(url=url) for url in urls])


Fault = Callable[[Request, Answer, int], Answer]
"""Changes an answer, which is to the request with this number, from 0."""


@dataclass(kw_only=True)
class Served:
    """A file on a server: what it was asked, and how many bytes of it were sent.

    From `held_at` bytes on, nothing is sent before `release` is set.
    """

    content: bytes = CONTENT
    etag: str = '"1"'
    fault: Fault = lambda _request, answer, _number: answer
    rate: float | None = None
    requests: list[Request] = field(default_factory=list)
    held_at: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    sent_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
        right = ranged(request, self.content, etag=self.etag)
        return replace(
            self.fault(request, replace(right, rate=self.rate), number), sent=self._count
        )

    def _count(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size
            is_held = self.held_at is not None and self.sent_bytes >= self.held_at
        if is_held:
            self.release.wait()

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers["Range"] for request in self.requests]


@contextmanager
def serving(**files: Served) -> Iterator[str]:
    """Serves each file under its name."""
    with serve(answering=lambda request: files[request.path.strip("/")].answer(request)) as url:
        yield url


def cut_after(answer: Answer, size: int, *, stalls: bool = False) -> Answer:
    """Announces the whole body, sends its first `size` bytes."""
    length = {"Content-Length": str(len(answer.body))}
    body = answer.body[:size]
    return replace(answer, headers={**answer.headers, **length}, body=body, stalls=stalls)


def hosts_in(folder: Path, *, timeout_s: float | None = None) -> Hosts:
    client = HttpClient(settings=NetworkSettings(), remedy="")
    return hosts_for(client, folder, os.environ, timeout_s=timeout_s)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def keep(store: Path, content: bytes) -> Path:
    """Puts a file into a store; its path there."""
    place = ModelStore(store).path_of(hashlib.sha256(content).hexdigest())
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    place.chmod(0o444)
    return place


def fetching(
    store: Path,
    *urls: str,
    model: Model | None = None,
    before: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[str]:
    """A process that fetches a model into the store. It prints what it says, the sizes of what
    arrives, and `done`. `before` is code that it runs first, `variables` are added to its
    environment.
    """
    model = model or Model()
    command = [sys.executable, "-c", f"{before}\n{_PROGRAM}", str(store), model.sha256]
    return subprocess.Popen(
        [*command, str(model.size), *urls],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        stdout=subprocess.PIPE,
        text=True,
    )


_PROGRAM = """
import os, sys
from pathlib import Path
from comfy_files.progress import Progress
from comfy_models.model_file import ModelSource
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from tests.model_downloads import Model, hosts_in

def say(text):
    os.write(1, f"{text}\\n".encode())

class Shown(Progress):
    def arrived(self, part, *, count=0, size_bytes=0):
        if size_bytes:
            say(size_bytes)

store, sha256, size, *urls = sys.argv[1:]
sources = [ModelSource(url=url) for url in urls]
model = Model(sha256=sha256, size=int(size), sources=sources)
fetch([model], ModelStore(Path(store)), hosts_in(Path("/")), say=say, progress=Shown())
say("done")
"""
