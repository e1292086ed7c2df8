"""Nodes of the Comfy Registry: what is taken, what is told, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.kinds import settle
from runpod_comfy.sources.registry import RegistrySource
from runpod_comfy.spec.model import Tree
from tests.comfy_registry import (
    BANNED,
    DELETED,
    FLAGGED,
    PENDING,
    RegistryDouble,
    comfy_registry,
    node_zip,
)
from tests.http_server import Answer

FILES = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "pyproject.toml": "", "js/a.js": "1"}
ARCHIVE = node_zip(FILES)
PIN = f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"


@pytest.fixture
def registry(pip_knows_nothing: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryDouble]:
    with comfy_registry() as double:
        monkeypatch.setenv("COMFY_REGISTRY_URL", f"{double.url}/")
        yield double


def request(node: str = "painter", version: str | None = "1.0.0") -> TreeRequest:
    return TreeRequest(repo=f"comfy://{node}", ref=version)


def refused(
    asked: TreeRequest, fetch_context: FetchContext, sentence: str, error: type[ComfyError]
) -> str:
    with pytest.raises(error, match=sentence) as caught:
        RegistrySource().fetch(asked, fetch_context)
    assert caught.value.remedy
    cache = fetch_context.cache
    assert not cache.archives.exists() or not list(cache.archives.iterdir())
    assert not cache.tmp.exists() or not list(cache.tmp.iterdir())
    return caught.value.remedy


def test_the_files_come_as_they_are_packed_and_the_pin_is_the_hash_of_the_archive(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    assert RegistrySource().pin(request(), fetch_context) == PIN
    tree = RegistrySource().fetch(request(), fetch_context)
    files = {path.relative_to(tree.path).as_posix() for path in tree.path.rglob("*.*")}
    assert files == set(FILES)
    assert tree.epoch == 1714979290


def test_a_node_that_is_in_one_folder_stays_in_it(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", node_zip({"src/a.py": ""}))
    tree = RegistrySource().fetch(request(), fetch_context)
    assert [path.name for path in tree.path.iterdir()] == ["src"]


def test_what_the_cache_has_is_not_asked_for_again(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    asked = replace(request(), commit=RegistrySource().pin(request(), fetch_context))
    before = list(registry.asked)
    offline = replace(fetch_context, offline=True)
    assert RegistrySource().fetch(asked, offline) == RegistrySource().fetch(asked, offline)
    assert registry.asked == before


def test_offline_without_the_archive_says_so(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    offline = replace(fetch_context, offline=True)
    refused(replace(request(), commit=PIN), offline, PIN, UnavailableError)
    with pytest.raises(UnavailableError, match="looked up offline"):
        RegistrySource().open_ref("comfy://painter", offline)
    assert registry.asked == []


def test_other_bytes_than_the_pinned_ones_are_refused_by_name(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", node_zip({"evil.py": ""}))
    asked = replace(request(), commit=PIN)
    refused(asked, fetch_context, "comfy://painter@1.0.0 has sha256", MismatchError)
    with pytest.raises(MismatchError):
        RegistrySource().pin(asked, fetch_context)


def test_a_pin_of_another_version_is_refused_though_the_cache_has_it(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    registry.publish("painter", "2.0.0", node_zip({"__init__.py": "VERSION = 2\n"}))
    RegistrySource().fetch(request(), fetch_context)
    right, changed = (
        Tree(repo="comfy://painter", ref=ref, commit=PIN) for ref in ("1.0.0", "2.0.0")
    )
    assert settle(right, fetch_context) == right
    with pytest.raises(MismatchError, match=r"comfy://painter@2\.0\.0 has sha256") as caught:
        settle(changed, fetch_context)
    assert "remove its 'commit'" in caught.value.remedy
    assert settle(changed, replace(fetch_context, offline=True)) == changed
    # An unreachable registry cannot tell.
    registry.answers["/nodes/painter/install"] = Answer(status=404)
    registry.answers["/nodes/painter/versions"] = Answer(status=404)
    assert settle(changed, fetch_context) == changed


def test_the_newest_version_is_by_number_and_not_by_text(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-alpha.1"):
        registry.publish("painter", version, ARCHIVE)
    assert RegistrySource().open_ref("comfy://painter", fetch_context) == "1.10.0"
    settled = settle(Tree(repo="comfy://painter"), fetch_context)
    assert (settled.ref, settled.commit) == ("1.10.0", PIN)


def test_a_version_with_concerns_is_the_newest_only_if_there_is_no_other(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    registry.publish("painter", "1.1.0", ARCHIVE, deprecated=True)
    for version, status in (("2.0.0", FLAGGED), ("3.0.0", PENDING), ("4.0.0", BANNED)):
        registry.publish("painter", version, ARCHIVE, status=status)
    assert RegistrySource().open_ref("comfy://painter", fetch_context) == "1.0.0"
    for version in ("1.0.0", "1.1.0"):
        del registry.nodes["painter"][version]
    assert RegistrySource().open_ref("comfy://painter", fetch_context) == "3.0.0"
    for version in ("2.0.0", "3.0.0"):
        del registry.nodes["painter"][version]
    with pytest.raises(UnavailableError, match="offers no version of comfy://painter"):
        RegistrySource().open_ref("comfy://painter", fetch_context)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"status": FLAGGED}, "flagged by the registry's security scan"),
        ({"status": PENDING}, "has not passed"),
        ({"status": BANNED}, "banned by the registry"),
        ({"status": DELETED}, "deleted by its author"),
        ({"deprecated": True}, "deprecated by its author"),
    ],
)
def test_a_version_with_concerns_is_taken_with_a_warning(
    registry: RegistryDouble,
    fetch_context: FetchContext,
    said: list[str],
    details: dict[str, object],
    words: str,
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE, **details)
    RegistrySource().fetch(request(), fetch_context)
    (warning,) = [line for line in said if line.startswith("Warning:")]
    assert words in warning
    assert "comfy://painter@1.0.0" in warning


def test_a_version_that_is_not_three_numbers_is_found_in_the_list(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "2.0.0-alpha.14", ARCHIVE)
    assert RegistrySource().pin(request(version="2.0.0-alpha.14"), fetch_context) == PIN


def test_a_version_that_is_not_there_is_answered_with_those_next_to_it(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    for version in ("1.9.0", "1.10.0", "3.0.0"):
        registry.publish("painter", version, ARCHIVE)
    remedy = refused(request(version="1.9.5"), fetch_context, "no version 1.9.5", UnavailableError)
    assert remedy == "The newest is 3.0.0; next to 1.9.5: 1.10.0, 1.9.0."


def test_a_node_that_is_not_there_and_one_that_is_banned_are_distinguished(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    refused(request("nobody"), fetch_context, "has no node 'nobody'", UnavailableError)
    registry.publish("painter", "1.0.0", ARCHIVE)
    registry.banned.add("painter")
    refused(request(), fetch_context, "banned", UnavailableError)


def test_a_version_without_an_archive_says_so(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE, url="")
    registry.publish("painter", "0.9.0", ARCHIVE)
    remedy = refused(request(), fetch_context, "has no archive of", UnavailableError)
    assert "0.9.0" in remedy


def test_a_node_without_a_version_is_asked_for_one(fetch_context: FetchContext) -> None:
    refused(request(version=None), fetch_context, "has no version", InvalidInputError)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:1/node.zip",
        "ftp://e.com/node.zip",
        "https://user:hunter2@e.com/node.zip",
        "https://",
        "http://[broken",
        "node.zip",
    ],
)
def test_an_address_that_is_not_safe_to_ask_is_refused(
    registry: RegistryDouble, fetch_context: FetchContext, url: str
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE, url=url)
    with pytest.raises(UnavailableError, match="not an https URL") as caught:
        RegistrySource().fetch(request(), fetch_context)
    assert "hunter2" not in caught.value.message


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, HTML, b"<html>Log in</html>"), "did not answer as the Comfy Registry does"),
        ((200, {}, b""), "did not answer as"),
        ((200, {}, b'{"version": 1}'), r"'version' must be"),
        ((200, {}, b"[]"), "did not answer as"),
        ((200, {}, b'{"version": "1.0.0", "downloadUrl": {}}'), "'downloadUrl' must be"),
        ((500, {}, b"oops"), "it answered 500"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "could not be read"),
        (
            (302, {"Location": "/nodes/painter/install"}, b""),
            "could not be read: it redirects too often",
        ),
    ],
)
def test_an_answer_of_another_shape_is_reported_in_plain_words(
    registry: RegistryDouble,
    fetch_context: FetchContext,
    answer: tuple[int, dict[str, str], bytes],
    sentence: str,
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    registry.answers["/nodes/painter/install"] = Answer(
        status=answer[0], headers=answer[1], body=answer[2]
    )
    refused(request(), fetch_context, sentence, UnavailableError)


def test_an_answer_that_has_no_end_is_given_up(
    registry: RegistryDouble, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runpod_comfy.sources.registry._LARGEST_ANSWER_BYTES", 1000)
    registry.publish("painter", "1.0.0", ARCHIVE)
    registry.answers["/nodes/painter/install"] = Answer(body=b" " * 100_000)
    refused(request(), fetch_context, "answered with more than 1,000 bytes", UnavailableError)


def test_a_page_in_place_of_the_archive_gets_no_pin(
    registry: RegistryDouble, fetch_context: FetchContext
) -> None:
    registry.publish("painter", "1.0.0", b"<html>Log in</html>")
    refused(request(), fetch_context, "returned a web page instead of an archive", UnavailableError)


def test_a_registry_that_is_not_there_is_named(
    pip_knows_nothing: None, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_REGISTRY_URL", "http://me:hunter2@127.0.0.1:1")
    remedy = refused(request(), fetch_context, "127.0.0.1:1/nodes/painter", UnavailableError)
    assert "COMFY_REGISTRY_URL" in remedy
    with pytest.raises(UnavailableError) as caught:
        RegistrySource().fetch(request(), fetch_context)
    assert "hunter2" not in caught.value.message


def test_a_registry_address_that_is_none_is_refused(
    fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_REGISTRY_URL", "api.comfy.org")
    refused(request(), fetch_context, "not an HTTP URL", InvalidInputError)


def test_two_machines_get_the_same_tree(
    registry: RegistryDouble, fetch_context: FetchContext, tmp_path: Path
) -> None:
    registry.publish("painter", "1.0.0", ARCHIVE)
    other = replace(fetch_context, cache=Cache(root=tmp_path / "other"))
    here, there = (RegistrySource().fetch(request(), each) for each in (fetch_context, other))
    assert (here.tree_hash, here.epoch) == (there.tree_hash, there.epoch)
