"""Failures that engines report inside a stream of HTTP 200, in their own words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from comfy_errors import OperationFailedError
from runpod_comfy.images.docker.stream import read_messages


def test_an_error_in_a_stream_is_raised_after_what_came_before_it() -> None:
    stream = [{"status": "Preparing"}, {"error": "no basic auth credentials"}, {"status": "more"}]
    seen: list[dict[str, Any]] = []

    with pytest.raises(OperationFailedError) as raised:
        seen.extend(read_messages(stream, doing="pushing demo"))

    assert seen == [{"status": "Preparing"}]

    assert raised.value.exit_code == 1
    assert raised.value.message == "pushing demo failed: no basic auth credentials"
    assert "docker login" in raised.value.remedy


def test_an_error_that_stands_only_in_its_detail_is_raised() -> None:
    stream = [{"errorDetail": {"code": 1, "message": "denied: not yours"}}]

    with pytest.raises(OperationFailedError, match="denied: not yours"):
        list(read_messages(stream, doing="pushing demo"))


def test_a_connection_that_breaks_is_told_in_words() -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield {"status": "Preparing"}
        raise requests.exceptions.ChunkedEncodingError("Connection broken")

    with pytest.raises(OperationFailedError, match="the connection to the engine broke"):
        list(read_messages(breaking(), doing="pushing demo"))


def test_a_password_in_an_error_is_not_told() -> None:
    with pytest.raises(OperationFailedError) as raised:
        list(read_messages([{"error": "Get https://me:hunter2@host/v2: EOF"}], doing="pulling x"))

    assert "hunter2" not in raised.value.message


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("Credentials store error: docker-credential-x not installed", "credential helper"),
        ("unauthorized: authentication required", "docker login"),
        ("denied: requested access to the resource is denied", "docker login"),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
        ("x509: certificate signed by unknown authority", "certificate"),
        ("dial tcp: lookup nowhere on 10.0.0.1:53: no such host", "registry's name"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "see that it runs"),
        ("received unexpected HTTP status: 503 Service Unavailable", "see that it runs"),
        ("manifest for a:b not found: manifest unknown", "name and the tag"),
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system df"),
    ],
)
def test_known_reasons_come_with_a_next_step(reason: str, remedy: str) -> None:
    with pytest.raises(OperationFailedError) as raised:
        list(read_messages([{"error": reason}], doing="pushing demo"))

    assert remedy in raised.value.remedy
