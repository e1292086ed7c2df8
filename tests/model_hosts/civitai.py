"""A double of Civitai on loopback, which keeps to its published contract.

The contract is https://developer.civitai.com (models, versions, downloads) and, where that is
silent, the routes of civitai/civitai: `api/v1/model-versions`, `api/download/models` and
`file.service.ts`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.http_server import Answer, Request, redirect, serve
from tests.model_hosts.storage import Content, Storage, storage

TOKEN = "a_civitai_token_that_may_read_everything"
_BROWSER = re.compile(r"Mozilla|Chrome|Safari|AppleWebKit")


@dataclass(frozen=True, kw_only=True)
class CivitaiFile:
    """`kind` and `format` are those of Civitai's forms. `size_kb` is its size as Civitai tells it,
    in KiB, None for the true one.
    """

    id: int
    name: str
    content: Content
    kind: str = "Model"
    format: str = "SafeTensor"
    primary: bool = False
    size_kb: float | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Version:
    """`early_access_until` is an ISO 8601 time; `mode` is "Archived" or "TakenDown"."""

    id: int
    files: Sequence[CivitaiFile]
    model: int = 1
    early_access_until: str | None = None
    mode: str | None = None
    downloads: bool = True
    published: bool = True


@dataclass
class CivitaiDouble:
    """`answers` are given to the next requests in place of any other; `asked` are all requests."""

    storage: Storage
    url: str = ""
    versions: dict[int, Version] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def publish(self, version: int, *files: CivitaiFile, **details: Any) -> Version:
        published = Version(id=version, files=files, **details)
        self.versions[version] = published
        for file in files:
            self.storage.put(_key(file), file.content)
        return published

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kind, _, token = (request.headers["Authorization"] or "").partition(" ")
        if token and (kind, token) != ("Bearer", TOKEN):
            return _json(401, {"error": "Unauthorized", "message": "Invalid API key"})
        if parts.path == "/login":
            return Answer(headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html>Sign in")
        if by_hash := re.fullmatch(r"/api/v1/model-versions/by-hash/(\w+)", parts.path):
            return self._described(self._with_hash(by_hash[1].upper()))
        asked = re.fullmatch(
            r"/api/(v1/model-versions|v1/model-versions/mini|download/models)/(\d+)", parts.path
        )
        if asked is None:
            return _json(404, {"error": "Not found"})
        version = self.versions.get(int(asked[2]))
        if version is not None and not version.published:
            version = None
        if asked[1] == "v1/model-versions":
            return self._described(version)
        if asked[1] == "v1/model-versions/mini":
            return self._mini(version, query)
        return self._download(request, version, query, is_known=bool(token))

    def _with_hash(self, digest: str) -> Version | None:
        versions = (it for it in self.versions.values() if it.published)
        return next(
            (it for it in versions for file in it.files if digest in _hashes(file).values()), None
        )

    def _described(self, version: Version | None) -> Answer:
        if version is None:
            return _json(404, {"error": "Model not found"})
        files = [
            {
                "id": file.id,
                "name": file.name,
                "type": file.kind,
                "sizeKB": _size_kb(file),
                "metadata": {"format": file.format, "size": None, "fp": None},
                "hashes": _hashes(file),
                "downloadUrl": self._place(version, file),
                "primary": file.primary,
            }
            for file in version.files
        ]
        return _json(
            200,
            {
                "id": version.id,
                "modelId": version.model,
                "name": "v1.0",
                "baseModel": "SDXL 1.0",
                "air": _air(version),
                "status": "Published",
                "availability": "EarlyAccess" if version.early_access_until else "Public",
                "earlyAccessEndsAt": version.early_access_until,
                "model": {"name": "Up", "type": "Upscaler", "mode": version.mode},
                "files": [] if version.mode == "Archived" else files,
            },
        )

    def _mini(self, version: Version | None, query: Mapping[str, str]) -> Answer:
        if version is None:
            return _json(404, {"error": "Model not found"})
        file = _chosen(version, query.get("modelFileId"))
        if file is None:
            return _json(404, {"error": "Missing model file"})
        return _json(
            200,
            {
                "air": _air(version),
                "size": _size_kb(file),
                "fileName": file.name,
                "fileType": file.kind,
                "hashes": _hashes(file),
                "downloadUrls": [self._place(version, file)],
                "format": file.format,
                "requireAuth": True,
                "checkPermission": version.early_access_until is not None,
                "earlyAccessEndsAt": version.early_access_until,
            },
        )

    def _download(
        self, request: Request, version: Version | None, query: Mapping[str, str], *, is_known: bool
    ) -> Answer:
        """In the order of Civitai's own checks."""
        is_browser = bool(_BROWSER.search(request.headers.get("User-Agent", "")))
        if version is None:
            return _json(404, {"error": "File not found"})
        if version.mode == "Archived":
            return _json(410, {"error": "Model archived, not available for download"})
        if not version.downloads:
            reason = "The creator of this asset has disabled downloads on this file"
            return _json(401, {"error": "Unauthorized", "message": reason})
        if not is_known:
            if is_browser:
                return redirect(f"/login?{urlencode({'reason': 'download-auth'})}")
            reason = "The creator of this asset requires you to be logged in to download it"
            return _json(401, {"error": "Unauthorized", "message": reason})
        if version.early_access_until is not None:
            document = {"error": "Early Access", "deadline": version.early_access_until}
            return _json(403, {**document, "message": "This asset is in Early Access."})
        file = _chosen(version, query.get("fileId"))
        if file is None:
            return _json(404, {"error": "File not found"})
        return Answer(status=307, headers={"Location": self.storage.signed(_key(file), file.name)})

    def _place(self, version: Version, file: CivitaiFile) -> str:
        query = "" if file.primary else f"?{urlencode({'type': file.kind, 'format': file.format})}"
        return f"{self.url}/api/download/models/{version.id}{query}"


@contextmanager
def civitai() -> Iterator[CivitaiDouble]:
    with storage() as behind:
        double = CivitaiDouble(storage=behind)
        with serve(answering=double.answer) as double.url:
            yield double


def _chosen(version: Version, file_id: str | None) -> CivitaiFile | None:
    """The file that is asked for, or the one that Civitai prefers."""
    if file_id is not None:
        return next((file for file in version.files if str(file.id) == file_id), None)
    return min(version.files, key=lambda file: not file.primary, default=None)


def _key(file: CivitaiFile) -> str:
    return f"model/{file.id}"


def _size_kb(file: CivitaiFile) -> float:
    return len(file.content) / 1024 if file.size_kb is None else file.size_kb


def _hashes(file: CivitaiFile) -> dict[str, str]:
    digest = file.sha256.upper()
    return {"AutoV2": digest[:10], "SHA256": digest}


def _air(version: Version) -> str:
    return f"urn:air:sdxl:upscaler:civitai:{version.model}@{version.id}"


def _json(status: int, document: object) -> Answer:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status=status, headers=headers, body=json.dumps(document).encode())
