"""Files of a job, from real servers into its folder."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import comfy_http.retries
from comfy_errors import ComfyError, InvalidInputError
from rp_handler.errors import InputFetchError, failure_document
from rp_handler.inputs.document import JobInputs
from rp_handler.inputs.fetch import fetch_inputs
from rp_handler.inputs.policy import InputPolicy
from tests.http_server import Answer, Request, cut, ranged, redirect, serve
from tests.loopback_canary import Canary, canary
from tests.model_hosts.gcs import gcs
from tests.model_hosts.s3 import s3

CONTENT = random.Random(1).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LOCAL = InputPolicy(silence_s=2, allows_private=True)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy_http.retries, "_FIRST_WAIT_S", 0.01)


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as bird:
        yield bird


def fetch(
    folder: Path,
    document: Mapping[str, Any],
    policy: InputPolicy = LOCAL,
    *,
    variables: Mapping[str, str] = {},
) -> dict[str, str]:
    inputs = JobInputs.model_validate(document)
    return asyncio.run(fetch_inputs(inputs, folder, policy=policy, variables=variables))


def refused(folder: Path, document: Mapping[str, Any], *more: Any, **named: Any) -> ComfyError:
    """The error, after which nothing is left."""
    with pytest.raises(ComfyError) as caught:
        fetch(folder, document, *more, **named)
    assert not list(folder.parent.iterdir())
    return caught.value


def limited(name: str) -> InputPolicy:
    if name == "file_bytes":
        return replace(LOCAL, file_bytes=999_999)
    return replace(LOCAL, total_bytes=999_999)


def files(*urls: str, **more: Any) -> dict[str, Any]:
    return {"files": [{"name": f"{n}.bin", "url": url, **more} for n, url in enumerate(urls)]}


def content_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "job" / "inputs"


def test_files_from_everywhere_lie_at_their_names(folder: Path, tmp_path: Path) -> None:
    with (
        serve(answering=lambda it: ranged(it, CONTENT, etag='"1"')) as url,
        gcs(tmp_path / "gcs") as google,
        s3() as amazon,
    ):
        google.bucket("bucket")
        google.put("bucket", "a b/c.png", b"from gcs")
        amazon.bucket("bucket")
        amazon.put("bucket", "a b/c.png", b"from s3")
        document = {
            "images": [
                {"name": "a.png", "image": base64.b64encode(b"hello").decode()},
                {"name": "deep/er/b.txt", "image": "data:text/plain;base64,aGVsbG8h"},
                {"name": "deep/c.png", "image": f"{url}/c.png"},
                {"name": "deep/google.png", "image": "gs://bucket/a b/c.png"},
            ],
            "files": [
                {"name": "3d/d.glb", "url": f"{url}/d.glb", "sha256": SHA256},
                {"name": "amazon", "url": "s3://bucket/a b/c.png"},
            ],
        }
        # Where buckets are is up to the worker: that needs no permission.
        variables = {"STORAGE_EMULATOR_HOST": google.url, **amazon.variables}
        digests = fetch(folder, document, variables=variables)
    found = content_of(folder)
    assert found == {
        "a.png": b"hello",
        "deep/er/b.txt": b"hello!",
        "deep/c.png": CONTENT,
        "deep/google.png": b"from gcs",
        "3d/d.glb": CONTENT,
        "amazon": b"from s3",
    }
    assert digests == {name: hashlib.sha256(it).hexdigest() for name, it in found.items()}
    assert [path.name for path in folder.parent.iterdir()] == ["inputs"]


def test_buckets_need_no_permission_for_private_addresses(folder: Path, tmp_path: Path) -> None:
    with gcs(tmp_path / "gcs") as google:
        google.bucket("bucket")
        google.put("bucket", "a", b"from gcs")
        fetch(
            folder,
            files("gs://bucket/a"),
            InputPolicy(),
            variables={"STORAGE_EMULATOR_HOST": google.url},
        )
    assert content_of(folder) == {"0.bin": b"from gcs"}


@pytest.mark.parametrize("document", [{}, {"images": None}, {"images": [], "files": []}])
def test_a_job_without_files_makes_no_folder(folder: Path, document: Mapping[str, Any]) -> None:
    assert fetch(folder, document) == {}
    assert not folder.parent.exists()


def test_a_file_that_breaks_is_resumed_where_it_broke(folder: Path) -> None:
    ranges: list[str | None] = []

    def answer(request: Request) -> Answer:
        ranges.append(request.headers["Range"])
        whole = ranged(request, CONTENT, etag='"1"')
        if len(ranges) > 2:
            return whole
        size = {"Content-Length": str(len(whole.body))}
        return Answer(
            status=whole.status, headers={**whole.headers, **size}, body=whole.body[:300_000]
        )

    with serve(answering=answer) as url:
        assert fetch(folder, files(url)) == {"0.bin": SHA256}
    assert ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_a_file_that_cannot_be_resumed_is_read_from_its_start(folder: Path) -> None:
    answers = iter([cut(CONTENT, 300_000), Answer(status=503), Answer(body=CONTENT)])
    with serve(answering=lambda _: next(answers)) as url:
        # The beginning that was lost does not count.
        policy = InputPolicy(allows_private=True, total_bytes=len(CONTENT))
        assert fetch(folder, files(url), policy) == {"0.bin": SHA256}


@pytest.mark.parametrize(
    ("answer", "fault", "retryable"),
    [
        (Answer(status=404), "it answered 404", False),
        (Answer(status=403), "it answered 403", False),
        (Answer(status=503), "it answered 503", True),
        (Answer(status=429, headers={"Retry-After": "90"}), "it answered 429", True),
        (cut(CONTENT, 10), "the connection broke", True),
        (cut(CONTENT, 10, stalls=True), "it sent nothing for 2 s", True),
        (Answer(headers={"Content-Type": "text/html; charset=x"}), "a web page", False),
        (redirect("ftp://example.org/"), "redirects to ftp:", False),
    ],
)
def test_a_file_that_cannot_be_fetched_is_named(
    folder: Path, answer: Answer, fault: str, *, retryable: bool
) -> None:
    with serve(answering=lambda _: answer) as url:
        error = refused(folder, files("data:,a", f"{url}/x?secret=1"))
    assert isinstance(error, InputFetchError)
    assert "files[1].url: " in error.message
    assert fault in error.message
    assert "\n" not in error.message
    assert "secret" not in error.message
    document = failure_document(error)
    assert document["error_type"] == "input_fetch_failed"
    assert (document["retryable"], document["details"]["inputs"]) == (retryable, ["files[1].url"])


def test_a_missing_object_is_named_without_advice_about_a_spec(
    folder: Path, tmp_path: Path
) -> None:
    with gcs(tmp_path / "gcs") as google, s3() as amazon:
        google.bucket("bucket")
        amazon.bucket("bucket")
        variables = {"STORAGE_EMULATOR_HOST": google.url, **amazon.variables}
        error = refused(folder, files("gs://bucket/a", "s3://bucket/a"), variables=variables)
    assert "files[0].url: gs://bucket/a is not there" in error.message
    assert "files[1].url: s3://bucket/a is not there" in error.message
    assert error.remedy == "Put the file there, or correct its address."


def test_every_field_that_fails_is_named(folder: Path) -> None:
    with serve() as url:
        document = {
            "images": [{"name": "a.png", "image": f"{url}/a.png"}],
            "files": files(f"{url}/b", f"{url}/c")["files"],
        }
        error = refused(folder, document)
    for field in ("images[0].image", "files[0].url", "files[1].url"):
        assert f"{field}: {url}/" in error.message


def test_what_the_job_holds_is_checked_before_anything_is_asked_for(folder: Path) -> None:
    asked: list[Request] = []
    with serve(answering=asked.append) as url:
        images = [{"name": "a.png", "image": "aGVsbG8"}, {"name": "b.png", "image": "!"}]
        error = refused(folder, {"images": images, **files(url)})
    assert isinstance(error, InvalidInputError)
    assert "images[0].image: is base64 that is cut off" in error.message
    assert "images[1].image: is neither base64 nor a URL" in error.message
    assert asked == []


def test_another_sha256_than_the_stated_one_is_refused(folder: Path) -> None:
    with serve(answering=lambda _: Answer(body=b"other")) as url:
        error = refused(folder, files(url, sha256=SHA256))
    assert isinstance(error, InputFetchError)
    assert f"not {SHA256}" in error.message


@pytest.mark.parametrize("limit", ["file_bytes", "total_bytes"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=CONTENT),
        Answer(body=CONTENT, headers={"Connection": "close"}),
        Answer(body=CONTENT, headers={"Transfer-Encoding": "chunked"}),
    ],
    ids=["announced", "until the end", "chunked"],
)
def test_a_file_that_is_too_large_is_refused(folder: Path, answer: Answer, limit: str) -> None:
    policy = limited(limit)
    with serve(answering=lambda _: answer) as url:
        error = refused(folder, files(url), policy)
    assert isinstance(error, InvalidInputError)
    assert "larger than 1000.0 kB" in error.message
    assert (
        "COMFY_INPUT_FILE_MB" if limit == "file_bytes" else "COMFY_INPUT_TOTAL_MB"
    ) in error.message


@pytest.mark.parametrize("limit", ["file_bytes", "total_bytes"])
def test_base64_counts_too(folder: Path, limit: str) -> None:
    images = [{"name": "a", "image": base64.b64encode(CONTENT).decode()}]
    error = refused(folder, {"images": images}, limited(limit))
    assert isinstance(error, InvalidInputError)
    assert "larger than 1000.0 kB" in error.message


def test_files_arrive_at_the_same_time(folder: Path) -> None:
    meeting = threading.Barrier(8)

    def answer(_: Request) -> Answer:
        meeting.wait(60)
        return Answer(body=b"content")

    with serve(answering=answer) as url:
        urls = (f"{url}/{n}" for n in range(8))
        fetch(folder, files(*urls), replace(LOCAL, silence_s=60))


def test_a_job_that_is_given_up_does_not_wait_for_a_slow_trickle(folder: Path) -> None:
    # More than a minute.
    with serve(answering=lambda _: Answer(body=bytes(10**7), rate=100_000)) as url:
        inputs = JobInputs.model_validate(files(url))

        async def within_half_a_second() -> None:
            async with asyncio.timeout(0.5):
                await fetch_inputs(inputs, folder, policy=LOCAL, variables={})

        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(within_half_a_second())
        assert time.monotonic() - began < 30
    assert not list(folder.parent.iterdir())


def test_nothing_private_is_reached_in_any_way(folder: Path, bird: Canary) -> None:
    urls = bird.urls()
    error = refused(folder, files(*urls), InputPolicy())
    assert isinstance(error, InvalidInputError)
    assert "files[9].url: " in error.message
    assert "and 7 more" in error.message
    for url in urls:
        with pytest.raises(ComfyError):
            fetch(folder, files(url), InputPolicy())
    assert bird.heard == []


def test_a_private_address_is_named_with_the_variable_that_allows_it(
    folder: Path, bird: Canary
) -> None:
    error = refused(folder, files(f"http://localhost:{bird.port}/x"), InputPolicy())
    assert "files[0].url: " in error.message
    assert "leads to localhost" in error.message
    assert "COMFY_INPUT_PRIVATE_ADDRESSES=1" in error.remedy
    assert failure_document(error)["error_type"] == "invalid_input"


def test_a_proxy_is_named_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    with serve(answering=asked.append) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        error = refused(folder, files("http://example.org/x"), InputPolicy())
    assert isinstance(error, InputFetchError)
    assert "proxy" in error.message
    assert "NO_PROXY" in error.remedy
    assert asked == []


def test_a_disk_error_is_one_sentence(folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_bytes(b"")
    with pytest.raises(ComfyError, match="input files could not be written"):
        fetch(folder, files("data:,a"))
