"""Distributions as trees, from a real index on loopback that a test may spoil."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest
from runpod_comfy.sources.kinds import settle
from runpod_comfy.sources.pypi import PypiSource, refuse_foreign_file
from runpod_comfy.spec.model import Tree
from tests.http_server import Answer, Request, cut
from tests.package_index import Listed, html_page, json_page, make_wheel, serve_index

REQUEST = TreeRequest(repo="pypi://Thing", ref="1.0")


class Index:
    """A package index (PEP 503 and 691) whose answers a test may change.

    `files` maps a file name to its bytes, `yanked` one to a reason. `answers` maps a path to a
    status that it is answered with instead, `cut` holds files that end in the middle.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.yanked: dict[str, str] = {}
        self.announced: dict[str, str | None] = {}
        self.answers: dict[str, int] = {}
        self.cut: set[str] = set()
        self.as_json = False
        self.login: str | None = None
        self.asked: list[str] = []
        self.url = ""

    def add(self, path: Path) -> str:
        self.files[path.name] = path.read_bytes()
        return "sha256:" + hashlib.sha256(self.files[path.name]).hexdigest()

    def _sha256(self, name: str) -> str | None:
        real = hashlib.sha256(self.files[name]).hexdigest()
        return self.announced.get(name, real)

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        status = self.answers.get(request.path, 200)
        if self.login not in (None, request.login):
            status = 401
        if request.path == "/simple/thing/":
            return replace(self._page(), status=status)
        name = request.path.rpartition("/")[2]
        body = self.files.get(name)
        if body is None:
            return Answer(status=404)
        return cut(body, len(body) // 2) if name in self.cut else Answer(status=status, body=body)

    def _page(self) -> Answer:
        files = [
            Listed(name=name, sha256=self._sha256(name), yanked=self.yanked.get(name))
            for name in self.files
        ]
        if self.as_json:
            return json_page("thing", files)
        return Answer(headers={"Content-Type": "text/html"}, body=html_page(files).encode())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty index, the only one that pip is configured to use."""
    index = Index()
    with serve_index(tmp_path / "served", monkeypatch, index.answer) as url:
        index.url = f"{url}/simple"
        yield index


def sdist(folder: Path, version: str = "1.0") -> Path:
    path = folder / f"thing-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("PKG-INFO", ""), ("setup.py", "raise SystemExit"), ("src/x.py", "x")):
            info = tarfile.TarInfo(f"thing-{version}/{name}")
            info.size, info.mtime = len(text), 1_600_000_000
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def fetch(fetch_context: FetchContext, request: TreeRequest = REQUEST) -> FetchedTree:
    source = PypiSource()
    return source.fetch(replace(request, commit=source.pin(request, fetch_context)), fetch_context)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_pin_is_the_hash_of_the_wheel_for_every_platform(
    index: Index, fetch_context: FetchContext, tmp_path: Path, as_json: bool
) -> None:
    index.as_json = as_json
    index.add(make_wheel(tmp_path, "thing", "1.0", tag="cp311-cp311-linux_x86_64"))
    index.add(sdist(tmp_path))
    expected = index.add(make_wheel(tmp_path, "thing", "1.0"))
    assert PypiSource().pin(REQUEST, fetch_context) == expected
    assert index.asked == ["/simple/thing/"]


def test_a_pin_of_another_version_is_refused(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    old = index.add(make_wheel(tmp_path, "thing", "1.0"))
    new = index.add(make_wheel(tmp_path, "thing", "2.0"))
    refuse_foreign_file(replace(REQUEST, ref="2.0", commit=new), fetch_context)
    with pytest.raises(MismatchError, match=f"no file of .* has the pin {old}"):
        refuse_foreign_file(replace(REQUEST, ref="2.0", commit=old), fetch_context)
    # An index without hashes cannot tell.
    index.announced = dict.fromkeys(index.files)
    refuse_foreign_file(replace(REQUEST, ref="2.0", commit=old), fetch_context)


def test_a_wheel_is_unpacked(index: Index, fetch_context: FetchContext, tmp_path: Path) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0", source="x = 1"))
    fetched = fetch(fetch_context)
    names = sorted(item.name for item in fetched.path.iterdir())
    assert names == ["thing-1.0.dist-info", "thing.py"]
    assert fetched.epoch == 1_704_067_200


def test_an_sdist_is_unpacked_and_nothing_of_it_runs(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    expected = index.add(sdist(tmp_path))
    request = replace(REQUEST, subdir="src")
    assert PypiSource().pin(request, fetch_context) == expected
    fetched = fetch(fetch_context, request)
    assert [item.name for item in fetched.path.iterdir()] == ["x.py"]
    assert fetched.epoch == 1_600_000_000


def test_what_was_fetched_is_not_asked_for_again(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    fetched = fetch(fetch_context)
    request = replace(REQUEST, commit=PypiSource().pin(REQUEST, fetch_context))
    index.asked.clear()
    offline = replace(fetch_context, offline=True)
    assert PypiSource().fetch(request, offline) == fetched
    # Another folder of the same archive comes from the kept archive.
    other = replace(request, subdir="thing-1.0.dist-info")
    assert PypiSource().fetch(other, offline).path.is_dir()
    assert index.asked == []


def test_offline_what_is_missing_is_named(index: Index, fetch_context: FetchContext) -> None:
    request = replace(REQUEST, commit="sha256:" + "0" * 64)
    offline = replace(fetch_context, offline=True)
    with pytest.raises(UnavailableError, match="pypi://Thing@1.0 .* is not in the cache"):
        PypiSource().fetch(request, offline)
    with pytest.raises(UnavailableError, match="cannot be looked up offline"):
        PypiSource().pin(REQUEST, offline)
    assert index.asked == []


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("9.9.9", "The newest is 2.10."),
        ("2.3", "The newest is 2.10; next to 2.3: 2.2."),
        ("2.1", "The newest is 2.10; next to 2.1: 2.2, 1.9."),
        ("0.1", "The newest is 2.10; next to 0.1: 1.9."),
    ],
)
def test_an_unknown_version_is_answered_with_the_newest_and_its_neighbours(
    index: Index, fetch_context: FetchContext, tmp_path: Path, wanted: str, remedy: str
) -> None:
    for version in ("1.9", "2.10", "2.2", "3.0rc1", "2.11"):
        index.add(make_wheel(tmp_path, "thing", version))
    index.yanked["thing-2.11-py3-none-any.whl"] = "broken"
    with pytest.raises(UnavailableError, match=f"has no version {wanted}") as caught:
        PypiSource().pin(replace(REQUEST, ref=wanted), fetch_context)
    assert caught.value.remedy == remedy


def test_versions_are_compared_as_versions(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    expected = index.add(make_wheel(tmp_path, "thing", "1.0"))
    assert PypiSource().pin(replace(REQUEST, ref="1.0.0"), fetch_context) == expected


def test_an_unknown_distribution_is_unavailable(index: Index, fetch_context: FetchContext) -> None:
    request = TreeRequest(repo="pypi://other", ref="1.0")
    with pytest.raises(UnavailableError, match="no index has a distribution 'other'") as caught:
        PypiSource().pin(request, fetch_context)
    assert index.url in caught.value.message


def test_a_version_must_be_named(index: Index, fetch_context: FetchContext) -> None:
    with pytest.raises(InvalidInputError, match="has no version"):
        PypiSource().pin(replace(REQUEST, ref=None), fetch_context)
    with pytest.raises(InvalidInputError, match="is not a version"):
        PypiSource().pin(replace(REQUEST, ref="main"), fetch_context)


def test_without_a_version_the_newest_stable_one_is_settled(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.9"))
    expected = index.add(make_wheel(tmp_path, "thing", "1.10"))
    index.add(make_wheel(tmp_path, "thing", "2.0rc1"))
    index.yanked[make_wheel(tmp_path, "thing", "1.11").name] = "broken"
    index.add(tmp_path / "thing-1.11-py3-none-any.whl")
    settled = settle(Tree(repo="pypi://thing"), fetch_context)
    assert (settled.ref, settled.commit) == ("1.10", expected)


def test_a_yanked_version_is_taken_with_a_warning(
    index: Index, fetch_context: FetchContext, tmp_path: Path, said: list[str]
) -> None:
    wheel = make_wheel(tmp_path, "thing", "1.0")
    index.add(wheel)
    index.yanked[wheel.name] = "it deletes files"
    PypiSource().pin(REQUEST, fetch_context)
    assert any("yanked by its authors: it deletes files" in line for line in said)


def test_wheels_for_single_platforms_are_not_one_tree(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0", tag="cp311-cp311-linux_x86_64"))
    with pytest.raises(InvalidInputError, match="only platform-specific wheels"):
        PypiSource().pin(REQUEST, fetch_context)


def test_an_index_that_announces_no_hashes_serves_too(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "thing", "1.0")
    expected = index.add(wheel)
    index.announced[wheel.name] = None
    assert PypiSource().pin(REQUEST, fetch_context) == expected
    assert fetch(fetch_context).path.is_dir()


def nothing_is_kept(fetch_context: FetchContext) -> bool:
    cache = fetch_context.cache
    folders = (cache.archives, cache.trees, cache.tmp)
    return not any(list(folder.glob("*")) for folder in folders if folder.is_dir())


def test_other_bytes_than_announced_are_a_mismatch_and_not_kept(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "thing", "1.0")
    index.add(wheel)
    index.announced[wheel.name] = "0" * 64
    with pytest.raises(MismatchError, match=f"{wheel.name} has sha256 "):
        fetch(fetch_context)
    assert nothing_is_kept(fetch_context)


def test_a_connection_that_ends_in_the_middle_keeps_nothing(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "thing", "1.0")
    index.add(wheel)
    index.cut.add(wheel.name)
    with pytest.raises(UnavailableError, match=f"{wheel.name} could not be read"):
        fetch(fetch_context)
    assert nothing_is_kept(fetch_context)
    index.cut.clear()
    assert fetch(fetch_context).path.is_dir()


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/simple/thing/", 500, r"/simple/thing/ could not be read: it answered 500"),
        ("/simple/thing/", 403, r"/simple/thing/ could not be read: it answered 403"),
        ("/files/thing-1.0-py3-none-any.whl", 404, r"\.whl could not be read: it answered 404"),
    ],
)
def test_a_server_that_answers_with_an_error_is_named(
    index: Index, fetch_context: FetchContext, tmp_path: Path, path: str, status: int, sentence: str
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    index.answers[path] = status
    with pytest.raises(UnavailableError, match=sentence):
        fetch(fetch_context)


def test_a_server_that_is_not_there_is_named(
    index: Index, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    with pytest.raises(UnavailableError, match="127.0.0.1:9") as caught:
        fetch(fetch_context)
    assert "secret" not in caught.value.message + caught.value.remedy


def test_the_login_of_the_index_is_used_for_its_files_and_never_shown(
    index: Index, fetch_context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    index.login = "someone:secret"
    with pytest.raises(UnavailableError, match="it answered 401"):
        fetch(fetch_context)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("://", "://someone:secret@"))
    assert fetch(fetch_context).path.is_dir()
    with pytest.raises(UnavailableError) as caught:
        fetch(fetch_context, TreeRequest(repo="pypi://other", ref="1"))
    assert "secret" not in caught.value.message


def test_a_file_that_left_the_index_is_a_mismatch_that_names_the_others(
    index: Index, fetch_context: FetchContext, tmp_path: Path
) -> None:
    present = index.add(make_wheel(tmp_path, "thing", "1.0"))
    request = replace(REQUEST, commit="sha256:" + "0" * 64)
    for verb in (PypiSource().fetch, PypiSource().pin):
        with pytest.raises(MismatchError, match="no file of pypi://Thing@1.0") as caught:
            verb(request, fetch_context)
    with pytest.raises(MismatchError) as caught:
        PypiSource().fetch(request, fetch_context)
    assert present in caught.value.message


def test_files_come_from_local_indexes_and_folders_too(
    index: Index, fetch_context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "local" / "thing" / "index.html"
    page.parent.mkdir(parents=True)
    wheel = make_wheel(page.parent, "thing", "1.0")
    page.write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "thing", "2.0")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "local").as_uri())
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    assert fetch(fetch_context).path.is_dir()
    assert fetch(fetch_context, replace(REQUEST, ref="2.0")).path.is_dir()


def test_an_error_page_in_place_of_an_archive_is_refused(
    index: Index, fetch_context: FetchContext
) -> None:
    index.files["thing-1.0-py3-none-any.whl"] = b"<html>sign in first</html>"
    with pytest.raises(ComfyError, match="is not a readable archive"):
        fetch(fetch_context)
    assert not list(fetch_context.cache.trees.glob("*"))
