"""What hosts of models may answer that is wrong, broken or meant to do harm, for hypothesis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.hostile_texts import texts, values

CONTENT = b"model " * 100
"""The file that all hosts have, if nothing is wrong."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = '"0123456789"'
TOKEN = "hf_" + "secret1" * 5
SECRET = "secret-1"
"""What no message may repeat, like TOKEN; it is in addresses too."""

_NUMBERS = ("0", "1", "600", "601", "-1", "9" * 400, "9" * 5000, "1e3", "", "²", "x", "1,2", " 3")
_ADDRESSES = (
    *("", "/next", "//", "///etc/passwd", "?a", "http://", "http://[", "https://127.0.0.1:1/x"),
    *("file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:1/x", "http://127.0.0.1:99999/"),
    *("http://user:secret-1@127.0.0.1:1/", "http://127.0.0.1:1/?token=secret-1", "javascript:x"),
    *("http://\x80/", "\x00", "http://127.0.0.1:1/" + "x" * 9000, "http://" + "a." * 200),
)


def _header(*known: str) -> st.SearchStrategy[str]:
    """A header's value: a likely one, a number, or what Latin-1 can write of anything."""
    anything = texts.map(lambda text: text.encode("latin-1", "ignore").decode("latin-1"))
    one_line = anything.map(lambda text: text.replace("\r", "").replace("\n", ""))
    return st.one_of(st.sampled_from(known or _NUMBERS), st.sampled_from(_NUMBERS), one_line)


_RANGES = ("bytes 0-0/600", "bytes 5-9/600", "bytes 0-599/600", "bytes */600", "bytes 9-1/3")
_HEADERS = {
    "Content-Length": _header("600"),
    "Content-Range": _header(*_RANGES, "bytes 0-0/*", f"bytes 0-{'9' * 5000}/{'9' * 5000}"),
    "Content-Encoding": _header("gzip", "deflate", "identity"),
    "Content-Type": _header("text/html", "application/json", "multipart/byteranges"),
    "Transfer-Encoding": _header("chunked", "gzip, chunked"),
    "ETag": _header(ETAG, f"W/{ETAG}", '"', "W/", '"a" "b"'),
    "Location": st.one_of(st.sampled_from(_ADDRESSES), _header("/next")),
    "Retry-After": _header("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015"),
    "RateLimit": _header('"resolvers";r=0;t=120', f'"x";r=0;t={"9" * 400}', "r=;t="),
    "X-Repo-Commit": _header("a" * 40, "main", "../" * 20),
    "X-Linked-Size": _header("600"),
    "X-Linked-Etag": _header('"' + "ab" * 32 + '"', ETAG),
    "Link": _header('</x>; rel="next"', "<api/models/o/n/tree/../../x>; rel=next", "<<>>;;=="),
    "X-Goog-Generation": _header("1"),
    "x-amz-bucket-region": _header("eu-west-1", "../x"),
    "x-amz-checksum-sha256": _header("q" * 43 + "="),
    "x-amz-checksum-type": _header("FULL_OBJECT", "COMPOSITE"),
    "WWW-Authenticate": _header("Bearer", "Basic"),
    "X-Error-Code": _header("GatedRepo", "RepoNotFound", "EntryNotFound", "Nothing"),
    "X-Error-Message": _header("no", "\x1b[31m"),
    "Set-Cookie": _header("a=b"),
}
_STATUSES = (200, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 410, 416, 418, 429, 500, 503)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of which some fields are missing, or of another type than the host has."""
    optional = {key: st.one_of(field, field, field, values) for key, field in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


_ANY_SHA256 = st.sampled_from(["ab" * 32, "AB" * 32, "x" * 64, ""])
_SIZE = st.sampled_from([600, 0, -1, 10**30, "600", 1.5])
_COMMIT = st.sampled_from(["a" * 40, "main", "../" * 20])
_REVISION = _object(sha=_COMMIT)
_PATHS = ("unet/m.bin", "unet/a/m.bin", "unet/../m.bin", "../m.bin", "/m.bin", "unet/", "m.bin")
_PATH = st.one_of(st.sampled_from(_PATHS), texts.map(lambda text: f"unet/{text}"))
_TREE = st.lists(
    _object(
        type=st.sampled_from(["file", "directory", "link"]),
        path=_PATH,
        oid=_COMMIT,
        size=_SIZE,
        lfs=_object(oid=_ANY_SHA256, size=_SIZE),
    ),
    max_size=3,
)
_VERSION = _object(
    id=st.just(2),
    model=_object(mode=st.sampled_from([None, "Archived", "TakenDown"])),
    files=st.lists(
        _object(
            id=st.sampled_from([3, -1, 10**30, "3"]),
            name=texts,
            type=st.just("Model"),
            primary=st.booleans(),
            metadata=_object(format=texts),
            hashes=_object(SHA256=_ANY_SHA256),
        ),
        max_size=3,
    ),
)
_STORED = _object(size=_SIZE, generation=_SIZE, crc32c=texts, name=texts)
_ERROR = _object(error=_object(message=texts), message=texts, deadline=texts)
_JSON = st.one_of(_REVISION, _TREE, _VERSION, _STORED, _ERROR, values).map(
    lambda document: json.dumps(document).encode()
)
_BODIES = st.one_of(
    st.sampled_from(
        [
            *(
                b"",
                b"x",
                CONTENT,
                CONTENT[:100],
                b"[" * 50_000,
                b'{"a":' * 50_000,
                b"{",
                b"\xff\xfe",
            ),
            *(b"<!DOCTYPE html><title>\x1b[31m</title>", b"<Error><Code>NoSuchKey</Code></Error>"),
            *(b"version https://git-lfs.github.com/spec/v1\n", b"5\r\nmodel\r\nzz\r\n"),
            *(b'{"error": "https://h/?token=secret-1"}', json.dumps({"message": TOKEN}).encode()),
            b'{"error": {"message": ["\x1b"]}}',
            *(b'{"id": 1e999}', b'{"id": ' + b"9" * 5000 + b"}", b"null"),
        ]
    ),
    st.binary(max_size=20),
    _JSON,
    _JSON,
)


@dataclass(frozen=True, kw_only=True)
class Spoiled:
    """What a host gets wrong in an answer; None and headers that are not named are right."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes | None


_wrong = st.builds(
    Spoiled,
    status=st.one_of(st.none(), st.sampled_from(_STATUSES)),
    headers=st.fixed_dictionaries({}, optional=_HEADERS),
    body=st.one_of(st.none(), _BODIES),
)
faults = st.lists(st.one_of(st.none(), _wrong, _wrong), max_size=4)
"""What is wrong with each of the first answers; the others are right."""
