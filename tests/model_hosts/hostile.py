"""All hosts of models in one, whose answers may be wrong, broken or meant to do harm."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import comfy_http.retries
from comfy_errors import ComfyError
from comfy_models.model_file import ModelSource
from comfy_models.sources.buckets import s3_signing
from comfy_models.sources.buckets.s3_client import s3_client
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import HostFile
from tests.comfy_models.sources.reached import hosts_with
from tests.http_server import Answer, Request, ranged, redirect, serve
from tests.model_hosts.hostile_answers import CONTENT, ETAG, SECRET, SHA256, TOKEN, Spoiled

OTHER_URLS = (
    *("hf://o/n/unet/m.bin", "civitai://2", "civitai://2?file=3"),
    *("gs://bucket/m.bin", "s3://bucket/m.bin"),
)
_REVISION_TOLD = {"sha": "a" * 40}
_TREE_TOLD = [
    {"type": "file", "path": "unet/m.bin", "oid": "b" * 40, "size": 600, "lfs": {"oid": SHA256}}
]
_OBJECT_TOLD = {"size": "600", "generation": "1", "crc32c": "AAAAAA=="}
_VERSION_TOLD = {
    "id": 2,
    "model": {"mode": None},
    "files": [{"id": 3, "name": "m.bin", "primary": True, "hashes": {"SHA256": SHA256}}],
}


@dataclass
class HostileHost:
    """All hosts of models in one, as they would answer if nothing were wrong."""

    url: str = ""
    files_url: str = ""
    faults: Sequence[Spoiled | None] = ()
    asked: int = 0

    def behaves(self, faults: Sequence[Spoiled | None]) -> None:
        self.faults, self.asked = faults, 0

    def answer(self, request: Request) -> Answer:
        fault = self.faults[self.asked] if self.asked < len(self.faults) else None
        self.asked += 1
        right = self._right(request)
        if fault is None:
            return right
        return Answer(
            status=fault.status or right.status,
            headers={**right.headers, **fault.headers},
            body=right.body if fault.body is None else fault.body,
        )

    def _right(self, request: Request) -> Answer:
        path = request.path
        if path.startswith("/api/download/"):
            return redirect(f"{self.files_url}/m.bin")
        if path.startswith("/api/"):
            kinds = {"/revision/": _REVISION_TOLD, "/tree/": _TREE_TOLD, "/api/v1/": _VERSION_TOLD}
            document = next(it for part, it in kinds.items() if part in path)
            return Answer(body=json.dumps(document).encode())
        if path.startswith("/storage/"):
            return Answer(body=json.dumps(_OBJECT_TOLD).encode())
        file = ranged(request, CONTENT, etag=ETAG)
        hub = {"X-Repo-Commit": "a" * 40, "X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": "600"}
        return replace(file, headers={**file.headers, **hub, "X-Goog-Generation": "1"})

    def hosts(self, folder: Path) -> Hosts:
        """This host in place of all others, for a user whose home is `folder`."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HFTOKEN": TOKEN,
            "CIVITAI_ENDPOINT": self.url,
            "CIVITAITOKEN": SECRET,
            "STORAGE_EMULATOR_HOST": self.url,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        return hosts_with(folder, variables)

    @property
    def urls(self) -> list[str]:
        """One of each kind of source, all of the same file."""
        return [f"{self.files_url}/m.bin", *OTHER_URLS]


@contextlib.contextmanager
def hostile_host() -> Iterator[HostileHost]:
    it = HostileHost()
    with serve(answering=it.answer) as it.url, serve(answering=it.answer) as it.files_url:
        yield it


def take_no_time(patch: pytest.MonkeyPatch) -> None:
    """What hosts ask to wait passes at once, and a client of S3 is made once for all examples."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += max(seconds, 1.0)

    still = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
    patch.setattr(comfy_http.retries, "time", still)
    clients: dict[str | None, Any] = {}

    def client(variables: Mapping[str, str], *, region: str | None, **settings: Any) -> Any:
        if region not in clients:
            clients[region] = s3_client(variables, region=region, **settings)
        return clients[region]

    patch.setattr(s3_signing, "s3_client", client)


def assert_is_refusal(error: ComfyError) -> None:
    """The error is for people, and keeps our secrets."""
    assert_keeps_secrets(error)
    assert "\x1b" not in error.in_words()
    assert len(error.in_words()) < 4000


def assert_keeps_secrets(error: ComfyError) -> None:
    assert error.exit_code in (2, 3, 4)
    assert error.message
    assert not any(secret in error.in_words() for secret in (TOKEN, SECRET))


def assert_fits_a_lock(told: HostFile, url: str) -> None:
    assert told.size is None or (type(told.size) is int and told.size >= 0)
    assert told.sha256 is None or (len(told.sha256) == 64 and int(told.sha256, 16) >= 0)
    source = ModelSource(url=url, pin=told.pin)
    assert ModelSource.model_validate_json(source.model_dump_json()) == source
