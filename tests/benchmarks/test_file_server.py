"""The server of the download benchmark, a process of its own, spoken to over real connections."""

from __future__ import annotations

import http.client
import time
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from benchmarks.file_server import file_server

_CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").write_bytes(_CONTENT)
    return tmp_path


def test_files_and_parts_of_them_are_sent_over_one_connection(folder: Path) -> None:
    with file_server(folder) as address:
        connection = _connection(address)
        whole = _get(connection, "/model")
        part = _get(connection, "/model", Range="bytes=1000-1999")
        rest = _get(connection, "/model", Range="bytes=1023000-")
        assert (whole.status, whole.body) == (200, _CONTENT)
        assert (part.status, part.body) == (206, _CONTENT[1000:2000])
        assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(_CONTENT)}"
        assert rest.body == _CONTENT[1023000:]
        assert whole.headers["ETag"] == part.headers["ETag"]
        assert _get(connection, "/other").status == 404
        connection.close()


def test_a_head_has_the_size_and_no_body(folder: Path) -> None:
    with file_server(folder) as address:
        connection = _connection(address)
        connection.request("HEAD", "/model")
        answer = connection.getresponse()
        assert answer.headers["Content-Length"] == str(len(_CONTENT))
        assert answer.read() == b""
        connection.close()


def test_a_limit_is_that_of_each_connection(folder: Path) -> None:
    with file_server(folder, limit_bytes_s=2 * len(_CONTENT)) as address:
        connections = [_connection(address) for _ in range(4)]
        started = time.monotonic()
        for connection in connections:
            connection.request("GET", "/model")
        for connection in connections:
            assert connection.getresponse().read() == _CONTENT
            connection.close()
        # One after the other they would take four times half a second.
        assert 0.4 <= time.monotonic() - started < 1.5


class _Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


def _connection(address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)


def _get(connection: http.client.HTTPConnection, path: str, **headers: str) -> _Answer:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return _Answer(answer.status, answer.headers, answer.read())
