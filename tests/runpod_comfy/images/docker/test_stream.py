"""What engines send: failures inside a stream of HTTP 200, and layers on their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from comfy_errors import OperationFailedError
from runpod_comfy.images.docker.stream import Message, Transfers, read_messages, step_remedy

PUSH: list[Message] = [
    {"status": "The push refers to repository [127.0.0.1:5000/demo]"},
    *({"status": "Preparing", "progressDetail": {}, "id": layer} for layer in ("aa", "bb", "cc")),
    {"status": "Layer already exists", "progressDetail": {}, "id": "aa"},
    {"status": "Pushing", "progressDetail": {"current": 512, "total": 2000}, "id": "bb"},
    {"status": "Mounted from other/demo", "progressDetail": {}, "id": "cc"},
]


def test_an_error_in_a_stream_is_raised_after_what_came_before_it() -> None:
    stream = [{"status": "Preparing"}, {"error": "no basic auth credentials"}, {"status": "more"}]
    seen: list[dict[str, Any]] = []

    with pytest.raises(OperationFailedError) as raised:
        seen.extend(read_messages(stream, doing="pushing demo"))

    assert seen == [{"status": "Preparing"}]

    assert raised.value.exit_code == 1
    assert raised.value.message == "pushing demo failed: no basic auth credentials"
    assert "docker login" in raised.value.remedy


def test_an_error_that_is_only_in_its_detail_is_raised() -> None:
    stream = [{"errorDetail": {"code": 1, "message": "denied: not yours"}}]

    with pytest.raises(OperationFailedError, match="denied: not yours"):
        list(read_messages(stream, doing="pushing demo"))


def test_a_connection_that_breaks_is_reported_in_plain_words() -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield {"status": "Preparing"}
        raise requests.exceptions.ChunkedEncodingError("Connection broken")

    with pytest.raises(OperationFailedError, match="the connection to the engine broke"):
        list(read_messages(breaking(), doing="pushing demo"))


def test_a_password_in_an_error_is_not_shown() -> None:
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
        ("dial tcp 127.0.0.1:1: connect: connection refused", "check that it is running"),
        ("received unexpected HTTP status: 503 Service Unavailable", "check that it is running"),
        ("manifest for a:b not found: manifest unknown", "name and the tag"),
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system df"),
    ],
)
def test_known_reasons_come_with_a_next_step(reason: str, remedy: str) -> None:
    with pytest.raises(OperationFailedError) as raised:
        list(read_messages([{"error": reason}], doing="pushing demo"))

    assert remedy in raised.value.remedy


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("error: invalid peer certificate: UnknownIssuer", "--ca-bundle"),
        ("SSL: CERTIFICATE_VERIFY_FAILED certificate verify failed", "--ca-bundle"),
        ("dns error: failed to lookup address information", "--network host"),
        ("Temporary failure in name resolution", "--network host"),
        ("process did not complete successfully: exit code: 137", "memory"),
        ("No space left on device (os error 28)", "docker system df"),
        ("could not find bridge docker0", "--network host"),
    ],
)
def test_what_a_step_died_of_is_answered(said: str, remedy: str) -> None:
    assert remedy in step_remedy(said)


def test_a_program_that_is_not_found_is_no_matter_of_registries() -> None:
    assert step_remedy("sh: uv: not found\nexit code: 127") == ""


def test_how_each_layer_got_there_is_reported_once() -> None:
    transfers = Transfers()

    there = [transfers.handle(message) for message in PUSH]
    there.append(transfers.handle({"status": "Pushed", "id": "bb"}))
    there.append(transfers.handle({"status": "Pushed", "id": "bb"}))

    told = [(each.layer, each.how, each.size_bytes) for each in there if each]
    assert told == [("aa", "existing", 0), ("cc", "mounted", 0), ("bb", "pushed", 2000)]


def test_how_far_all_are_in_plain_words() -> None:
    transfers = Transfers()
    for message in PUSH:
        transfers.handle(message)

    assert transfers.in_words() == "2/3 layers, 512 bytes of 2.0 kB"


def test_a_layer_that_grows_past_its_announced_size_has_the_size_it_has() -> None:
    transfers = Transfers()
    detail = {"current": 2560, "total": 2000}
    transfers.handle({"status": "Pushing", "progressDetail": detail, "id": "bb"})

    assert transfers.in_words() == "0/1 layers, 2.6 kB of 2.6 kB"


def test_the_tag_of_a_pull_is_not_a_layer() -> None:
    transfers = Transfers()
    for message in (
        {"status": "Pulling from library/demo", "id": "latest"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "aa"},
        {"status": "Pull complete", "progressDetail": {}, "id": "aa"},
    ):
        transfers.handle(message)

    assert transfers.in_words() == "1/1 layers"
