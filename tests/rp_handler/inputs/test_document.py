"""Which `images` and `files` of a job are accepted, before anything is fetched."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from comfy_errors import InvalidInputError
from comfy_files.json_faults import faults_in_words
from rp_handler.inputs.document import JobInputs

SHA256 = "ab" * 32


def images(*names: str, image: str = "aGVsbG8=") -> dict[str, Any]:
    return {"images": [{"name": name, "image": image} for name in names]}


def file(url: str, **more: Any) -> dict[str, Any]:
    return {"files": [{"name": "a.mp4", "url": url, **more}]}


def faults_of(document: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        JobInputs.model_validate(document)
    return faults_in_words(caught.value)


@pytest.mark.parametrize(
    "document", [{}, {"images": None}, {"images": []}, {"images": None, "files": []}]
)
def test_a_job_may_have_no_files(document: dict[str, Any]) -> None:
    assert JobInputs.model_validate(document).entries() == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a.png",
            "faces/a.png",
            "3d/x/y.glb",
            ".hidden",
            "a b.png",
            "ü.png",
            "𝄞.png",
            "..a",
            "a..b",
        ),
        *("a [inputs]", "x" * 255, "a:b", "~", "$HOME", "*?", "-rf"),
    ],
)
def test_a_name_is_a_path_below_the_input_folder(name: str) -> None:
    (entry,) = JobInputs.model_validate(images(name)).entries()
    assert (entry.name, entry.field) == (name, "images[0].image")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(("", "not empty"), ("/a", "must be a path"), ("../a", "must be a path")),
        *(("a/../../b", "must be a path"), ("a/./b", "must be a path"), (".", "must be a path")),
        *(("a//b", "must be a path"), ("a/", "must be a path"), ("..", "must be a path")),
        *(("a\\b", "backslash"), ("C:\\a", "backslash"), ("a\0b", "control"), ("a\n", "control")),
        *(("a\ud800", "half a character"), ("a.png [input]", "[input]"), ("a[temp]", "[temp]")),
        *(("x" * 256, "longer than 255"), ("é" * 128, "longer than 255")),
        ("/".join(["x" * 250] * 5), "1024"),
    ],
)
def test_a_name_that_leaves_the_folder_or_cannot_be_read_is_refused(name: str, fault: str) -> None:
    said = faults_of(images("ok.png", name))
    assert said.startswith("'images[1].name' ")
    assert fault in said


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://example.org/a.mp4",
            "HTTPS://example.org/a?b=c#d",
            "gs://bucket/a b",
            "s3://b.c/k",
        ),
        *("data:video/mp4;base64,AAAA", "https://example.org:8443/ä b"),
    ],
)
def test_a_file_is_at_a_url(url: str) -> None:
    (entry,) = JobInputs.model_validate(file(url, sha256=f"sha256:{SHA256.upper()}")).entries()
    assert (entry.field, entry.content, entry.sha256) == ("files[0].url", url, SHA256)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        *(("aGVsbG8=", "is not a URL"), ("", "is not a URL"), ("file:/etc/passwd", "is not a URL")),
        *(("file:///etc/passwd", "starts with file://"), ("ftp://h/a", "starts with ftp://")),
        *(("hf://a/b/c", "starts with hf://"), ("gs://bucket", "must be gs://BUCKET/FILE")),
        *(("gs:///a", "must be gs://"), ("s3://b/", "must be s3://"), ("s3://a@b/c", "must be s3")),
        *(("gs://b/" + "é" * 513, "must be gs://"), ("s3://b/" + "x" * 1025, "must be s3://")),
        *(("s3://arn:aws:s3:::a/b", "must be s3"), ("http://", "is not a valid URL")),
        *(("http://[::1", "is not a valid URL"), ("http://h:x/", "is not a valid URL")),
        *(("http://" + "9" * 254, "is not a valid URL"), ("http:///a", "is not a valid URL")),
        *(("http://h:99999/", "is not a valid URL"), ("http://a\\@b/", "is not a valid URL")),
        *(("http://me:secret@h/a", "has a login"), ("http://@h/a", "has a login")),
        *(("http://h/\r\nX: y", "control"), ("http://h/\ud800", "half a character")),
        ("https://h/" + "x" * 9000, "8192 characters"),
    ],
)
def test_another_url_is_refused(url: str, fault: str) -> None:
    said = faults_of(file(url))
    assert said.startswith("'files[0].url' ")
    assert fault in said
    assert "secret" not in said


def test_an_image_may_be_at_a_url_too() -> None:
    assert JobInputs.model_validate(images("a", image="https://h/a.png")).entries()
    assert faults_of(images("a", image="ftp://h/a")).startswith("'images[0].image' starts with ftp")


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"images": {}}, "'images' must be a list in square brackets, not an object"),
        ({"images": "x"}, "'images' must be a list in square brackets, not text"),
        ({"images": [None]}, "'images[0]' must be an object in braces, not null"),
        ({"images": [{"name": "a"}]}, "'images[0].image' is missing"),
        ({"images": [{"name": 1, "image": ""}]}, "'images[0].name' must be text"),
        ({"files": [{"name": "a", "url": None}]}, "'files[0].url' must be text"),
        (file("https://h/a", sha256="abc"), "'files[0].sha256' must be 64 hex digits"),
        (images(*"a" * 1001), "'images' must have at most 1000 items"),
    ],
)
def test_what_cannot_be_used_is_named(document: dict[str, Any], fault: str) -> None:
    assert fault in faults_of(document)


def test_further_keys_of_an_image_are_ignored_as_in_worker_comfyui() -> None:
    document = {"images": [{"name": "a", "image": "aGVsbG8=", "type": "input"}]}
    assert len(JobInputs.model_validate(document).entries()) == 1


def test_a_file_that_is_sent_twice_is_one() -> None:
    assert len(JobInputs.model_validate(images("a.png", "b.png", "a.png")).entries()) == 2


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (("a.png", "a.png"), 'files[0].name "a.png" is also the name of another file, images[0]'),
        (("a/b.png", "a"), 'files[0].name "a" is also the folder of a file, images[0]'),
        (("a", "a/b/c.png"), 'images[0].name "a" is also the folder of a file, files[0]'),
    ],
)
def test_two_files_cannot_have_one_place(names: tuple[str, str], fault: str) -> None:
    document = {**images(names[0]), "files": [{"name": names[1], "url": "https://h/a"}]}
    with pytest.raises(InvalidInputError) as caught:
        JobInputs.model_validate(document).entries()
    assert fault in caught.value.message
