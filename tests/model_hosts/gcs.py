"""A double of Google Cloud Storage, as a process of its own, which the real client can use."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.http_server import Answer
from tests.model_hosts import gcs_server
from tests.model_hosts.gcs_objects import Access


@dataclass(frozen=True)
class GcsDouble:
    """`url` is what STORAGE_EMULATOR_HOST is set to. What is put is kept in `folder`."""

    url: str
    folder: Path

    def reset(self) -> None:
        """Forgets all that it has and was told."""
        self._do("reset")

    def bucket(self, name: str, access: Access = "public", *, is_uniform: bool = False) -> None:
        self._do("bucket", name=name, access=access, is_uniform=is_uniform)

    def objects(self, bucket: str) -> list[dict[str, Any]]:
        """The resources of all objects, each with its whole `content`."""
        found: list[dict[str, Any]] = self._do("objects", bucket=bucket)
        return [{**it, "content": base64.b64decode(it["content"])} for it in found]

    def put(
        self, bucket: str, name: str, content: bytes | Path, *, encoding: str | None = None
    ) -> int:
        """The generation of an object that is replaced, or new. A file must stay as it is."""
        path = content if isinstance(content, Path) else self._kept(content)
        generation: int = self._do(
            "put", bucket=bucket, name=name, path=str(path), encoding=encoding
        )
        return generation

    def delete(self, bucket: str, name: str) -> None:
        self._do("delete", bucket=bucket, name=name)

    def key_file(
        self, email: str = "reader@comfy.iam.gserviceaccount.com", *, is_member: bool = True
    ) -> Path:
        """The key of a service account, for GOOGLE_APPLICATION_CREDENTIALS. Members may do all."""
        path = self.folder / f"{email}.json"
        path.write_text(json.dumps(self._do("account", email=email, is_member=is_member)))
        return path

    def give_tokens_for(self, seconds: int) -> None:
        self._do("lifetime", seconds=seconds)

    def revoke_tokens(self) -> None:
        """No token that was given before is valid any more."""
        self._do("revoke")

    def answer_next(self, *answers: Answer) -> None:
        """The answers to the next requests, whatever they are."""
        self._do("next_answers", answers=[_told(it) for it in answers])

    def answer_next_uploads(self, *answers: Answer | None) -> None:
        """The answers to the next requests of uploads; None for one that is taken."""
        told = [_told(it) if it else None for it in answers]
        self._do("next_upload_answers", answers=told)

    def delay_uploads(self, seconds: float) -> None:
        """How long each request of an upload takes from now on."""
        self._do("delay", seconds=seconds)

    def damage_next_upload(self) -> None:
        """Changes a byte of the next upload, as if it were damaged on its way."""
        self._do("damage")

    def cut_next(self, *sizes: int | None) -> None:
        """After how many bytes the next downloads break, None for one that does not."""
        self._do("next_cuts", cuts=sizes)

    def limit(self, rate: float | None) -> None:
        """Limits each connection, in bytes per second."""
        self._do("limit", rate=rate)

    @property
    def asked(self) -> list[dict[str, str | None]]:
        """The requests that it got: their method, path, and the headers that matter."""
        found: list[dict[str, str | None]] = self._do("asked")
        return found

    @property
    def sent_bytes(self) -> int:
        """How much of files was sent."""
        return int(self._do("counts")["sent"])

    @property
    def tokens(self) -> int:
        """How many tokens were given."""
        return int(self._do("counts")["tokens"])

    def _kept(self, content: bytes) -> Path:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.object"
        path.write_bytes(content)
        return path

    def _do(self, action: str, **arguments: object) -> Any:
        response = requests.post(
            f"{self.url}/control", json={"do": action, **arguments}, timeout=60
        )
        response.raise_for_status()
        return response.json()


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": base64.b64encode(answer.body).decode(),
        "stalls": answer.stalls,
    }


@contextmanager
def gcs(folder: Path, *, address: str = "127.0.0.1") -> Iterator[GcsDouble]:
    """Runs the double at an address of this machine, with what it keeps in `folder`."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", gcs_server.__name__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield GcsDouble(process.stdout.readline().strip(), folder)
        finally:
            process.stdin.close()
