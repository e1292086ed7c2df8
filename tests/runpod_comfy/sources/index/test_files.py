"""Every place that pip would look at, asked as pip would ask it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import PipSettings
from runpod_comfy.sources.pypi import PypiSource
from tests.git_repositories import new_repository
from tests.http_server import Answer, Request, serve
from tests.package_index import Listed, listed, make_wheel, write_index, write_page

REQUEST = TreeRequest(repo="pypi://alpha", ref="1.0")


def _content(index: Index) -> bytes:
    (file,) = index.files_of("alpha")
    with index.open(file) as chunks:
        return b"".join(chunks)


def test_the_files_of_the_main_index_come_before_those_of_others(
    index: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "files").mkdir(parents=True)
    ours = make_wheel(index / "files", "alpha", "1.0", source="OURS = 1\n")
    make_wheel(other / "files", "alpha", "1.0", source="THEIRS = 1\n")
    make_wheel(other / "files", "alpha", "2.0")
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "alpha", "3.0")
    for root in (index, other):
        write_index(root)
    with serve(index) as first, serve(other) as second:
        settings = PipSettings(
            index_url=f"{first}/simple/",
            extra_index_urls=(f"{second}/simple",),
            find_links=(str(links),),
        )
        files = Index(settings=settings).files_of("Alpha")
    assert [file.version for file in files] == ["1.0", "1.0", "2.0", "3.0"]
    assert files[0].sha256 == listed(ours).sha256
    assert files[0].sha256 != files[1].sha256


def test_an_index_that_does_not_know_the_name_is_passed_over(index: Path, tmp_path: Path) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0")
    write_index(index)
    with serve(tmp_path / "index/files") as empty, serve(index) as url:
        settings = PipSettings(index_url=f"{empty}/simple", extra_index_urls=(f"{url}/simple",))
        assert _content(Index(settings=settings)) == wheel.read_bytes()


def test_with_no_index_only_the_links_are_asked(index: Path, tmp_path: Path) -> None:
    make_wheel(index / "files", "alpha", "1.0")
    write_index(index)
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "alpha", "2.0")
    with serve(index) as url:
        settings = PipSettings(
            index_url=f"{url}/simple", no_index=True, find_links=(links.as_uri(),)
        )
        assert [file.version for file in Index(settings=settings).files_of("alpha")] == ["2.0"]


def test_a_page_of_links_may_list_many_distributions(index: Path) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0")
    make_wheel(index / "files", "alpha-extra", "1.0")
    names = sorted(path.name for path in (index / "files").iterdir())
    page = "".join(f'<a href="files/{name}">{name}</a>' for name in [*names, "notes.txt"])
    (index / "links.html").write_text(page)
    with serve(index) as url:
        settings = PipSettings(no_index=True, find_links=(f"{url}/links.html",))
        assert _content(Index(settings=settings)) == wheel.read_bytes()


def test_a_file_that_a_local_page_names_but_lacks_is_unavailable(index: Path) -> None:
    make_wheel(index / "files", "alpha", "1.0").rename(index / "elsewhere")
    write_page(index, "alpha", [Listed(name="alpha-1.0-py3-none-any.whl")])
    settings = PipSettings(index_url=(index / "simple").as_uri())
    with pytest.raises(UnavailableError, match="does not exist, although an index lists it"):
        _content(Index(settings=settings))


def test_a_server_that_is_away_for_a_moment_is_asked_again(index: Path) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0")
    write_index(index)
    seen: set[str] = set()

    def recovering(request: Request) -> Answer | None:
        """503 for the first request of each path, as of a proxy whose server starts again."""
        known = request.path in seen
        seen.add(request.path)
        return None if known else Answer(status=503)

    with serve(index, recovering) as url:
        settings = PipSettings(index_url=f"{url}/simple")
        assert _content(Index(settings=settings)) == wheel.read_bytes()


def test_the_login_of_an_index_goes_to_its_own_host_only(index: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = make_wheel(elsewhere, "alpha", "1.0")
    logins: list[tuple[str, str | None]] = []
    with (
        serve(elsewhere, lambda asked: logins.append(("elsewhere", asked.login))) as files,
        serve(index, lambda asked: logins.append(("index", asked.login))) as url,
    ):
        page = index / "simple/alpha/index.html"
        page.parent.mkdir()
        page.write_text(f'<a href="{files}/{wheel.name}">{wheel.name}</a>')
        settings = PipSettings(index_url=url.replace("://", "://me:hunter2@") + "/simple")
        assert _content(Index(settings=settings)) == wheel.read_bytes()
    assert logins == [("index", "me:hunter2"), ("elsewhere", None)]


def test_what_is_not_an_index_page_is_reported_by_its_address(index: Path) -> None:
    page = index / "simple/alpha"
    page.write_bytes(b"\x00\x01")
    with serve(index) as url:
        settings = PipSettings(find_links=(f"{url}/simple/alpha",), no_index=True)
        with pytest.raises(UnavailableError, match="simple/alpha is not a package index page"):
            Index(settings=settings).files_of("alpha")


def test_a_wheel_becomes_the_tree_that_git_would_hash(
    index: Path, fetch_context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0", source="ALPHA = 1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "files"))
    repository = new_repository(tmp_path / "unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(repository.path)
    repository.git("add", "--all", "--force")
    tree = PypiSource().fetch(REQUEST, fetch_context)
    assert tree.tree_hash == "tree:" + repository.git("write-tree")


def test_a_hostile_wheel_is_refused_and_nothing_is_written_outside(
    index: Path, fetch_context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("../../../../escaped.py", "EVIL = 1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "files"))
    with pytest.raises(InvalidInputError, match=r"pypi://alpha@1\.0 has the unsafe path"):
        PypiSource().fetch(REQUEST, fetch_context)
    assert not list(tmp_path.rglob("escaped.py"))
    assert not fetch_context.cache.trees.exists()


def test_a_replaced_file_without_an_announced_hash_does_not_pass_for_the_pinned_one(
    index: Path, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "files"))
    wheel = make_wheel(index / "files", "alpha", "1.0")
    request = replace(REQUEST, commit=f"sha256:{listed(wheel).sha256}")
    make_wheel(index / "files", "alpha", "1.0", source="EVIL = 1\n")
    with pytest.raises(MismatchError, match="has the pinned sha256"):
        PypiSource().fetch(request, fetch_context)
    assert not fetch_context.cache.trees.exists()


def test_if_every_version_was_yanked_none_is_the_newest(
    index: Path, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(index / "files", "alpha", "1.0")
    write_page(index, "alpha", [listed(wheel, yanked="bad")])
    monkeypatch.setenv("PIP_INDEX_URL", (index / "simple").as_uri())
    with pytest.raises(UnavailableError, match="every version of pypi://alpha was yanked"):
        PypiSource().open_ref("pypi://alpha", fetch_context)
