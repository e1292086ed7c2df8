"""One file at a host of any kind, for whoever does not care which."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.http_server import Answer, Request, ranged, serve
from tests.model_hosts.civitai import TOKEN as CIVITAI_TOKEN
from tests.model_hosts.civitai import CivitaiFile, civitai
from tests.model_hosts.gcs import gcs
from tests.model_hosts.hub import TOKEN as HUB_TOKEN
from tests.model_hosts.hub import hub
from tests.model_hosts.s3 import s3


@dataclass(frozen=True, kw_only=True)
class Offered:
    """`url` is a source of a spec, `variables` are the environment of whoever may read it."""

    url: str
    variables: Mapping[str, str] = field(default_factory=dict)
    sent_bytes: Callable[[], int]


def offered(
    kind: str, file: Path, folder: Path, *, rate: float | None = None
) -> AbstractContextManager[Offered]:
    """Offers `file` until the end of the block, from a host that limits each connection to `rate`
    bytes per second. The host keeps its own files in `folder`.
    """
    return _KINDS[kind](file, folder, rate)


@contextmanager
def _file(file: Path, _folder: Path, _rate: float | None) -> Iterator[Offered]:
    yield Offered(url=str(file), sent_bytes=lambda: 0)


@contextmanager
def _http(file: Path, _folder: Path, rate: float | None) -> Iterator[Offered]:
    sent: list[int] = []
    content = _mapped(file)

    def answer(request: Request) -> Answer:
        return replace(ranged(request, content, etag='"1"'), rate=rate, sent=sent.append)

    with serve(answering=answer) as url:
        yield Offered(url=f"{url}/{file.name}", sent_bytes=lambda: sum(sent))


@contextmanager
def _hub(file: Path, _folder: Path, rate: float | None) -> Iterator[Offered]:
    sent: list[int] = []
    with hub() as double:
        double.publish("acme/up", {file.name: _mapped(file)}, access="gated")
        double.storage.rate, double.storage.sent = rate, sent.append
        yield Offered(
            url=f"hf://acme/up/{file.name}",
            variables={"HF_ENDPOINT": double.url, "HF_TOKEN": HUB_TOKEN},
            sent_bytes=lambda: sum(sent),
        )


@contextmanager
def _civitai(file: Path, _folder: Path, rate: float | None) -> Iterator[Offered]:
    sent: list[int] = []
    with civitai() as double:
        double.publish(2, CivitaiFile(id=7, name=file.name, content=_mapped(file), primary=True))
        double.storage.rate, double.storage.sent = rate, sent.append
        yield Offered(
            url="civitai://2?file=7",
            variables={"CIVITAI_ENDPOINT": double.url, "CIVITAI_TOKEN": CIVITAI_TOKEN},
            sent_bytes=lambda: sum(sent),
        )


@contextmanager
def _gs(file: Path, folder: Path, rate: float | None) -> Iterator[Offered]:
    with gcs(folder) as double:
        double.bucket("models", "private")
        double.put("models", file.name, file)
        double.limit(rate)
        yield Offered(
            url=f"gs://models/{file.name}",
            variables={
                "STORAGE_EMULATOR_HOST": double.url,
                "GOOGLE_APPLICATION_CREDENTIALS": str(double.key_file()),
            },
            sent_bytes=lambda: double.sent_bytes,
        )


@contextmanager
def _s3(file: Path, _folder: Path, rate: float | None) -> Iterator[Offered]:
    sent: list[int] = []
    with s3() as double:
        double.bucket("models")
        double.client.upload_file(str(file), "models", file.name)
        double.rate, double.sent = rate, sent.append
        yield Offered(
            url=f"s3://models/{file.name}",
            variables=double.variables,
            sent_bytes=lambda: sum(sent),
        )


_KINDS = {"file": _file, "http": _http, "hf": _hub, "civitai": _civitai, "gs": _gs, "s3": _s3}
KINDS = tuple(_KINDS)


def _mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
