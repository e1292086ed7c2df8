"""A double of the Comfy Registry on loopback, which keeps to its published contract.

The contract is https://docs.comfy.org/api-reference/registry (OpenAPI of api.comfy.org) and, where
that is silent, Comfy-Org/registry-backend: `install` without a version sorts versions as text, and
asks for a version only by three numbers.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import Answer, Request, serve

ACTIVE, FLAGGED, PENDING, BANNED, DELETED = (
    f"NodeVersionStatus{name}" for name in ("Active", "Flagged", "Pending", "Banned", "Deleted")
)


def node_zip(files: Mapping[str, str]) -> bytes:
    """A node's archive as `comfy node publish` packs it: files at the top, no folder around."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10)), text)
    return stream.getvalue()


@dataclass
class Published:
    """A version of a node. `url` None means the registry's own copy of `archive`."""

    archive: bytes
    status: str = ACTIVE
    deprecated: bool = False
    url: str | None = None


@dataclass
class RegistryDouble:
    """`nodes` maps node ids to versions; a node in `banned` is refused as a whole.

    `answers` replaces the answer of a path.
    """

    url: str = ""
    nodes: dict[str, dict[str, Published]] = field(default_factory=dict)
    banned: set[str] = field(default_factory=set)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, node: str, version: str, archive: bytes, **details: Any) -> Published:
        published = Published(archive=archive, **details)
        self.nodes.setdefault(node, {})[version] = published
        return published

    def answer(self, request: Request) -> Answer:
        """What a GET of a path with its query gives."""
        self.asked.append(request.path)
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if path in self.answers:
            return self.answers[path]
        if file := re.fullmatch(r"/files/([^/]+)/([^/]+)/node\.zip", path):
            archive = self.nodes[file[1]][file[2]].archive
            return Answer(headers={"Content-Type": "application/zip"}, body=archive)
        asked = re.fullmatch(r"/nodes/([^/]+)(/versions|/install)?", path)
        if asked is None or (versions := self.nodes.get(asked[1])) is None:
            return _json(404, {"message": "Node not found", "error": ""})
        if asked[1] in self.banned:
            return _json(403, {"message": "Node banned", "error": ""})
        if asked[2] == "/versions":
            return _json(200, [self._document(asked[1], version) for version in versions])
        if asked[2] is None:
            return _json(200, {"id": asked[1], "name": asked[1], "status": "NodeStatusActive"})
        version = query.get("version", [max(versions)])[0]
        if "version" in query and not re.fullmatch(r"\d+\.\d+\.\d+", version):
            return _json(400, {"message": "Invalid version", "error": ""})
        if version not in versions:
            return _json(404, {"message": "Not found", "error": ""})
        return _json(200, self._document(asked[1], version))

    def _document(self, node: str, version: str) -> dict[str, Any]:
        published = self.nodes[node][version]
        own = f"{self.url}/files/{node}/{version}/node.zip"
        return {
            "id": f"{node}-{version}",
            "node_id": node,
            "version": version,
            "changelog": "",
            "createdAt": "2024-05-06T07:08:10Z",
            "dependencies": [],
            "deprecated": published.deprecated,
            "downloadUrl": own if published.url is None else published.url,
            "status": published.status,
        }


def _json(status: int, document: Any) -> Answer:
    headers = {"Content-Type": "application/json"}
    return Answer(status=status, headers=headers, body=json.dumps(document).encode())


@contextmanager
def comfy_registry() -> Iterator[RegistryDouble]:
    """A registry without nodes on a free port of loopback."""
    registry = RegistryDouble()
    with serve(None, registry.answer) as registry.url:
        yield registry
