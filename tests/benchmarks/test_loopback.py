"""The servers of the image benchmarks, spoken to over real connections."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.loopback import CountingRegistry, counting_registry, served


def test_a_folder_is_listed_and_its_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "one-1.whl").write_bytes(b"wheel")
    with served(tmp_path) as address:
        assert b'href="one-1.whl"' in _get(address)
        assert _get(f"{address}one-1.whl") == b"wheel"


def test_a_registry_counts_what_is_pushed_in_chunks() -> None:
    blob = b"layer" * 1000
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    with counting_registry() as registry:
        assert _ask(registry, "GET", "/v2/").status == 200
        assert _ask(registry, "HEAD", f"/v2/a/b/blobs/{digest}").status == 404
        place = _ask(registry, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]
        place = _ask(registry, "PATCH", place, iter([blob[:7], blob[7:]])).headers["Location"]
        done = _ask(registry, "PUT", f"{place}?digest={digest}")
        assert (done.status, done.headers["Docker-Content-Digest"]) == (201, digest)
        there = _ask(registry, "HEAD", f"/v2/a/b/blobs/{digest}")
        assert (there.status, there.headers["Content-Length"]) == (200, str(len(blob)))
        assert registry.blobs == {digest: len(blob)}


def test_a_registry_tells_the_layers_of_an_image_in_their_order() -> None:
    manifest = json.dumps({"layers": [{"size": 30}, {"size": 4}]}).encode()
    with counting_registry() as registry:
        assert _ask(registry, "PUT", "/v2/a/b/manifests/tag", manifest).status == 201
        assert registry.layer_sizes("a/b:tag") == [30, 4]


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
        return content


def _ask(
    registry: CountingRegistry, method: str, path: str, body: bytes | Iterator[bytes] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    try:
        chunked = isinstance(body, Iterator)
        headers = {"Transfer-Encoding": "chunked"} if chunked else {}
        connection.request(method, path, body=body, headers=headers, encode_chunked=chunked)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()
